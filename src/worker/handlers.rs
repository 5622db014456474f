//! What a worker says of itself: its models, its health, its metrics.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::value::RawValue;

use super::Worker;
use super::predict::Target;
use super::registry::{Catalogue, Slot, Versions, newest_ready};
use crate::api::error::{ApiError, ErrorCode};
use crate::api::models::{ModelDetail, ModelEntry, ModelList, TensorEntry, VersionEntry, VersionState};
use crate::api::openapi;
use crate::http::headers;
use crate::http::reply::{json, json_bytes, unreadable_path};
use crate::model::signature::TensorSpec;
use crate::telemetry::metrics;

/// `GET /models`: all models and the states of their versions, and for gateways how many links they may have: one for each
/// thread that serves connections; and where they reach it without a network.
pub(super) async fn list_models(State(worker): State<Arc<Worker>>) -> Response {
    let catalogue = worker.registry.catalogue();
    let entries = catalogue
        .models
        .iter()
        .map(|(name, versions)| entry(&catalogue, name, versions, worker.drain.is_announced()));
    let mut response = json(&ModelList {
        models: entries.collect(),
    });
    let links = HeaderValue::from(worker.config.threads);
    response.headers_mut().insert(headers::LINKS, links);
    if let Some(name) = worker.local.get() {
        let name = HeaderValue::try_from(name.to_string()).expect("digits make a header value");
        response.headers_mut().insert(headers::LOCAL, name);
    }
    response
}

/// The path of a request about one model, and perhaps one version of it.
pub(super) type TargetPath = Result<Path<Target>, PathRejection>;

/// Answers a request about the model that its path names, and tells the load of that model.
pub(super) fn about_model(
    worker: &Worker,
    path: TargetPath,
    answer: impl FnOnce(&Target) -> Result<Response, ApiError>,
) -> Response {
    let target = match path {
        Ok(Path(target)) => target,
        Err(rejection) => return unreadable_path(&rejection).into_response(),
    };
    let mut response = answer(&target).unwrap_or_else(IntoResponse::into_response);
    worker.tell_load(target.name(), &mut response);
    response
}

/// `GET /models/{model}`
pub(super) async fn show_model(State(worker): State<Arc<Worker>>, path: TargetPath) -> Response {
    about_model(&worker, path, |target| {
        let model = target.name();
        let catalogue = worker.registry.catalogue();
        let Some(versions) = catalogue.models.get(model) else {
            return Err(catalogue.unknown_model(model));
        };
        let entry = entry(&catalogue, model, versions, worker.drain.is_announced());
        Ok(json(&detail(entry, versions)))
    })
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
    let registry = &worker.registry;
    let catalogue = registry.catalogue();
    let config = &worker.config;
    let expected = registry.expected().iter().map(|name| &**name);
    // What vanished from the repository is only missed where the configuration names it.
    let expected = expected.filter(|&name| catalogue.models.contains_key(name));
    let configured = config.default_model.iter().chain(config.per_model.keys());
    let required = expected.chain(configured.map(String::as_str));
    match what_is_not_ready(&catalogue, registry.is_settled(), required) {
        None => Ok(()),
        Some(message) => Err(ApiError::new(ErrorCode::NotReady, message)),
    }
}

/// Names what stands between a worker and readiness. At the start that is everything that is loading; from then on only
/// the required models count, so that what is reloaded, or brought in broken, never takes a worker out of service. (A
/// gateway does not go by this; it asks for the models and takes what is ready.)
fn what_is_not_ready<'a>(
    catalogue: &Catalogue,
    is_settled: bool,
    required: impl Iterator<Item = &'a str>,
) -> Option<String> {
    let models = &catalogue.models;
    if models.is_empty() {
        return Some("the model repository holds no model".to_owned());
    }
    if !is_settled {
        let is_loading = |versions: &Versions| versions.values().any(|slot| matches!(slot, Slot::Loading));
        let loading = models.iter().filter(|(_, versions)| is_loading(versions));
        let loading: Vec<&str> = loading.map(|(name, _)| &**name).collect();
        if !loading.is_empty() {
            return Some(format!("loading: {}", loading.join(", ")));
        }
    }
    let answers = |name: &str| models.get(name).and_then(newest_ready).is_some();
    let mut lacking: Vec<&str> = required.collect();
    lacking.retain(|&name| !answers(name) && !catalogue.down.contains(name));
    lacking.sort_unstable();
    lacking.dedup();
    (!lacking.is_empty()).then(|| format!("not loaded: {}", lacking.join(", ")))
}

