//! What a worker says of itself: its models, its health, its metrics.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
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
    let models = worker.registry.models();
    let entries = models
        .iter()
        .map(|(name, versions)| entry(name, versions, worker.drain.is_announced()));
    json(&ModelList {
        models: entries.collect(),
    })
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
pub(super) async fn readyz(State(worker): State<Arc<Worker>>) -> Response {
    if worker.drain.is_announced() {
        return ApiError::new(ErrorCode::Draining, "this worker is shutting down").into_response();
    }
    let models = worker.registry.models();
    let required = worker
        .config
        .default_model
        .iter()
        .chain(worker.config.models_batching.keys());
    match what_is_not_ready(&models, required.map(String::as_str)) {
        None => json_bytes(r#"{"status":"ready"}"#),
        Some(message) => ApiError::new(ErrorCode::NotReady, message).into_response(),
    }
}

/// Names what stands between these models and readiness.
///
/// A worker is ready when nothing is loading any more and it has something to serve. A version that failed keeps it
/// from that only where no other version of the model answers and the configuration names the model, or where nothing
/// answers at all: otherwise one broken file in a shared repository would take every worker away from every model.
fn what_is_not_ready<'a>(models: &Models, required: impl Iterator<Item = &'a str>) -> Option<String> {
    let of_state = |wanted: VersionState| {
        let versions = models
            .iter()
            .flat_map(|(name, versions)| versions.iter().map(move |version| (name, version)));
        let names = versions.filter(move |(_, (_, slot))| slot.state() == wanted);
        names
            .map(|(name, (number, _))| format!("{name}/{number}"))
            .collect::<Vec<_>>()
    };
    let loading = of_state(VersionState::Loading);
    if !loading.is_empty() {
        return Some(format!("loading: {}", loading.join(", ")));
    }
    if models.is_empty() {
        return Some("the model repository holds no model".to_owned());
    }
    let answers = |name: &str| models.get(name).and_then(newest_ready).is_some();
    let lacking: Vec<&str> = required.filter(|name| !answers(name)).collect();
    if !lacking.is_empty() {
        return Some(format!("configured and not loaded: {}", lacking.join(", ")));
    }
    let nothing_answers = models.keys().all(|name| !answers(name));
    nothing_answers.then(|| {
        format!(
            "could not be loaded: {}",
            of_state(VersionState::Failed).join(", ")
        )
    })
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
        assert_eq!(message, "loading: a/1");
    }

    #[test]
    fn a_worker_with_nothing_that_answers_is_not_ready() {
        assert!(what_is_not_ready(&Models::new(), std::iter::empty()).is_some());
        let models = models(&[("a", 1, failed())]);
        let message = what_is_not_ready(&models, std::iter::empty()).unwrap();
        assert_eq!(message, "could not be loaded: a/1");
    }

    #[test]
    fn a_model_that_the_configuration_names_must_answer() {
        let models = models(&[("a", 1, failed())]);
        let message = what_is_not_ready(&models, ["a", "b"].into_iter()).unwrap();
        assert_eq!(message, "configured and not loaded: a, b");
    }
}
