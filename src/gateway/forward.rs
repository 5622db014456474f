//! Sees a request through: picks a worker, tries it there, and elsewhere where that is safe and within the budget.

use std::pin::pin;
use std::sync::Arc;

use axum::body::Body;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderValue, Method, Response};
use axum::response::IntoResponse;
use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout_at};

use super::Gateway;
use super::attempt::Tried;
use super::client::Outgoing;
use super::endpoint::Endpoint;
use super::hedging::try_hedged;
use super::proxy_headers::ToWorker;
use super::retry::{MAX_FREE, Reason, backoff};
use super::rollout::Part;
use super::snapshot::{NoRoute, Picked, Question, Wanted};
use super::target::Target;
use crate::api::error::{ApiError, ErrorCode};
use crate::http::deadline::Deadline;
use crate::http::headers;
use crate::http::observe::{Outcome, Reported};
use crate::telemetry::gateway_metrics::GatewayMetrics;

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
    pub headers: ToWorker,
    /// What it is to stay with, hashed, where the policy asks for that.
    pub key: Option<u64>,
    /// The body, whole: it may have to be sent again.
    pub body: Bytes,
    /// When it must be answered.
    pub deadline: Deadline,
    /// Which part of a rollout it is.
    pub part: Option<Part>,
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
    /// What the client is told: `ok`, or the code of an error.
    pub fn code(&self) -> &'static str {
        match &self.result {
            Ok(_) => self.outcome.code.unwrap_or("ok"),
            Err(error) => error.code.as_str(),
        }
    }

    /// The answer for the client, which tells who gave it and after how many tries.
    pub fn into_reported(self) -> Reported {
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
            told.insert(headers::ATTEMPTS, number(outcome.attempts));
        }
        if !decisions.is_empty() {
            let decisions = HeaderValue::try_from(decisions.join("; then "));
            if let Ok(decisions) = decisions {
                told.insert(headers::DECISION, decisions);
            }
        }
        Reported { response, outcome }
    }
}

fn number(attempts: u32) -> HeaderValue {
    match attempts {
        1 => HeaderValue::from_static("1"),
        _ => HeaderValue::from(attempts),
    }
}

/// Sends `call` to one worker after the other until one answers, within attempts, budget and deadline.
pub async fn forward(gateway: &Gateway, call: &Call) -> Forwarded {
    let now = Instant::now();
    let moment = gateway.clock.at(now);
    gateway.budget.deposit(moment);
    gateway.hedging_budget.deposit(moment);
    let mut outcome = Outcome::default();
    let mut tried: Vec<Arc<Endpoint>> = Vec::new();
    let mut retries = Retries::default();
    let mut decisions = Vec::new();
    let mut picked = match pick(gateway, call, &tried, now).await {
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
    loop {
        outcome.model = Some(Arc::clone(&picked.0.model));
        tried.push(Arc::clone(&picked.0.endpoint));
        decisions.extend(picked.0.decision.take());
        let Tried {
            verdict,
            endpoint,
            answer,
            ..
        } = try_hedged(gateway, call, picked, &mut tried, &mut decisions).await;
        outcome.worker = Some(Arc::clone(&endpoint.id));
        outcome.attempts = u32::try_from(tried.len()).unwrap_or(u32::MAX);
        let next = match verdict.retry {
            Some(reason) => go_on(gateway, call, &tried, reason, &mut retries).await,
            None => None,
        };
        match next {
            Some(next) => picked = next,
            None => {
                outcome.code = answer.is_ok().then_some(verdict.outcome);
                return Forwarded {
                    result: answer,
                    outcome,
                    decisions,
                };
            }
        }
    }
}

/// Who tries after those in `tried`, where somebody may.
async fn go_on(
    gateway: &Gateway,
    call: &Call,
    tried: &[Arc<Endpoint>],
    reason: Reason,
    retries: &mut Retries,
) -> Option<(Picked, Instant)> {
    let has_another = gateway.pool.snapshot().has_another(call.question(), tried);
    if !has_another || !retries.may_go_on(gateway, reason, call.deadline).await {
        return None;
    }
    let picked = pick(gateway, call, tried, Instant::now()).await.ok()?;
    let retries = &gateway.metrics.retries;
    retries.with_label_values(&[reason.as_str()]).inc();
    Some(picked)
}

/// Picks who takes the call, other than those in `tried`. Where all have as many requests as they may, or others wait already,
/// it stands in line. Gives the time with it.
async fn pick(
    gateway: &Gateway,
    call: &Call,
    tried: &[Arc<Endpoint>],
    now: Instant,
) -> Result<(Picked, Instant), NoRoute> {
    let question = call.question();
    let look = |now| {
        let picked = gateway
            .pool
            .snapshot()
            .pick(question, tried, gateway.clock.at(now));
        picked.map(|picked| (picked, now))
    };
    let lane = Arc::clone(gateway.pool.snapshot().lane(question)?);
    if question.room == Wanted::Any || lane.waiting() == 0 {
        match look(now) {
            Err(NoRoute::Full) => {}
            found => return found,
        }
    }
    let _wait = Wait::begin(&gateway.metrics);
    let is_found = |found: &Result<_, _>| !matches!(found, Err(NoRoute::Full));
    let found = pin!(lane.wait(|| Some(look(Instant::now())).filter(is_found)));
    let found = gateway.alarms.timeout_at(call.deadline.0, found).await;
    found.unwrap_or(Err(NoRoute::Full))
}

/// A request that stands in line, until it goes.
struct Wait<'a> {
    metrics: &'a GatewayMetrics,
    since: Instant,
}

impl<'a> Wait<'a> {
    fn begin(metrics: &'a GatewayMetrics) -> Self {
        metrics.waiting.inc();
        let since = Instant::now();
        Self { metrics, since }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.metrics.waiting.dec();
        let waited = self.since.elapsed();
        self.metrics.wait_duration.observe(waited.as_secs_f64());
    }
}

impl Call {
    /// Whether it is one, and not a question about a model.
    pub(super) fn is_prediction(&self) -> bool {
        self.method != Method::GET
    }

    /// Whether it goes to the version of a split, whose failures are no endpoint's.
    pub(super) fn is_split(&self) -> bool {
        self.part.as_ref().is_some_and(Part::is_split)
    }

    /// It as a request to a worker, with what is left of its time.
    pub(super) fn outgoing(&self, now: Instant) -> Outgoing<'_> {
        Outgoing {
            method: &self.method,
            path: &self.path,
            headers: &self.headers,
            milliseconds: Some(self.deadline.remaining_milliseconds(now)),
            body: &self.body,
        }
    }

    /// What it asks of a snapshot.
    pub(super) fn question(&self) -> Question<'_> {
        Question {
            model: &self.target.model,
            version: self.target.version.as_deref(),
            key: self.key,
            room: if self.is_prediction() {
                Wanted::Free
            } else {
                Wanted::Any
            },
            is_explained: self.headers.contains(&headers::DEBUG),
        }
    }
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
        NoRoute::Full => Deadline::exceeded("it waited for a worker with room"),
    }
}

/// A name from a client, for a message: a name of four megabytes is not sent back.
fn shortened(name: &str) -> String {
    name.chars().take(crate::model::name::MAX_NAME_LENGTH).collect()
}
