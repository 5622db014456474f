//! The whole route table of a gateway.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};

use super::predict::{ask_about_model, predict_by_body, predict_by_path};
use super::{Gateway, admin, explain, models, rollout, v2};
use crate::api::error::{ApiError, ErrorCode};
use crate::api::openapi;
use crate::http::observe::AccessLog;
use crate::http::reply;
use crate::http::routes::{finish, guarded};
use crate::http::service::Service;
use crate::telemetry::metrics;

/// What clients see.
pub fn public(gateway: Arc<Gateway>, access_log: AccessLog) -> Service<Arc<Gateway>> {
    finish(routes(), Arc::clone(&gateway), access_log).with(gateway)
}

/// What operators see, on a listener of its own.
pub fn admin(gateway: Arc<Gateway>, access_log: AccessLog) -> Service {
    let at_start = gateway.settings().admin_token.clone();
    let settings = Arc::clone(&gateway);
    // Where a new file has none, the old one holds: the listener may be one that others can reach.
    let token = move || {
        settings
            .settings()
            .admin_token
            .clone()
            .or_else(|| at_start.clone())
    };
    finish(guarded(admin_routes(), Arc::new(token)), gateway, access_log)
}

fn routes() -> Router<Arc<Gateway>> {
    Router::new()
        .route("/predict", post(predict_by_body))
        .route("/models/{model}/predict", post(predict_by_path))
        .route(
            "/models/{model}/versions/{version}/predict",
            post(predict_by_path),
        )
        .route("/models", get(list_models))
        .route("/models/{model}", get(ask_about_model))
        .route("/models/{model}/card", get(ask_about_model))
        .route("/models/{model}/card/{picture}", get(ask_about_model))
        .route("/models/{model}/versions/{version}/card", get(ask_about_model))
        .route(
            "/models/{model}/versions/{version}/card/{picture}",
            get(ask_about_model),
        )
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(scrape))
        .route("/openapi.json", get(openapi))
        .merge(v2::routes())
}

fn admin_routes() -> Router<Arc<Gateway>> {
    Router::new()
        .route("/admin/workers", get(admin::workers))
        .route("/admin/workers/{id}", put(admin::change_worker))
        .route("/admin/policy", get(admin::policy).put(admin::change_policy))
        .route("/admin/config", get(admin::config))
        .route("/admin/rollouts", get(rollout::admin::rollouts))
        .route(
            "/admin/rollouts/{model}",
            get(rollout::admin::rollout)
                .put(rollout::admin::change)
                .delete(rollout::admin::end),
        )
        .route("/admin/comparison", get(rollout::admin::comparisons))
        .route("/admin/explain", post(explain::explain))
}

async fn list_models(State(gateway): State<Arc<Gateway>>) -> Response {
    reply::json(&models::put_together(&gateway.pool.members()))
}

async fn openapi() -> Response {
    reply::json_bytes(openapi::DOCUMENT)
}

async fn live() -> Response {
    reply::json_bytes(r#"{"status":"alive"}"#)
}

async fn ready(State(gateway): State<Arc<Gateway>>) -> Result<Response, ApiError> {
    gateway.check_ready()?;
    Ok(reply::json_bytes(r#"{"status":"ready"}"#))
}

async fn scrape(State(gateway): State<Arc<Gateway>>) -> Result<Response, ApiError> {
    let text = metrics::encode(&gateway.metrics.registry);
    let (content_type, text) = text.map_err(|none| ApiError::new(ErrorCode::NotFound, none.to_string()))?;
    Ok(([(CONTENT_TYPE, HeaderValue::from_static(content_type))], text).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::routes::testing::assert_described;

    #[test]
    fn the_document_describes_every_route_and_no_other() {
        assert_described(&routes(), &admin_routes(), "gateway administration");
    }
}
