//! Asks workers for their load where no answer has told it lately, under the policy that goes by it.
//!
//! Answers to requests carry the load already. Only who gets none, such as a worker that was slow, would be judged by old
//! news for ever. So nobody is asked while nobody sends requests, or while its answers are recent.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::http::uri::PathAndQuery;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::config::PolicyName;
use crate::gateway::Gateway;
use crate::gateway::balance::{Load, SIGNAL_LIMITS, asking};
use crate::gateway::client::Outgoing;
use crate::gateway::endpoint::Endpoint;

/// For one answer; what comes later is no news any more.
const PATIENCE: Duration = SIGNAL_LIMITS.max_age;

/// Asks until the gateway goes.
pub(in crate::gateway) async fn run(gateway: Weak<Gateway>) {
    let mut seen = HashMap::new();
    loop {
        sleep(asking::INTERVAL).await;
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
        let places = route.any_version.places();
        let silent = asking::whom_to_ask(places, |place| &place.load, now, &mut rand::rng());
        questions.extend(silent.into_iter().map(|place| Question {
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
        let request = Outgoing::get(&path);
        let Ok(answer) = gateway.client.send(&endpoint.address, &request).await else {
            return;
        };
        if let Some(report) = answer.report {
            load.report(&report, gateway.clock.now());
        }
    }
}
