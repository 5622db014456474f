//! One immutable view of who may take which request. A request works with one snapshot at a time, so that policy,
//! weights, health and models always fit together; any change makes a new one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::RngExt;

use super::balance::{self, Candidate, Load, Moment, Pick, Policy, hash, slow_start};
use super::endpoint::Endpoint;
use crate::config::{BalancingConfig, PolicyName};

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

/// An endpoint that may take requests for a model.
#[derive(Clone, Debug)]
pub struct Place {
    /// The worker.
    pub endpoint: Arc<Endpoint>,
    /// What is known of it for this model.
    pub load: Arc<Load>,
    /// Its share; 0 takes nothing under any policy.
    pub weight: u32,
    /// When it came (back).
    pub up_since: Moment,
}

/// Places of which a policy picks one.
#[derive(Debug)]
pub struct Candidates {
    places: Box<[Place]>,
    policy: Box<dyn Policy>,
    turns: Turns,
    slow_start: Duration,
    /// From then on nobody is in its slow start any more.
    slow_until: Moment,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The model.
    pub model: &'a str,
    /// A version's number or a label; none: any version.
    pub version: Option<&'a str>,
    /// What the request is to stay with, hashed.
    pub key: Option<u64>,
}

/// Who takes a request.
#[derive(Clone, Debug)]
pub struct Picked {
    /// The model, as metrics and log lines name it.
    pub model: Arc<str>,
    /// The worker.
    pub endpoint: Arc<Endpoint>,
    /// What is known of it for this model.
    pub load: Arc<Load>,
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
    /// Picks who takes a request, other than those in `tried`.
    pub fn pick(
        &self,
        question: Question<'_>,
        tried: &[Arc<Endpoint>],
        now: Moment,
    ) -> Result<Picked, NoRoute> {
        let (route, candidates) = self.find(question)?;
        let place = candidates
            .pick(question.key, tried, now)
            .ok_or(NoRoute::NoWorker)?;
        Ok(Picked {
            model: Arc::clone(&route.name),
            endpoint: Arc::clone(&place.endpoint),
            load: Arc::clone(&place.load),
        })
    }

    fn find(&self, question: Question<'_>) -> Result<(&ModelRoute, &Candidates), NoRoute> {
        let unknown = |otherwise| {
            if self.is_partial {
                NoRoute::NoWorker
            } else {
                otherwise
            }
        };
        let route = self
            .models
            .get(question.model)
            .ok_or(unknown(NoRoute::UnknownModel))?;
        let candidates = match question.version {
            None => &route.any_version,
            Some(version) => route
                .versions
                .get(version)
                .ok_or(unknown(NoRoute::UnknownVersion))?,
        };
        Ok((route, candidates))
    }

    /// Lets the policies take over what changes slowly.
    pub fn refresh(&self) {
        for route in self.models.values() {
            route.any_version.policy.refresh();
            route
                .versions
                .values()
                .for_each(|candidates| candidates.policy.refresh());
        }
    }

    /// Whether anybody can take any request.
    #[must_use]
    pub fn serves_anything(&self) -> bool {
        self.models
            .values()
            .any(|route| !route.any_version.places.is_empty())
    }
}

impl ModelRoute {
    /// Requests that were picked for so far, retries aside.
    #[must_use]
    pub fn requests(&self) -> u64 {
        let all = self.versions.values().chain([&self.any_version]);
        all.map(|candidates| candidates.turns.load(Ordering::Relaxed))
            .fold(0, u64::wrapping_add)
    }
}

impl Candidates {
    /// Those that may be picked.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Over those of these places that have a weight.
    #[must_use]
    pub fn new(name: PolicyName, config: &BalancingConfig, places: Vec<Place>, turns: Turns) -> Self {
        let places: Box<[Place]> = places.into_iter().filter(|place| place.weight > 0).collect();
        let newest = places
            .iter()
            .map(|place| place.up_since)
            .max()
            .unwrap_or_default();
        Self {
            policy: balance::build(name, places.iter().map(Place::candidate).collect(), config),
            places,
            turns,
            slow_start: config.slow_start,
            slow_until: newest.after(config.slow_start),
        }
    }

