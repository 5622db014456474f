//! Asks each worker what it serves, again and again.
//!
//! One question tells both whether a worker lives and what it has ready: `GET /models`. `/readyz` would not do, since
//! a worker with one broken model is not ready and still serves all its others (docs/adr/0002).

use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Limited};
use rand::RngExt;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::judge::Observation;
use crate::api::models::{ModelList, VersionState};
use crate::config::GatewayConfig;
use crate::gateway::Gateway;
use crate::gateway::client::{Outgoing, WorkerClient};
use crate::gateway::endpoint::Endpoint;
use crate::http::headers;
use crate::http::local::LocalName;
use crate::model::name::{is_label, is_model_name, parse_version};

/// The longest answer to a probe that is read: a worker with some thousand models.
const MAX_ANSWER: usize = 4 << 20;
/// Links to one worker, however many it wants.
const MAX_LINKS: usize = 256;
/// The longest rest after a request met trouble, where the worker seems to be gone: it may be back in no time.
const IMPATIENT: Duration = Duration::from_millis(250);

/// What came of one probe.
#[derive(Debug, PartialEq)]
pub enum Probed {
    /// It serves these models, one of them at least.
    Serves(ModelList),
    /// It answers, and has nothing ready: it is loading, or shutting down.
    NothingReady,
    /// It did not answer as a worker does.
    Failed(String),
    /// The gateway could not ask: it has no descriptor left.
    NotAsked,
    /// Nobody listens there.
    Refused(String),
}

/// Probes `endpoint` until it leaves the pool (the task is aborted) or the gateway goes.
pub fn spawn(gateway: Weak<Gateway>, endpoint: Arc<Endpoint>) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let Some(running) = gateway.upgrade() else { return };
            let settings = running.settings();
            let probed = probe(&running.client, &endpoint, &settings).await;
            let interval = interval_after(&probed, settings.health.interval);
            take_in(&running, &endpoint, probed);
            drop(running);
            let rest = interval.mul_f64(1.0 + settings.health.jitter * rand::rng().random_range(-1.0..=1.0));
            tokio::select! {
                () = sleep(rest) => {}
                () = endpoint.probe_now.notified() => sleep(rest.min(IMPATIENT)).await,
            }
        }
    })
}

/// A worker that is loading is asked often, since it may be ready any moment; one that seems to be gone, twice as often
/// as one that is well.
fn interval_after(probed: &Probed, interval: Duration) -> Duration {
    match probed {
        Probed::Serves(models) if is_loading(models) => interval / 16,
        Probed::Serves(_) => interval,
        Probed::NothingReady => interval / 16,
        Probed::Failed(_) | Probed::Refused(_) | Probed::NotAsked => interval / 2,
    }
}

fn is_loading(list: &ModelList) -> bool {
    let mut versions = list.models.iter().flat_map(|model| &model.versions);
    versions.any(|version| version.state == VersionState::Loading)
}

fn take_in(gateway: &Gateway, endpoint: &Arc<Endpoint>, probed: Probed) {
    let pool = &gateway.pool;
    match probed {
        Probed::Serves(models) => pool.observe_good(endpoint, models),
        Probed::NothingReady => {
            pool.observe_bad(
                endpoint,
                Observation::Out,
                "it has no model ready (loading, or shutting down)".into(),
            );
        }
        Probed::NotAsked => {}
        Probed::Failed(reason) => pool.observe_bad(endpoint, Observation::Failure, reason),
        Probed::Refused(reason) => pool.observe_bad(endpoint, Observation::Out, reason),
    }
}

async fn probe(client: &WorkerClient, endpoint: &Endpoint, settings: &GatewayConfig) -> Probed {
    let patience = settings.health.timeout;
    match timeout(patience, ask(client, endpoint, settings.local_sockets)).await {
        Ok(probed) => probed,
        Err(_) => Probed::Failed(format!(
            "no answer to a probe within {}",
            humantime::format_duration(patience)
        )),
    }
}

