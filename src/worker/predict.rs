//! One prediction, from the head of its request to its answer.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use prometheus::IntGauge;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::batching::{Answer, Refusal, RunError};
use super::served::Served;
use super::{Worker, answer, validation};
use crate::api::datum::shortened;
use crate::api::error::{ApiError, ErrorCode};
use crate::api::headers;
use crate::api::predict::PredictRequest;
use crate::http::body;
use crate::http::deadline::Deadline;
use crate::http::observe::Outcome;
use crate::http::reply::json_bytes;
use crate::model::tensor::Tensor;
use crate::telemetry::metrics::UNKNOWN_MODEL;

/// What the path of a prediction names.
#[derive(Debug, Default)]
pub(super) struct Target {
    pub(super) model: Option<String>,
    pub(super) version: Option<String>,
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

/// What is learnt of a request on its way, for metrics and the log, whatever becomes of it.
#[derive(Default)]
struct Trace {
    model: Option<Arc<str>>,
    served: Option<Arc<Served>>,
}

/// Answers a prediction and counts it.
pub(super) async fn predict(worker: &Worker, target: Target, request: Request) -> Response {
    let begun = Instant::now();
    let in_flight = InFlight::enter(&worker.metrics.in_flight);
    let mut trace = Trace {
        model: target
            .model
            .as_deref()
            .and_then(|model| worker.registry.known(model)),
        served: None,
    };
    let outcome = answer_to(worker, target, request, begun, &mut trace).await;

    let code = outcome
        .as_ref()
        .map_or_else(|error| error.code.as_str(), |_| "ok");
    let model = trace.model.as_deref().unwrap_or(UNKNOWN_MODEL);
    worker.metrics.requests.with_label_values(&[model, code]).inc();
    let duration = worker.metrics.request_duration.with_label_values(&[model]);
    duration.observe(begun.elapsed().as_secs_f64());

    let queue_depth = trace.served.map_or(0, |served| served.batcher.depth());
    let load = load_report(in_flight.0.get(), queue_depth);
    let mut response = outcome.map_or_else(IntoResponse::into_response, json_bytes);
    response.headers_mut().insert(headers::LOAD_METRICS, load);
    response.extensions_mut().insert(Outcome {
        model: trace.model,
        ..Outcome::default()
    });
    response
}

async fn answer_to(
    worker: &Worker,
    target: Target,
    request: Request,
    begun: Instant,
    trace: &mut Trace,
) -> Result<Vec<u8>, ApiError> {
    let (head, body) = request.into_parts();
    let deadline = Deadline::of_request(&head.headers, worker.config.deadline, begun)?;
    if worker.drain.is_closing() {
        let message = "this worker is shutting down and takes nothing new";
        return Err(ApiError::new(ErrorCode::Draining, message));
    }
    body::require_json(&head.headers)?;
    let bytes = read_body(worker, &head.headers, body, deadline).await?;
    let request = PredictRequest::parse(&bytes)?;

    let (model, version) = addressee(worker, &target, &request)?;
    trace.model = worker.registry.known(model);
    let (served, running) = queue(worker, model, version, (begun, deadline), trace, |served| {
        validation::tensors_of(&request.inputs, &served.model, &served.schema)
    })?;
    drop(request);
    drop(bytes);

    let outputs = match timeout_at(deadline.0, running).await {
        Err(_) | Ok(Ok(Err(RunError::DeadlineExceeded))) => {
            return Err(Deadline::exceeded("it waited for the model"));
        }
        Ok(Ok(Ok(outputs))) => outputs,
        // The log of the engine's thread says why.
        Ok(Err(_) | Ok(Err(RunError::Engine))) => {
            let message = format!("model {} could not run this request", served.model);
            return Err(ApiError::new(ErrorCode::Internal, message));
        }
    };
    answer::write(&served, &outputs)
}

async fn read_body(
    worker: &Worker,
    headers: &HeaderMap,
    body: axum::body::Body,
    deadline: Deadline,
) -> Result<bytes::Bytes, ApiError> {
    body::read(headers, body, worker.config.http.max_body, deadline).await
}

/// The model and version that a request asks for, in its path, its body, or by leaving it open.
fn addressee<'a>(
    worker: &'a Worker,
    target: &'a Target,
    request: &'a PredictRequest<'_>,
) -> Result<(&'a str, Option<&'a str>), ApiError> {
    let model = agreed("model", target.model.as_deref(), request.model.as_ref())?;
    let version = agreed("version", target.version.as_deref(), request.version.as_ref())?;
    match model.or(worker.config.default_model.as_deref()) {
        Some(model) => Ok((model, version)),
        None => {
            let message =
                "no model is named; expected the member `model`, or the path /models/{model}/predict";
            Err(ApiError::new(ErrorCode::InvalidInput, message))
        }
    }
}

/// Queues a request on the version that answers it. Where that one is replaced between finding it and queueing, the
/// request goes to the one in its place, and is checked against that one's signature anew.
fn queue(
    worker: &Worker,
    model: &str,
    version: Option<&str>,
    (begun, deadline): (Instant, Deadline),
    trace: &mut Trace,
    tensors: impl Fn(&Served) -> Result<Vec<Tensor>, ApiError>,
) -> Result<(Arc<Served>, oneshot::Receiver<Answer>), ApiError> {
    let mut served = worker.registry.find(model, version)?;
    loop {
        let inputs = tensors(&served)?;
        let queued = served.batcher.submit(inputs, begun, deadline.0);
        trace.served = Some(Arc::clone(&served));
        let refusal = match queued {
            Ok(running) => return Ok((served, running)),
            Err(refusal) => refusal,
        };
        // A version is closed only after another took its place in the registry, or after it was taken out there:
        // the same one again means that the worker ends.
        let next = worker.registry.find(model, version)?;
        if refusal == Refusal::Full || Arc::ptr_eq(&next, &served) {
            return Err(refused(&served, refusal));
        }
        served = next;
    }
}

/// What path and body say of the same thing, if they do not contradict each other.
fn agreed<'a>(
    what: &str,
    path: Option<&'a str>,
    body: Option<&'a Cow<'_, str>>,
) -> Result<Option<&'a str>, ApiError> {
    let body = body.map(AsRef::as_ref);
    match (path, body) {
        (Some(path), Some(body)) if path != body => {
            let (path, body) = (shortened(path), shortened(body));
            let message = format!("the path names {what} {path:?} and the body {what} {body:?}");
            Err(ApiError::new(ErrorCode::InvalidInput, message))
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

/// The load of this worker as Open Request Cost Aggregation writes it in a header.
fn load_report(in_flight: i64, queue_depth: usize) -> HeaderValue {
    let text = format!("TEXT named_metrics.in_flight={in_flight}, named_metrics.queue_depth={queue_depth}");
    HeaderValue::try_from(text).expect("letters, digits and punctuation make a header value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_and_body_may_repeat_but_not_contradict_each_other() {
        let body = Cow::Borrowed("iris");
        assert_eq!(agreed("model", Some("iris"), Some(&body)).unwrap(), Some("iris"));
        assert_eq!(agreed("model", None, Some(&body)).unwrap(), Some("iris"));
        assert_eq!(agreed("model", None, None).unwrap(), None);
        let error = agreed("model", Some("digits"), Some(&body)).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidInput);
    }

    #[test]
    fn the_load_is_reported_in_the_text_format() {
        let expected = "TEXT named_metrics.in_flight=2, named_metrics.queue_depth=1";
        assert_eq!(load_report(2, 1), expected);
    }
}
