//! Compressed bodies (RFC 9110, section 8.4): gzip, and deflate, by which the zlib format is meant. Requests are taken so
//! wherever bodies are read; answers are given so where a client asks for it and its dialect is one whose clients do.

use std::io::{self, Read};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::bufread::{GzEncoder, MultiGzDecoder, ZlibDecoder, ZlibEncoder};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout_at;

use super::body::too_large;
use super::deadline::Deadline;
use crate::api::error::{ApiError, ErrorCode};

/// Answers that are shorter are not compressed: what would be saved fits into the same packet.
const WORTH_COMPRESSING: u64 = 1 << 10;

/// So many decompressed bodies are there at once; more requests wait for one to be read. A few hundred small bombs would
/// otherwise fill the memory within the limit of each.
static PLACES: Semaphore = Semaphore::const_new(8);

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952
    Gzip,
    /// RFC 1950
    Deflate,
}

impl Coding {
    fn parse(name: &str) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match () {
            () if is("gzip") || is("x-gzip") => Some(Self::Gzip),
            () if is("deflate") => Some(Self::Deflate),
            () => None,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    /// How the body of a request is compressed; none where it is not. Others than these are refused, and so are several
    /// of them one upon the other.
    pub fn of_request(headers: &HeaderMap) -> Result<Option<Self>, ApiError> {
        let mut declared = headers.get_all(header::CONTENT_ENCODING).iter();
        let Some(first) = declared.next() else {
            return Ok(None);
        };
        let name = first.to_str().unwrap_or("?").trim();
        let is_only = declared.next().is_none();
        if is_only && (name.is_empty() || name.eq_ignore_ascii_case("identity")) {
            return Ok(None);
        }
        let coding = Self::parse(name).filter(|_| is_only);
        coding.map(Some).ok_or_else(|| {
            let message =
                format!("content-encoding {name:?} is not supported; expected gzip or deflate, or none");
            ApiError::new(ErrorCode::UnsupportedMediaType, message)
        })
    }

    /// How a client would have its answer compressed; none where it would rather have it as it is.
    #[must_use]
    pub fn of_answer(headers: &HeaderMap) -> Option<Self> {
        let listed = headers.get_all(header::ACCEPT_ENCODING).iter();
        let listed = listed
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        let mut best: (f32, Option<Self>) = (0.0, None);
        for entry in listed {
            let (name, parameters) = entry.split_once(';').unwrap_or((entry, ""));
            let coding = Self::parse(name.trim());
            if coding.is_none() && !name.trim().eq_ignore_ascii_case("identity") {
                continue;
            }
            let quality = parameters
                .trim()
                .strip_prefix("q=")
                .map_or(Some(1.0), |text| text.trim().parse().ok());
            let quality = quality.unwrap_or(0.0);
            // Of equals the first.
            if quality > best.0 {
                best = (quality, coding);
            }
        }
        best.1
    }

    /// What `compressed` stands for, up to `limit` bytes of it: no more is ever made of what is said to be less.
    pub fn decompress(self, compressed: &[u8], limit: usize) -> Result<Vec<u8>, ApiError> {
        let mut whole = Vec::new();
        let mut left = compressed;
        let read = match self {
            Self::Gzip => read_up_to(limit, MultiGzDecoder::new(&mut left), &mut whole),
            Self::Deflate => read_up_to(limit, ZlibDecoder::new(&mut left), &mut whole),
        };
        let name = self.as_str();
        read.map_err(|error| {
            ApiError::invalid_input(format!("the body is declared as {name}, and is not: {error}"))
        })?;
        if whole.len() > limit {
            return Err(too_large(limit));
        }
        if !left.is_empty() {
            let left = left.len();
            return Err(ApiError::invalid_input(format!(
                "{left} bytes follow the {name} of the body"
            )));
        }
        Ok(whole)
    }

    fn compress(self, body: &[u8]) -> io::Result<Vec<u8>> {
        let mut compressed = Vec::with_capacity(body.len() / 2);
        // On a network that is worth compressing for, more effort takes longer than it saves.
        let effort = Compression::fast();
        match self {
            Self::Gzip => GzEncoder::new(body, effort).read_to_end(&mut compressed)?,
            Self::Deflate => ZlibEncoder::new(body, effort).read_to_end(&mut compressed)?,
        };
        Ok(compressed)
    }
}

/// One byte more tells what is too long from what just fits.
fn read_up_to(limit: usize, reader: impl Read, whole: &mut Vec<u8>) -> io::Result<usize> {
    reader.take(limit as u64 + 1).read_to_end(whole)
}

/// The body of a request with these headers, decompressed where it is compressed: not more than `limit` bytes.
pub async fn decompressed(
    headers: &HeaderMap,
    body: Bytes,
    limit: usize,
    deadline: Deadline,
) -> Result<Bytes, ApiError> {
    let Some(coding) = Coding::of_request(headers)? else {
        return Ok(body);
    };
    let done = timeout_at(deadline.0, async {
        let place = PLACES.acquire().await.expect("nobody closes it");
        // A thousand bytes can take as long as a million; other requests should not wait for them.
        let work = spawn_blocking(move || (coding.decompress(&body, limit), place));
        work.await
    });
    let done = done
        .await
        .map_err(|_| Deadline::exceeded("its body was decompressed"))?;
    let (whole, place) = done.map_err(|error| {
        tracing::error!(%error, "a body could not be decompressed");
        ApiError::new(ErrorCode::Internal, "the body could not be decompressed")
    })?;
    let whole = whole?;
    Ok(Bytes::from_owner(Decompressed { whole, _place: place }))
}

/// A body that gives its place free when it is gone.
struct Decompressed<Place> {
    whole: Vec<u8>,
    _place: Place,
}

impl<Place> AsRef<[u8]> for Decompressed<Place> {
    fn as_ref(&self) -> &[u8] {
        &self.whole
    }
}

/// A layer: compresses answers for clients that ask for it. Everybody else pays a look at one header.
pub async fn compress_answer(request: Request, next: Next) -> Response {
    let wanted = Coding::of_answer(request.headers());
    let response = next.run(request).await;
    let is_worth_it =
        response.status() == StatusCode::OK && response.body().size_hint().lower() >= WORTH_COMPRESSING;
    match wanted.filter(|_| is_worth_it) {
        Some(coding) => compressed(response, coding).await,
        None => response,
    }
}

async fn compressed(response: Response, coding: Coding) -> Response {
    let (mut head, body) = response.into_parts();
    let Ok(body) = body.collect().await else {
        // The layer is for answers that are whole before they are sent.
        return Response::from_parts(head, Body::empty());
    };
    let body = body.to_bytes();
    let plain = body.clone();
    match spawn_blocking(move || coding.compress(&plain)).await {
        Ok(Ok(compressed)) if compressed.len() < body.len() => {
            let name = HeaderValue::from_static(coding.as_str());
            head.headers.insert(header::CONTENT_ENCODING, name);
            Response::from_parts(head, compressed.into())
        }
        _ => Response::from_parts(head, body.into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOTH: [Coding; 2] = [Coding::Gzip, Coding::Deflate];

    fn headers(name: &header::HeaderName, values: &[&'static str]) -> HeaderMap {
        let entries = values
            .iter()
            .map(|&value| (name.clone(), HeaderValue::from_static(value)));
        entries.fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        })
    }

    #[test]
    fn only_known_codings_are_taken() {
        let of = |values: &[&'static str]| {
            Coding::of_request(&headers(&header::CONTENT_ENCODING, values)).map_err(|error| error.code)
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["identity"]), Ok(None));
        assert_eq!(of(&["GZIP"]), Ok(Some(Coding::Gzip)));
        assert_eq!(of(&["deflate"]), Ok(Some(Coding::Deflate)));
        for unknown in [
            &["br"][..],
            &["gzip, deflate"],
            &["gzip", "gzip"],
            &["identity", "gzip"],
        ] {
            assert_eq!(of(unknown), Err(ErrorCode::UnsupportedMediaType), "{unknown:?}");
        }
    }

    #[test]
    fn the_client_chooses_how_its_answer_is_compressed() {
        let of = |value| Coding::of_answer(&headers(&header::ACCEPT_ENCODING, &[value]));
        for (value, expected) in [
            ("", None),
            ("br, *", None),
            ("gzip", Some(Coding::Gzip)),
            ("deflate", Some(Coding::Deflate)),
            ("gzip, deflate, br", Some(Coding::Gzip)),
            ("gzip;q=0.5, deflate", Some(Coding::Deflate)),
            ("gzip;q=0", None),
            ("gzip;q=nonsense", None),
            ("identity, gzip;q=0.5", None),
        ] {
            assert_eq!(of(value), expected, "{value:?}");
        }
        assert_eq!(Coding::of_answer(&HeaderMap::new()), None);
    }

    #[test]
    fn a_bomb_is_refused_before_it_goes_off() {
        for coding in BOTH {
            let bomb = coding.compress(&vec![0; 1 << 24]).unwrap();
            assert!(bomb.len() < 1 << 18);
            let error = coding.decompress(&bomb, 1 << 16).unwrap_err();
            assert_eq!(error.code, ErrorCode::PayloadTooLarge);
            assert_eq!(coding.decompress(&bomb, 1 << 24).unwrap().len(), 1 << 24);
        }
    }

    #[test]
    fn what_is_broken_off_or_goes_on_is_refused() {
        for coding in BOTH {
            let whole = coding.compress(b"{\"inputs\": []}").unwrap();
            for length in 0..whole.len() {
                let error = coding.decompress(&whole[..length], 100).unwrap_err();
                assert_eq!(error.code, ErrorCode::InvalidInput, "{length}");
            }
            let longer = [&whole[..], b"more"].concat();
            assert_eq!(
                coding.decompress(&longer, 100).unwrap_err().code,
                ErrorCode::InvalidInput
            );
        }
    }

    proptest! {
        #[test]
        fn bytes_survive_their_way(bytes in prop::collection::vec(any::<u8>(), 0..2000), coding in 0..2_usize) {
            let compressed = BOTH[coding].compress(&bytes).unwrap();
            prop_assert_eq!(BOTH[coding].decompress(&compressed, bytes.len()).unwrap(), bytes);
        }

        #[test]
        fn arbitrary_bytes_are_an_error_or_within_the_limit(
            bytes in prop::collection::vec(any::<u8>(), 0..200), coding in 0..2_usize,
        ) {
            if let Ok(whole) = BOTH[coding].decompress(&bytes, 50) {
                prop_assert!(whole.len() <= 50);
            }
        }
    }
}
