//! `[gateway]`

use std::collections::{BTreeMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::thread::available_parallelism;
use std::time::Duration;

use axum::http::Uri;
use axum::http::uri::{Authority, Scheme};
use serde::Serialize;
use toml::Value;

use super::admin_token::AdminToken;
use super::balancing::{BalancingConfig, PolicyName};
use super::breaker::BreakerConfig;
use super::check::body_size;
use super::discovery::{DiscoveryConfig, read_discovery};
use super::hedging::HedgingConfig;
use super::rollout::{RolloutConfig, read_rollouts};
use super::section::{ConfigError, ConfigErrors, Section};
use super::setting::{Setting, authority_text, duration_text};
use super::worker::{at_least_one, default_model, positive};
use super::{HttpConfig, ShutdownConfig};

/// The largest weight of an endpoint: the weighted schedule is laid out in memory, one entry a turn.
pub const MAX_WEIGHT: u32 = 1000;

/// How the gateway balances, judges and forwards.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GatewayConfig {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where operators connect.
    pub admin: SocketAddr,
    /// What operators must present; needed where `admin` is not on loopback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_token: Option<AdminToken>,
    /// Which policy picks an endpoint.
    pub policy: PolicyName,
    /// The model of a request that names none.
    pub default_model: Option<String>,
    /// The longest that a request may take, retries included; a client can ask for less.
    #[serde(serialize_with = "duration_text")]
    pub deadline: Duration,
    /// How long a connection to a worker may take to come about.
    #[serde(serialize_with = "duration_text")]
    pub connect_timeout: Duration,
    /// Requests in flight at once; more are refused as `overloaded`.
    pub max_in_flight: usize,
    /// Threads for connections; none: one per core.
    pub threads: Option<usize>,
    /// Whether small predictions that wait for one worker at the same time travel together.
    pub coalesce: bool,
    /// Whether workers on this machine are asked without a network.
    pub local_sockets: bool,
    /// What it accepts.
    #[serde(flatten)]
    pub http: HttpConfig,
    /// How it ends.
    pub shutdown: ShutdownConfig,
    /// Over whom it balances.
    pub workers: Vec<EndpointConfig>,
    /// Where it finds more of them.
    pub discovery: Vec<DiscoveryConfig>,
    /// What the policies go by.
    pub balancing: BalancingConfig,
    /// How workers are asked for their health.
    pub health: HealthConfig,
    /// When an endpoint is ejected for a model.
    pub breaker: BreakerConfig,
    /// When a request is tried again.
    pub retry: RetryConfig,
    /// When a prediction is sent to a second worker as well.
    pub hedging: HedgingConfig,
    /// What a load request of the model repository may take.
    pub repository: RepositoryCallsConfig,
    /// Which versions share the requests that name none, for each model that has such a rule.
    pub rollout: BTreeMap<String, RolloutConfig>,
}

/// One worker, as the gateway's configuration names it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EndpointConfig {
    /// Its name in metrics, logs and admin.
    pub id: String,
    /// Host and port.
    #[serde(rename = "url", serialize_with = "authority_text")]
    pub authority: Authority,
    /// Its share under weighted policies; 0 takes nothing.
    pub weight: u32,
}

/// `[gateway.health]`: active probes and how many agree before an endpoint changes its state.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HealthConfig {
    /// Time between two probes of one endpoint.
    #[serde(serialize_with = "duration_text")]
    pub interval: Duration,
    /// How long a probe waits for its answer.
    #[serde(serialize_with = "duration_text")]
    pub timeout: Duration,
    /// Share of the interval by which each probe is moved at random, so that gateways do not probe in step.
    pub jitter: f64,
    /// Good probes in a row that bring an endpoint back.
    pub rise: u32,
    /// Failures in a row that take it out.
    pub fall: u32,
}

/// `[gateway.retry]`: when a request is tried again on another endpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RetryConfig {
    /// Tries of one request, the first included.
    pub max_attempts: u32,
    /// Retries per request over the last ten seconds, so that retries cannot multiply an overload.
    pub budget: f64,
    /// The longest pause before the first retry; it doubles with each.
    #[serde(serialize_with = "duration_text")]
    pub backoff: Duration,
}

/// `[gateway.repository]`: requests that load a model on every worker.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RepositoryCallsConfig {
    /// Their largest body, in bytes.
    pub max_upload: usize,
    /// How long one may take.
    #[serde(serialize_with = "duration_text")]
    pub load_timeout: Duration,
}

impl GatewayConfig {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let workers = read_workers(&mut section);
        let discovery = read_discovery(&mut section);
        let http = HttpConfig::read(&mut section);
        let admin = section.value("admin", loopback(8081));
        let config = Self {
            listen: section.value("listen", loopback(8080)),
            admin,
            admin_token: AdminToken::read(&mut section, Some(admin)),
            policy: section.value("policy", PolicyName::RoundRobin),
            default_model: default_model(&mut section),
            deadline: positive(&mut section, "deadline", Duration::from_secs(10)),
            connect_timeout: positive(&mut section, "connect_timeout", Duration::from_secs(1)),
            max_in_flight: at_least_one(&mut section, "max_in_flight", 1024),
            threads: section.optional("threads"),
            coalesce: section.value("coalesce", true),
            local_sockets: section.value("local_sockets", true),
            repository: RepositoryCallsConfig::read(section.section("repository"), &http),
            http,
            shutdown: ShutdownConfig::read(section.section("shutdown")),
            workers,
            discovery,
            balancing: BalancingConfig::read(section.section("balancing")),
            health: HealthConfig::read(section.section("health")),
            breaker: BreakerConfig::read(section.section("breaker")),
            retry: RetryConfig::read(section.section("retry")),
            hedging: HedgingConfig::read(section.section("hedging")),
            rollout: read_rollouts(section.section("rollout")),
        };
        if config.threads == Some(0) {
            section.report("threads", "expected a whole number, 1 or more; found 0");
        }
        section.finish();
        config
    }
}

