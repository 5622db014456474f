//! The handlers of prediction requests: admission, deadline, body, target, and on to a worker.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use tokio::time::Instant;

use super::Gateway;
use super::forward::{Call, Forwarded, forward, refusal};
use super::key::key_of;
use super::proxy_headers::ToWorker;
use super::rollout::{self, Rollout};
use super::snapshot::NoRoute;
use super::target::Target;
use crate::api::error::ApiError;
use crate::config::{GatewayConfig, HashKey, PolicyName};
use crate::http::body;
use crate::http::compression::decompressed;
use crate::http::deadline::Deadline;
use crate::http::observe::{Outcome, Reported};
use crate::http::origin::Origin;
use crate::http::reply::unreadable_path;
use crate::http::service::{PathDialect, PredictionPath, Predictions};
use crate::telemetry::gateway_metrics::GatewayMetrics;
use crate::telemetry::metrics::UNKNOWN_MODEL;

/// What a path says of the target.
#[derive(Debug, Deserialize)]
pub struct TargetPath {
    model: String,
    version: Option<String>,
}

/// Predictions go past the routes.
impl Predictions for Arc<Gateway> {
    type Asked = (Option<Target>, Check);

    fn asked(&self, request: &Request) -> Option<Self::Asked> {
        let path = PredictionPath::read(request.method(), request.uri().path())?;
        let check: Check = match path.dialect {
            PathDialect::Native => body::require_json,
            PathDialect::V2 => body::require_json_or_bytes,
        };
        let target = path.model.map(|model| Target {
            model: model.to_owned(),
            version: path.version.map(str::to_owned),
        });
        Some((target, check))
    }

    async fn predict(&self, (target, check): Self::Asked, request: Request, origin: Origin) -> Reported {
        predict(self, target, check, request, origin).await
    }
}

/// `POST /predict`: the body names the model.
pub async fn predict_by_body(
    State(gateway): State<Arc<Gateway>>,
    Extension(origin): Extension<Origin>,
    request: Request,
) -> Response {
    let reported = predict(&gateway, None, body::require_json, request, origin).await;
    reported.into_response()
}

/// `POST /models/{model}/predict` and `POST /models/{model}/versions/{version}/predict`.
pub async fn predict_by_path(
    State(gateway): State<Arc<Gateway>>,
    Extension(origin): Extension<Origin>,
    path: Result<Path<TargetPath>, PathRejection>,
    request: Request,
) -> Response {
    match target_of(path) {
        Ok(target) => {
            let reported = predict(&gateway, Some(target), body::require_json, request, origin).await;
            reported.into_response()
        }
        Err(error) => error.into_response(),
    }
}

/// `POST /v2/models/{model}/infer` and `POST /v2/models/{model}/versions/{version}/infer`.
pub async fn infer_by_path(
    State(gateway): State<Arc<Gateway>>,
    Extension(origin): Extension<Origin>,
    path: Result<Path<TargetPath>, PathRejection>,
    request: Request,
) -> Response {
    match target_of(path) {
        Ok(target) => {
            let check = body::require_json_or_bytes;
            let reported = predict(&gateway, Some(target), check, request, origin).await;
            reported.into_response()
        }
        Err(error) => error.into_response(),
    }
}

/// Refuses what the headers of a request in some dialect already rule out.
pub type Check = fn(&HeaderMap) -> Result<(), ApiError>;

/// `GET /models/{model}`, its card, and what other dialects ask of one model: goes to a worker that serves it, within the same limits
/// as a prediction.
pub async fn ask_about_model(
    State(gateway): State<Arc<Gateway>>,
    Extension(origin): Extension<Origin>,
    path: Result<Path<TargetPath>, PathRejection>,
    request: Request,
) -> Response {
    let settings = gateway.settings();
    let admitted = match gateway.admission.enter(settings.max_in_flight) {
        Ok(admitted) => admitted,
        Err(error) => return error.into_response(),
    };
    let forwarded = match read_question(&gateway, path, request, origin, settings.deadline) {
        Ok(call) => forward(&gateway, &call).await,
        Err(error) => refused(error),
    };
    let reported = forwarded.into_reported().map(|body| admitted.until_end_of(body));
    reported.into_response()
}

fn read_question(
    gateway: &Gateway,
    path: Result<Path<TargetPath>, PathRejection>,
    request: Request,
    origin: Origin,
    limit: Duration,
) -> Result<Call, ApiError> {
    let target = target_of(path)?;
    let (parts, _) = request.into_parts();
    let path = same_path(&parts, &target)?;
    let rollout = rollout_of(gateway, &target);
    let call = Call {
        method: Method::GET,
        path,
        target,
        deadline: Deadline::of_request(&parts.headers, limit, Instant::now())?,
        headers: ToWorker::of(parts.headers, origin),
        key: None,
        body: Bytes::new(),
        part: None,
    };
    Ok(match rollout {
        Some(rollout) => rollout::prefer_live(gateway, &rollout, call),
        None => call,
    })
}

/// The rollout that chooses the version for a target, where it names none.
fn rollout_of(gateway: &Gateway, target: &Target) -> Option<Arc<Rollout>> {
    target
        .version
        .is_none()
        .then(|| gateway.rollouts.of(&target.model))
        .flatten()
}

/// The path of a request that names its target there: it is the same at a worker, without its query.
fn same_path(parts: &Parts, target: &Target) -> Result<PathAndQuery, ApiError> {
    if let Some(path) = parts.uri.path_and_query().filter(|path| path.query().is_none()) {
        return Ok(path.clone());
    }
    path_at_worker(parts.uri.path().to_owned(), target)
}

