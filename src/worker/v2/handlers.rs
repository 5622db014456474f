//! What a worker says of itself and its models in the words of the protocol.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use super::inputs::client_shape;
use crate::api::error::ApiError;
use crate::api::models::TensorEntry;
use crate::api::v2::metadata::{
    LIVE, ModelConfig, ModelMetadata, ModelNames, ModelReady, PLATFORM, READY, SERVER, TensorConfig,
};
use crate::api::v2::statistics::Statistics;
use crate::http::reply::{json, json_bytes};
use crate::model::signature::{Signature, TensorSpec};
use crate::model::tensor::Datatype;
use crate::worker::Worker;
use crate::worker::handlers::{TargetPath, about_model, check_ready};
use crate::worker::served::Served;

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
pub(super) async fn model(State(worker): State<Arc<Worker>>, path: TargetPath) -> Response {
    about_version(&worker, path, |served| {
        let signature = &served.schema.signature;
        let entry = |spec: &TensorSpec| TensorEntry::new(spec, client_shape(spec, signature));
        let catalogue = worker.registry.catalogue();
        let ready = catalogue.answering(&served.model);
        json(&ModelMetadata {
            name: served.model.to_string(),
            versions: ready.map(|served| served.version.clone()).collect(),
            platform: PLATFORM.to_owned(),
            inputs: signature.inputs.iter().map(entry).collect(),
            outputs: signature.outputs.iter().map(entry).collect(),
        })
    })
}

/// `GET /v2/models/{model}[/versions/{version}]/ready`
pub(super) async fn model_ready(State(worker): State<Arc<Worker>>, path: TargetPath) -> Response {
    about_version(&worker, path, |served| {
        json(&ModelReady {
            name: &served.model,
            ready: true,
        })
    })
}

/// `GET /v2/models/{model}[/versions/{version}]/config`
pub(super) async fn model_config(State(worker): State<Arc<Worker>>, path: TargetPath) -> Response {
    about_version(&worker, path, |served| {
        let signature = &served.schema.signature;
        let config = |specs: &[TensorSpec]| specs.iter().map(|spec| tensor_config(spec, signature)).collect();
        let batching = &worker.config.model(&served.model).batching;
        json(&ModelConfig {
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
        })
    })
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
    let models = catalogue.models.keys();
    json(&statistics_of(
        models.flat_map(|model| catalogue.answering(model)),
    ))
}

/// `GET /v2/models/{model}[/versions/{version}]/stats`
pub(super) async fn model_statistics(State(worker): State<Arc<Worker>>, path: TargetPath) -> Response {
    about_model(&worker, path, |target| {
        let found = worker.registry.find(target.name(), target.version.as_deref())?;
        if target.version.is_some() {
            return Ok(json(&statistics_of([&found])));
        }
        let catalogue = worker.registry.catalogue();
        Ok(json(&statistics_of(catalogue.answering(&found.model))))
    })
}

fn statistics_of<'a>(versions: impl IntoIterator<Item = &'a Arc<Served>>) -> Statistics {
    let read = |served: &Arc<Served>| served.batcher.statistics().read(&served.model, &served.version);
    Statistics {
        model_stats: versions.into_iter().map(read).collect(),
        missing_workers: Vec::new(),
    }
}

/// Answers a request about the version that its path names, or else the newest that answers.
fn about_version(worker: &Worker, path: TargetPath, answer: impl FnOnce(&Served) -> Response) -> Response {
    about_model(worker, path, |target| {
        let served = worker.registry.find(target.name(), target.version.as_deref())?;
        Ok(answer(&served))
    })
}