/// `GET /metrics`
pub(super) async fn show_metrics(State(worker): State<Arc<Worker>>) -> Result<Response, ApiError> {
    let text = metrics::encode(&worker.metrics.registry);
    let (content_type, text) = text.map_err(|none| ApiError::new(ErrorCode::NotFound, none.to_string()))?;
    let mut response = Response::new(text.into());
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    Ok(response)
}

/// `GET /openapi.json`
pub(super) async fn show_openapi() -> Response {
    json_bytes(openapi::DOCUMENT)
}

fn entry(catalogue: &Catalogue, name: &str, versions: &Versions, is_unloading: bool) -> ModelEntry {
    let version = |(number, slot): (&u64, &Slot)| VersionEntry {
        version: number.to_string(),
        state: match slot.state() {
            VersionState::Ready if is_unloading => VersionState::Unloading,
            state => state,
        },
        engine: slot.served().map(|served| served.engine.to_owned()),
        reason: slot.reason().map(ToString::to_string),
    };
    let labels = catalogue.labels_of(name).into_iter().flatten();
    ModelEntry {
        name: name.to_owned(),
        task: newest_ready(versions).map(|served| served.schema.task().to_owned()),
        versions: versions.iter().map(version).collect(),
        labels: labels
            .map(|(label, number)| (label.clone(), number.to_string()))
            .collect(),
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
        image: None,
        missing_values: false,
        text: None,
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
    detail.features = served.schema.features();
    detail.classes = served.schema.classes().to_vec();
    detail.image = served.metadata.image.clone();
    detail.missing_values = served.schema.missing_values;
    detail.text = served.schema.text.as_ref().map(|text| text.settings());
    detail.description = served.metadata.description.clone();
    if !served.metadata.metrics.is_empty() {
        let text = serde_json::to_string(&served.metadata.metrics).ok();
        detail.metrics = text.and_then(|text| RawValue::from_string(text).ok());
    }
    detail
}

fn tensor(spec: &TensorSpec) -> TensorEntry {
    TensorEntry::new(spec, spec.written_shape())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue(states: &[(&str, u64, Slot)]) -> Catalogue {
        let mut catalogue = Catalogue::default();
        for (name, number, slot) in states {
            let versions = catalogue.models.entry((*name).into()).or_default();
            versions.insert(*number, slot.clone());
        }
        catalogue
    }

    fn failed() -> Slot {
        Slot::Failed("broken".into())
    }

    #[test]
    fn what_is_loading_is_named_at_the_start() {
        let catalogue = catalogue(&[("a", 1, Slot::Loading), ("b", 2, failed())]);
        let message = what_is_not_ready(&catalogue, false, std::iter::empty()).unwrap();
        assert_eq!(message, "loading: a");
        assert_eq!(what_is_not_ready(&catalogue, true, std::iter::empty()), None);
    }

    #[test]
    fn what_failed_or_is_missing_is_named_where_it_is_required() {
        assert!(what_is_not_ready(&Catalogue::default(), true, std::iter::empty()).is_some());
        let mut catalogue = catalogue(&[("b", 1, failed()), ("b", 2, failed()), ("c", 1, failed())]);
        let message = what_is_not_ready(&catalogue, true, ["b", "a", "b"].into_iter()).unwrap();
        assert_eq!(message, "not loaded: a, b");
        catalogue.down.insert("a".into());
        let message = what_is_not_ready(&catalogue, true, ["b", "a"].into_iter()).unwrap();
        assert_eq!(message, "not loaded: b");
    }
}
