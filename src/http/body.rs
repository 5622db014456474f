//! Bodies are read whole, up to a limit and a deadline.
//!
//! A request with both Content-Length and Transfer-Encoding, on whose end two processes could disagree, is read by its
//! chunks and its connection is closed after it (RFC 9112, section 6.3; hyper does so). What is passed on is always
//! framed anew by the length that was read.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::time::{Duration, Instant, timeout};

use super::compression::{Coding, decompressed};
use super::deadline::Deadline;
use crate::api::error::{ApiError, ErrorCode};

/// How much of a refused body is still taken in, so that the client gets to read the refusal instead of a reset.
const LINGER_BYTES: usize = 256 << 20;
/// For how long.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// The largest body of an operator's request.
const SMALL_BODY: usize = 64 << 10;
/// How long it is waited for.
const SMALL_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads a request's body and decompresses it where it is compressed; it has at most `limit` bytes before and after that.
pub async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    deadline: Deadline,
) -> Result<Bytes, ApiError> {
    let body = read_as_sent(headers, body, limit, deadline).await?;
    decompressed(headers, body, limit, deadline).await
}

/// Reads a request's body as it is, to be passed on. One that declares more than `limit` is refused before any of it is
/// read.
pub async fn read_as_sent(
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
    deadline: Deadline,
) -> Result<Bytes, ApiError> {
    let declared = declared_length(headers);
    if declared.is_some_and(|length| length > limit as u64) {
        linger(body);
        return Err(too_large(limit));
    }
    let mut whole = Chunks::default();
    loop {
        let next = deadline.bound(body.frame()).await;
        let frame = match next.ok_or_else(|| Deadline::exceeded("its body was read"))? {
            None => return Ok(whole.into_bytes()),
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                let message = format!("the body broke off: {error}");
                return Err(ApiError::invalid_input(message));
            }
        };
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > limit {
            linger(body);
            return Err(too_large(limit));
        }
        whole.push(data, declared);
    }
}

/// Reads the JSON body of an operator's request.
pub async fn read_small_json<T: DeserializeOwned>(request: Request) -> Result<T, ApiError> {
    let (parts, body) = request.into_parts();
    require_json(&parts.headers)?;
    let deadline = Deadline(Instant::now() + SMALL_BODY_TIMEOUT);
    let body = read(&parts.headers, body, SMALL_BODY, deadline).await?;
    serde_json::from_slice(&body).map_err(|error| {
        let code = if error.is_data() {
            ErrorCode::InvalidInput
        } else {
            ErrorCode::InvalidJson
        };
        ApiError::new(code, format!("the body is not what this path takes: {error}"))
    })
}

/// Refuses a body that is declared as something else than JSON, or compressed in some way that nobody here knows. Where
/// nothing is declared, JSON is assumed.
pub fn require_json(headers: &HeaderMap) -> Result<(), ApiError> {
    Coding::of_request(headers)?;
    match declared_type(headers) {
        Some(essence) if !is_json(essence) => Err(wrong_type(JSON, essence)),
        _ => Ok(()),
    }
}

/// The same, with bytes allowed: JSON may have the bytes of tensors behind it, and some clients call all they send bytes.
pub fn require_json_or_bytes(headers: &HeaderMap) -> Result<(), ApiError> {
    Coding::of_request(headers)?;
    match declared_type(headers) {
        Some(essence) if !is_json(essence) && !essence.eq_ignore_ascii_case(OCTET_STREAM) => Err(wrong_type(
            "application/json or application/octet-stream",
            essence,
        )),
        _ => Ok(()),
    }
}

/// The media type of JSON.
pub(super) const JSON: &str = "application/json";
/// The media type of bytes.
pub const OCTET_STREAM: &str = "application/octet-stream";

/// The media type that a request declares, without its parameters.
fn declared_type(headers: &HeaderMap) -> Option<&str> {
    let declared = headers.get(header::CONTENT_TYPE)?;
    // As nearly everybody writes it.
    if declared == JSON {
        return Some(JSON);
    }
    let text = declared.to_str().unwrap_or("?");
    Some(text.split(';').next().unwrap_or_default().trim())
}

fn is_json(essence: &str) -> bool {
    essence.eq_ignore_ascii_case(JSON)
        || essence
            .rsplit_once('+')
            .is_some_and(|(_, suffix)| suffix.eq_ignore_ascii_case("json"))
}

fn wrong_type(expected: &str, found: &str) -> ApiError {
    ApiError::new(
        ErrorCode::UnsupportedMediaType,
        format!("expected content-type: {expected}; found {found:?}"),
    )
}

/// The chunks of a body; most have only one, and that one is not copied.
#[derive(Default)]
struct Chunks {
    first: Bytes,
    joined: BytesMut,
}

impl Chunks {
    fn len(&self) -> usize {
        self.first.len() + self.joined.len()
    }

    /// Adds a chunk to a body that declares to be so long, within the limit.
    fn push(&mut self, data: Bytes, declared: Option<u64>) {
        if self.len() == 0 {
            self.first = data;
            return;
        }
        if self.joined.is_empty() {
            let declared = declared.and_then(|length| usize::try_from(length).ok());
            self.joined.reserve(declared.unwrap_or(0));
        }
        self.joined.extend_from_slice(&std::mem::take(&mut self.first));
        self.joined.extend_from_slice(&data);
    }

    fn into_bytes(self) -> Bytes {
        if self.joined.is_empty() {
            self.first
        } else {
            self.joined.freeze()
        }
    }
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

pub(super) fn too_large(limit: usize) -> ApiError {
    ApiError::new(
        ErrorCode::PayloadTooLarge,
        format!("the body is over the limit of {limit} bytes"),
    )
}

/// Takes in and forgets what the client still sends: a client that is cut off while it writes seldom reads why.
fn linger(mut body: Body) {
    tokio::spawn(timeout(LINGER_TIME, async move {
        let mut taken = 0;
        while let Some(Ok(frame)) = body.frame().await {
            taken += frame.data_ref().map_or(0, Bytes::len);
            if taken > LINGER_BYTES {
                return;
            }
        }
    }));
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use futures_util::stream;
    use tokio::time::Instant;

    use super::*;

    fn soon() -> Deadline {
        Deadline(Instant::now() + Duration::from_secs(1))
    }

    #[tokio::test]
    async fn a_body_in_pieces_is_joined_in_order() {
        let pieces = ["ab", "", "cd", "e"].map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece)));
        let body = Body::from_stream(stream::iter(pieces));
        assert_eq!(read(&HeaderMap::new(), body, 5, soon()).await.unwrap(), "abcde");
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_whether_declared_or_not() {
        let mut headers = HeaderMap::new();
        let error = read(&headers, Body::from("abcdef"), 5, soon()).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::PayloadTooLarge);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("6"));
        let error = read(&headers, Body::empty(), 5, soon()).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::PayloadTooLarge);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_runs_into_the_deadline() {
        let body = Body::from_stream(stream::pending::<std::io::Result<Bytes>>());
        let error = read(&HeaderMap::new(), body, 5, soon()).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::DeadlineExceeded);
    }

    #[test]
    fn only_json_is_json() {
        let check = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(value).unwrap());
            require_json(&headers).is_ok()
        };
        assert!(require_json(&HeaderMap::new()).is_ok());
        for json in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/vnd.api+json",
        ] {
            assert!(check(json), "{json}");
        }
        for other in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonp",
            "",
        ] {
            assert!(!check(other), "{other}");
        }
    }
}
