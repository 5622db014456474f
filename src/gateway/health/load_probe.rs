//! Asks workers for their load where no answer has told it lately, under the policy that goes by it.
//!
//! Answers to requests carry the load already. Only who gets none, such as a worker that was slow, would be judged by old
//! news for ever. So nobody is asked while nobody sends requests, or while its answers are recent.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, Method};
use bytes::Bytes;
use rand::seq::IndexedRandom;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::api::headers;
use crate::config::PolicyName;
use crate::gateway::Gateway;
use crate::gateway::balance::{Load, LoadReport, SIGNAL_LIMITS};
use crate::gateway::endpoint::Endpoint;

/// Between two looks for old news.
const INTERVAL: Duration = Duration::from_millis(200);
/// For one answer; what comes later is no news any more.
const PATIENCE: Duration = SIGNAL_LIMITS.max_age;
/// So many are asked at once for one model at most, drawn at random: a policy compares no more than these.
const MAX_ASKED: usize = 16;

/// Asks until the gateway goes.
pub(in crate::gateway) async fn run(gateway: Weak<Gateway>) {
    let mut seen = HashMap::new();
    loop {
        sleep(INTERVAL).await;
        let Some(gateway) = gateway.upgrade() else { return };
        let silent = silent(&gateway, &mut seen);
        let mut asking = JoinSet::new();
        for question in silent {
            let gateway = Arc::clone(&gateway);
            asking.spawn(async move {
                // A worker that does not answer this is no news: the requests and the probes of its health will tell.
                let _ = timeout(PATIENCE, question.ask(&gateway)).await;
            });
        }
        drop(gateway);
        asking.join_all().await;
    }
}

struct Question {
    path: PathAndQuery,
    endpoint: Arc<Endpoint>,
    load: Arc<Load>,
}

/// Whom to ask: those whose last word on a model is getting old, where requests for the model came since the last look.
fn silent(gateway: &Gateway, seen: &mut HashMap<Arc<str>, u64>) -> Vec<Question> {
    let snapshot = gateway.pool.snapshot();
    if snapshot.policy != PolicyName::Prequal {
        seen.clear();
        return Vec::new();
    }
    seen.retain(|model, _| snapshot.models.contains_key(model));
    let now = gateway.clock.now();
    let is_old = |load: &Load| {
        let told = load.last_signal();
        told.is_none_or(|(told, at)| {
            now.since(at) > SIGNAL_LIMITS.max_age / 2 || told.uses >= SIGNAL_LIMITS.max_uses
        })
    };
    let mut questions = Vec::new();
    for (model, route) in &snapshot.models {
        let requests = route.requests();
        if seen.insert(Arc::clone(model), requests) == Some(requests) || requests == 0 {
            continue;
        }
        // Names of models are plain enough for a path; others are not taken over from workers.
        let Ok(path) = PathAndQuery::try_from(format!("/v2/models/{model}/ready")) else {
            continue;
        };
        let places = route.any_version.places().iter();
        let silent: Vec<_> = places.filter(|place| is_old(&place.load)).collect();
        let drawn = silent.sample(&mut rand::rng(), MAX_ASKED);
        questions.extend(drawn.map(|place| Question {
            path: path.clone(),
            endpoint: Arc::clone(&place.endpoint),
            load: Arc::clone(&place.load),
        }));
    }
    questions
}

impl Question {
    async fn ask(self, gateway: &Gateway) {
        let Self { path, endpoint, load } = self;
        let request = endpoint.request(Method::GET, path, HeaderMap::new(), Bytes::new());
        let Ok(answer) = gateway.client.send(request).await else {
            return;
        };
        let told = answer.headers().get(headers::LOAD_METRICS);
        let report = told.and_then(|told| LoadReport::parse(told.to_str().ok()?));
        if let Some(report) = report {
            load.report(&report, gateway.clock.now());
        }
    }
}
