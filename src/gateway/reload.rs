//! Takes over a changed configuration while requests run.
//!
//! The file is read twice a second rather than watched: watches do not see a change through bind mounts of single
//! files, network file systems or the symbolic links of a Kubernetes ConfigMap, and a few kilobytes cost nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::Gateway;
use crate::config::{Config, ConfigErrors, GatewayConfig, Layers};

/// Time between two looks at the file.
const INTERVAL: Duration = Duration::from_millis(500);
/// A file that changed is taken over once it stays the same this long: an editor may still be writing it, and the
/// first half of a file can be a valid configuration without workers.
const SETTLED: Duration = Duration::from_millis(200);

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
    let mut follower = Follower {
        gateway,
        path,
        layers,
        running,
        membership,
    };
    let mut text = std::fs::read_to_string(&follower.path).ok();
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                text = tokio::fs::read_to_string(&follower.path).await.ok();
                follower.reload("SIGHUP");
            }
            _ = ticks.tick() => {
                let now = settled(&follower.path, text.as_deref()).await;
                if now.is_some() && now != text {
                    text = now;
                    follower.reload("file");
                }
            }
        }
    }
}

/// The text of the file, once it no longer changes from one look to the next.
async fn settled(path: &Path, known: Option<&str>) -> Option<String> {
    let mut text = tokio::fs::read_to_string(path).await.ok()?;
    if known == Some(text.as_str()) {
        return Some(text);
    }
    loop {
        sleep(SETTLED).await;
        let again = tokio::fs::read_to_string(path).await.ok()?;
        if again == text {
            return Some(text);
        }
        text = again;
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
            Membership::Supervised => config.workers.clear(),
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
        if after.workers != before.workers {
            self.set_members(&after.workers);
        }
        if after.health != before.health {
            self.pool.set_thresholds(&after.health);
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
        ("gateway.threads", before.threads != after.threads),
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
