//! The handlers of the admin listener: shows what the gateway knows, and changes it live.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::Gateway;
use super::balance::Moment;
use super::circuit::Breaker;
use super::endpoint::Known;
use super::health::judge::Health;
use super::pool::{Member, PoolError, ShareChange};
use super::snapshot::Snapshot;
use crate::api::error::{ApiError, ErrorCode};
use crate::config::{BalancingConfig, GatewayConfig, MAX_WEIGHT, PolicyName};
use crate::http::body;
use crate::http::reply::{self, unreadable_path};

#[derive(Serialize)]
struct Workers {
    policy: &'static str,
    generation: u64,
    workers: Vec<Worker>,
}

#[derive(Serialize)]
struct Worker {
    id: String,
    url: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    weight: u32,
    drain: bool,
    in_flight: u32,
    /// Over all of its requests so far; none where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    mean_latency_ms: Option<f64>,
    /// What is known of it for each model.
    loads: Vec<ModelLoad>,
    /// Those that it has ready in some version.
    models: Vec<String>,
}

/// What is known of a worker for one model; each figure where there is one.
#[derive(Serialize)]
struct ModelLoad {
    model: String,
    /// The peak-sensitive moving average of its latencies, as it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<f32>,
    /// Whether it has more to do than most that serve the model (`hot`), so that `prequal` leaves it alone, or not (`cold`);
    /// none where it takes no requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    heat: Option<&'static str>,
    /// Requests that it has now, and how many it is to have at once.
    in_flight: u32,
    limit: u32,
    /// Requests per second that it could answer, by what it says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    capacity: Option<f32>,
    /// What it last said of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    told: Option<ToldLoad>,
    /// Whether it is ejected, and what came of its requests.
    circuit: Circuit,
}

#[derive(Serialize)]
struct Circuit {
    state: &'static str,
    /// Until the ejection ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    until_ms: Option<u64>,
    /// Ejections in a row, less those that are forgiven.
    times: u32,
    /// Over the last ten seconds.
    successes: u32,
    /// The same.
    failures: u32,
    consecutive_failures: u32,
}

#[derive(Serialize)]
struct ToldLoad {
    in_flight: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<f64>,
    age_ms: u64,
    /// Requests that were sent there since.
    uses: u32,
}

impl ModelLoad {
    fn of(model: &str, known: &Known, breaker: Breaker, now: Moment, settings: &GatewayConfig) -> Self {
        let load = &known.load;
        let told = load.last_signal().map(|(told, at)| ToldLoad {
            in_flight: told.in_flight,
            latency_ms: told.latency_micros.map(|micros| f64::from(micros) / 1e3),
            age_ms: whole_millis(now.since(at)),
            uses: told.uses,
        });
        Self {
            model: model.to_owned(),
            latency_ms: load
                .latency_micros(now, settings.balancing.decay)
                .map(|micros| micros / 1e3),
            heat: None,
            in_flight: load.awaited(),
            limit: load.limit.get(),
            capacity: load.capacity(),
            told,
            circuit: Circuit::of(known, breaker, now, settings.breaker.ejection),
        }
    }
}

impl Circuit {
    fn of(known: &Known, breaker: Breaker, now: Moment, base: Duration) -> Self {
        let counts = known.circuit.window.counts(now);
        Self {
            state: breaker.state().as_str(),
            until_ms: breaker.open_until().map(|until| whole_millis(until.since(now))),
            times: breaker.times(now, base),
            successes: counts.successes,
            failures: counts.failures,
            consecutive_failures: counts.consecutive,
        }
    }
}

pub(super) fn whole_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Worker {
    fn of(member: &Member, now: Moment, settings: &GatewayConfig) -> Self {
        let endpoint = &member.endpoint;
        let duration = &endpoint.metrics.duration;
        let count = duration.get_sample_count();
        Self {
            id: endpoint.id.to_string(),
            url: format!("http://{}", endpoint.address.authority()),
            state: match member.health {
                _ if member.is_drained => "drained",
                Health::Unknown => "unknown",
                Health::Up { .. } => "up",
                Health::Down { .. } => "down",
            },
            reason: member.reason.clone(),
            weight: member.weight,
            drain: member.is_drained,
            in_flight: endpoint.in_flight(),
            mean_latency_ms: (count > 0).then(|| duration.get_sample_sum() / count as f64 * 1e3),
            loads: endpoint
                .known()
                .iter()
                .map(|(model, known)| ModelLoad::of(model, known, member.breaker_of(model), now, settings))
                .collect(),
            models: member
                .models
                .models
                .iter()
                .filter(|model| model.has_ready(None))
                .map(|model| model.name.clone())
                .collect(),
        }
    }
}

