//! Lets only those in who know the token of operators (RFC 6750).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;

use crate::api::error::{ApiError, ErrorCode};
use crate::config::AdminToken;

/// What operators must present now; none: whoever reaches the listener is one.
pub type Required = Arc<dyn Fn() -> Option<AdminToken> + Send + Sync>;

/// Refuses requests without the token.
pub async fn require_token(
    State(required): State<Required>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if let Some(token) = required() {
        check(&token, request.headers())?;
    }
    Ok(next.run(request).await)
}

fn check(token: &AdminToken, headers: &HeaderMap) -> Result<(), ApiError> {
    let presented = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let message = match presented.and_then(bearer) {
        None => "expected the header authorization: Bearer TOKEN, with the admin_token of the configuration",
        Some(presented) if token.is(presented) => return Ok(()),
        Some(_) => "the token is not the admin_token of the configuration",
    };
    Err(ApiError::new(ErrorCode::Unauthorized, message))
}

/// The token after the name of the scheme, which is written in any case.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim_start())
}
