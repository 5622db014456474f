//! Sees a request through: picks a worker, tries it there, and elsewhere where that is safe and within the budget.

use std::sync::Arc;

use axum::body::Body;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderValue, Method, Response};
use axum::response::IntoResponse;
use bytes::Bytes;
use tokio::time::{sleep, timeout_at};

use super::Gateway;
use super::attempt::{Tried, try_once};
use super::endpoint::Endpoint;
use super::retry::{MAX_FREE, Reason, backoff};
use super::snapshot::{NoRoute, Picked, Question};
use super::target::Target;
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
