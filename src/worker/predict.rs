//! One prediction, from the head of its request to its answer, whatever dialect it is written in.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use prometheus::IntGauge;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::Worker;
use super::batching::{Awaited, Refusal, RunError};
use super::dialect::{Decoded, Dialect, Inputs};
use super::readers::Room;
use super::served::Served;
use super::statistics::Counted;
use crate::api::datum::shortened;
use crate::api::error::{ApiError, ErrorCode};
use crate::http::body;
use crate::http::deadline::Deadline;
use crate::http::observe::{Outcome, Reported};
use crate::model::tensor::Tensor;
use crate::telemetry::metrics::UNKNOWN_MODEL;

/// What the path of a prediction names.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Target {
    pub(super) model: Option<String>,
    pub(super) version: Option<String>,
}

impl Target {
    /// The model, in paths that name one.
    pub(super) fn name(&self) -> &str {
        self.model.as_deref().unwrap_or_default()
    }
}

/// Counts a request as long as it lives; a client that leaves drops it too.
struct InFlight(IntGauge);

impl InFlight {
    fn enter(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// When a request was there as a whole, and how many others were in the worker then. How fast a client writes its body
/// says nothing of this worker.
struct Arrival {
    at: Instant,
    found: u32,
}

/// What is learnt of a request on its way, for metrics and the log, whatever becomes of it.
#[derive(Default)]
struct Trace {
    model: Option<Arc<str>>,
    served: Option<Arc<Served>>,
    arrival: Option<Arrival>,
    counted: Option<Counted>,
}

/// Finds the version that a request is for, once its dialect has read what the body says of it.
pub(super) struct Finder<'a> {
    worker: &'a Worker,
    target: &'a Target,
    begun: Instant,
    trace: &'a mut Trace,
}

impl Finder<'_> {
    /// The version that a request asks for: in its path, by these members of its body, or by leaving it open.
    pub(super) fn find(self, model: Option<&str>, version: Option<&str>) -> Result<Arc<Served>, ApiError> {
        let Self {
            worker,
            target,
            begun,
            trace,
        } = self;
        let model = agreed("model", target.model.as_deref(), model)?;
        let version = agreed("version", target.version.as_deref(), version)?;
        let Some(model) = model.or(worker.config.default_model.as_deref()) else {
            let message =
                "no model is named; expected the member `model`, or the path /models/{model}/predict";
            return Err(ApiError::invalid_input(message));
        };
        trace.model = worker.registry.known(model);
        let served = worker.registry.find(model, version)?;
        trace.counted = Some(served.batcher.statistics().begin(begun));
        trace.served = Some(Arc::clone(&served));
        Ok(served)
    }
}

/// Answers a prediction in the dialect `D` and counts it. The answer does not tell the load yet.
pub(super) async fn predict<D: Dialect>(worker: &Worker, target: Target, request: Request) -> Reported {
    let begun = Instant::now();
    let in_flight = InFlight::enter(&worker.metrics.in_flight);
    let mut trace = Trace {
        model: target
            .model
            .as_deref()
            .and_then(|model| worker.registry.known(model)),
        ..Trace::default()
    };
    let outcome = answer_to::<D>(worker, &target, request, begun, &mut trace).await;

    let ended = Instant::now();

    if let (Ok(_), Some(counted)) = (&outcome, trace.counted.take()) {
        counted.succeed();
    }
    if let (Ok(_), Some(served), Some(Arrival { at, found })) = (&outcome, &trace.served, trace.arrival) {
        served.batcher.load().answered(found, ended - at, ended);
    }
    let code = outcome
        .as_ref()
        .map_or_else(|error| error.code.as_str(), |_| "ok");
    let model = trace.model.as_deref().unwrap_or(UNKNOWN_MODEL);
    worker.metrics.requests.with_label_values(&[model, code]).inc();
    let duration = worker.metrics.request_duration.with_label_values(&[model]);
    duration.observe((ended - begun).as_secs_f64());

    // What is told from here on is what the next one will find.
    drop(in_flight);
    Reported {
        response: outcome.unwrap_or_else(IntoResponse::into_response),
        outcome: Outcome {
            model: trace.model,
            ..Outcome::default()
        },
    }
}

