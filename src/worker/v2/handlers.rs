//! What a worker says of itself and its models in the words of the protocol.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;

use super::inputs::client_shape;
use crate::api::error::ApiError;
use crate::api::models::TensorEntry;
use crate::api::v2::metadata::{
    LIVE, ModelConfig, ModelMetadata, ModelNames, ModelReady, PLATFORM, READY, SERVER, TensorConfig,
};
use crate::api::v2::statistics::Statistics;
use crate::http::reply::{json, json_bytes, unreadable_path};
use crate::model::signature::{Signature, TensorSpec};
use crate::model::tensor::Datatype;
use crate::worker::Worker;
use crate::worker::handlers::check_ready;
use crate::worker::predict::Target;
use crate::worker::registry::Slot;
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
    let catalogue = worker.registry.catalogue();
    json(&ModelNames {
        models: catalogue.models.keys().map(|name| &**name).collect(),
    })
}

/// `GET /v2/models/{model}[/versions/{version}]`
pub(super) async fn model(State(worker): State<Arc<Worker>>, path: TargetPath) -> Result<Response, ApiError> {
    let served = find(&worker, path)?;
    let signature = &served.schema.signature;
    let entry = |spec: &TensorSpec| TensorEntry::new(spec, client_shape(spec, signature));
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
    let catalogue = worker.registry.catalogue();
    let slots = catalogue.models.values().flat_map(|versions| versions.values());
    json(&statistics_of(slots.filter_map(Slot::served)))
}

/// `GET /v2/models/{model}[/versions/{version}]/stats`
pub(super) async fn model_statistics(
    State(worker): State<Arc<Worker>>,
    path: TargetPath,
) -> Result<Response, ApiError> {
    let Path(target) = path.map_err(|rejection| unreadable_path(&rejection))?;
    let found = worker.registry.find(target.name(), target.version.as_deref())?;
    if target.version.is_some() {
        return Ok(json(&statistics_of([&found])));
    }
    let catalogue = worker.registry.catalogue();
    let slots = catalogue
        .models
        .get(&found.model)
        .into_iter()
        .flat_map(|versions| versions.values());
    Ok(json(&statistics_of(slots.filter_map(Slot::served))))
}

fn statistics_of<'a>(versions: impl IntoIterator<Item = &'a Arc<Served>>) -> Statistics {
    let read = |served: &Arc<Served>| served.batcher.statistics().read(&served.model, &served.version);
    Statistics {
        model_stats: versions.into_iter().map(read).collect(),
        missing_workers: Vec::new(),
    }
}

fn find(worker: &Worker, path: TargetPath) -> Result<Arc<Served>, ApiError> {
    let Path(target) = path.map_err(|rejection| unreadable_path(&rejection))?;
    worker.registry.find(target.name(), target.version.as_deref())
}

fn ready_versions(worker: &Worker, model: &str) -> Vec<String> {
    let catalogue = worker.registry.catalogue();
    let versions = catalogue.models.get(model).into_iter().flatten();
    let ready = versions.filter(|(_, slot)| slot.served().is_some());
    ready.map(|(number, _)| number.to_string()).collect()
}