    fn pick(&self, key: Option<u64>, tried: &[Arc<Endpoint>], now: Moment) -> Option<&Place> {
        let mut rng = rand::rng();
        // A retry starts anywhere and takes nobody's turn. If it took the next one, two workers in turn would send
        // every first try to the same one, though it fails.
        let turn = if tried.is_empty() {
            self.turns.fetch_add(1, Ordering::Relaxed)
        } else {
            rng.random()
        };
        let pick = Pick {
            turn,
            key,
            avoid: &self.indices_of(tried),
            now,
            rng: &mut rng,
        };
        let picked = if now < self.slow_until {
            let up_since = |index: usize| self.places[index].up_since;
            slow_start::pick(&*self.policy, pick, up_since, self.slow_start)
        } else {
            self.policy.pick(pick)
        };
        self.places.get(picked?)
    }

    fn indices_of(&self, tried: &[Arc<Endpoint>]) -> Vec<usize> {
        if tried.is_empty() {
            return Vec::new();
        }
        let was_tried = |place: &Place| tried.iter().any(|other| Arc::ptr_eq(&place.endpoint, other));
        self.places
            .iter()
            .enumerate()
            .filter(|(_, place)| was_tried(place))
            .map(|(index, _)| index)
            .collect()
    }
}

impl Place {
    fn candidate(&self) -> Candidate {
        Candidate {
            id: hash(self.endpoint.id.as_bytes()),
            weight: self.weight,
            load: Arc::clone(&self.load),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::gateway_metrics::GatewayMetrics;

    const WINDOW: Duration = Duration::from_secs(10);

    fn seconds(count: u64) -> Moment {
        Moment::from_micros(count * 1_000_000)
    }

    /// Round robin over places that came at these seconds.
    fn candidates(came_at: &[u64]) -> Candidates {
        let metrics = GatewayMetrics::new();
        let place = |(id, &second): (String, &u64)| {
            let authority = format!("{id}:9000").parse().unwrap();
            let endpoint = Endpoint::new(&id, authority, metrics.of_endpoint(&id));
            Place {
                load: endpoint.load_of(&"iris".into()),
                endpoint,
                weight: 1,
                up_since: seconds(second),
            }
        };
        let names = (0..came_at.len()).map(|index| format!("w{index}"));
        let places = names.zip(came_at).map(place).collect();
        let config = BalancingConfig {
            slow_start: WINDOW,
            ..BalancingConfig::default()
        };
        Candidates::new(PolicyName::RoundRobin, &config, places, Turns::default())
    }

    fn share_of_last(candidates: &Candidates, now: Moment) -> usize {
        let last = candidates.places.last().unwrap();
        let is_last = |place: &Place| Arc::ptr_eq(&place.endpoint, &last.endpoint);
        let picks = (0..1_000).map(|_| candidates.pick(None, &[], now).unwrap());
        picks.filter(|place| is_last(place)).count()
    }

    #[test]
    fn who_came_back_gets_its_share_little_by_little() {
        let candidates = candidates(&[0, 100]);
        let at_once = share_of_last(&candidates, seconds(100));
        assert!((20..100).contains(&at_once), "a tenth of its half: {at_once}");
        let half_way = share_of_last(&candidates, seconds(105));
        assert!((190..310).contains(&half_way), "half of its half: {half_way}");
        assert_eq!(share_of_last(&candidates, seconds(110)), 500);
    }

    #[test]
    fn where_all_came_at_once_nobody_is_passed_over() {
        let count = share_of_last(&candidates(&[100, 100]), seconds(100));
        assert!((400..600).contains(&count), "{count}");
        assert_eq!(share_of_last(&candidates(&[100]), seconds(100)), 1_000);
    }
}
