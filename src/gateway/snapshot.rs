//! One immutable view of who may take which request. A request works with one snapshot at a time, so that policy,
//! weights, health and models always fit together; any change makes a new one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::RngExt;

use super::balance::{self, Moment, Pick, Policy};
use super::endpoint::Endpoint;
use crate::config::PolicyName;

/// Who may take which request.
#[derive(Debug)]
pub struct Snapshot {
    /// Grows by one with every snapshot.
    pub generation: u64,
    /// The policy in force.
    pub policy: PolicyName,
    /// Every model that any member is known to have.
    pub models: HashMap<Arc<str>, ModelRoute>,
    /// Whether some member was never seen, so that a model nobody knows may yet turn up.
    pub is_partial: bool,
}

/// Who serves one model.
#[derive(Debug)]
pub struct ModelRoute {
    /// The model, as metrics and log lines name it.
    pub name: Arc<str>,
    /// Those with any version ready.
    pub any_version: Candidates,
    /// Those with a certain version ready, by its number or a label; a version that is known and ready nowhere has no candidates.
    pub versions: HashMap<Box<str>, Candidates>,
}

/// Endpoints of which a policy picks one.
#[derive(Debug)]
pub struct Candidates {
    endpoints: Vec<Arc<Endpoint>>,
    policy: Box<dyn Policy>,
    turns: Turns,
}

/// Counts the first picks from one set over all its snapshots, so that a change does not start a cycle anew.
pub type Turns = Arc<AtomicU64>;

/// Why nobody can take a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoute {
    /// Nobody has such a model.
    UnknownModel,
    /// Nobody has such a version of the model.
    UnknownVersion,
    /// Somebody has it, and nobody can serve it now.
    NoWorker,
}

impl Snapshot {
    /// Picks who serves `model`, other than those in `tried`.
    pub fn pick(
        &self,
        model: &str,
        version: Option<&str>,
        tried: &[Arc<Endpoint>],
    ) -> Result<(Arc<str>, Arc<Endpoint>), NoRoute> {
        let unknown = |otherwise| {
            if self.is_partial {
                NoRoute::NoWorker
            } else {
                otherwise
            }
        };
        let route = self.models.get(model).ok_or(unknown(NoRoute::UnknownModel))?;
        let candidates = match version {
            None => &route.any_version,
            Some(version) => route
                .versions
                .get(version)
                .ok_or(unknown(NoRoute::UnknownVersion))?,
        };
        let endpoint = candidates.pick(tried).ok_or(NoRoute::NoWorker)?;
        Ok((route.name.clone(), endpoint.clone()))
    }

    /// Whether anybody can take any request.
    #[must_use]
    pub fn serves_anything(&self) -> bool {
        self.models
            .values()
            .any(|route| !route.any_version.endpoints.is_empty())
    }
}

impl Candidates {
    /// These endpoints with their weights; one with weight 0 takes nothing under any policy.
    #[must_use]
    pub fn new(policy: PolicyName, weighted: Vec<(Arc<Endpoint>, u32)>, turns: Turns) -> Self {
        let (endpoints, weights): (Vec<_>, Vec<_>) =
            weighted.into_iter().filter(|&(_, weight)| weight > 0).unzip();
        Self {
            policy: balance::build(policy, &weights),
            endpoints,
            turns,
        }
    }

    fn pick(&self, tried: &[Arc<Endpoint>]) -> Option<&Arc<Endpoint>> {
        let mut rng = rand::rng();
        // A retry starts anywhere and takes nobody's turn. If it took the next one, two workers in turn would send
        // every first try to the same one, though it fails.
        let turn = if tried.is_empty() {
            self.turns.fetch_add(1, Ordering::Relaxed)
        } else {
            rng.random()
        };
        let avoid = self.indices_of(tried);
        let index = self.policy.pick(Pick {
            turn,
            key: None,
            avoid: &avoid,
            now: Moment::default(),
            rng: &mut rng,
        })?;
        self.endpoints.get(index)
    }

    fn indices_of(&self, tried: &[Arc<Endpoint>]) -> Vec<usize> {
        if tried.is_empty() {
            return Vec::new();
        }
        let was_tried = |endpoint: &Arc<Endpoint>| tried.iter().any(|other| Arc::ptr_eq(endpoint, other));
        self.endpoints
            .iter()
            .enumerate()
            .filter(|(_, endpoint)| was_tried(endpoint))
            .map(|(index, _)| index)
            .collect()
    }
}
