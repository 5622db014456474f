//! What both servers do around every request: give it its id, writes the body of an error, echoes the id, and
//! writes the request's one log line.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;

use super::reply::render_error;
use super::request_id::RequestId;
use crate::api::error::ApiError;
use crate::api::error_shape::ErrorShape;
use crate::http::headers;

/// What a handler tells the log line of its request.
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

/// An answer, and what its log line says of it. Behind the router it stands in the response's extensions.
pub struct Reported {
    /// What the client gets.
    pub response: Response,
    /// What the log gets.
    pub outcome: Outcome,
}

impl IntoResponse for Reported {
    fn into_response(mut self) -> Response {
        self.response.extensions_mut().insert(self.outcome);
        self.response
    }
}

impl Reported {
    /// The same with another body.
    pub fn map(self, change: impl FnOnce(Body) -> Body) -> Self {
        let Self { response, outcome } = self;
        Self {
            response: response.map(change),
            outcome,
        }
    }

    /// What came through the router.
    pub(super) fn of(mut response: Response) -> Self {
        let outcome = response.extensions_mut().remove().unwrap_or_default();
        Self { response, outcome }
    }
}

/// Whether each request writes a line.
#[derive(Clone, Copy, Debug)]
pub struct AccessLog(pub bool);

/// What is kept of a request until it is answered.
pub(super) struct Observed {
    id: RequestId,
    shape: ErrorShape,
    line: Option<AccessLine>,
}

impl Observed {
    /// A request that is to be answered, and its id.
    pub(super) fn begin(AccessLog(is_on): AccessLog, request: &Request) -> (Self, RequestId) {
        let id = RequestId::take_or_make(request.headers());
        let observed = Self {
            id: id.clone(),
            shape: ErrorShape::of_path(request.uri().path()),
            line: is_on.then(|| AccessLine::begin(request, &id)),
        };
        (observed, id)
    }

    /// Its answer, as the client gets it.
    pub(super) fn end(self, reported: Reported) -> Response {
        let Reported {
            mut response,
            outcome,
        } = reported;
        let error = response.extensions_mut().remove::<ApiError>();
        if let Some(line) = self.line {
            line.end(&response, &outcome, error.as_ref());
        }
        if let Some(error) = error {
            render_error(&mut response, &error, self.shape, &self.id);
        }
        let id = HeaderValue::from(self.id);
        response.headers_mut().insert(headers::REQUEST_ID, id);
        response
    }
}

/// The log line of one request. It is written however the request ends: a client that leaves drops the request, and the
/// line with it.
struct AccessLine {
    id: RequestId,
    method: Method,
    path: String,
    begun: Instant,
    is_written: bool,
}

impl AccessLine {
    fn begin(request: &Request, id: &RequestId) -> Self {
        Self {
            id: id.clone(),
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            begun: Instant::now(),
            is_written: false,
        }
    }

    fn end(mut self, response: &Response, outcome: &Outcome, error: Option<&ApiError>) {
        let code = error
            .map(|error| error.code.as_str())
            .or(outcome.code)
            .unwrap_or("ok");
        let is_shown = !(is_routine(&self.path) && response.status().is_success())
            || tracing::enabled!(target: "millrace::access", tracing::Level::DEBUG);
        if is_shown {
            let reason = error.map(|error| error.message.as_ref());
            self.write(Some(response.status()), code, outcome, reason);
        }
        self.is_written = true;
    }

    fn write(&self, status: Option<StatusCode>, code: &str, outcome: &Outcome, reason: Option<&str>) {
        tracing::info!(
            target: "millrace::access",
            request_id = self.id.as_str(),
            method = %self.method,
            path = self.path,
            status = status.map(|status| status.as_u16()),
            code,
            model = outcome.model.as_deref(),
            worker = outcome.worker.as_deref(),
            attempts = (outcome.attempts > 0).then_some(outcome.attempts),
            reason,
            micros = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX),
        );
    }
}

impl Drop for AccessLine {
    fn drop(&mut self) {
        if !self.is_written {
            self.write(None, "client_left", &Outcome::default(), None);
        }
    }
}

/// What probes and scrapers ask every few seconds is only shown with `log = "debug"`.
fn is_routine(path: &str) -> bool {
    let is_v2 = matches!(path, "/v2/health/live" | "/v2/health/ready");
    is_v2 || matches!(path, "/livez" | "/readyz" | "/metrics" | "/models")
}
