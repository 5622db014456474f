//! The model repository extension on a worker.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use crate::api::error::{ApiError, ErrorCode};
use crate::api::v2::repository::{IndexEntry, IndexRequest, LoadRequest, State as ModelState};
use crate::http::body;
use crate::http::deadline::Deadline;
use crate::http::reply::{json, json_bytes, unreadable_path};
use crate::worker::Worker;
use crate::worker::predict::Target;
use crate::worker::registry::{self, ControlError, IndexState, Upload};

/// `POST /v2/repository/index`
pub(super) async fn index(State(worker): State<Arc<Worker>>, request: Request) -> Result<Response, ApiError> {
    let (body, _) = read(&worker, request).await?;
    let asked = IndexRequest::parse(&body)?;
    let mut entries: Vec<IndexEntry> = worker.registry.index().into_iter().map(entry).collect();
    entries.retain(|entry| !asked.ready || entry.state == ModelState::Ready);
    Ok(json(&entries))
}

/// `POST /v2/repository/models/{model}/load`: answered once it is loaded, or could not be.
pub(super) async fn load(
    State(worker): State<Arc<Worker>>,
    path: Result<Path<Target>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let Path(target) = path.map_err(|rejection| unreadable_path(&rejection))?;
    let (head, body) = request.into_parts();
    let config = &worker.config;
    let time = config.loading.timeout + config.deadline;
    let deadline = Deadline::of_request(&head.headers, time, Instant::now())?;
    let usual = config.http.max_body;
    let most = if config.repository.allow_uploads {
        config.repository.max_upload
    } else {
        usual
    };
    let uploaded = worker
        .uploads
        .read(&head.headers, body, (usual, most), deadline)
        .await?;
    // Large ones take a while, which is no work for the network's threads.
    let parsing = spawn_blocking(move || (LoadRequest::parse(&uploaded.body), uploaded.without_body()));
    let (asked, _room) = parsing.await.map_err(|_| refusal(&ControlError::Closed))?;
    let loading = worker.registry.load_model(target.name(), upload(asked?));
    let versions = timeout_at(deadline.0, loading)
        .await
        .map_err(|_| Deadline::exceeded("the model was loaded, which goes on"))?
        .map_err(|error| refusal(&error))?;
    // What answers and has a reason still runs from the files before these.
    let has_failed =
        |entry: &&registry::IndexEntry| entry.state == IndexState::Unavailable || !entry.reason.is_empty();
    let failed: Vec<String> = versions
        .iter()
        .filter(has_failed)
        .map(|entry| format!("version {}: {}", entry.version.unwrap_or_default(), entry.reason))
        .collect();
    if failed.is_empty() {
        return Ok(json_bytes(""));
    }
    let message = format!("failed to load '{}': {}", target.name(), failed.join("; "));
    Err(ApiError::invalid_input(message))
}

/// What a load request brings, where it brings anything.
fn upload(asked: LoadRequest) -> Option<Upload> {
    let brings_anything = asked.config.is_some() || !asked.files.is_empty();
    let files = asked.files.into_iter();
    brings_anything.then(|| Upload {
        config: asked.config,
        files: files.map(|(name, bytes)| (name, bytes.into())).collect(),
    })
}

/// `POST /v2/repository/models/{model}/unload`: answered once its work is done.
pub(super) async fn unload(
    State(worker): State<Arc<Worker>>,
    path: Result<Path<Target>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let Path(target) = path.map_err(|rejection| unreadable_path(&rejection))?;
    let (_, deadline) = read(&worker, request).await?;
    timeout_at(deadline.0, worker.registry.unload_model(target.name()))
        .await
        .map_err(|_| Deadline::exceeded("the model finished its work, which goes on"))?
        .map_err(|error| refusal(&error))?;
    Ok(json_bytes(""))
}

async fn read(worker: &Worker, request: Request) -> Result<(bytes::Bytes, Deadline), ApiError> {
    let (head, body) = request.into_parts();
    let deadline = Deadline::of_request(&head.headers, worker.config.deadline, Instant::now())?;
    let body = body::read(&head.headers, body, worker.config.http.max_body, deadline).await?;
    Ok((body, deadline))
}

fn entry(entry: registry::IndexEntry) -> IndexEntry {
    IndexEntry {
        name: entry.model.to_string(),
        version: entry.version.map(|number| number.to_string()),
        state: match entry.state {
            IndexState::Ready => ModelState::Ready,
            IndexState::Loading => ModelState::Loading,
            IndexState::Unloading => ModelState::Unloading,
            IndexState::Unavailable => ModelState::Unavailable,
        },
        reason: entry.reason,
        workers: Default::default(),
    }
}

fn refusal(error: &ControlError) -> ApiError {
    let code = match error {
        ControlError::NoSuchModel(_) => ErrorCode::ModelNotFound,
        ControlError::UploadsForbidden => ErrorCode::Forbidden,
        ControlError::Upload(_) => ErrorCode::InvalidInput,
        ControlError::Repository(_) => ErrorCode::Internal,
        ControlError::Closed => ErrorCode::Draining,
    };
    ApiError::new(code, error.to_string())
}