/// A path with the target in it. What cannot stand in a path cannot be the name of a model.
fn path_at_worker(path: String, target: &Target) -> Result<PathAndQuery, ApiError> {
    PathAndQuery::try_from(path).map_err(|_| refusal(NoRoute::UnknownModel, target))
}

fn target_of(path: Result<Path<TargetPath>, PathRejection>) -> Result<Target, ApiError> {
    let Path(TargetPath { model, version }) = path.map_err(|rejection| unreadable_path(&rejection))?;
    Ok(Target { model, version })
}

async fn predict(
    gateway: &Arc<Gateway>,
    target: Option<Target>,
    check: Check,
    request: Request,
    origin: Origin,
) -> Reported {
    let meter = Meter::begin(&gateway.metrics);
    let admitted = match gateway
        .admission
        .enter(gateway.setting(|settings| settings.max_in_flight))
    {
        Ok(admitted) => admitted,
        Err(error) => return meter.finish(refused(error)),
    };
    let forwarded = match read_call(gateway, target, check, request, origin).await {
        Ok(call) => rollout::forward(gateway, call).await,
        Err(error) => refused(error),
    };
    meter.finish(forwarded).map(|body| admitted.until_end_of(body))
}

fn refused(error: ApiError) -> Forwarded {
    Forwarded {
        result: Err(error),
        outcome: Outcome::default(),
        decisions: Vec::new(),
    }
}

async fn read_call(
    gateway: &Gateway,
    target: Option<Target>,
    check: Check,
    request: Request,
    origin: Origin,
) -> Result<Box<Call>, ApiError> {
    let settings = gateway.settings();
    let (parts, body) = request.into_parts();
    let deadline = Deadline::of_request(&parts.headers, settings.deadline, Instant::now())?;
    check(&parts.headers)?;
    let named = target
        .map(|target| Ok((same_path(&parts, &target)?, target)))
        .transpose()?;
    let limit = settings.http.max_body;
    let body = body::read_as_sent(&parts.headers, body, limit, deadline).await?;
    let key = keyed_by(gateway, &settings);
    let rollout = named.as_ref().and_then(|(_, target)| rollout_of(gateway, target));
    let version_key = rollout.as_ref().and_then(|rollout| rollout.key());
    let is_field = |key: Option<&HashKey>| matches!(key, Some(HashKey::Field(_)));
    let may_name_version = |(path, _): &(PathAndQuery, Target)| rollout.is_some() && is_native(path);
    let is_read = named.as_ref().is_none_or(may_name_version) || is_field(key) || is_field(version_key);
    let readable = if is_read {
        decompressed(&parts.headers, body.clone(), limit, deadline).await?
    } else {
        Bytes::new()
    };
    let hashed = |key| key_of(key, &parts.headers, &origin.client, &readable);
    let key = key.and_then(hashed);
    let (path, target, rollout) = match named {
        Some((path, target)) => {
            let rollout = rollout.filter(|_| !names_version(&path, &target, &readable));
            (path, target, rollout)
        }
        None => {
            let target = Target::of_body(&readable, settings.default_model.as_deref())?;
            let rollout = rollout_of(gateway, &target);
            (path_at_worker(target.predict_path(), &target)?, target, rollout)
        }
    };
    let version_key = rollout.as_ref().and_then(|rollout| hashed(rollout.key()?));
    let call = Call {
        method: Method::POST,
        path,
        target,
        headers: ToWorker::of(parts.headers, origin),
        key,
        body,
        deadline,
        part: None,
    };
    // In a box: whoever passes it on would else carry a copy of it.
    Ok(Box::new(match rollout {
        Some(rollout) => rollout::begin(gateway, rollout, version_key, call),
        None => call,
    }))
}

/// Whether the body of a request whose path names the model names a version. Only native bodies can; one that nobody
/// understands is for a worker to refuse.
fn names_version(path: &PathAndQuery, target: &Target, body: &[u8]) -> bool {
    let told = || Target::of_body(body, Some(&target.model));
    is_native(path) && told().is_ok_and(|told| told.version.is_some())
}

fn is_native(path: &PathAndQuery) -> bool {
    !path.path().starts_with("/v2/")
}

/// What requests are to stay with, where the policy in force asks for that.
fn keyed_by<'a>(gateway: &Gateway, settings: &'a GatewayConfig) -> Option<&'a HashKey> {
    let is_asked_for = gateway.pool.snapshot().policy == PolicyName::ConsistentHash;
    is_asked_for.then_some(&settings.balancing.key)
}

/// Counts one request, however it ends: a client that leaves drops the handler, and the meter with it.
struct Meter<'a> {
    metrics: &'a GatewayMetrics,
    begun: Instant,
    is_counted: bool,
}

impl<'a> Meter<'a> {
    fn begin(metrics: &'a GatewayMetrics) -> Self {
        Self {
            metrics,
            begun: Instant::now(),
            is_counted: false,
        }
    }

    fn finish(mut self, forwarded: Forwarded) -> Reported {
        let model = forwarded.outcome.model.as_deref().unwrap_or(UNKNOWN_MODEL);
        self.count(model, forwarded.code());
        forwarded.into_reported()
    }

    fn count(&mut self, model: &str, code: &str) {
        self.is_counted = true;
        self.metrics.requests.with_label_values(&[model, code]).inc();
        self.metrics
            .request_duration
            .with_label_values(&[model])
            .observe(self.begun.elapsed().as_secs_f64());
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        if !self.is_counted {
            self.count(UNKNOWN_MODEL, "client_left");
        }
    }
}
