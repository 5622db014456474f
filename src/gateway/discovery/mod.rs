//! Finds workers that no configuration names: by the DNS, or in a file that somebody else writes.
//!
//! Each entry of `[[gateway.discovery]]` is a [`source`] with a task of its own. A DNS source asks [`question`]s
//! ([`dns`]), settles the answers with what it remembers ([`memory`]), and [`look`]s at what follows. What all sources
//! found and the fixed list come together in the [`roster`], whose members the pool gets. See docs/adr/0013.

pub mod dns;
pub mod look;
pub mod memory;
pub mod question;
pub mod roster;
pub mod source;

use std::sync::Arc;

use tokio::task::AbortHandle;

use self::roster::Roster;
use super::Gateway;
use crate::config::{DiscoveryConfig, EndpointConfig};

/// Who the members are, and who looks for more.
#[derive(Debug, Default)]
pub struct Discovery {
    roster: Roster,
    tasks: Vec<(DiscoveryConfig, AbortHandle)>,
}

impl Gateway {
    /// Makes `workers` the fixed list.
    pub fn set_members(self: &Arc<Self>, workers: &[EndpointConfig]) {
        let mut discovery = self.discovery();
        discovery.roster.set_fixed(workers);
        self.take_over_roster(&discovery.roster);
    }

    /// Makes `workers` the fixed list, and `sources` what runs beside it. Sources that stay as they are run on.
    pub fn set_sources(self: &Arc<Self>, workers: &[EndpointConfig], sources: &[DiscoveryConfig]) {
        let mut discovery = self.discovery();
        discovery.roster.set_sources(sources);
        discovery.roster.set_fixed(workers);
        discovery.tasks.retain(|(config, task)| {
            let stays = sources.contains(config);
            if !stays {
                task.abort();
                self.metrics.forget_source(&config.to_string());
            }
            stays
        });
        for config in sources {
            if discovery.tasks.iter().any(|(running, _)| running == config) {
                continue;
            }
            let metrics = self.metrics.of_source(&config.to_string());
            let task = source::spawn(Arc::downgrade(self), config.clone(), metrics);
            discovery.tasks.push((config.clone(), task.abort_handle()));
        }
        self.take_over_roster(&discovery.roster);
    }

    /// Takes in whom a source found.
    fn set_found(self: &Arc<Self>, source: &DiscoveryConfig, found: &[EndpointConfig]) {
        let mut discovery = self.discovery();
        discovery.roster.set_found(source, found);
        self.take_over_roster(&discovery.roster);
    }

    fn take_over_roster(self: &Arc<Self>, roster: &Roster) {
        for worker in roster.left_out() {
            let (id, authority) = (&worker.id, worker.authority.as_str());
            tracing::warn!(
                worker = id,
                authority,
                "this worker is left out: another one has its id"
            );
        }
        self.set_endpoints(&roster.members());
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.tasks.drain(..).for_each(|(_, task)| task.abort());
    }
}