impl GatewayConfig {
    /// How many threads serve connections.
    #[must_use]
    pub fn network_threads(&self) -> NonZero<usize> {
        let configured = self.threads.and_then(NonZero::new);
        configured.unwrap_or_else(|| available_parallelism().unwrap_or(NonZero::<usize>::MIN))
    }

    /// Refuses a configuration that names no worker and nowhere to find one, where nobody else starts some.
    pub fn require_workers(&self) -> Result<(), ConfigErrors> {
        if !self.workers.is_empty() || !self.discovery.is_empty() {
            return Ok(());
        }
        Err(ConfigErrors(vec![ConfigError {
            key: "gateway.workers".into(),
            problem: "is empty; expected at least one [[gateway.workers]] with id and url, or a [[gateway.discovery]]".into(),
        }]))
    }
}

impl HealthConfig {
    fn read(mut section: Section<'_>) -> Self {
        let at_least_once = "a whole number, 1 or more";
        let config = Self {
            interval: positive(&mut section, "interval", Duration::from_secs(2)),
            timeout: positive(&mut section, "timeout", Duration::from_secs(1)),
            jitter: section.checked(
                "jitter",
                0.1,
                |share| (0.0..=1.0).contains(share),
                "a share from 0 to 1",
            ),
            rise: section.checked("rise", 2, |&count| count >= 1, at_least_once),
            fall: section.checked("fall", 3, |&count| count >= 1, at_least_once),
        };
        section.finish();
        config
    }
}

impl RetryConfig {
    fn read(mut section: Section<'_>) -> Self {
        let attempts_fit = |attempts: &u32| (1..=10).contains(attempts);
        let config = Self {
            max_attempts: section.checked(
                "max_attempts",
                2,
                attempts_fit,
                "a whole number from 1 (no retry) to 10",
            ),
            budget: section.checked(
                "budget",
                0.2,
                |budget| (0.0..=1.0).contains(budget),
                "a share from 0 to 1",
            ),
            backoff: section.value("backoff", Duration::from_millis(10)),
        };
        section.finish();
        config
    }
}

impl RepositoryCallsConfig {
    fn read(mut section: Section<'_>, http: &HttpConfig) -> Self {
        let config = Self {
            max_upload: body_size(&mut section, "max_upload", http.max_body),
            load_timeout: positive(&mut section, "load_timeout", Duration::from_secs(180)),
        };
        section.finish();
        config
    }
}

/// `[[gateway.workers]]`
pub(super) fn read_workers(section: &mut Section<'_>) -> Vec<EndpointConfig> {
    let mut workers = Vec::new();
    let mut ids = HashSet::new();
    let mut total_weight = 0;
    let listed = section.list("workers");
    let is_empty = listed.is_empty();
    for mut item in listed {
        let id: Option<String> = item.required("id");
        let url: Option<WorkerUrl> = item.required("url");
        let weight = weight(&mut item);
        total_weight += weight;
        if let Some(id) = &id {
            if !crate::model::name::is_model_name(id) {
                item.report(
                    "id",
                    format!("expected letters, digits, '.', '_' and '-'; found {id:?}"),
                );
            }
            if !ids.insert(id.clone()) {
                item.report("id", format!("{id:?} is taken by another worker"));
            }
        }
        item.finish();
        if let (Some(id), Some(WorkerUrl(authority))) = (id, url) {
            workers.push(EndpointConfig {
                id,
                authority,
                weight,
            });
        }
    }
    if !is_empty && total_weight == 0 {
        section.report(
            "workers",
            "every weight is 0, so nobody could take a request; give at least one a weight",
        );
    }
    workers
}

/// The weight of an endpoint.
pub(super) fn weight(section: &mut Section<'_>) -> u32 {
    section.checked(
        "weight",
        1,
        |&weight| weight <= MAX_WEIGHT,
        "a whole number from 0 to 1000",
    )
}

/// `http://host:port`, nothing after it.
struct WorkerUrl(Authority);

impl Setting for WorkerUrl {
    fn expected() -> String {
        "an address such as \"http://worker-a:9000\"".into()
    }
    fn read(value: &Value) -> Option<Self> {
        let url: Uri = value.as_str()?.parse().ok()?;
        let is_plain =
            url.scheme() == Some(&Scheme::HTTP) && matches!(url.path(), "" | "/") && url.query().is_none();
        let authority = url.into_parts().authority?;
        let has_user = authority.as_str().contains('@');
        (is_plain && !has_user && !authority.host().is_empty()).then_some(Self(authority))
    }
}
