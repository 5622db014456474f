//! Asks every worker the same, also those that take no requests now, and gathers what each of them says.

use std::collections::BTreeMap;

use axum::http::uri::PathAndQuery;
use axum::http::{Method, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::Gateway;
use super::client::{Outgoing, WorkerClient};
use super::endpoint::Endpoint;
use super::proxy_headers::ToWorker;
use crate::api::error::ErrorCode;
use crate::http::deadline::Deadline;
use crate::http::headers::ERROR_CODE;

/// The longest answer that is read: an index or statistics of some thousand models.
const MAX_ANSWER: usize = 16 << 20;

/// What every worker is asked.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) method: Method,
    pub(super) path: PathAndQuery,
    pub(super) headers: ToWorker,
    pub(super) body: Bytes,
    pub(super) deadline: Deadline,
}

/// What one worker said.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) status: StatusCode,
    /// The code of its refusal, where it is one.
    pub(super) code: Option<ErrorCode>,
    pub(super) body: Bytes,
}

/// What each worker said, by its id, or why it said nothing.
pub(super) type Answers = BTreeMap<String, Result<Said, String>>;

/// Asks all members at once, and waits for all of them, until the deadline.
pub(super) async fn ask_everyone(gateway: &Gateway, question: &Question) -> Answers {
    let mut asking = JoinSet::new();
    let mut answers = Answers::new();
    for member in gateway.pool.members() {
        let id = member.endpoint.id.to_string();
        let (client, question) = (gateway.client, question.clone());
        // Stands there in case that the task ends without a word.
        answers.insert(id.clone(), Err("it could not be asked".to_owned()));
        asking.spawn(async move {
            let answer = timeout_at(question.deadline.0, ask(&client, &member.endpoint, &question)).await;
            (
                id,
                answer.unwrap_or_else(|_| Err("it gave no answer in time".to_owned())),
            )
        });
    }
    while let Some(asked) = asking.join_next().await {
        if let Ok((id, answer)) = asked {
            answers.insert(id, answer);
        }
    }
    answers
}

async fn ask(client: &WorkerClient, endpoint: &Endpoint, question: &Question) -> Result<Said, String> {
    let request = Outgoing {
        method: &question.method,
        path: &question.path,
        headers: &question.headers,
        milliseconds: Some(question.deadline.remaining_milliseconds(Instant::now())),
        body: &question.body,
    };
    let response = client.send(&endpoint.address, &request).await;
    let response = response.map_err(|error| error.to_string())?;
    let body = Limited::new(response.body, MAX_ANSWER).collect().await;
    let code = response
        .headers
        .get(ERROR_CODE)
        .and_then(|code| ErrorCode::parse(code.to_str().ok()?));
    Ok(Said {
        status: response.status,
        code,
        body: body
            .map_err(|error| format!("its answer broke off: {error}"))?
            .to_bytes(),
    })
}