async fn answer_to<D: Dialect>(
    worker: &Worker,
    target: &Target,
    request: Request,
    begun: Instant,
    trace: &mut Trace,
) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let deadline = Deadline::of_request(&head.headers, worker.config.deadline, begun)?;
    if worker.drain.is_closing() {
        let message = "this worker is shutting down and takes nothing new";
        return Err(ApiError::new(ErrorCode::Draining, message));
    }
    D::check(&head.headers)?;
    let body = body::read(&head.headers, body, worker.config.http.max_body, deadline).await?;
    trace.arrival = Some(Arrival {
        at: Instant::now(),
        found: worker.in_flight().saturating_sub(1),
    });
    let (mut queued, wish) =
        queue::<D>(worker, target, &head.headers, &body, (begun, deadline), trace).await?;
    // A large one need not be held while its request waits.
    drop(body);
    let outputs = queued.outputs().await?;
    D::encode(&queued.served, wish, outputs)
}

/// A request that waits for an engine.
struct Queued {
    served: Arc<Served>,
    deadline: Deadline,
    awaited: Awaited,
    _room: Option<Room>,
}

/// Decodes a request and queues it. Where its version is replaced between the two, it is decoded once more for the one
/// that took its place.
async fn queue<D: Dialect>(
    worker: &Worker,
    target: &Target,
    headers: &HeaderMap,
    body: &Bytes,
    (begun, deadline): (Instant, Deadline),
    trace: &mut Trace,
) -> Result<(Queued, D::Wish), ApiError> {
    let mut closed: Option<Arc<Served>> = None;
    loop {
        let finder = Finder {
            worker,
            target,
            begun,
            trace: &mut *trace,
        };
        let Decoded {
            served,
            inputs,
            terms,
        } = D::decode(headers, body, finder)?;
        let deadline = terms.deadline(begun, deadline);
        let (inputs, wish, room) = match inputs {
            Inputs::Read(inputs, wish) => (inputs, wish, None),
            Inputs::ToRead(reading) => {
                let (inputs, wish, room) = worker.readers.read(reading, deadline).await?;
                (inputs, wish, Some(room))
            }
        };
        match served.batcher.submit(inputs, begun, deadline.0, terms.priority) {
            Ok(awaited) => {
                let queued = Queued {
                    served,
                    deadline,
                    awaited,
                    _room: room,
                };
                return Ok((queued, wish));
            }
            // The same one again would mean that the worker ends.
            Err(Refusal::Closed) if !closed.is_some_and(|before| Arc::ptr_eq(&before, &served)) => {
                closed = Some(served);
            }
            Err(refusal) => return Err(refused(&served, refusal)),
        }
    }
}

impl Queued {
    /// Waits for what the engine makes of it.
    async fn outputs(&mut self) -> Result<Vec<Tensor>, ApiError> {
        match timeout_at(self.deadline.0, self.awaited.answer()).await {
            Err(_) | Ok(Err(RunError::DeadlineExceeded)) => {
                Err(Deadline::exceeded("it waited for the model"))
            }
            Ok(Ok(outputs)) => Ok(outputs),
            Ok(Err(RunError::RefusedValues(reason))) => {
                let message = format!("model {} does not take these values: {reason}", self.served.model);
                Err(ApiError::invalid_input(message))
            }
            // The log of the engine's thread says why.
            Ok(Err(RunError::Engine)) => {
                let message = format!("model {} could not run this request", self.served.model);
                Err(ApiError::new(ErrorCode::Internal, message))
            }
        }
    }
}

/// What path and body say of the same thing, if they do not contradict each other.
fn agreed<'a>(what: &str, path: Option<&'a str>, body: Option<&'a str>) -> Result<Option<&'a str>, ApiError> {
    match (path, body) {
        (Some(path), Some(body)) if path != body => {
            let (path, body) = (shortened(path), shortened(body));
            let message = format!("the path names {what} {path:?} and the body {what} {body:?}");
            Err(ApiError::invalid_input(message))
        }
        _ => Ok(path.or(body)),
    }
}

fn refused(served: &Served, refusal: Refusal) -> ApiError {
    let model = &served.model;
    match refusal {
        Refusal::Full => ApiError::new(
            ErrorCode::Overloaded,
            format!("as many requests wait for model {model} as may"),
        ),
        Refusal::Closed => ApiError::new(
            ErrorCode::Draining,
            format!("model {model} is being unloaded and takes nothing new"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_and_body_may_repeat_but_not_contradict_each_other() {
        assert_eq!(agreed("model", Some("iris"), Some("iris")).unwrap(), Some("iris"));
        assert_eq!(agreed("model", None, Some("iris")).unwrap(), Some("iris"));
        assert_eq!(agreed("model", None, None).unwrap(), None);
        let error = agreed("model", Some("digits"), Some("iris")).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidInput);
    }
}
