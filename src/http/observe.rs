//! The outermost layer of both servers: gives a request its id, writes the body of an error, echoes the id, and
//! writes the request's one log line.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;

use super::reply::render_error;
use super::request_id::RequestId;
use crate::api::error::ApiError;
use crate::api::headers;

/// What a handler tells the log line of its request, in the response's extensions.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The model asked for, where it is one that exists.
    pub model: Option<Arc<str>>,
    /// Who answered, on a gateway.
    pub worker: Option<Arc<str>>,
    /// How many endpoints were tried, on a gateway.
    pub attempts: u32,
    /// The error code in a worker's answer that a gateway passes on.
    pub code: Option<&'static str>,
}

/// Whether each request writes a line.
#[derive(Clone, Copy, Debug)]
pub struct AccessLog(pub bool);

/// The layer; see the module.
pub async fn observe(
    State(AccessLog(is_on)): State<AccessLog>,
    mut request: Request,
    next: Next,
) -> Response {
    let begun = Instant::now();
    let id = RequestId::take_or_make(request.headers());
    request.extensions_mut().insert(id.clone());
    let line = is_on.then(|| (request.method().clone(), request.uri().path().to_owned()));

    let mut response = next.run(request).await;

    let error = response.extensions_mut().remove::<ApiError>();
    let is_shown = |path: &str| {
        !(is_routine(path) && response.status().is_success())
            || tracing::enabled!(target: "millrace::access", tracing::Level::DEBUG)
    };
    if let Some((method, path)) = line.filter(|(_, path)| is_shown(path)) {
        let outcome = response.extensions_mut().remove::<Outcome>().unwrap_or_default();
        let code = error
            .as_ref()
            .map(|error| error.code.as_str())
            .or(outcome.code)
            .unwrap_or("ok");
        tracing::info!(
            target: "millrace::access",
            request_id = id.as_str(),
            %method,
            path,
            status = response.status().as_u16(),
            code,
            model = outcome.model.as_deref(),
            worker = outcome.worker.as_deref(),
            attempts = (outcome.attempts > 0).then_some(outcome.attempts),
            reason = error.as_ref().map(|error| error.message.as_ref()),
            micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
        );
    }
    if let Some(error) = error {
        render_error(&mut response, error, &id);
    }
    response.headers_mut().insert(headers::REQUEST_ID, id.header());
    response
}

/// What probes and scrapers ask every few seconds is only shown with `log = "debug"`.
fn is_routine(path: &str) -> bool {
    matches!(path, "/livez" | "/readyz" | "/metrics" | "/models")
}
