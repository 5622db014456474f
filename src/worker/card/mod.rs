//! `GET /models/{model}/card`: what people should know of a model, as the files of its version tell it.
//!
//! The files are read when somebody asks. They lie beside the graph, and may come from anywhere: a page made of them runs no
//! script and loads nothing from elsewhere.

mod page;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::task::spawn_blocking;

use super::Worker;
use super::handlers::TargetPath;
use super::predict::Target;
use super::served::Served;
use crate::api::datum::shortened;
use crate::api::error::{ApiError, ErrorCode};
use crate::http::accept::prefers_html;
use crate::http::reply::unreadable_path;
use crate::model::card::{CARD_FILE, CardError, read_card, read_picture};

const MARKDOWN: HeaderValue = HeaderValue::from_static("text/markdown; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const SVG: HeaderValue = HeaderValue::from_static("image/svg+xml");
/// Pictures of this server and our own style; no script, no form, no frame, nothing from elsewhere.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'; sandbox allow-same-origin allow-popups",
);
/// The same for a picture that is opened by itself.
const PICTURE_POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox");

/// What the path of a picture names.
#[derive(Deserialize)]
pub(super) struct PicturePath {
    model: String,
    version: Option<String>,
    picture: String,
}

/// `GET /models/{model}/card` and `GET /models/{model}/versions/{version}/card`
pub(super) async fn show(
    State(worker): State<Arc<Worker>>,
    path: TargetPath,
    headers: HeaderMap,
) -> Response {
    match path {
        Ok(Path(target)) => {
            let answer = card(&worker, &target, prefers_html(&headers)).await;
            with_load(&worker, &target, answer)
        }
        Err(rejection) => unreadable_path(&rejection).into_response(),
    }
}

/// `GET /models/{model}/card/{picture}` and the same of one version
pub(super) async fn show_picture(
    State(worker): State<Arc<Worker>>,
    path: Result<Path<PicturePath>, PathRejection>,
) -> Response {
    match path {
        Ok(Path(path)) => {
            let target = Target {
                model: Some(path.model),
                version: path.version,
            };
            let answer = picture(&worker, &target, path.picture).await;
            with_load(&worker, &target, answer)
        }
        Err(rejection) => unreadable_path(&rejection).into_response(),
    }
}

fn with_load(worker: &Worker, target: &Target, answer: Result<Response, ApiError>) -> Response {
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    worker.tell_load(target.name(), &mut response);
    response
}

async fn card(worker: &Worker, target: &Target, as_page: bool) -> Result<Response, ApiError> {
    let served = worker.registry.find(target.name(), target.version.as_deref())?;
    let model = Arc::clone(&served.model);
    let contents = read(served, CARD_FILE, move |served| {
        let contents = read_card(&served.place.root, &served.place.folder)?;
        Ok(if as_page {
            page::render(&served.model, &String::from_utf8_lossy(&contents)).into_bytes()
        } else {
            contents
        })
    });
    let contents = contents.await?;
    tracing::debug!(%model, as_page, "a card was shown");
    let mut response = if as_page {
        reply(contents, HTML, POLICY)
    } else {
        reply(contents, MARKDOWN, POLICY)
    };
    let vary = HeaderValue::from_static("accept");
    response.headers_mut().insert(header::VARY, vary);
    Ok(response)
}

async fn picture(worker: &Worker, target: &Target, name: String) -> Result<Response, ApiError> {
    let served = worker.registry.find(target.name(), target.version.as_deref())?;
    let what = format!("picture {name:?}");
    let contents = read(served, &what, move |served| {
        read_picture(&served.place.root, &served.place.folder, &name)
    });
    Ok(reply(contents.await?, SVG, PICTURE_POLICY))
}

/// Disks take their time, and rendering does: neither is for the network's threads.
async fn read(
    served: Arc<Served>,
    what: &str,
    work: impl FnOnce(&Served) -> Result<Vec<u8>, CardError> + Send + 'static,
) -> Result<Vec<u8>, ApiError> {
    let (model, version) = (Arc::clone(&served.model), served.version.clone());
    let done = spawn_blocking(move || work(&served)).await;
    let failed = |error: &dyn std::fmt::Display| {
        tracing::warn!(%model, version, what, %error, "a card cannot be shown");
        ApiError::new(ErrorCode::Internal, format!("{what} cannot be shown"))
    };
    match done {
        Ok(Ok(contents)) => Ok(contents),
        Ok(Err(CardError::Missing)) => {
            let what = shortened(what);
            let message = format!("model {model} version {version} has no {what}");
            Err(ApiError::new(ErrorCode::NotFound, message))
        }
        Ok(Err(error)) => Err(failed(&error)),
        Err(error) => Err(failed(&error)),
    }
}

fn reply(contents: Vec<u8>, kind: HeaderValue, policy: HeaderValue) -> Response {
    let mut response = Response::new(Body::from(contents));
    let told = response.headers_mut();
    told.insert(header::CONTENT_TYPE, kind);
    told.insert(header::CONTENT_SECURITY_POLICY, policy);
    let as_declared = HeaderValue::from_static("nosniff");
    told.insert(header::X_CONTENT_TYPE_OPTIONS, as_declared);
    response
}
