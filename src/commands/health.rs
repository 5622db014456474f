//! `millrace health`: one readiness probe, for a container without curl.

use axum::http::Uri;
use axum::http::uri::{PathAndQuery, Scheme};
use http_body_util::{BodyExt, Limited};
use tokio::time::{Duration, timeout};

use super::Failure;
use super::start::runtime;
use crate::cli::HealthArgs;
use crate::gateway::client::{Address, Outgoing, SendError, WorkerClient};

/// The longest answer that is read for its reason.
const MAX_ANSWER: usize = 64 << 10;

pub(super) fn run(arguments: &HealthArgs) -> Result<(), Failure> {
    let patience = humantime::parse_duration(&arguments.timeout).map_err(|_| {
        Failure::usage(format!(
            "--timeout: expected a duration such as 2s; found {:?}",
            arguments.timeout
        ))
    })?;
    let urls: Result<Vec<Uri>, _> = arguments.url.iter().map(|url| parse(url)).collect();
    runtime()?.block_on(ask_one(&urls?, patience))
}

/// Asks the first of them at which somebody listens.
async fn ask_one(urls: &[Uri], patience: Duration) -> Result<(), Failure> {
    let mut nobody = Vec::new();
    for url in urls {
        let answer = timeout(patience, ask(url, patience)).await;
        match answer.unwrap_or_else(|_| Err(no_answer(url, patience).into())) {
            Ok(()) => return Ok(()),
            Err(Unwell::NobodyThere(reason)) => nobody.push(reason),
            Err(Unwell::Answered(failure)) => return Err(failure),
        }
    }
    Err(Failure::failed(nobody.join("; ")))
}

/// Why a process is not ready.
enum Unwell {
    /// There is none.
    NobodyThere(String),
    /// It says so, or says nothing.
    Answered(Failure),
}

impl From<Failure> for Unwell {
    fn from(failure: Failure) -> Self {
        Self::Answered(failure)
    }
}

fn no_answer(url: &Uri, patience: Duration) -> Failure {
    Failure::failed(format!(
        "{url} did not answer within {}",
        humantime::format_duration(patience)
    ))
}

/// A URL, where a bare address means its readiness.
fn parse(text: &str) -> Result<Uri, Failure> {
    let with_scheme = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let after_scheme = with_scheme.split_once("://").map_or("", |(_, rest)| rest);
    let is_bare = !after_scheme.contains('/');
    let whole = if is_bare {
        format!("{with_scheme}/readyz")
    } else {
        with_scheme
    };
    let url: Option<Uri> = whole.parse().ok();
    url.filter(|url| url.scheme() == Some(&Scheme::HTTP) && url.authority().is_some())
        .ok_or_else(|| Failure::usage(format!("--url: expected http://HOST:PORT/readyz; found {text:?}")))
}

async fn ask(url: &Uri, patience: Duration) -> Result<(), Unwell> {
    let authority = url.authority().expect("it was parsed with an authority");
    let to = Address::new(authority.clone());
    let path = url
        .path_and_query()
        .cloned()
        .unwrap_or(PathAndQuery::from_static("/"));
    let response = WorkerClient::new(patience).send(&to, &Outgoing::get(&path)).await;
    let response = response.map_err(|error| {
        let reason = format!("{url} does not answer: {error}");
        match error {
            SendError::NotConnected(_) => Unwell::NobodyThere(reason),
            SendError::OutOfDescriptors | SendError::BrokenOff(_) => Failure::failed(reason).into(),
        }
    })?;
    let status = response.status;
    if status.is_success() {
        return Ok(());
    }
    let body = Limited::new(response.body, MAX_ANSWER).collect().await;
    let reason = body
        .map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned())
        .unwrap_or_default();
    Err(Failure::failed(format!("{url} is not ready: {status} {reason}")).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_address_means_its_readiness() {
        for (text, url) in [
            ("127.0.0.1:9000", "http://127.0.0.1:9000/readyz"),
            ("http://localhost:8080", "http://localhost:8080/readyz"),
            ("http://localhost:8080/livez", "http://localhost:8080/livez"),
        ] {
            assert_eq!(parse(text).unwrap(), url);
        }
        for text in ["https://localhost", "", "http://", "::", "x://aa\u{e9}"] {
            assert!(matches!(parse(text), Err(Failure::Usage(_))), "{text}");
        }
    }
}
