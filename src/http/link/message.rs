//! The messages on a link: HTTP/1.1 heads (RFC 9112), and behind each its body, up to the end of the frame. Pure.

use std::mem::MaybeUninit;

use axum::body::Body;
use axum::extract::Request;
use axum::http::response::Parts;
use axum::http::{HeaderName, HeaderValue, Method, Uri};
use bytes::{Buf, BytesMut};
use httparse::{ParserConfig, Status};

use super::exchange::LinkError;

/// Headers that a request may have.
const MAX_HEADERS: usize = 128;

/// The request that a frame holds.
pub fn read_request(payload: BytesMut) -> Result<Request, LinkError> {
    let mut payload = payload.freeze();
    let mut lines = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut []);
    let parsed = ParserConfig::default()
        .parse_request_with_uninit_headers(&mut head, &payload, &mut lines)
        .map_err(bad)?;
    let Status::Complete(length) = parsed else {
        return Err(LinkError::Message("its head does not end".to_owned()));
    };
    let mut request = Request::new(Body::empty());
    *request.method_mut() = Method::from_bytes(head.method.unwrap_or_default().as_bytes()).map_err(bad)?;
    *request.uri_mut() = Uri::try_from(head.path.unwrap_or_default()).map_err(bad)?;
    let headers = request.headers_mut();
    headers.reserve(head.headers.len());
    for line in head.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(bad)?;
        let value = HeaderValue::from_maybe_shared(payload.slice_ref(line.value)).map_err(bad)?;
        headers.append(name, value);
    }
    payload.advance(length);
    *request.body_mut() = Body::from(payload);
    Ok(request)
}

#[expect(clippy::needless_pass_by_value, reason = "stands in map_err")]
fn bad(error: impl ToString) -> LinkError {
    LinkError::Message(error.to_string())
}

/// Appends an answer.
pub(super) fn write_answer(out: &mut Vec<u8>, head: &Parts, body: &[u8]) {
    for part in ["HTTP/1.1 ", head.status.as_str(), " \r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    for (name, value) in &head.headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use axum::http::Response;
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_request_is_read_with_all_that_its_head_says() {
        let text = "POST /models/iris/predict?x=1 HTTP/1.1\r\nx-tag: a\r\nX-Tag: b\r\ncontent-length: 4\r\n\r\n{}\r\n";
        let request = read_request(BytesMut::from(text)).unwrap();
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri(), "/models/iris/predict?x=1");
        let tags: Vec<_> = request.headers().get_all("x-tag").iter().collect();
        assert_eq!(tags, ["a", "b"]);
        let body = request.into_body().collect().await.unwrap();
        assert_eq!(body.to_bytes(), "{}\r\n", "the frame says where it ends");
    }

    #[test]
    fn what_is_no_request_is_told() {
        for text in ["", "POST / HTTP/1.1\r\n", "\0\0", "POST / HTTP/1.1\r\na\r\n\r\n"] {
            let read = read_request(BytesMut::from(text));
            assert!(matches!(read, Err(LinkError::Message(_))), "{text:?}: {read:?}");
        }
    }

    #[test]
    fn an_answer_is_written_as_http_has_it() {
        let (head, ()) = Response::builder()
            .status(429)
            .header("retry-after", "1")
            .body(())
            .unwrap()
            .into_parts();
        let mut out = Vec::new();
        write_answer(&mut out, &head, b"{}");
        assert_eq!(out, b"HTTP/1.1 429 \r\nretry-after: 1\r\n\r\n{}");
    }
}
