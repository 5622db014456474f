//! One try of a request: sends it to the worker that was picked, and to a second one if that takes long, waits for the answer,
//! and takes in what that says of the worker.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::Full;
use tokio::time::{Instant, timeout, timeout_at};

use super::Gateway;
use super::answer::Answer;
use super::client::SendError;
use super::concurrency::Lane;
use super::endpoint::{Endpoint, InFlight};
use super::forward::Call;
use super::health::judge::Observation;
use super::hedging;
use super::retry::Reason;
use super::snapshot::{Picked, Question, Wanted};
use super::verdict::{Latency, Verdict};
use crate::api::error::{ApiError, ErrorCode};
use crate::api::headers;
use crate::http::deadline::Deadline;

/// Before it is known how long predictions take, a second worker is looked for after this time, and only if the first is out.
const NOTHING_KNOWN: Duration = Duration::from_secs(1);
/// Who could not be sent to a second worker looks again after this time at the latest.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Tries `call` at the worker that was picked for it, which `tried` ends with. If that takes long, it is sent to a second
/// worker as well, which `tried` then ends with, and whoever answers first has won; the other is given up, and need not compute it.
/// That is a hedge while the first worker is up, and a rescue once it is out.
pub(super) async fn try_hedged(
    gateway: &Gateway,
    call: &Call,
    picked: Picked,
    tried: &mut Vec<Arc<Endpoint>>,
    decisions: &mut Vec<String>,
) -> Tried {
    let config = gateway.settings().hedging.clone();
    let lane = Arc::clone(picked.slot.lane());
    let slow = Arc::clone(&picked.endpoint);
    let delay = hedging::delay(&lane.usual, &config);
    let begun = Instant::now();
    let mut first = pin!(try_once(gateway, call, picked));
    let is_on = config.percentile > 0.0 && call.is_prediction();
    let mut patience = if is_on {
        delay.unwrap_or(NOTHING_KNOWN)
    } else {
        Duration::MAX
    };
    let mut was_refused = false;
    let second = loop {
        if let Ok(done) = timeout(patience, &mut first).await {
            if done.verdict.latency == Latency::Measured && call.is_prediction() {
                lane.usual.observe(begun.elapsed(), config.percentile);
            }
            return done;
        }
        let second = if slow.is_out() {
            pick_rescue(gateway, call, tried)
        } else if delay.is_some() {
            pick_hedge(gateway, call, &lane, tried)
        } else {
            Err("unknown")
        };
        match second {
            Ok(second) => break second,
            Err(reason) => {
                if !std::mem::replace(&mut was_refused, true) {
                    let refused = &gateway.metrics.hedges_refused;
                    refused.with_label_values(&[reason]).inc();
                }
                patience = (patience * 2).min(LOOK_AGAIN);
            }
        }
    };
    lane.usual.observe_above(config.percentile);
    if let Some(decision) = &second.decision {
        let waited = begun.elapsed().as_millis();
        decisions.push(format!("hedged after {waited} ms: {decision}"));
    }
    tried.push(Arc::clone(&second.endpoint));
    let second = pin!(try_once(gateway, call, second));
    let (done, has_won) = first_good(first, second).await;
    let outcome = if has_won { "won" } else { "lost" };
    gateway.metrics.hedges.with_label_values(&[outcome]).inc();
    if has_won {
        slow.metrics.count("given_up");
        slow.probe_now.notify_one();
    }
    done
}

/// The first of two tries that is no failure, and whether it is the second; or the last failure.
async fn first_good(
    mut first: Pin<&mut impl Future<Output = Tried>>,
    mut second: Pin<&mut impl Future<Output = Tried>>,
) -> (Tried, bool) {
    let (done, is_second) = tokio::select! {
        done = &mut first => (done, false),
        done = &mut second => (done, true),
    };
    if done.verdict.retry.is_none() {
        return (done, is_second);
    }
    let other = if is_second { first.await } else { second.await };
    (other, !is_second)
}

/// Who takes a second copy of the call: nobody where requests wait, where nobody else has less to do than it can, or where too
/// many copies were sent of late.
fn pick_hedge(
    gateway: &Gateway,
    call: &Call,
    lane: &Lane,
    tried: &[Arc<Endpoint>],
) -> Result<Picked, &'static str> {
    let now = gateway.clock.now();
    let question = Question {
        room: Wanted::Spare,
        ..call.question()
    };
    if lane.waiting() > 0 {
        return Err("loaded");
    }
    let picked = gateway
        .pool
        .snapshot()
        .pick(question, tried, now)
        .map_err(|_| "loaded")?;
    let budget = gateway.settings().hedging.budget;
    let is_allowed = gateway.hedging_budget.withdraw(budget, now);
    is_allowed.then_some(picked).ok_or("budget")
}

