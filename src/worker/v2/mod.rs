//! The Open Inference Protocol V2 on a worker; its wire types are in [`api::v2`](crate::api::v2).

mod classification;
mod handlers;
mod infer;
mod inputs;
mod outputs;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use self::infer::V2;
use super::Worker;
use super::router::predict_by_path;

/// Every route of the protocol.
pub(super) fn routes() -> Router<Arc<Worker>> {
    let mut routes = Router::new()
        .route("/v2", get(handlers::server))
        .route("/v2/health/live", get(handlers::live))
        .route("/v2/health/ready", get(handlers::ready))
        .route("/v2/models", get(handlers::models))
        .route("/v2/models/stats", get(handlers::statistics))
        .route("/v2/repository/index", post(handlers::index))
        .route("/v2/repository/{repository}/index", post(handlers::index));
    for model in ["/v2/models/{model}", "/v2/models/{model}/versions/{version}"] {
        routes = routes
            .route(model, get(handlers::model))
            .route(&format!("{model}/ready"), get(handlers::model_ready))
            .route(&format!("{model}/config"), get(handlers::model_config))
            .route(&format!("{model}/stats"), get(handlers::model_statistics))
            .route(&format!("{model}/infer"), post(predict_by_path::<V2>));
    }
    routes
}
