//! Sends a request to a worker and sees it through: picks, sends, judges the answer, and tries elsewhere where that
//! is safe and within the budget.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::uri::{PathAndQuery, Scheme};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use axum::response::IntoResponse;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::Gateway;
use super::client::{SendError, root_cause};
use super::endpoint::{Endpoint, InFlight};
use super::health::judge::Observation;
use super::proxy_headers;
use super::retry::Reason;
use super::snapshot::NoRoute;
use super::target::Target;
use crate::api::error::{ApiError, ErrorBody, ErrorCode};
use crate::api::headers;
use crate::http::deadline::Deadline;
use crate::http::observe::Outcome;

/// The largest answer that is taken in whole before it is passed on, so that a worker which dies half-way through it
/// costs a retry and not the client's request. Larger ones are passed on as they come.
const HELD_ANSWER: u64 = 1 << 20;

/// A request on its way to some worker.
#[derive(Debug)]
pub struct Call {
    /// GET or POST.
    pub method: Method,
    /// Whom it is for.
    pub target: Target,
    /// The path at the worker.
    pub path: PathAndQuery,
    /// What the worker gets of the client's headers.
    pub headers: HeaderMap,
    /// The body, whole: it may have to be sent again.
    pub body: Bytes,
    /// When it must be answered.
    pub deadline: Deadline,
}

/// What came of a call.
#[derive(Debug)]
pub struct Forwarded {
    /// A worker's answer, or why there is none.
    pub result: Result<Response<Body>, ApiError>,
    /// For the log line and the metrics.
    pub outcome: Outcome,
}

/// What came of one try.
enum Tried {
    /// An answer for the client.
    Answered {
        response: Response<Body>,
        code: &'static str,
    },
    /// The deadline passed.
    OutOfTime,
    /// Another worker may do better; if none can, this is the answer.
    Failed {
        reason: Reason,
        answer: Result<Response<Body>, ApiError>,
    },
}

impl Forwarded {
    /// The answer for the client, which tells who gave it and after how many tries.
    pub fn into_response(self) -> Response<Body> {
        let Self { result, outcome } = self;
        let answered_by = outcome.worker.as_deref().filter(|_| result.is_ok());
        let worker = answered_by.and_then(|id| HeaderValue::from_str(id).ok());
        let mut response = result.unwrap_or_else(IntoResponse::into_response);
        let told = response.headers_mut();
        if let Some(worker) = worker {
            told.insert(headers::WORKER, worker);
        }
        if outcome.attempts > 0 {
            told.insert(headers::ATTEMPTS, HeaderValue::from(outcome.attempts));
        }
        response.extensions_mut().insert(outcome);
        response
    }
}

/// Sends `call` to one worker after the other until one answers, within attempts, budget and deadline.
pub async fn forward(gateway: &Gateway, call: &Call) -> Forwarded {
    gateway.budget.deposit(Instant::now());
    let mut outcome = Outcome::default();
    let mut tried: Vec<Arc<Endpoint>> = Vec::new();
    let mut next = pick(gateway, &call.target, &tried);
    loop {
        let (model, endpoint) = match next {
            Ok(picked) => picked,
            Err(no_route) => {
                return Forwarded {
                    result: Err(refusal(no_route, &call.target)),
                    outcome,
                };
            }
        };
        outcome.model = Some(model);
        outcome.worker = Some(endpoint.id.clone());
        outcome.attempts += 1;
        let (reason, answer) = match try_once(gateway, call, &endpoint).await {
            Tried::Answered { response, code } => {
                outcome.code = Some(code);
                return Forwarded {
                    result: Ok(response),
                    outcome,
                };
            }
            Tried::OutOfTime => {
                let error = Deadline::exceeded("a worker was at it");
                return Forwarded {
                    result: Err(error),
                    outcome,
                };
            }
            Tried::Failed { reason, answer } => (reason, answer),
        };
        tried.push(endpoint);
        next = pick(gateway, &call.target, &tried);
        if next.is_err() || !may_retry(gateway, outcome.attempts) {
            outcome.code = answer.is_ok().then_some(reason.as_str());
            return Forwarded {
                result: answer,
                outcome,
            };
        }
        gateway
            .metrics
            .retries
            .with_label_values(&[reason.as_str()])
            .inc();
    }
}

