//! The Open Inference Protocol V2 on a worker; its wire types are in [`api::v2`](crate::api::v2).

mod classification;
mod handlers;
mod infer;
mod inputs;
mod outputs;
mod repository;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn;
use axum::routing::{MethodRouter, get, post};

use self::infer::V2;
use super::Worker;
use super::router::predict_by_path;
use crate::http::compression::compress_answer;

/// Clients of Triton have their answers compressed by asking for it.
fn infer() -> MethodRouter<Arc<Worker>> {
    post(predict_by_path::<V2>).layer(from_fn(compress_answer))
}

/// Every route of the protocol.
pub(super) fn routes() -> Router<Arc<Worker>> {
    let mut routes = Router::new()
        .route("/v2", get(handlers::server))
        .route("/v2/health/live", get(handlers::live))
        .route("/v2/health/ready", get(handlers::ready))
        .route("/v2/models", get(handlers::models))
        .route("/v2/models/stats", get(handlers::statistics));
    for root in ["/v2/repository", "/v2/repository/{repository}"] {
        routes = routes
            .route(&format!("{root}/index"), post(repository::index))
            .route(&format!("{root}/models/{{model}}/load"), post(repository::load))
            .route(
                &format!("{root}/models/{{model}}/unload"),
                post(repository::unload),
            );
    }
    for model in ["/v2/models/{model}", "/v2/models/{model}/versions/{version}"] {
        routes = routes
            .route(model, get(handlers::model))
            .route(&format!("{model}/ready"), get(handlers::model_ready))
            .route(&format!("{model}/config"), get(handlers::model_config))
            .route(&format!("{model}/stats"), get(handlers::model_statistics))
            .route(&format!("{model}/infer"), infer());
    }
    routes
}
