//! What a worker says of itself: its models, its health, its metrics.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde_json::value::RawValue;

use super::Worker;
use super::registry::{Models, Slot, Versions, newest_ready, unknown_model};
use super::router::unreadable_path;
use crate::api::error::{ApiError, ErrorCode};
use crate::api::models::{ModelDetail, ModelEntry, ModelList, TensorEntry, VersionEntry, VersionState};
use crate::api::openapi;
use crate::http::reply::{json, json_bytes};
use crate::model::signature::TensorSpec;
use crate::telemetry::metrics;

/// `GET /models`
pub(super) async fn list_models(State(worker): State<Arc<Worker>>) -> Response {
    json(&model_list(&worker))
}

/// All models and the states of their versions.
pub(super) fn model_list(worker: &Worker) -> ModelList {
    let models = worker.registry.models();
    let entries = models
        .iter()
        .map(|(name, versions)| entry(name, versions, worker.drain.is_announced()));
    ModelList {
        models: entries.collect(),
    }
}

/// `GET /models/{model}`
pub(super) async fn show_model(
    State(worker): State<Arc<Worker>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let Path(model) = path.map_err(|rejection| unreadable_path(&rejection))?;
    let models = worker.registry.models();
    let Some(versions) = models.get(model.as_str()) else {
        return Err(unknown_model(&model, &models));
    };
    let entry = entry(&model, versions, worker.drain.is_announced());
    Ok(json(&detail(entry, versions)))
}

/// `GET /livez`: this process answers.
pub(super) async fn livez() -> Response {
    json_bytes(r#"{"status":"alive"}"#)
}

/// `GET /readyz`: send requests here, or not.
pub(super) async fn readyz(State(worker): State<Arc<Worker>>) -> Result<Response, ApiError> {
    check_ready(&worker)?;
    Ok(json_bytes(r#"{"status":"ready"}"#))
}

/// Fails where requests should go elsewhere.
pub(super) fn check_ready(worker: &Worker) -> Result<(), ApiError> {
    if worker.drain.is_announced() {
        return Err(ApiError::new(ErrorCode::Draining, "this worker is shutting down"));
    }
    let models = worker.registry.models();
    let required = worker
        .config
        .default_model
        .iter()
        .chain(worker.config.per_model.keys());
    match what_is_not_ready(&models, required.map(String::as_str)) {
        None => Ok(()),
        Some(message) => Err(ApiError::new(ErrorCode::NotReady, message)),
    }
}

/// Names what stands between these models and readiness: what is loading, and each model, whether it lies in the
/// repository or is named by the configuration, of which no version answers. (A gateway does not go by this; it asks
/// for the models and takes what is ready.)
fn what_is_not_ready<'a>(models: &'a Models, required: impl Iterator<Item = &'a str>) -> Option<String> {
    if models.is_empty() {
        return Some("the model repository holds no model".to_owned());
    }
    let is_loading = |versions: &Versions| versions.values().any(|slot| matches!(slot, Slot::Loading));
    let loading: Vec<&str> = models
        .iter()
        .filter(|(_, versions)| is_loading(versions))
        .map(|(name, _)| &**name)
        .collect();
    if !loading.is_empty() {
        return Some(format!("loading: {}", loading.join(", ")));
    }
    let answers = |name: &str| models.get(name).and_then(newest_ready).is_some();
    let mut lacking: Vec<&str> = models.keys().map(|name| &**name).chain(required).collect();
    lacking.retain(|name| !answers(name));
    lacking.sort_unstable();
    lacking.dedup();
    (!lacking.is_empty()).then(|| format!("not loaded: {}", lacking.join(", ")))
}

/// `GET /metrics`
pub(super) async fn show_metrics(State(worker): State<Arc<Worker>>) -> Response {
    let (content_type, text) = metrics::encode(&worker.metrics.registry);
    let mut response = Response::new(text.into());
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// `GET /openapi.json`
pub(super) async fn show_openapi() -> Response {
    json_bytes(openapi::DOCUMENT)
}

fn entry(name: &str, versions: &Versions, is_unloading: bool) -> ModelEntry {
    let version = |(number, slot): (&u64, &Slot)| VersionEntry {
        version: number.to_string(),
        state: match slot.state() {
            VersionState::Ready if is_unloading => VersionState::Unloading,
            state => state,
        },
        engine: match slot {
            Slot::Ready(served) => Some(served.engine.to_owned()),
            _ => None,
        },
        reason: match slot {
            Slot::Failed(reason) => Some(reason.to_string()),
            _ => None,
        },
    };
    ModelEntry {
        name: name.to_owned(),
        task: newest_ready(versions).map(|served| served.schema.task().to_owned()),
        versions: versions.iter().map(version).collect(),
    }
}

fn detail(entry: ModelEntry, versions: &Versions) -> ModelDetail {
    let mut detail = ModelDetail {
        entry,
        engine: None,
        inputs: Vec::new(),
        outputs: Vec::new(),
        features: Vec::new(),
        classes: Vec::new(),
        description: None,
        metrics: None,
    };
    let Some(served) = newest_ready(versions) else {
        return detail;
    };
    let signature = &served.schema.signature;
    detail.engine = Some(served.engine.to_owned());
    detail.inputs = signature.inputs.iter().map(tensor).collect();
    detail.outputs = signature.outputs.iter().map(tensor).collect();
    detail.features = served.schema.features().to_vec();
    detail.classes = served.schema.classes().to_vec();
    detail.description = served.metadata.description.clone();
    if !served.metadata.metrics.is_empty() {
        let text = serde_json::to_string(&served.metadata.metrics).ok();
        detail.metrics = text.and_then(|text| RawValue::from_string(text).ok());
    }
    detail
}

fn tensor(spec: &TensorSpec) -> TensorEntry {
    let size = |size: &Option<usize>| size.and_then(|size| i64::try_from(size).ok()).unwrap_or(-1);
    TensorEntry {
        name: spec.name.clone(),
        datatype: spec.datatype.to_string(),
        shape: spec.shape.iter().map(size).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models(states: &[(&str, u64, Slot)]) -> Models {
        let mut models = Models::new();
        for (name, number, slot) in states {
            models
                .entry((*name).into())
                .or_default()
                .insert(*number, slot.clone());
        }
        models
    }

    fn failed() -> Slot {
        Slot::Failed("broken".into())
    }

    #[test]
    fn what_is_loading_is_named() {
        let models = models(&[("a", 1, Slot::Loading), ("b", 2, failed())]);
        let message = what_is_not_ready(&models, std::iter::empty()).unwrap();
        assert_eq!(message, "loading: a");
    }

    #[test]
    fn what_failed_or_is_missing_is_named() {
        assert!(what_is_not_ready(&Models::new(), std::iter::empty()).is_some());
        let models = models(&[("b", 1, failed()), ("b", 2, failed())]);
        let message = what_is_not_ready(&models, ["b", "a"].into_iter()).unwrap();
        assert_eq!(message, "not loaded: a, b");
    }
}