type Picked = Result<(Arc<str>, Arc<Endpoint>), NoRoute>;

fn pick(gateway: &Gateway, target: &Target, tried: &[Arc<Endpoint>]) -> Picked {
    gateway
        .pool
        .snapshot()
        .pick(&target.model, target.version.as_deref(), tried)
}

fn may_retry(gateway: &Gateway, attempts: u32) -> bool {
    let retry = &gateway.settings().retry;
    if attempts >= retry.max_attempts {
        return false;
    }
    let is_allowed = gateway.budget.withdraw(retry.budget, Instant::now());
    if !is_allowed {
        gateway.metrics.retries_refused.inc();
    }
    is_allowed
}

/// What a client is told where nobody can take its request.
pub(super) fn refusal(no_route: NoRoute, target: &Target) -> ApiError {
    let model = shortened(&target.model);
    let version = shortened(target.version.as_deref().unwrap_or_default());
    match no_route {
        NoRoute::UnknownModel => ApiError::new(
            ErrorCode::ModelNotFound,
            format!("no worker has a model called {model:?}"),
        ),
        NoRoute::UnknownVersion => {
            let message = format!("no worker has version {version:?} of model {model:?}");
            ApiError::new(ErrorCode::VersionNotFound, message)
        }
        NoRoute::NoWorker => ApiError::new(
            ErrorCode::NoWorker,
            format!("no healthy worker serves model {model:?} now"),
        ),
    }
}

/// A name from a client, for a message: a name of four megabytes is not sent back.
fn shortened(name: &str) -> String {
    name.chars().take(crate::model::name::MAX_NAME_LENGTH).collect()
}

async fn try_once(gateway: &Gateway, call: &Call, endpoint: &Arc<Endpoint>) -> Tried {
    let guard = endpoint.begin();
    let answering = async {
        let response = gateway.client.send(request_to(endpoint, call)).await?;
        take_in(response, guard, call.deadline).await
    };
    match timeout_at(call.deadline.0, answering).await {
        Err(_) => {
            endpoint.metrics.count("out_of_time");
            Tried::OutOfTime
        }
        Ok(Err(error)) => failed(gateway, endpoint, &error),
        Ok(Ok((response, code))) => judge(gateway, endpoint, response, code),
    }
}

fn request_to(endpoint: &Endpoint, call: &Call) -> Request<Full<Bytes>> {
    let uri = Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(endpoint.authority.clone())
        .path_and_query(call.path.clone())
        .build()
        .expect("scheme, authority and path make a URI");
    let mut request = Request::new(Full::new(call.body.clone()));
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = call.headers.clone();
    request.headers_mut().insert(
        headers::REQUEST_TIMEOUT_MS,
        call.deadline.remaining_header(Instant::now()),
    );
    request
}

/// Takes in the answer: whole where it is small, so that one which breaks off half-way can be tried elsewhere.
/// Gives with it the error code that it carries, where it is a refusal that says one.
async fn take_in(
    response: Response<Incoming>,
    guard: InFlight,
    deadline: Deadline,
) -> Result<(Response<Body>, Option<ErrorCode>), SendError> {
    let (mut parts, body) = response.into_parts();
    proxy_headers::to_client(&mut parts.headers, guard.endpoint());
    if body.size_hint().exact().is_none_or(|size| size > HELD_ANSWER) {
        let body = Body::new(Passing {
            body,
            _guard: guard,
            deadline: Box::pin(sleep_until(deadline.0)),
        });
        return Ok((Response::from_parts(parts, body), None));
    }
    let body = body
        .collect()
        .await
        .map_err(|error| SendError::BrokenOff(root_cause(&error)))?
        .to_bytes();
    let code = if parts.status.as_u16() < 400 {
        None
    } else {
        error_code(&parts.headers, &body)
    };
    Ok((Response::from_parts(parts, Body::from(body)), code))
}

