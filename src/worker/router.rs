//! Every route of a worker.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::native::Native;
use super::predict::{Target, predict};
use super::{Worker, handlers};
use crate::api::error::{ApiError, ErrorCode};
use crate::http::observe::{AccessLog, observe};
use crate::http::reply::{unknown_method, unknown_path};

/// The routes, with the layer that gives every request its id and every error its body.
pub(super) fn router(worker: Arc<Worker>, access_log: AccessLog) -> Router {
    Router::new()
        .route("/predict", post(predict_named_in_body))
        .route("/models/{model}/predict", post(predict_model))
        .route(
            "/models/{model}/versions/{version}/predict",
            post(predict_version),
        )
        .route("/models", get(handlers::list_models))
        .route("/models/{model}", get(handlers::show_model))
        .route("/livez", get(handlers::livez))
        .route("/readyz", get(handlers::readyz))
        .route("/metrics", get(handlers::show_metrics))
        .route("/openapi.json", get(handlers::show_openapi))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .with_state(worker)
        .layer(from_fn_with_state(access_log, observe))
}

async fn predict_named_in_body(State(worker): State<Arc<Worker>>, request: Request) -> Response {
    predict::<Native>(&worker, Target::default(), request).await
}

async fn predict_model(
    State(worker): State<Arc<Worker>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    match path {
        Ok(Path(model)) => {
            let target = Target {
                model: Some(model),
                version: None,
            };
            predict::<Native>(&worker, target, request).await
        }
        Err(rejection) => unreadable_path(&rejection).into_response(),
    }
}

async fn predict_version(
    State(worker): State<Arc<Worker>>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Response {
    match path {
        Ok(Path((model, version))) => {
            let target = Target {
                model: Some(model),
                version: Some(version),
            };
            predict::<Native>(&worker, target, request).await
        }
        Err(rejection) => unreadable_path(&rejection).into_response(),
    }
}

/// Such a path cannot name anything.
pub(super) fn unreadable_path(rejection: &PathRejection) -> ApiError {
    ApiError::new(ErrorCode::NotFound, rejection.body_text())
}