async fn ask(client: &WorkerClient, endpoint: &Endpoint, may_be_local: bool) -> Probed {
    use crate::gateway::client::SendError;
    let path = PathAndQuery::from_static("/models");
    let response = match client.send(&endpoint.address, &Outgoing::get(&path)).await {
        Ok(response) => response,
        Err(SendError::OutOfDescriptors) => return Probed::NotAsked,
        Err(SendError::NotConnected(reason)) => return Probed::Refused(format!("no connection: {reason}")),
        Err(error) => return Probed::Failed(error.to_string()),
    };
    if response.status != StatusCode::OK {
        return Probed::Failed(format!("a probe was answered with status {}", response.status));
    }
    let body = match Limited::new(response.body, MAX_ANSWER).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return Probed::Failed(format!("the answer to a probe broke off: {error}")),
    };
    let local = local(&response.headers).filter(|_| may_be_local);
    endpoint.address.set_local(local);
    endpoint.address.want_links(links(&response.headers));
    understand(&body)
}

/// How many links a worker wants from one gateway; who says nothing of them knows none.
fn links(headers: &HeaderMap) -> usize {
    let count = headers.get(headers::LINKS).and_then(|count| count.to_str().ok());
    count
        .and_then(|count| count.parse().ok())
        .map_or(0, |count: usize| count.min(MAX_LINKS))
}

/// Under which name a worker listens within its machine, if it does.
fn local(headers: &HeaderMap) -> Option<LocalName> {
    LocalName::parse(headers.get(headers::LOCAL)?.to_str().ok()?)
}

/// What an answer to a probe means. Names that no model can have are left out: they would become routes and labels.
fn understand(body: &[u8]) -> Probed {
    let mut list: ModelList = match serde_json::from_slice(body) {
        Ok(list) => list,
        Err(error) => {
            return Probed::Failed(format!(
                "a probe was answered with something else than models: {error}"
            ));
        }
    };
    list.models.retain(|model| is_model_name(&model.name));
    for model in &mut list.models {
        model
            .versions
            .retain(|version| parse_version(&version.version).is_some());
        model.labels.retain(|label, _| is_label(label));
    }
    if list.models.iter().any(|model| model.has_ready(None)) {
        Probed::Serves(list)
    } else {
        Probed::NothingReady
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_well_is_asked_more_often() {
        let after = |probed| interval_after(&probed, Duration::from_secs(2));
        assert_eq!(
            after(Probed::Serves(ModelList::default())),
            Duration::from_secs(2)
        );
        assert_eq!(after(Probed::Refused(String::new())), Duration::from_secs(1));
        assert_eq!(after(Probed::NothingReady), Duration::from_millis(125));
        let body = br#"{"models": [{"name": "iris", "versions": [
            {"version": "1", "state": "ready"}, {"version": "2", "state": "loading"}]}]}"#;
        assert_eq!(
            after(understand(body)),
            Duration::from_millis(125),
            "it may have more any moment"
        );
    }

    #[test]
    fn a_worker_that_drains_serves_nothing() {
        let body = br#"{"models": [{"name": "iris", "versions": [{"version": "1", "state": "unloading"}]}]}"#;
        assert_eq!(understand(body), Probed::NothingReady);
    }

    #[test]
    fn names_that_no_model_can_have_are_left_out() {
        let body = br#"{"models": [
            {"name": "../etc", "versions": [{"version": "1", "state": "ready"}]},
            {"name": "iris", "task": "classification",
             "versions": [{"version": "1", "state": "ready"}, {"version": "x", "state": "ready"}]}]}"#;
        let Probed::Serves(list) = understand(body) else {
            panic!("it serves iris")
        };
        assert_eq!(list.models.len(), 1);
        assert_eq!(list.models[0].versions.len(), 1);
    }

    #[test]
    fn something_else_than_a_worker_is_a_failure() {
        assert!(matches!(understand(b"<html>"), Probed::Failed(_)));
    }
}
