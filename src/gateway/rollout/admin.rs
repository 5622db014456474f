//! The handlers of operators: shows and changes rollouts, and shows comparisons.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use serde::Serialize;

use super::{Arm, Rollout, Split};
use crate::api::error::{ApiError, ErrorCode};
use crate::config::RolloutConfig;
use crate::gateway::Gateway;
use crate::gateway::admin::whole_millis;
use crate::gateway::balance::Moment;
use crate::http::body;
use crate::http::reply::{self, unreadable_path};
use crate::model::name::is_model_name;

#[derive(Serialize)]
struct Shown {
    rollouts: Vec<ShownRollout>,
}

#[derive(Serialize)]
struct ShownRollout {
    model: String,
    /// With the shares that are in force.
    config: RolloutConfig,
    versions: Vec<ShownArm>,
}

/// A version, and what came of its requests within the window of `rollback`.
#[derive(Serialize)]
struct ShownArm {
    version: String,
    is_live: bool,
    /// In force.
    share: f64,
    requests: u32,
    failures: u32,
    error_rate: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p95_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    taken_back: Option<ShownReason>,
}

#[derive(Serialize)]
struct ShownReason {
    /// The share that it had.
    share: f64,
    cause: &'static str,
    reason: String,
    ago_ms: u64,
}

#[derive(Serialize)]
struct Comparisons {
    comparisons: Vec<ShownComparison>,
}

#[derive(Serialize)]
struct ShownComparison {
    model: String,
    live: String,
    shadow: String,
    /// What live and the shadow call themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    versions: Option<[String; 2]>,
    compared: u64,
    different: u64,
    not_comparable: u64,
    failed: u64,
    dropped: u64,
    max_abs_difference: f64,
    /// Of all classes; none where there were none.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed_classes: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ratio: Option<f64>,
    /// How long it has been going on.
    since_ms: u64,
}

impl ShownRollout {
    fn of(rollout: &Rollout, now: Moment) -> Self {
        let splits = rollout.splits.iter().zip(&rollout.shares);
        let splits = splits.map(|(split, &share)| ShownArm {
            taken_back: ShownReason::of(split, now),
            ..ShownArm::of(&split.arm, share, now)
        });
        let live = ShownArm::of(&rollout.live, rollout.live_share(), now);
        Self {
            model: rollout.model.clone(),
            config: rollout.config_in_force(),
            versions: [live].into_iter().chain(splits).collect(),
        }
    }
}

impl ShownArm {
    fn of(arm: &Arm, share: f64, now: Moment) -> Self {
        let sample = arm.tally.sample(now);
        let quantile = |share| {
            let latency = sample.latencies.quantile(share)?;
            Some(latency.as_secs_f64() * 1e3)
        };
        Self {
            version: arm.version.clone(),
            is_live: arm.is_live,
            share,
            requests: sample.requests,
            failures: sample.failures,
            error_rate: sample.error_rate(),
            p50_ms: quantile(0.5),
            p95_ms: quantile(0.95),
            taken_back: None,
        }
    }
}

impl ShownReason {
    fn of(split: &Split, now: Moment) -> Option<Self> {
        let taken_back = split.taken_back.as_ref()?;
        Some(Self {
            share: split.share,
            cause: taken_back.reason.as_str(),
            reason: taken_back.reason.to_string(),
            ago_ms: whole_millis(now.since(taken_back.at)),
        })
    }
}

/// `GET /admin/rollouts`
pub(in crate::gateway) async fn rollouts(State(gateway): State<Arc<Gateway>>) -> Response {
    let now = gateway.clock.now();
    let all = gateway.rollouts.all();
    reply::json(&Shown {
        rollouts: all
            .values()
            .map(|rollout| ShownRollout::of(rollout, now))
            .collect(),
    })
}

/// `GET /admin/rollouts/{model}`
pub(in crate::gateway) async fn rollout(
    State(gateway): State<Arc<Gateway>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let Path(model) = path.map_err(|rejection| unreadable_path(&rejection))?;
    show(&gateway, &model)
}

/// `PUT /admin/rollouts/{model}`
pub(in crate::gateway) async fn change(
    State(gateway): State<Arc<Gateway>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let Path(model) = path.map_err(|rejection| unreadable_path(&rejection))?;
    if !is_model_name(&model) {
        let message = format!(
            "expected the name of a model: letters, digits, '.', '_' and '-'; found {:?}",
            model.chars().take(128).collect::<String>()
        );
        return Err(ApiError::invalid_input(message));
    }
    let wanted = RolloutConfig::from_json(body::read_small_json(request).await?)
        .map_err(|errors| ApiError::invalid_input(errors.joined("; ")))?;
    gateway.rollouts.set(&model, Some(&wanted), "admin");
    show(&gateway, &model)
}

/// `DELETE /admin/rollouts/{model}`
pub(in crate::gateway) async fn end(
    State(gateway): State<Arc<Gateway>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let Path(model) = path.map_err(|rejection| unreadable_path(&rejection))?;
    if !gateway.rollouts.set(&model, None, "admin") {
        return Err(unknown(&model));
    }
    Ok(rollouts(State(gateway)).await)
}

/// `GET /admin/comparison`
pub(in crate::gateway) async fn comparisons(State(gateway): State<Arc<Gateway>>) -> Response {
    let now = gateway.clock.now();
    let all = gateway.rollouts.all();
    let shown = |rollout: &Arc<Rollout>| {
        let shadow = rollout.shadow.as_ref()?;
        let figures = shadow.figures();
        Some(ShownComparison {
            model: rollout.model.clone(),
            live: rollout.config.live.clone(),
            shadow: rollout.config.shadow.clone()?,
            compared: figures.compared,
            different: figures.different,
            not_comparable: figures.not_comparable,
            failed: figures.failed,
            dropped: shadow.dropped(),
            max_abs_difference: figures.max_abs_difference,
            changed_classes: figures.changed_classes(),
            latency_ratio: figures.latency_ratio(),
            since_ms: whole_millis(now.since(figures.since)),
            versions: figures.versions,
        })
    };
    reply::json(&Comparisons {
        comparisons: all.values().filter_map(shown).collect(),
    })
}

fn show(gateway: &Gateway, model: &str) -> Result<Response, ApiError> {
    let rollout = gateway.rollouts.of(model).ok_or_else(|| unknown(model))?;
    Ok(reply::json(&ShownRollout::of(&rollout, gateway.clock.now())))
}

fn unknown(model: &str) -> ApiError {
    let model: String = model.chars().take(128).collect();
    ApiError::new(ErrorCode::NotFound, format!("model {model:?} has no rollout"))
}
