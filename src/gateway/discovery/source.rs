//! A source at work: looks again and again, tells the gateway whom it found, and says when it fails.

use std::path::PathBuf;
use std::sync::Weak;
use std::time::{Duration, SystemTime};

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::dns::DnsSource;
use crate::config::{DiscoveryConfig, EndpointConfig, FollowedFile, Looked, read_worker_list};
use crate::gateway::Gateway;
use crate::telemetry::gateway_metrics::SourceMetrics;

/// The most workers that one source may name; what names more is taken for a mistake.
const MAX_ENDPOINTS: usize = 1024;

/// What one look came to. Both are there where a part of it failed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Who is there; none: those of before, as far as anybody knows.
    pub found: Option<Vec<EndpointConfig>>,
    /// What failed.
    pub failure: Option<String>,
}

impl Outcome {
    /// Nothing is known.
    #[must_use]
    pub fn failed(reason: impl Into<String>) -> Self {
        Self {
            found: None,
            failure: Some(reason.into()),
        }
    }
}

/// Runs a source until it leaves the configuration (the task is aborted) or the gateway goes.
pub fn spawn(gateway: Weak<Gateway>, config: DiscoveryConfig, metrics: SourceMetrics) -> JoinHandle<()> {
    let teller = Teller {
        gateway,
        config: config.clone(),
        metrics,
        found: None,
        failure: None,
    };
    match config {
        DiscoveryConfig::Dns(config) => {
            let period = config.interval;
            tokio::spawn(look_up(DnsSource::new(config), period, teller))
        }
        DiscoveryConfig::File { file } => tokio::spawn(follow(file, teller)),
    }
}

async fn look_up(mut source: DnsSource, period: Duration, mut teller: Teller) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        teller.tell(source.look().await);
    }
}

async fn follow(path: PathBuf, mut teller: Teller) {
    let mut file = FollowedFile::unread(path);
    let mut last = Outcome::failed("it was not read yet");
    loop {
        match file.look().await {
            Looked::Unreadable(error) => teller.tell(Outcome::failed(error.to_string())),
            Looked::Unchanged => teller.tell(last.clone()),
            Looked::Changed => {
                last = listed(file.text());
                teller.tell(last.clone());
            }
        }
    }
}

fn listed(text: &str) -> Outcome {
    match read_worker_list(text) {
        Ok(found) => Outcome {
            found: Some(found),
            failure: None,
        },
        Err(errors) => Outcome::failed(errors.to_string()),
    }
}

/// Tells the gateway, the metrics and the log; each piece of news once.
struct Teller {
    gateway: Weak<Gateway>,
    config: DiscoveryConfig,
    metrics: SourceMetrics,
    found: Option<Vec<EndpointConfig>>,
    failure: Option<String>,
}

impl Teller {
    fn tell(&mut self, outcome: Outcome) {
        let Outcome { found, failure } = within_bounds(outcome);
        self.tell_failure(failure);
        if found.is_some() && found != self.found {
            self.tell_found(found.unwrap_or_default());
        }
    }

    fn tell_failure(&mut self, failure: Option<String>) {
        let source = &self.config;
        match &failure {
            Some(reason) => {
                self.metrics.failures.inc();
                if self.failure.as_ref() != Some(reason) {
                    tracing::warn!(%source, reason, "a source of workers failed; whom it named before stays");
                }
            }
            None => {
                self.metrics.last_success.set(unix_time());
                if self.failure.is_some() {
                    tracing::info!(%source, "the source of workers is well again");
                }
            }
        }
        self.failure = failure;
    }

    fn tell_found(&mut self, found: Vec<EndpointConfig>) {
        let Some(gateway) = self.gateway.upgrade() else {
            return;
        };
        let before = self.found.take().unwrap_or_default();
        tracing::info!(
            source = %self.config,
            workers = found.len(),
            joined = names(&found, &before),
            left = names(&before, &found),
            "a source of workers names others than before"
        );
        self.metrics
            .endpoints
            .set(i64::try_from(found.len()).unwrap_or(i64::MAX));
        gateway.set_found(&self.config, &found);
        self.found = Some(found);
    }
}

fn within_bounds(outcome: Outcome) -> Outcome {
    match &outcome.found {
        Some(found) if found.len() > MAX_ENDPOINTS => {
            let count = found.len();
            Outcome::failed(format!("{count} workers; expected at most {MAX_ENDPOINTS}"))
        }
        _ => outcome,
    }
}

/// The ids of those in `these` that are not in `others`.
fn names(these: &[EndpointConfig], others: &[EndpointConfig]) -> String {
    let is_new = |worker: &&EndpointConfig| !others.iter().any(|other| other.id == worker.id);
    let names: Vec<_> = these
        .iter()
        .filter(is_new)
        .map(|worker| worker.id.as_str())
        .collect();
    names.join(", ")
}

#[expect(
    clippy::disallowed_methods,
    reason = "whoever reads the metric compares it with a wall clock"
)]
fn unix_time() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
