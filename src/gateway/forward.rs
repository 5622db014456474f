//! Sends a request to a worker and sees it through: picks, sends, judges the answer, and tries elsewhere where that
//! is safe and within the budget.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use axum::response::IntoResponse;
use bytes::Bytes;
use http_body_util::Full;
use tokio::time::{Instant, sleep, timeout_at};

use super::Gateway;
use super::answer::Answer;
use super::client::SendError;
use super::endpoint::{Endpoint, InFlight};
use super::retry::{MAX_FREE, Reason, backoff};
use super::snapshot::{NoRoute, Picked, Question};
use super::target::Target;
use super::verdict::{Latency, Verdict};
use crate::api::error::{ApiError, ErrorCode};
use crate::api::headers;
use crate::http::deadline::Deadline;
use crate::http::observe::Outcome;

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
    /// What it is to stay with, hashed, where the policy asks for that.
    pub key: Option<u64>,
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
    /// Why each worker was picked, where the request asked for that.
    pub decisions: Vec<String>,
}

/// What came of one try.
struct Tried {
    verdict: Verdict,
    /// What the client gets if this is the last try.
    answer: Result<Response<Body>, ApiError>,
}

impl Forwarded {
    /// The answer for the client, which tells who gave it and after how many tries.
    pub fn into_response(self) -> Response<Body> {
        let Self {
            result,
            outcome,
            decisions,
        } = self;
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
        if !decisions.is_empty() {
            let decisions = HeaderValue::try_from(decisions.join("; then "));
            if let Ok(decisions) = decisions {
                told.insert(headers::DECISION, decisions);
            }
        }
        response.extensions_mut().insert(outcome);
        response
    }
}

/// Sends `call` to one worker after the other until one answers, within attempts, budget and deadline.
pub async fn forward(gateway: &Gateway, call: &Call) -> Forwarded {
    gateway.budget.deposit(gateway.clock.now());
    let mut outcome = Outcome::default();
    let mut tried: Vec<Arc<Endpoint>> = Vec::new();
    let mut retries = Retries::default();
    let mut decisions = Vec::new();
    let mut next = pick(gateway, call, &tried);
    loop {
        let mut picked = match next {
            Ok(picked) => picked,
            Err(no_route) => {
                let result = Err(refusal(no_route, &call.target));
                return Forwarded {
                    result,
                    outcome,
                    decisions,
                };
            }
        };
        outcome.model = Some(Arc::clone(&picked.model));
        outcome.worker = Some(Arc::clone(&picked.endpoint.id));
        outcome.attempts += 1;
        let endpoint = Arc::clone(&picked.endpoint);
        decisions.extend(picked.decision.take());
        let Tried { verdict, answer } = try_once(gateway, call, picked).await;
        let finished = |result: Result<_, _>, mut outcome: Outcome, decisions| {
            outcome.code = result.is_ok().then_some(verdict.outcome);
            Forwarded {
                result,
                outcome,
                decisions,
            }
        };
        let Some(reason) = verdict.retry else {
            return finished(answer, outcome, decisions);
        };
        tried.push(endpoint);
        next = pick(gateway, call, &tried);
        if next.is_err() || !retries.may_go_on(gateway, reason, call.deadline).await {
            return finished(answer, outcome, decisions);
        }
        gateway
            .metrics
            .retries
            .with_label_values(&[reason.as_str()])
            .inc();
    }
}

fn pick(gateway: &Gateway, call: &Call, tried: &[Arc<Endpoint>]) -> Result<Picked, NoRoute> {
    let question = Question {
        model: &call.target.model,
        version: call.target.version.as_deref(),
        key: call.key,
        is_explained: call.headers.contains_key(headers::DEBUG),
    };
    gateway.pool.snapshot().pick(question, tried, gateway.clock.now())
}

/// The retries of one request so far.
#[derive(Default)]
struct Retries {
    /// Those after a try that cost a worker something.
    paid: u32,
    free: u32,
}

