//! The handlers of a worker's admin listener: moves labels while requests run.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::Worker;
use crate::api::error::ApiError;
use crate::http::reply::unreadable_path;
use crate::http::{body, reply};
use crate::model::name::{is_label, parse_version};

#[derive(Serialize)]
struct LabelList {
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LabelChange {
    version: String,
}

/// `GET /admin/models/{model}/labels`
pub(super) async fn labels(
    State(worker): State<Arc<Worker>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let Path(model) = path.map_err(|rejection| unreadable_path(&rejection))?;
    labels_of(&worker, &model)
}

/// `PUT /admin/models/{model}/labels/{label}`
pub(super) async fn change_label(
    State(worker): State<Arc<Worker>>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let Path((model, label)) = path.map_err(|rejection| unreadable_path(&rejection))?;
    let change: LabelChange = body::read_small_json(request).await?;
    if !is_label(&label) {
        let message =
            format!("{label:?} is no label: expected letters, digits, '.', '_' and '-', and not a number");
        return Err(ApiError::invalid_input(message));
    }
    let version = parse_version(&change.version).ok_or_else(|| {
        ApiError::invalid_input(format!(
            "version takes the number of one; found {:?}",
            change.version
        ))
    })?;
    worker.set_label(&model, &label, Some(version))?;
    tracing::info!(model, label, version, by = "admin", "a label was moved");
    labels_of(&worker, &model)
}

/// `DELETE /admin/models/{model}/labels/{label}`
pub(super) async fn remove_label(
    State(worker): State<Arc<Worker>>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, ApiError> {
    let Path((model, label)) = path.map_err(|rejection| unreadable_path(&rejection))?;
    worker.set_label(&model, &label, None)?;
    tracing::info!(model, label, by = "admin", "a label was removed");
    labels_of(&worker, &model)
}

fn labels_of(worker: &Worker, model: &str) -> Result<Response, ApiError> {
    let catalogue = worker.registry.catalogue();
    if !catalogue.models.contains_key(model) {
        return Err(catalogue.unknown_model(model));
    }
    let labels = catalogue.labels_of(model).into_iter().flatten();
    let text = |(label, number): (&String, &u64)| (label.clone(), number.to_string());
    Ok(reply::json(&LabelList {
        labels: labels.map(text).collect(),
    }))
}
