//! A request as the part of a rollout that it is: which version it takes, who hears what came of it, and where it goes
//! when nobody serves that version.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::uri::PathAndQuery;
use tokio::time::Instant;

use super::{Arm, Rollout, shadow};
use crate::api::error::ErrorCode;
use crate::gateway::Gateway;
use crate::gateway::balance::Moment;
use crate::gateway::circuit::Mark;
use crate::gateway::clock::Clock;
use crate::gateway::forward::{self, Call, Forwarded};
use crate::gateway::snapshot::{Question, Wanted};
use crate::gateway::target::{Target, with_version};
use crate::http::headers;

/// Which part of a rollout a request is.
#[derive(Clone, Debug)]
pub struct Part {
    rollout: Arc<Rollout>,
    arm: Arc<Arm>,
    /// The path at a worker, without a version.
    path: PathAndQuery,
}

/// The errors that say that nobody can serve a version, and not that it failed.
const NOBODY: [ErrorCode; 5] = [
    ErrorCode::NoWorker,
    ErrorCode::NotReady,
    ErrorCode::Draining,
    ErrorCode::ModelNotFound,
    ErrorCode::VersionNotFound,
];

impl Part {
    /// Whether it is that of a split, and not live's.
    pub(in crate::gateway) fn is_split(&self) -> bool {
        !self.arm.is_live
    }

    /// Takes in what came of one try that took so long.
    pub(in crate::gateway) fn take_mark(&self, mark: Mark, elapsed: Duration, now: Moment) {
        self.arm.take_mark(mark, elapsed, now);
    }

    /// The path at a worker, without a version.
    pub(super) fn path(&self) -> &PathAndQuery {
        &self.path
    }

    fn live(&self) -> Self {
        Self {
            arm: Arc::clone(&self.rollout.live),
            ..self.clone()
        }
    }

    /// `call` as this part of the rollout.
    fn given_to(self, call: Call) -> Call {
        let version = &self.arm.version;
        let path = with_version(self.path.path(), version).and_then(|path| path.parse().ok());
        Call {
            path: path.unwrap_or(call.path),
            target: Target {
                version: Some(version.clone()),
                ..call.target
            },
            part: Some(self),
            ..call
        }
    }
}

/// Gives a prediction that names no version the one that the model's rollout chooses; `key` is what it is to stay with
/// a version by.
pub(in crate::gateway) fn begin(
    gateway: &Gateway,
    rollout: Arc<Rollout>,
    key: Option<u64>,
    call: Call,
) -> Call {
    let arm = Arc::clone(rollout.choose(key));
    let mut part = Part {
        arm,
        path: call.path.clone(),
        rollout,
    };
    if part.is_split() && !can_be_served(gateway, &call.target.model, &part.arm.version) {
        part.arm.metrics.fallbacks.inc();
        part = part.live();
    }
    part.given_to(call)
}

/// Sends a question about a model that has a rollout, and names no version, to who serves live; where the question has
/// no place for a version, at least if there is somebody.
pub(in crate::gateway) fn prefer_live(gateway: &Gateway, rollout: &Rollout, call: Call) -> Call {
    let version = &rollout.live.version;
    let path = with_version(call.path.path(), version).and_then(|path| path.parse().ok());
    if path.is_none() && !can_be_served(gateway, &call.target.model, version) {
        return call;
    }
    Call {
        path: path.unwrap_or(call.path),
        target: Target {
            version: Some(version.clone()),
            ..call.target
        },
        ..call
    }
}

fn can_be_served(gateway: &Gateway, model: &str, version: &str) -> bool {
    let question = Question {
        model,
        version: Some(version),
        key: None,
        room: Wanted::Any,
        is_explained: false,
    };
    let snapshot = gateway.pool.snapshot();
    let candidates = snapshot.candidates(question);
    candidates.is_ok_and(|candidates| !candidates.places().is_empty() || !candidates.on_trial().is_empty())
}

/// Forwards `call`, and where it is part of a rollout sees to what belongs to that: should nobody serve the version of
/// a split after all, live does; the answer says which version was chosen; and the shadow gets a copy.
pub(in crate::gateway) async fn forward(gateway: &Arc<Gateway>, call: Box<Call>) -> Forwarded {
    let Some(part) = call.part.clone() else {
        return forward::forward(gateway, &call).await;
    };
    let first = watched(gateway, &part, &call).await;
    if !part.is_split() || !is_nobody(&first) {
        return finished(gateway, &part, &call, first).await;
    }
    part.arm.metrics.fallbacks.inc();
    let part = part.live();
    let call = Box::new(part.clone().given_to(*call));
    let mut second = watched(gateway, &part, &call).await;
    second.forwarded.outcome.attempts += first.forwarded.outcome.attempts;
    second.forwarded.decisions.splice(0..0, first.forwarded.decisions);
    finished(gateway, &part, &call, second).await
}

/// What came of a call, and how long that took.
struct Watched {
    forwarded: Forwarded,
    took: Duration,
}

async fn watched(gateway: &Gateway, part: &Part, call: &Call) -> Watched {
    let mut watch = Watch {
        arm: &part.arm,
        clock: gateway.clock,
        begun: Instant::now(),
        is_over: false,
    };
    let mut forwarded = forward::forward(gateway, call).await;
    watch.is_over = true;
    let name = if part.is_split() { "split" } else { "live" };
    if let Some(first) = forwarded.decisions.first_mut() {
        *first = format!("{name} {} by the rollout; {first}", part.arm.version);
    }
    Watched {
        forwarded,
        took: watch.begun.elapsed(),
    }
}

/// Whether nobody could serve the version.
fn is_nobody(watched: &Watched) -> bool {
    let code = watched.forwarded.code();
    NOBODY.iter().any(|nobody| nobody.as_str() == code)
}

async fn finished(gateway: &Arc<Gateway>, part: &Part, call: &Call, watched: Watched) -> Forwarded {
    let Watched { mut forwarded, took } = watched;
    part.arm.metrics.requests.inc();
    let Ok(response) = &mut forwarded.result else {
        return forwarded;
    };
    if let Ok(version) = HeaderValue::from_str(&part.arm.version) {
        response.headers_mut().insert(headers::ROLLOUT, version);
    }
    if part.arm.is_live && response.status().is_success() {
        // What it took says something of the version only where it was one worker that took it.
        let took = (forwarded.outcome.attempts == 1).then_some(took);
        shadow::copy(gateway, &part.rollout, call, response, took).await;
    }
    forwarded
}

/// Notices that a client leaves before its answer is there: how long it waited tells of a version that hangs.
struct Watch<'a> {
    arm: &'a Arm,
    clock: Clock,
    begun: Instant,
    is_over: bool,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.arm.tally.give_up(self.begun.elapsed(), self.clock.now());
        }
    }
}