impl Retries {
    /// Whether one more is allowed; waits as long as it is to be put off.
    async fn may_go_on(&mut self, gateway: &Gateway, reason: Reason, deadline: Deadline) -> bool {
        if reason.is_free() && self.free < MAX_FREE {
            self.free += 1;
            return true;
        }
        let retry = gateway.settings().retry.clone();
        self.paid += 1;
        if self.paid >= retry.max_attempts {
            return false;
        }
        if !gateway.budget.withdraw(retry.budget, gateway.clock.now()) {
            gateway.metrics.retries_refused.inc();
            return false;
        }
        let pause = backoff(retry.backoff, self.paid, &mut rand::rng());
        timeout_at(deadline.0, sleep(pause)).await.is_ok()
    }
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

async fn try_once(gateway: &Gateway, call: &Call, picked: Picked) -> Tried {
    let decay = gateway.settings().balancing.decay;
    let mut guard = InFlight::begin(picked, gateway.clock, decay);
    let answering = async {
        let response = gateway.client.send(request_to(guard.endpoint(), call)).await?;
        Answer::take_in(response).await
    };
    match timeout_at(call.deadline.0, answering).await {
        Err(_) => {
            let verdict = Verdict::OUT_OF_TIME;
            note(gateway, call, &verdict, &mut guard, None);
            let answer = Err(Deadline::exceeded("a worker was at it"));
            Tried { verdict, answer }
        }
        Ok(Err(error)) => {
            let verdict = Verdict::of_send_error(&error);
            note(gateway, call, &verdict, &mut guard, None);
            blame(gateway, &verdict, guard.endpoint(), || error.to_string());
            let answer = Err(no_answer(guard.endpoint(), &error));
            Tried { verdict, answer }
        }
        Ok(Ok(answer)) => {
            let status = answer.parts.status;
            let code = answer.error_code();
            let verdict = Verdict::of_answer(status, code);
            if let Some(report) = &answer.report {
                guard.report(report);
            }
            note(gateway, call, &verdict, &mut guard, answer.retry_after());
            blame(gateway, &verdict, guard.endpoint(), || {
                format!("it answered with status {status}")
            });
            let answer = match code {
                None if !status.is_success() => Err(not_ours(guard.endpoint(), status)),
                _ => Ok(answer.into_response(guard, call.deadline)),
            };
            Tried { verdict, answer }
        }
    }
}

/// Takes in what a try says of the worker: what came of it, how long it takes, and whether it can serve the model. Only
/// predictions tell how predictions fare.
fn note(
    gateway: &Gateway,
    call: &Call,
    verdict: &Verdict,
    guard: &mut InFlight,
    retry_after: Option<Duration>,
) {
    let settings = gateway.settings();
    let is_prediction = call.method != Method::GET;
    guard.endpoint().metrics.count(verdict.outcome);
    let mark = verdict.mark(guard.elapsed(), settings.deadline);
    if let Some(mark) = mark.filter(|_| is_prediction) {
        gateway.pool.take_mark(guard.picked(), mark, &settings.breaker);
    }
    match verdict.latency {
        Latency::Measured if is_prediction => guard.answered(),
        Latency::Measured | Latency::Unknown => guard.says_nothing(),
        Latency::AtLeast => {}
        Latency::Penalty => {
            let penalty = settings.balancing.failure_penalty;
            guard.failed(retry_after.unwrap_or_default().max(penalty));
        }
    }
}

/// Takes in what a try that failed says of the worker's health.
fn blame(gateway: &Gateway, verdict: &Verdict, endpoint: &Arc<Endpoint>, problem: impl FnOnce() -> String) {
    if verdict.retry.is_none() {
        return;
    }
    let problem = problem();
    tracing::debug!(worker = %endpoint.id, problem, outcome = verdict.outcome, "a try failed");
    if let Some(observation) = verdict.health {
        gateway.pool.observe_bad(endpoint, observation, problem);
    }
    endpoint.probe_now.notify_one();
}

/// What the client is told where the answer came from no worker of ours.
fn not_ours(endpoint: &Endpoint, status: StatusCode) -> ApiError {
    if status.is_client_error() {
        return ApiError::invalid_input(format!("the worker refused the request with status {status}"));
    }
    let worker = &endpoint.id;
    let message = format!("worker {worker} gave an answer that is none, and no other could be tried");
    ApiError::new(ErrorCode::UpstreamFailed, message)
}

/// What the client is told where there was no answer.
fn no_answer(endpoint: &Endpoint, error: &SendError) -> ApiError {
    let code = match error {
        SendError::NotConnected(_) => ErrorCode::NoWorker,
        SendError::OutOfDescriptors => ErrorCode::Overloaded,
        SendError::BrokenOff(_) => ErrorCode::UpstreamFailed,
    };
    let worker = &endpoint.id;
    let message = format!("worker {worker} gave no answer, and no other could be tried");
    ApiError::new(code, message)
}

fn request_to(endpoint: &Endpoint, call: &Call) -> Request<Full<Bytes>> {
    let mut passed = call.headers.clone();
    let left = call.deadline.remaining_header(Instant::now());
    passed.insert(headers::REQUEST_TIMEOUT_MS, left);
    endpoint.request(call.method.clone(), call.path.clone(), passed, call.body.clone())
}