/// Who takes over a call whose worker is out: whoever has room.
fn pick_rescue(gateway: &Gateway, call: &Call, tried: &[Arc<Endpoint>]) -> Result<Picked, &'static str> {
    let now = gateway.clock.now();
    let picked = gateway.pool.snapshot().pick(call.question(), tried, now);
    picked.map_err(|_| "loaded")
}

/// What came of one try.
pub(super) struct Tried {
    pub(super) verdict: Verdict,
    /// Who was tried.
    pub(super) endpoint: Arc<Endpoint>,
    /// What the client gets if this is the last try.
    pub(super) answer: Result<Response<Body>, ApiError>,
}

/// Sends `call` to the worker that was picked for it.
async fn try_once(gateway: &Gateway, call: &Call, picked: Picked) -> Tried {
    let decay = gateway.settings().balancing.decay;
    let endpoint = Arc::clone(&picked.endpoint);
    let mut guard = InFlight::begin(picked, gateway.clock, decay);
    let answering = async {
        let response = gateway.client.send(request_to(guard.endpoint(), call)).await?;
        Answer::take_in(response).await
    };
    let (verdict, answer) = match timeout_at(call.deadline.0, answering).await {
        Err(_) => {
            let verdict = Verdict::OUT_OF_TIME;
            note(gateway, call, &verdict, &mut guard, None);
            let answer = Err(Deadline::exceeded("a worker was at it"));
            (verdict, answer)
        }
        Ok(Err(error)) => {
            let verdict = Verdict::of_send_error(&error);
            note(gateway, call, &verdict, &mut guard, None);
            blame(gateway, call, &verdict, guard.endpoint(), || error.to_string());
            let answer = Err(no_answer(guard.endpoint(), &error));
            (verdict, answer)
        }
        Ok(Ok(answer)) => {
            let status = answer.parts.status;
            let code = answer.error_code();
            let is_garbage = call.is_prediction() && answer.is_garbage();
            let verdict = if is_garbage {
                Verdict::GARBAGE
            } else {
                Verdict::of_answer(status, code)
            };
            if let Some(report) = &answer.report {
                guard.report(report);
            }
            note(gateway, call, &verdict, &mut guard, answer.retry_after());
            blame(gateway, call, &verdict, guard.endpoint(), || {
                format!("it answered with status {status}")
            });
            let answer = match code {
                None if is_garbage || !status.is_success() => Err(not_ours(guard.endpoint(), status)),
                _ => Ok(answer.into_response(guard, call.deadline)),
            };
            (verdict, answer)
        }
    };
    Tried {
        verdict,
        endpoint,
        answer,
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
    let is_prediction = call.is_prediction();
    guard.endpoint().metrics.count(verdict.outcome);
    if is_prediction {
        judge(gateway, call, verdict, guard);
    }
    if verdict.retry == Some(Reason::Overloaded) {
        guard.load().limit.refused();
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

/// Lets those hear what came of a prediction who judge by it: the rollout that it is part of, and the breaker of the
/// endpoint. That the version of a split fails is the version's fault, and no endpoint's.
fn judge(gateway: &Gateway, call: &Call, verdict: &Verdict, guard: &InFlight) {
    let settings = gateway.settings();
    let elapsed = guard.elapsed();
    if let Some(part) = &call.part {
        // All versions meet the same clients: however little time one of them gives, running out of it counts.
        if let Some(mark) = verdict.mark(elapsed, Duration::ZERO) {
            part.take_mark(mark, elapsed, gateway.clock);
        }
    }
    let mark = verdict.mark(elapsed, settings.deadline);
    if let Some(mark) = mark.filter(|_| !call.is_split()) {
        gateway.pool.take_mark(guard.picked(), mark, &settings.breaker);
    }
}

/// Takes in what a try that failed says of the worker's health. What the version of a split does to its connections is no
/// proof that the worker cannot serve others; that nobody listens is.
fn blame(
    gateway: &Gateway,
    call: &Call,
    verdict: &Verdict,
    endpoint: &Arc<Endpoint>,
    problem: impl FnOnce() -> String,
) {
    if verdict.retry.is_none() {
        return;
    }
    let problem = problem();
    tracing::debug!(worker = %endpoint.id, problem, outcome = verdict.outcome, "a try failed");
    let is_proof = |health: &Observation| !call.is_split() || *health == Observation::Out;
    if let Some(observation) = verdict.health.filter(is_proof) {
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

/// `call` as a request to this endpoint, with what is left of its time.
pub(super) fn request_to(endpoint: &Endpoint, call: &Call) -> Request<Full<Bytes>> {
    let mut passed = call.headers.clone();
    let left = call.deadline.remaining_header(Instant::now());
    passed.insert(headers::REQUEST_TIMEOUT_MS, left);
    endpoint.request(call.method.clone(), call.path.clone(), passed, call.body.clone())
}
