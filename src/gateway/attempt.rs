//! One try of a request: sends it to the worker that was picked, waits for the answer, and takes in what that says of the
//! worker.

use std::future::poll_fn;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use tokio::time::Instant;

use super::Gateway;
use super::answer::Answer;
use super::client::SendError;
use super::endpoint::{Endpoint, InFlight};
use super::forward::Call;
use super::health::judge::Observation;
use super::retry::Reason;
use super::snapshot::Picked;
use super::verdict::{Latency, Verdict};
use crate::api::error::{ApiError, ErrorCode};
use crate::http::deadline::Deadline;

/// What came of one try.
pub(super) struct Tried {
    pub(super) verdict: Verdict,
    /// How long it took.
    pub(super) took: Duration,
    /// Who was tried.
    pub(super) endpoint: Arc<Endpoint>,
    /// What the client gets if this is the last try.
    pub(super) answer: Result<Response<Body>, ApiError>,
}

/// Sends `call` to the worker that was picked for it, now. Whoever polls this does so again at the call's deadline: it sets no
/// timer of its own, because whoever waits for it has one.
pub(super) async fn try_once(gateway: &Gateway, call: &Call, picked: Picked, now: Instant) -> Tried {
    let decay = gateway.setting(|settings| settings.balancing.decay);
    let endpoint = Arc::clone(&picked.endpoint);
    let mut guard = InFlight::begin(picked, gateway.clock, decay, now);
    let answered = {
        // Pinned here: by value it would be kept twice, as what was handed over and as what is polled.
        let answering = pin!(async {
            let to = &guard.endpoint().address;
            let response = gateway.client.send(to, &call.outgoing(now)).await?;
            Answer::take_in(response).await
        });
        in_time(answering, call.deadline).await
    };
    guard.end(Instant::now());
    let took = guard.elapsed();
    let (verdict, answer) = match answered {
        None => {
            let verdict = Verdict::OUT_OF_TIME;
            note(gateway, call, &verdict, &mut guard, None);
            let answer = Err(Deadline::exceeded("a worker was at it"));
            (verdict, answer)
        }
        Some(Err(error)) => {
            let verdict = Verdict::of_send_error(&error);
            note(gateway, call, &verdict, &mut guard, None);
            blame(gateway, call, &verdict, guard.endpoint(), || error.to_string());
            let answer = Err(no_answer(guard.endpoint(), &error));
            (verdict, answer)
        }
        Some(Ok(answer)) => {
            let status = answer.status;
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
        took,
        endpoint,
        answer,
    }
}

/// What comes of `answering`; none where the time is up when it is looked at again.
async fn in_time<T>(mut answering: Pin<&mut impl Future<Output = T>>, deadline: Deadline) -> Option<T> {
    let mut is_again = false;
    poll_fn(|context| match answering.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        // The first look needs no clock: whatever time is left, the question is on its way now.
        Poll::Pending if mem::replace(&mut is_again, true) && Instant::now() >= deadline.0 => {
            Poll::Ready(None)
        }
        Poll::Pending => Poll::Pending,
    })
    .await
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
            let penalty = gateway.setting(|settings| settings.balancing.failure_penalty);
            guard.failed(retry_after.unwrap_or_default().max(penalty));
        }
    }
}

/// Lets those hear what came of a prediction who judge by it: the rollout that it is part of, and the breaker of the
/// endpoint. That the version of a split fails is the version's fault, and no endpoint's.
fn judge(gateway: &Gateway, call: &Call, verdict: &Verdict, guard: &InFlight) {
    let elapsed = guard.elapsed();
    if let Some(part) = &call.part {
        // All versions meet the same clients: however little time one of them gives, running out of it counts.
        if let Some(mark) = verdict.mark(elapsed, Duration::ZERO) {
            part.take_mark(mark, elapsed, guard.time());
        }
    }
    gateway.setting(|settings| {
        let mark = verdict.mark(elapsed, settings.deadline);
        if let Some(mark) = mark.filter(|_| !call.is_split()) {
            gateway
                .pool
                .take_mark(guard.picked(), mark, &settings.breaker, guard.time());
        }
    });
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
