//! The configuration: one TOML schema for all roles, environment over file, flags over both.
//!
//! Two steps, two types. [`Layers`] merges the sources into one raw table; [`Config::check`] reads that table into
//! checked types and reports *every* error with its key, not just the first. A [`Config`] in hand is valid: nothing
//! after it needs to ask again whether a weight is positive or an address parses.

mod admin_token;
mod balancing;
mod breaker;
mod check;
mod discovery;
mod engine;
mod follow;
mod gateway;
mod hedging;
mod layers;
mod repository;
mod rollout;
mod section;
mod setting;
mod telemetry;
mod worker;

pub use admin_token::AdminToken;
pub use balancing::{BalancingConfig, Concurrency, HashKey, PolicyName, WeightSource};
pub use breaker::BreakerConfig;
pub use discovery::{DiscoveryConfig, DnsConfig, DnsName, HostPort, Wanted, read_worker_list};
pub use follow::{FollowedFile, Looked};
pub use gateway::{
    EndpointConfig, GatewayConfig, HealthConfig, MAX_WEIGHT, RepositoryCallsConfig, RetryConfig,
};
pub use hedging::HedgingConfig;
pub use layers::Layers;
pub use repository::{RepositoryConfig, ServingConfig, VersionPolicy, Watch};
pub use rollout::{RollbackConfig, RolloutConfig};
pub use section::{ConfigError, ConfigErrors};
pub use telemetry::{LogFormat, TelemetryConfig};
pub use worker::{BatchingConfig, LoadingConfig, ModelConfig, WorkerConfig};

use std::time::Duration;

use serde::Serialize;

use self::setting::duration_text;

/// A checked configuration for all roles.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[gateway]`
    pub gateway: GatewayConfig,
    /// `[worker]`
    pub worker: WorkerConfig,
    /// `[serve]`
    pub serve: ServeConfig,
    /// `[telemetry]`
    pub telemetry: TelemetryConfig,
}

/// `[serve]`: the embedded deployment on one machine.
#[derive(Clone, Debug, PartialEq)]
pub struct ServeConfig {
    /// Worker processes to run; none: one per core, at least 2.
    pub workers: Option<usize>,
}

/// How a server ends: what it does between SIGTERM and its exit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShutdownConfig {
    /// How long requests are still accepted after readiness turned 503, so that balancers can notice.
    #[serde(serialize_with = "duration_text")]
    pub delay: Duration,
    /// How long accepted work may take to finish after that.
    #[serde(serialize_with = "duration_text")]
    pub grace: Duration,
}

/// What both servers need to accept connections safely.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HttpConfig {
    /// The largest request body, in bytes.
    pub max_body: usize,
    /// Connections open at once; more wait in the listen backlog.
    pub max_connections: usize,
    /// How long a client may take to send a request's head, and how long an idle connection is kept.
    #[serde(serialize_with = "duration_text")]
    pub header_timeout: Duration,
}
