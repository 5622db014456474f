//! Answers: JSON, and the one place where an [`ApiError`] becomes an HTTP response.

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::body::JSON;
use super::request_id::RequestId;
use crate::api::error::{ApiError, ErrorCode};
use crate::api::error_shape::ErrorShape;
use crate::http::headers;

/// Status and error ride in the response until [`observe`](super::observe) knows the request's id and
/// [renders](render_error) the body.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.status()).expect("the error table holds valid statuses");
        let mut response = status.into_response();
        if let Some(seconds) = self.code.retry_after() {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.code == ErrorCode::Unauthorized {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the body of `error` into the response that carries it.
pub(super) fn render_error(response: &mut Response, error: &ApiError, shape: ErrorShape, id: &RequestId) {
    let body = shape.body(error, id.as_str());
    let told = response.headers_mut();
    told.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    told.insert(header::CONTENT_TYPE, APPLICATION_JSON);
    if shape != ErrorShape::Native {
        told.insert(headers::ERROR_CODE, HeaderValue::from_static(error.code.as_str()));
    }
    *response.body_mut() = Body::from(body);
}

/// The content type of every answer but the metrics.
pub const APPLICATION_JSON: HeaderValue = HeaderValue::from_static(JSON);

/// `value` as a JSON answer with status 200.
pub fn json<T: Serialize>(value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => json_bytes(body),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            ApiError::new(ErrorCode::Internal, "the answer could not be written").into_response()
        }
    }
}

/// Bytes that already are JSON, as an answer with status 200.
pub fn json_bytes(body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, APPLICATION_JSON);
    response
}

/// The answer on a path that nobody knows.
pub async fn unknown_path(request: axum::extract::Request) -> ApiError {
    ApiError::new(
        ErrorCode::NotFound,
        format!("nothing lies at {}", request.uri().path()),
    )
}

/// The answer on a path that cannot name anything, since what it encodes is no text.
pub fn unreadable_path(rejection: &PathRejection) -> ApiError {
    ApiError::new(ErrorCode::NotFound, rejection.body_text())
}

/// The answer where the path is known and the method is not; the router adds `Allow`.
pub async fn unknown_method(request: axum::extract::Request) -> ApiError {
    let message = format!("{} does not take {}", request.uri().path(), request.method());
    ApiError::new(ErrorCode::MethodNotAllowed, message)
}
