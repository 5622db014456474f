//! Every route of a worker.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};

use super::dialect::Dialect;
use super::native::Native;
use super::predict::{Target, predict};
use super::{Worker, admin, card, handlers, v2};
use crate::http::observe::{AccessLog, Reported};
use crate::http::origin::Origin;
use crate::http::reply::unreadable_path;
use crate::http::routes::{finish, guarded};
use crate::http::service::{PathDialect, PredictionPath, Predictions, Service};

/// The routes, and native predictions before them. Those of V2 need the layer that compresses their answers.
pub(super) fn router(worker: Arc<Worker>, access_log: AccessLog) -> Service<Past> {
    finish(routes(), Arc::clone(&worker), access_log)
        .with(Past(worker))
        .with_links()
}

/// The routes of the admin listener.
pub(super) fn admin(worker: Arc<Worker>, access_log: AccessLog) -> Service {
    let config = Arc::clone(&worker.config);
    let token = move || config.admin_token.clone();
    finish(guarded(admin_routes(), Arc::new(token)), worker, access_log)
}

fn routes() -> Router<Arc<Worker>> {
    Router::new()
        .route("/predict", post(predict_named_in_body))
        .route("/models/{model}/predict", post(predict_by_path::<Native>))
        .route(
            "/models/{model}/versions/{version}/predict",
            post(predict_by_path::<Native>),
        )
        .route("/models", get(handlers::list_models))
        .route("/models/{model}", get(handlers::show_model))
        .route("/models/{model}/card", get(card::show))
        .route("/models/{model}/card/{picture}", get(card::show_picture))
        .route("/models/{model}/versions/{version}/card", get(card::show))
        .route(
            "/models/{model}/versions/{version}/card/{picture}",
            get(card::show_picture),
        )
        .route("/livez", get(handlers::livez))
        .route("/readyz", get(handlers::readyz))
        .route("/metrics", get(handlers::show_metrics))
        .route("/openapi.json", get(handlers::show_openapi))
        .merge(v2::routes())
}

fn admin_routes() -> Router<Arc<Worker>> {
    Router::new()
        .route("/admin/models/{model}/labels", get(admin::labels))
        .route(
            "/admin/models/{model}/labels/{label}",
            put(admin::change_label).delete(admin::remove_label),
        )
}

/// A worker as it answers predictions past the routes.
#[derive(Clone)]
pub(super) struct Past(Arc<Worker>);

impl Predictions for Past {
    type Asked = Target;

    fn asked(&self, request: &Request) -> Option<Target> {
        let path = PredictionPath::read(request.method(), request.uri().path())?;
        (path.dialect == PathDialect::Native).then(|| Target {
            model: path.model.map(str::to_owned),
            version: path.version.map(str::to_owned),
        })
    }

    async fn predict(&self, target: Target, request: Request, _: Origin) -> Reported {
        predict::<Native>(&self.0, target, request).await
    }

    fn tell_load(&self, reported: &mut Reported) {
        self.0.tell_load_of(reported);
    }
}

async fn predict_named_in_body(State(worker): State<Arc<Worker>>, request: Request) -> Response {
    predict_and_tell::<Native>(&worker, Target::default(), request).await
}

/// Answers a prediction whose path names the model, and perhaps the version.
pub(super) async fn predict_by_path<D: Dialect>(
    State(worker): State<Arc<Worker>>,
    path: Result<Path<Target>, PathRejection>,
    request: Request,
) -> Response {
    match path {
        Ok(Path(target)) => predict_and_tell::<D>(&worker, target, request).await,
        Err(rejection) => unreadable_path(&rejection).into_response(),
    }
}

async fn predict_and_tell<D: Dialect>(worker: &Worker, target: Target, request: Request) -> Response {
    let mut reported = predict::<D>(worker, target, request).await;
    worker.tell_load_of(&mut reported);
    reported.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::routes::testing::assert_described;

    #[test]
    fn the_document_describes_every_route_and_no_other() {
        assert_described(&routes(), &admin_routes(), "worker administration");
    }
}
