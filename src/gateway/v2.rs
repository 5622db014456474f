//! The Open Inference Protocol V2 on a gateway. Inference, and what is asked of one model, goes to a worker that serves
//! it; statistics are summed over all workers; repository calls reach every worker, and fail with the names of those
//! where they failed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::everyone::{Answers, Question, Said, ask_everyone};
use super::predict::{ask_about_model, infer_by_path};
use super::proxy_headers::ToWorker;
use super::{Gateway, models};
use crate::api::error::{ApiError, ErrorCode};
use crate::api::v2::metadata::{LIVE, ModelNames, READY, SERVER};
use crate::api::v2::repository::{IndexEntry, put_together};
use crate::api::v2::statistics::{Statistics, sum};
use crate::config::GatewayConfig;
use crate::http::deadline::Deadline;
use crate::http::origin::Origin;
use crate::http::reply::{json, json_bytes};
use crate::http::upload::Upload;

/// Every route of the protocol.
pub(super) fn routes() -> Router<Arc<Gateway>> {
    let mut routes = Router::new()
        .route("/v2", get(async || json(&SERVER)))
        .route("/v2/health/live", get(async || json_bytes(LIVE)))
        .route("/v2/health/ready", get(ready))
        .route("/v2/models", get(list_models))
        .route("/v2/models/stats", get(statistics));
    for model in ["/v2/models/{model}", "/v2/models/{model}/versions/{version}"] {
        routes = routes
            .route(model, get(ask_about_model))
            .route(&format!("{model}/ready"), get(ask_about_model))
            .route(&format!("{model}/config"), get(ask_about_model))
            .route(&format!("{model}/stats"), get(statistics))
            .route(&format!("{model}/infer"), post(infer_by_path));
    }
    for root in ["/v2/repository", "/v2/repository/{repository}"] {
        routes = routes
            .route(&format!("{root}/index"), post(index))
            .route(&format!("{root}/models/{{model}}/load"), post(load))
            .route(&format!("{root}/models/{{model}}/unload"), post(unload));
    }
    routes
}

async fn ready(State(gateway): State<Arc<Gateway>>) -> Result<Response, ApiError> {
    gateway.check_ready()?;
    Ok(json_bytes(READY))
}

async fn list_models(State(gateway): State<Arc<Gateway>>) -> Response {
    let list = models::put_together(&gateway.pool.members());
    json(&ModelNames {
        models: list.models.iter().map(|model| model.name.as_str()).collect(),
    })
}

async fn statistics(
    State(gateway): State<Arc<Gateway>>,
    Extension(origin): Extension<Origin>,
    request: Request,
) -> Response {
    limited(&gateway, request, origin, Limits::USUAL, |answers| {
        refused_by_all(&answers)?;
        Ok(json(&sum(each::<Statistics>(answers))))
    })
    .await
}

async fn index(
    State(gateway): State<Arc<Gateway>>,
    Extension(origin): Extension<Origin>,
    request: Request,
) -> Response {
    limited(&gateway, request, origin, Limits::USUAL, |answers| {
        refused_by_all(&answers)?;
        Ok(json(&put_together(&each::<Vec<IndexEntry>>(answers))))
    })
    .await
}

async fn load(
    State(gateway): State<Arc<Gateway>>,
    Extension(origin): Extension<Origin>,
    request: Request,
) -> Response {
    control(&gateway, request, origin, |settings| Limits {
        time: settings.repository.load_timeout,
        body: settings.repository.max_upload,
    })
    .await
}

async fn unload(
    State(gateway): State<Arc<Gateway>>,
    Extension(origin): Extension<Origin>,
    request: Request,
) -> Response {
    control(&gateway, request, origin, Limits::USUAL).await
}

async fn control(
    gateway: &Gateway,
    request: Request,
    origin: Origin,
    limits: fn(&GatewayConfig) -> Limits,
) -> Response {
    let response = limited(gateway, request, origin, limits, |answers| {
        done_by_all(&answers)?;
        Ok(json_bytes(""))
    })
    .await;
    // What the workers serve has just changed: a client that asks next should meet it.
    for member in gateway.pool.members() {
        member.endpoint.probe_now.notify_one();
    }
    response
}

/// What a request may take.
struct Limits {
    time: Duration,
    /// Of its body, in bytes.
    body: usize,
}

impl Limits {
    /// As much as a prediction.
    const USUAL: fn(&GatewayConfig) -> Self = |settings| Self {
        time: settings.deadline,
        body: settings.http.max_body,
    };
}

/// Asks every worker what `request` asks, within `limits`, and answers with what `answer` makes of it.
async fn limited(
    gateway: &Gateway,
    request: Request,
    origin: Origin,
    limits: fn(&GatewayConfig) -> Limits,
    answer: impl FnOnce(Answers) -> Result<Response, ApiError>,
) -> Response {
    let admitted = match gateway.admission.enter(gateway.settings().max_in_flight) {
        Ok(admitted) => admitted,
        Err(error) => return error.into_response(),
    };
    let answered = match read(gateway, request, origin, limits).await {
        Ok((question, _room)) => answer(ask_everyone(gateway, &question).await),
        Err(error) => Err(error),
    };
    let response = answered.unwrap_or_else(IntoResponse::into_response);
    response.map(|body| admitted.until_end_of(body))
}

