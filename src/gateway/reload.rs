//! Takes over a changed configuration while requests run.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::Signal;

use super::Gateway;
use crate::config::{Config, ConfigErrors, FollowedFile, GatewayConfig, Layers};

/// Who decides over the members of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// The configuration names them.
    Configured,
    /// A supervisor starts them; what the configuration names is not used.
    Supervised,
}

/// Follows the file at `path`, and takes it over again on each `hangup` (SIGHUP, heard before anybody can send it),
/// until the task is dropped. `layers` are the sources without the file; `running` is the configuration that the
/// process started with.
pub async fn follow(
    gateway: Arc<Gateway>,
    path: PathBuf,
    layers: Layers,
    running: GatewayConfig,
    membership: Membership,
    mut hangup: Signal,
) {
    let mut file = FollowedFile::new(path.clone());
    let mut follower = Follower {
        gateway,
        path,
        layers,
        running,
        membership,
    };
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                file.take_note().await;
                follower.reload("SIGHUP");
            }
            () = file.changed() => follower.reload("file"),
        }
    }
}

struct Follower {
    gateway: Arc<Gateway>,
    path: PathBuf,
    layers: Layers,
    running: GatewayConfig,
    membership: Membership,
}

impl Follower {
    fn reload(&mut self, by: &str) {
        let reloads = &self.gateway.metrics.config_reloads;
        match self.read() {
            Ok(config) => {
                self.gateway.take_over(&self.running, &config);
                self.running = config;
                reloads.with_label_values(&["applied"]).inc();
                self.gateway.metrics.config_generation.inc();
                tracing::info!(by, path = %self.path.display(), "the configuration was taken over");
            }
            Err(errors) => {
                reloads.with_label_values(&["refused"]).inc();
                tracing::error!(by, path = %self.path.display(), %errors, "the configuration was refused; the one before stays in force");
            }
        }
    }

    fn read(&self) -> Result<GatewayConfig, ConfigErrors> {
        let layers = self.layers.clone().with_file(Some(&self.path))?;
        let mut config = Config::check(&layers)?.gateway;
        match self.membership {
            Membership::Configured => config.require_workers()?,
            Membership::Supervised => {
                config.workers.clear();
                config.discovery.clear();
            }
        }
        Ok(config)
    }
}

impl Gateway {
    /// Takes over what differs between two configurations. What did not change there is left alone, so that a weight
    /// or a policy that an operator has set meanwhile survives an edit of something else.
    fn take_over(self: &Arc<Self>, before: &GatewayConfig, after: &GatewayConfig) {
        if after.policy != before.policy {
            tracing::info!(before = %before.policy, after = %after.policy, by = "config", "the policy was changed");
            self.pool.set_policy(after.policy);
        }
        if after.balancing != before.balancing {
            self.pool.set_balancing(&after.balancing);
        }
        if after.workers != before.workers || after.discovery != before.discovery {
            self.set_sources(&after.workers, &after.discovery);
        }
        if after.breaker != before.breaker {
            self.pool.set_breaker(&after.breaker);
        }
        if after.health != before.health {
            self.pool.set_thresholds(&after.health);
        }
        self.rollouts.take_over(&before.rollout, &after.rollout);
        if after.admin_token != before.admin_token && after.admin_token.is_some() {
            tracing::info!(by = "config", "the admin token was changed");
        }
        self.settings.store(Arc::new(after.clone()));
        warn_of_restart(before, after);
    }
}

/// Keys that are read once, when the process starts.
fn warn_of_restart(before: &GatewayConfig, after: &GatewayConfig) {
    let fixed = [
        ("gateway.listen", before.listen != after.listen),
        ("gateway.admin", before.admin != after.admin),
        (
            "gateway.admin_token",
            before.admin_token.is_some() && after.admin_token.is_none(),
        ),
        ("gateway.threads", before.threads != after.threads),
        ("gateway.coalesce", before.coalesce != after.coalesce),
        (
            "gateway.connect_timeout",
            before.connect_timeout != after.connect_timeout,
        ),
        (
            "gateway.max_connections",
            before.http.max_connections != after.http.max_connections,
        ),
        (
            "gateway.header_timeout",
            before.http.header_timeout != after.http.header_timeout,
        ),
        ("gateway.shutdown", before.shutdown != after.shutdown),
    ];
    for (key, _) in fixed.into_iter().filter(|&(_, has_changed)| has_changed) {
        tracing::warn!(key, "this change takes effect at the next start");
    }
}
