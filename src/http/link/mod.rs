//! Links: one connection between a gateway and a worker that carries many small requests at once.
//!
//! A gateway whose requests each have a connection pays a call of the system for each request and each answer, and a worker
//! one for each that it reads and writes. On a link, requests that are there at the same time go out by one call and come back as
//! they are answered, each with its own id, time, error and end (docs/adr/0027). It begins as an HTTP/1.1 connection that
//! asks for another protocol (RFC 9110, section 7.8); the messages are HTTP's.

pub mod exchange;
pub mod frame;
mod message;
mod serve;

use axum::extract::Request;
use axum::http::header::{CONNECTION, UPGRADE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;

pub use self::message::read_request;
pub(super) use self::serve::serve;

/// Where a gateway asks for a link.
pub const PATH: &str = "/link";
/// What it asks for.
pub const PROTOCOL: &str = "millrace-link/1";

/// Bytes that a request on a link may have, its head included.
pub const MAX_REQUEST: usize = 128 << 10;
/// Bytes that an answer may have, but for its head; larger ones need a connection of their own, on which they can be passed on
/// as they come.
pub const MAX_ANSWER: usize = 1 << 20;
/// Bytes that the frame of an answer may have.
pub const MAX_ANSWER_FRAME: usize = MAX_ANSWER + (64 << 10);
/// Requests that may be open on one link.
pub const MAX_OPEN: usize = 1024;

/// Whether a request asks for a link.
pub(super) fn is_asked_for<B>(request: &Request<B>) -> bool {
    let wanted = request.headers().get(UPGRADE);
    request.method() == Method::GET
        && request.uri().path() == PATH
        && wanted.is_some_and(|wanted| wanted == PROTOCOL)
}

/// The answer with which a link begins.
pub(super) fn beginning() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(PROTOCOL));
    response
}
