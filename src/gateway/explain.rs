//! Whom each policy would pick for a request now, and why: `POST /admin/explain`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Gateway;
use super::forward::refusal;
use super::health::judge::Health;
use super::key::key_of_value;
use super::pool::Member;
use super::snapshot::{Candidates, Place, Question, Wanted};
use super::target::Target;
use crate::api::error::ApiError;
use crate::config::PolicyName;
use crate::http::body;
use crate::http::reply;

/// The request that is to be explained.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    model: String,
    version: Option<String>,
    /// What the header or the field that `consistent_hash` goes by holds, or the client's address.
    key: Option<Value>,
}

#[derive(Serialize)]
struct Explanation {
    generation: u64,
    policy: &'static str,
    /// The version whose requests are explained, where a rollout chooses one.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<ChosenVersion>,
    workers: Vec<Candidacy>,
    policies: Vec<Choice>,
}

/// What the rollout of a model makes of requests that name no version.
#[derive(Serialize)]
struct ChosenVersion {
    /// That of live: the others can be asked for by their names.
    version: String,
    why: String,
}

/// Whether a worker is in question at all.
#[derive(Serialize)]
struct Candidacy {
    worker: String,
    is_candidate: bool,
    why: String,
}

/// What one policy makes of it.
#[derive(Serialize)]
struct Choice {
    policy: &'static str,
    in_force: bool,
    picks: Option<String>,
    candidates: Vec<Figures>,
}

#[derive(Serialize)]
struct Figures {
    worker: String,
    why: String,
}

/// `POST /admin/explain`
pub(super) async fn explain(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
) -> Result<Response, ApiError> {
    let asked: Asked = body::read_small_json(request).await?;
    let settings = gateway.settings();
    let key = asked
        .key
        .as_ref()
        .map(|key| key_of_value(&settings.balancing.key, key));
    let chosen = ChosenVersion::of(&gateway, &asked);
    let target = Target {
        model: asked.model,
        version: asked
            .version
            .or(chosen.as_ref().map(|chosen| chosen.version.clone())),
    };
    let question = Question {
        model: &target.model,
        version: target.version.as_deref(),
        key,
        room: Wanted::Any,
        is_explained: true,
    };
    let members = gateway.pool.members();
    let (snapshot, now) = (gateway.pool.snapshot(), gateway.clock.now());
    let candidates = snapshot
        .candidates(question)
        .map_err(|no_route| refusal(no_route, &target))?;
    let choice = |name: PolicyName| {
        let (picked, figures) = candidates.explain(name, &settings.balancing, key, now);
        let worker = |place: &Place| place.endpoint.id.to_string();
        let pairs = candidates.places().iter().zip(figures);
        Choice {
            policy: name.as_str(),
            in_force: name == snapshot.policy,
            picks: picked
                .and_then(|index| candidates.places().get(index))
                .map(worker),
            candidates: pairs
                .map(|(place, why)| Figures {
                    worker: worker(place),
                    why,
                })
                .collect(),
        }
    };
    Ok(reply::json(&Explanation {
        generation: snapshot.generation,
        policy: snapshot.policy.as_str(),
        version: chosen,
        workers: members
            .iter()
            .map(|member| Candidacy::of(member, candidates, &target))
            .collect(),
        policies: PolicyName::ALL.map(choice).into(),
    }))
}

impl ChosenVersion {
    fn of(gateway: &Gateway, asked: &Asked) -> Option<Self> {
        if asked.version.is_some() {
            return None;
        }
        let rollout = gateway.rollouts.configs().remove(&asked.model)?;
        let splits = rollout.splits.iter();
        let splits: String = splits
            .map(|(version, share)| format!(", {share} to {version}"))
            .collect();
        let left = 1.0 - rollout.splits.values().sum::<f64>();
        let why = format!(
            "of the requests that name no version, {:.4} go to live{splits}; name a version to have it explained",
            left.max(0.0)
        );
        Some(Self {
            version: rollout.live,
            why,
        })
    }
}

impl Candidacy {
    fn of(member: &Member, candidates: &Candidates, target: &Target) -> Self {
        let is_its = |place: &Place| Arc::ptr_eq(&place.endpoint, &member.endpoint);
        let is_candidate = candidates.places().iter().any(is_its);
        Self {
            worker: member.endpoint.id.to_string(),
            is_candidate,
            why: if candidates.full().any(is_its) {
                "it has as many requests for the model as it may, and is passed over until one is answered"
                    .to_owned()
            } else if is_candidate {
                "it takes requests and has the model ready".to_owned()
            } else if candidates.on_trial().iter().any(is_its) {
                "its circuit for the model is half open: the next request is its trial".to_owned()
            } else {
                why_not(member, target)
            },
        }
    }
}

/// Why a member is no candidate.
fn why_not(member: &Member, target: &Target) -> String {
    let reason = member.reason.as_deref().unwrap_or("no answer yet");
    match member.health {
        _ if member.is_drained => "an operator drained it".to_owned(),
        _ if member.weight == 0 => "its weight is 0".to_owned(),
        Health::Unknown => format!("it was never seen well: {reason}"),
        Health::Down { .. } => format!("it is down: {reason}"),
        Health::Up { .. } if member.has_ready(&target.model, target.version.as_deref()) => {
            "it is ejected for the model (GET /admin/workers says until when)".to_owned()
        }
        Health::Up { .. } => "it does not have the model, or the version, ready".to_owned(),
    }
}