/// `GET /admin/workers`
pub async fn workers(State(gateway): State<Arc<Gateway>>) -> Response {
    let snapshot = Arc::clone(&gateway.pool.snapshot());
    let (now, settings) = (gateway.clock.now(), gateway.settings());
    let members = gateway.pool.members();
    let mut workers: Vec<_> = members
        .iter()
        .map(|member| Worker::of(member, now, &settings))
        .collect();
    show_heat(&mut workers, &snapshot, &settings.balancing, now);
    reply::json(&Workers {
        policy: snapshot.policy.as_str(),
        generation: snapshot.generation,
        workers,
    })
}

fn show_heat(workers: &mut [Worker], snapshot: &Snapshot, balancing: &BalancingConfig, now: Moment) {
    let mut by_id: HashMap<String, &mut Worker> = HashMap::new();
    for worker in workers {
        by_id.insert(worker.id.clone(), worker);
    }
    for (model, route) in &snapshot.models {
        for (place, is_hot) in route.any_version.heat(balancing, now) {
            let worker = by_id.get_mut(&*place.endpoint.id);
            let loads = worker.into_iter().flat_map(|worker| &mut worker.loads);
            for load in loads.filter(|load| *load.model == **model) {
                load.heat = Some(if is_hot { "hot" } else { "cold" });
            }
        }
    }
}

#[derive(Serialize)]
struct PolicyInForce {
    policy: &'static str,
    generation: u64,
    choices: Vec<&'static str>,
}

/// `GET /admin/policy`
pub async fn policy(State(gateway): State<Arc<Gateway>>) -> Response {
    let snapshot = gateway.pool.snapshot();
    reply::json(&PolicyInForce {
        policy: snapshot.policy.as_str(),
        generation: snapshot.generation,
        choices: PolicyName::ALL.map(PolicyName::as_str).to_vec(),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyChange {
    policy: String,
}

/// `PUT /admin/policy`
pub async fn change_policy(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
) -> Result<Response, ApiError> {
    let change: PolicyChange = body::read_small_json(request).await?;
    let wanted = PolicyName::parse(&change.policy).ok_or_else(|| {
        let message = format!(
            "policy takes one of {}; found {:?}",
            PolicyName::choices(),
            change.policy
        );
        ApiError::invalid_input(message)
    })?;
    let before = gateway.pool.snapshot().policy;
    gateway.pool.set_policy(wanted);
    tracing::info!(%before, after = %wanted, by = "admin", "the policy was changed");
    Ok(policy(State(gateway)).await)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkerChange {
    weight: Option<u32>,
    drain: Option<bool>,
    #[serde(default)]
    force: bool,
}

/// What operators can change of a worker, as the log shows it.
fn share_of(gateway: &Gateway, id: &str) -> Option<String> {
    let members = gateway.pool.members();
    let member = members.iter().find(|member| *member.endpoint.id == *id)?;
    let drained = if member.is_drained { ", drained" } else { "" };
    Some(format!("weight {}{drained}", member.weight))
}

/// `PUT /admin/workers/{id}`
pub async fn change_worker(
    State(gateway): State<Arc<Gateway>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let Path(id) = path.map_err(|rejection| unreadable_path(&rejection))?;
    let change: WorkerChange = body::read_small_json(request).await?;
    if change.weight.is_some_and(|weight| weight > MAX_WEIGHT) {
        let message = format!("weight takes a whole number from 0 to {MAX_WEIGHT}");
        return Err(ApiError::invalid_input(message));
    }
    let before = share_of(&gateway, &id);
    let change = ShareChange {
        weight: change.weight,
        is_drained: change.drain,
        is_forced: change.force,
    };
    gateway
        .pool
        .change_share(&id, change)
        .map_err(|error| refused(&error))?;
    let after = share_of(&gateway, &id);
    tracing::info!(worker = id, before, after, by = "admin", "a worker was changed");
    Ok(workers(State(gateway)).await)
}

fn refused(error: &PoolError) -> ApiError {
    let code = match error {
        PoolError::UnknownMember(_) => ErrorCode::NotFound,
        PoolError::NobodyLeft => ErrorCode::InvalidInput,
    };
    ApiError::new(code, error.to_string())
}

#[derive(Serialize)]
struct ConfigInForce {
    #[serde(flatten)]
    settings: GatewayConfig,
    /// The workers that an operator gave another weight than their list does, or drained; also those that the
    /// configuration does not name.
    changed_by_admin: Vec<ChangedWorker>,
}

#[derive(Serialize)]
struct ChangedWorker {
    id: String,
    weight: u32,
    drain: bool,
}

/// `GET /admin/config`
pub async fn config(State(gateway): State<Arc<Gateway>>) -> Response {
    let members = gateway.pool.members();
    let changed = members.iter().filter(|member| member.is_changed());
    reply::json(&ConfigInForce {
        settings: gateway.settings_in_force(),
        changed_by_admin: changed
            .map(|member| ChangedWorker {
                id: member.endpoint.id.to_string(),
                weight: member.weight,
                drain: member.is_drained,
            })
            .collect(),
    })
}