/// What is asked, and the room that its body takes.
async fn read(
    gateway: &Gateway,
    request: Request,
    origin: Origin,
    limits: fn(&GatewayConfig) -> Limits,
) -> Result<(Question, Upload), ApiError> {
    let settings = gateway.settings();
    let limits = limits(&settings);
    let (parts, body) = request.into_parts();
    let deadline = Deadline::of_request(&parts.headers, limits.time, Instant::now())?;
    let upload = if parts.method == Method::GET {
        Upload::default()
    } else {
        let sizes = (settings.http.max_body, limits.body);
        let uploads = &gateway.uploads;
        uploads
            .read_as_sent(&parts.headers, body, sizes, deadline)
            .await?
    };
    let path = parts.uri.path().parse();
    let question = Question {
        method: parts.method.clone(),
        path: path.map_err(|_| ApiError::new(ErrorCode::NotFound, "nothing lies at this path"))?,
        headers: ToWorker::of(parts.headers, origin),
        body: upload.body.clone(),
        deadline,
    };
    Ok((question, upload))
}

/// What each worker's answer holds, or why it holds nothing.
fn each<T: DeserializeOwned>(answers: Answers) -> BTreeMap<String, Result<T, String>> {
    let understood = |said: Said| match said.status.is_success() {
        true => serde_json::from_slice(&said.body)
            .map_err(|error| format!("its answer is not understood: {error}")),
        false => Err(message_of(&said)),
    };
    answers
        .into_iter()
        .map(|(worker, answer)| (worker, answer.and_then(understood)))
        .collect()
}

/// Fails where nobody has an answer.
fn refused_by_all(answers: &Answers) -> Result<(), ApiError> {
    if answers
        .values()
        .any(|answer| matches!(answer, Ok(said) if said.status.is_success()))
    {
        return Ok(());
    }
    done_by_all(answers)?;
    Err(ApiError::new(ErrorCode::NoWorker, "there is no worker"))
}

/// Fails where one worker has not done what was asked, with the names of those and their reasons. The code is theirs,
/// where they agree in one.
fn done_by_all(answers: &Answers) -> Result<(), ApiError> {
    let mut told = Vec::new();
    let mut codes = Vec::new();
    for (worker, answer) in answers {
        match answer {
            Ok(said) if said.status.is_success() => {}
            Ok(said) => {
                told.push(format!("{worker}: {}", message_of(said)));
                codes.push(said.code.unwrap_or(ErrorCode::UpstreamFailed));
            }
            Err(reason) => {
                told.push(format!("{worker}: {reason}"));
                codes.push(ErrorCode::NoWorker);
            }
        }
    }
    let Some(&first) = codes.first() else {
        return Ok(());
    };
    let is_shared = codes.iter().all(|&code| code == first);
    let code = if is_shared {
        first
    } else {
        ErrorCode::UpstreamFailed
    };
    let message = format!(
        "{} of {} workers failed: {}",
        told.len(),
        answers.len(),
        told.join("; ")
    );
    Err(ApiError::new(code, message))
}

#[derive(Deserialize)]
struct V2Error {
    error: String,
}

fn message_of(said: &Said) -> String {
    match serde_json::from_slice::<V2Error>(&said.body) {
        Ok(V2Error { error }) => error,
        Err(_) => format!("it answered with status {}", said.status),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    fn said(status: u16, code: Option<ErrorCode>, body: &'static str) -> Result<Said, String> {
        Ok(Said {
            status: StatusCode::from_u16(status).unwrap(),
            code,
            body: body.into(),
        })
    }

    fn refusal(answers: &[(&str, Result<Said, String>)]) -> Option<(ErrorCode, String)> {
        let answers = answers
            .iter()
            .map(|(id, answer)| ((*id).to_owned(), answer.clone()))
            .collect();
        done_by_all(&answers)
            .err()
            .map(|error| (error.code, error.message.into_owned()))
    }

    #[test]
    fn who_failed_is_named_and_a_shared_code_kept() {
        let done = || said(200, None, "");
        let unknown = || {
            said(
                404,
                Some(ErrorCode::ModelNotFound),
                r#"{"error": "no such model"}"#,
            )
        };
        assert_eq!(refusal(&[("a", done()), ("b", done())]), None);
        let (code, message) = refusal(&[("a", unknown()), ("b", unknown())]).unwrap();
        assert_eq!(code, ErrorCode::ModelNotFound);
        assert_eq!(
            message,
            "2 of 2 workers failed: a: no such model; b: no such model"
        );
        let (code, message) = refusal(&[
            ("a", done()),
            ("b", unknown()),
            ("c", Err("no connection".into())),
        ])
        .unwrap();
        assert_eq!(code, ErrorCode::UpstreamFailed);
        assert_eq!(
            message,
            "2 of 3 workers failed: b: no such model; c: no connection"
        );
    }
}
