//! What a worker says of itself and its models in the words of the protocol.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use tokio::time::Instant;

use super::inputs::client_shape;
use crate::api::error::ApiError;
use crate::api::models::{TensorEntry, VersionState};
use crate::api::v2::metadata::{
    LIVE, ModelConfig, ModelMetadata, ModelNames, ModelReady, PLATFORM, READY, SERVER, TensorConfig,
};
use crate::api::v2::repository::{self, IndexRequest};
use crate::api::v2::statistics::Statistics;
use crate::http::body;
use crate::http::deadline::Deadline;
use crate::http::reply::{json, json_bytes};
use crate::model::signature::{Signature, TensorSpec};
use crate::model::tensor::Datatype;
use crate::worker::Worker;
use crate::worker::handlers::{check_ready, model_list};
use crate::worker::predict::Target;
use crate::worker::registry::Slot;
use crate::worker::router::unreadable_path;
use crate::worker::served::Served;

type TargetPath = Result<Path<Target>, PathRejection>;

/// `GET /v2`
pub(super) async fn server() -> Response {
    json(&SERVER)
}

/// `GET /v2/health/live`
pub(super) async fn live() -> Response {
    json_bytes(LIVE)
}

/// `GET /v2/health/ready`
pub(super) async fn ready(State(worker): State<Arc<Worker>>) -> Result<Response, ApiError> {
    check_ready(&worker)?;
    Ok(json_bytes(READY))
}

/// `GET /v2/models`
pub(super) async fn models(State(worker): State<Arc<Worker>>) -> Response {
    let models = worker.registry.models();
    json(&ModelNames {
        models: models.keys().map(|name| &**name).collect(),
    })
}

/// `GET /v2/models/{model}[/versions/{version}]`
pub(super) async fn model(State(worker): State<Arc<Worker>>, path: TargetPath) -> Result<Response, ApiError> {
    let served = find(&worker, path)?;
    let signature = &served.schema.signature;
    let entry = |spec: &TensorSpec| TensorEntry {
        name: spec.name.clone(),
        datatype: spec.datatype.to_string(),
        shape: client_shape(spec, signature),
    };
    Ok(json(&ModelMetadata {
        name: served.model.to_string(),
        versions: ready_versions(&worker, &served.model),
        platform: PLATFORM.to_owned(),
        inputs: signature.inputs.iter().map(entry).collect(),
        outputs: signature.outputs.iter().map(entry).collect(),
    }))
}

/// `GET /v2/models/{model}[/versions/{version}]/ready`
pub(super) async fn model_ready(
    State(worker): State<Arc<Worker>>,
    path: TargetPath,
) -> Result<Response, ApiError> {
    let served = find(&worker, path)?;
    Ok(json(&ModelReady {
        name: &served.model,
        ready: true,
    }))
}

/// `GET /v2/models/{model}[/versions/{version}]/config`
pub(super) async fn model_config(
    State(worker): State<Arc<Worker>>,
    path: TargetPath,
) -> Result<Response, ApiError> {
    let served = find(&worker, path)?;
    let signature = &served.schema.signature;
    let config = |specs: &[TensorSpec]| specs.iter().map(|spec| tensor_config(spec, signature)).collect();
    let batching = &worker.config.model(&served.model).batching;
    Ok(json(&ModelConfig {
        name: served.model.to_string(),
        platform: PLATFORM.to_owned(),
        backend: served.engine.to_owned(),
        max_batch_size: if signature.batch.has_axis() {
            batching.max_batch_size
        } else {
            0
        },
        input: config(&signature.inputs),
        output: config(&signature.outputs),
    }))
}

fn tensor_config(spec: &TensorSpec, signature: &Signature) -> TensorConfig {
    let rows = usize::from(signature.batch.has_axis());
    TensorConfig {
        name: spec.name.clone(),
        data_type: match spec.datatype {
            Datatype::Text => "TYPE_STRING".to_owned(),
            datatype => format!("TYPE_{datatype}"),
        },
        dims: client_shape(spec, signature).split_off(rows),
    }
}

/// `GET /v2/models/stats`
pub(super) async fn statistics(State(worker): State<Arc<Worker>>) -> Response {
    let models = worker.registry.models();
    let slots = models.values().flat_map(|versions| versions.values());
    json(&statistics_of(slots))
}

/// `GET /v2/models/{model}[/versions/{version}]/stats`
pub(super) async fn model_statistics(
    State(worker): State<Arc<Worker>>,
    path: TargetPath,
) -> Result<Response, ApiError> {
    let Path(target) = path.map_err(|rejection| unreadable_path(&rejection))?;
    let found = worker.registry.find(target.name(), target.version.as_deref())?;
    if target.version.is_some() {
        return Ok(json(&statistics_of([&Slot::Ready(found)])));
    }
    let models = worker.registry.models();
    let slots = models
        .get(&found.model)
        .into_iter()
        .flat_map(|versions| versions.values());
    Ok(json(&statistics_of(slots)))
}

fn statistics_of<'a>(slots: impl IntoIterator<Item = &'a Slot>) -> Statistics {
    let read = |slot| match slot {
        &Slot::Ready(ref served) => {
            let statistics: &crate::worker::statistics::Statistics = served.batcher.statistics();
            Some(statistics.read(&served.model, &served.version))
        }
        _ => None,
    };
    Statistics {
        model_stats: slots.into_iter().filter_map(read).collect(),
        missing_workers: Vec::new(),
    }
}

/// `POST /v2/repository/index`
pub(super) async fn index(State(worker): State<Arc<Worker>>, request: Request) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let deadline = Deadline::of_request(&head.headers, worker.config.deadline, Instant::now())?;
    let body = body::read(&head.headers, body, worker.config.http.max_body, deadline).await?;
    let asked = IndexRequest::parse(&body)?;
    Ok(json(&repository::index(model_list(&worker), asked)))
}

fn find(worker: &Worker, path: TargetPath) -> Result<Arc<Served>, ApiError> {
    let Path(target) = path.map_err(|rejection| unreadable_path(&rejection))?;
    worker.registry.find(target.name(), target.version.as_deref())
}

fn ready_versions(worker: &Worker, model: &str) -> Vec<String> {
    let models = worker.registry.models();
    let versions = models.get(model).into_iter().flatten();
    let ready = versions.filter(|(_, slot)| slot.state() == VersionState::Ready);
    ready.map(|(number, _)| number.to_string()).collect()
}