/// The code of a worker's refusal: in a header where its dialect has no place for it in the body.
fn error_code(told: &HeaderMap, body: &[u8]) -> Option<ErrorCode> {
    if let Some(code) = told.get(headers::ERROR_CODE) {
        return ErrorCode::parse(code.to_str().ok()?);
    }
    serde_json::from_slice::<ErrorBody<'_>>(body)
        .ok()
        .map(|body| body.error.code)
}

fn judge(
    gateway: &Gateway,
    endpoint: &Arc<Endpoint>,
    response: Response<Body>,
    code: Option<ErrorCode>,
) -> Tried {
    let status = response.status();
    match code {
        None if status.is_success() => answered(endpoint, response, "ok"),
        None if status.is_client_error() => refused_unread(endpoint, status),
        None => no_worker_answered(gateway, endpoint, status),
        Some(code) => match Reason::of_refusal(code) {
            None => answered(endpoint, response, code.as_str()),
            Some(reason) => sent_elsewhere(gateway, endpoint, response, reason),
        },
    }
}

fn answered(endpoint: &Endpoint, response: Response<Body>, code: &'static str) -> Tried {
    endpoint.metrics.count(code);
    Tried::Answered { response, code }
}

/// The worker says that another one should be asked; where there is none, its refusal is the answer.
fn sent_elsewhere(
    gateway: &Gateway,
    endpoint: &Arc<Endpoint>,
    response: Response<Body>,
    reason: Reason,
) -> Tried {
    endpoint.metrics.count(reason.as_str());
    if reason == Reason::Draining {
        let problem = "it is shutting down".into();
        gateway.pool.observe_bad(endpoint, Observation::Out, problem);
    }
    endpoint.probe_now.notify_one();
    Tried::Failed {
        reason,
        answer: Ok(response),
    }
}

/// The worker's HTTP library refused the request before any handler saw it (too many headers, say). That is the
/// request's fault: whoever sends such a one must not be able to take workers out.
fn refused_unread(endpoint: &Endpoint, status: StatusCode) -> Tried {
    let code = ErrorCode::InvalidInput;
    let message = format!("the worker refused the request with status {status}");
    answered(
        endpoint,
        ApiError::new(code, message).into_response(),
        code.as_str(),
    )
}

/// Something between here and the worker answered in its place, or it is none: a worker's errors have our shape.
fn no_worker_answered(gateway: &Gateway, endpoint: &Arc<Endpoint>, status: StatusCode) -> Tried {
    let reason = Reason::BadAnswer;
    endpoint.metrics.count(reason.as_str());
    let problem = format!("status {status} without an error of ours in it");
    gateway.pool.observe_bad(endpoint, Observation::Failure, problem);
    endpoint.probe_now.notify_one();
    let message = format!(
        "worker {} gave an answer that is none, and no other could be tried",
        endpoint.id
    );
    Tried::Failed {
        reason,
        answer: Err(ApiError::new(ErrorCode::UpstreamFailed, message)),
    }
}

fn failed(gateway: &Gateway, endpoint: &Arc<Endpoint>, error: &SendError) -> Tried {
    let reason = Reason::of_send_error(error);
    endpoint.metrics.count(reason.as_str());
    let worker = &endpoint.id;
    tracing::debug!(%worker, %error, "a worker gave no answer");
    let (observation, code) = match reason {
        Reason::NotConnected => (Some(Observation::Out), ErrorCode::NoWorker),
        // Our own shortage: with this judgement every worker would be out at once.
        Reason::OutOfDescriptors => (None, ErrorCode::Overloaded),
        _ => (Some(Observation::Failure), ErrorCode::UpstreamFailed),
    };
    if let Some(observation) = observation {
        gateway.pool.observe_bad(endpoint, observation, error.to_string());
    }
    endpoint.probe_now.notify_one();
    let message = format!("worker {worker} gave no answer, and no other could be tried");
    Tried::Failed {
        reason,
        answer: Err(ApiError::new(code, message)),
    }
}

/// An answer that is passed on as it comes. The endpoint's guard ends with it, and so does the request's time.
struct Passing {
    body: Incoming,
    _guard: InFlight,
    deadline: Pin<Box<Sleep>>,
}

impl http_body::Body for Passing {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err("the time of the request is up".into())));
        }
        Pin::new(&mut self.body).poll_frame(context).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
