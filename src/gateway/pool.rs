//! The members and what is known of them, and the one place where any of that changes.
//!
//! Readers take the current [`Snapshot`] without a lock. Whoever changes something (a probe, a request that met a
//! dead worker, an operator, a new configuration) holds the lock of the members, and a new snapshot takes the old
//! one's place in one step.

mod circuits;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};

use super::balance::Moment;
use super::circuit::{Breaker, State};
use super::clock::Clock;
use super::concurrency::Lane;
use super::concurrency::lane::Room;
use super::endpoint::Endpoint;
use super::health::judge::{Health, Observation};
use super::snapshot::{Candidates, ModelRoute, Place, Served, Snapshot};
use crate::api::models::ModelList;
use crate::config::{BalancingConfig, BreakerConfig, EndpointConfig, HealthConfig, PolicyName};
use crate::telemetry::gateway_metrics::GatewayMetrics;

/// The members of a gateway.
#[derive(Debug)]
pub struct Pool {
    snapshot: ArcSwap<Snapshot>,
    members: Mutex<Members>,
    /// Models for which some request failed since the last review.
    failed: Mutex<HashSet<Arc<str>>>,
    clock: Clock,
    metrics: GatewayMetrics,
}

#[derive(Debug)]
struct Members {
    policy: PolicyName,
    balancing: BalancingConfig,
    thresholds: HealthConfig,
    breaker: BreakerConfig,
    list: Vec<Member>,
    /// Of every model; each version, and no version in particular, has one.
    lanes: HashMap<Arc<str>, Lanes>,
    generation: u64,
    /// Every model, and whether its ejections are ignored.
    panics: HashMap<Arc<str>, bool>,
}

/// Where the requests for one model stand in line.
#[derive(Debug, Default)]
struct Lanes {
    room: Arc<Room>,
    by_version: HashMap<Box<str>, Arc<Lane>>,
}

/// Who serves one model.
#[derive(Default)]
struct Serving {
    /// Some version of it.
    any: Served,
    /// Each version, by its number or a label.
    versions: HashMap<Box<str>, Served>,
}

/// One endpoint and what is known of it.
#[derive(Clone, Debug)]
pub struct Member {
    /// The worker.
    pub endpoint: Arc<Endpoint>,
    /// Its share under weighted policies; 0 takes nothing.
    pub weight: u32,
    /// Its weight in the list that named it last; another one now is the will of an operator.
    listed_weight: u32,
    /// Whether an operator took it out.
    pub is_drained: bool,
    /// Whether it takes requests.
    pub health: Health,
    /// When it last came (back).
    pub up_since: Moment,
    /// What the last bad observation was.
    pub reason: Option<String>,
    /// What it serves, as its last good probe told.
    pub models: Arc<ModelList>,
    /// Its breakers, for the models for which they ever opened.
    pub breakers: HashMap<Arc<str>, Breaker>,
}

/// Why a change was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// No member has this id.
    #[error("no worker is called {0:?}")]
    UnknownMember(String),
    /// Nobody could take a request after it.
    #[error("no worker would be left that takes requests; add \"force\": true if that is meant")]
    NobodyLeft,
}

/// What an operator wants of one member; what is none stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShareChange {
    /// Its share under weighted policies; 0 takes nothing.
    pub weight: Option<u32>,
    /// Whether it is taken out of the balancing. Requests that it has are not touched.
    pub is_drained: Option<bool>,
    /// Whether it may be the last one that took requests.
    pub is_forced: bool,
}

/// Who joined and who left.
#[derive(Debug, Default)]
pub struct Changes {
    /// Members that were not there before, or are at a new address.
    pub joined: Vec<Arc<Endpoint>>,
    /// Members that are no longer there.
    pub left: Vec<Arc<Endpoint>>,
}

impl Pool {
    /// A pool without members.
    #[must_use]
    pub fn new(
        policy: PolicyName,
        balancing: BalancingConfig,
        thresholds: HealthConfig,
        breaker: BreakerConfig,
        clock: Clock,
        metrics: GatewayMetrics,
    ) -> Self {
        let mut members = Members {
            policy,
            balancing,
            thresholds,
            breaker,
            list: Vec::new(),
            lanes: HashMap::new(),
            generation: 0,
            panics: HashMap::new(),
        };
        let pool = Self {
            snapshot: ArcSwap::from_pointee(members.snapshot()),
            members: Mutex::new(members),
            failed: Mutex::default(),
            clock,
            metrics,
        };
        pool.change(|_| true);
        pool
    }

    /// The snapshot in force. For a moment only: do not hold it while waiting.
    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// All members, as they are now.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.lock().list.clone()
    }

    /// Makes `wanted` the members. One that stays at its address keeps its health, its models and its requests. Wherever it is,
    /// one of the same id keeps the weight that an operator gave it, unless the list now says another one than before, and
    /// stays drained.
    pub fn set_members(&self, wanted: &[EndpointConfig]) -> Changes {
        let mut changes = Changes::default();
        self.change(|members| {
            let mut before = std::mem::take(&mut members.list);
            for config in wanted {
                let stays = |member: &Member| {
                    *member.endpoint.id == config.id
                        && *member.endpoint.address.authority() == config.authority
                };
                let member = match before.iter().position(stays) {
                    Some(index) => before.swap_remove(index).relisted(config.weight),
                    None => {
                        let endpoint = Endpoint::new(
                            &config.id,
                            config.authority.clone(),
                            self.metrics.of_endpoint(&config.id),
                        );
                        changes.joined.push(endpoint.clone());
                        let namesake = before
                            .iter()
                            .find(|member| *member.endpoint.address.authority() == config.authority);
                        let former = before.iter().find(|member| *member.endpoint.id == config.id);
                        Member::new(endpoint, config.weight)
                            .known_as(namesake)
                            .kept_as(former)
                    }
                };
                members.list.push(member);
            }
            for member in &mut before {
                changes.left.push(member.endpoint.clone());
                member.forget_breakers();
                let is_replaced = wanted.iter().any(|config| *member.endpoint.id == config.id);
                if !is_replaced {
                    self.metrics.forget_endpoint(&member.endpoint.id);
                }
            }
            true
        });
        changes
    }

    /// Puts another policy in force, from the next pick on.
    pub fn set_policy(&self, policy: PolicyName) {
        self.change(|members| std::mem::replace(&mut members.policy, policy) != policy);
    }

    /// Balances from now on by other settings.
    pub fn set_balancing(&self, balancing: &BalancingConfig) {
        self.change(|members| {
            members.balancing = balancing.clone();
            true
        });
    }

    /// Judges from now on by other thresholds.
    pub fn set_thresholds(&self, thresholds: &HealthConfig) {
        self.lock().thresholds = thresholds.clone();
    }

    /// Changes what one member gets; all of it or, where that is refused, nothing.
    pub fn change_share(&self, id: &str, change: ShareChange) -> Result<(), PoolError> {
        let mut outcome = Ok(());
        self.change(|members| {
            let had_somebody = members.list.iter().any(Member::is_wanted);
            let Some(member) = members.list.iter_mut().find(|member| *member.endpoint.id == *id) else {
                outcome = Err(PoolError::UnknownMember(id.to_owned()));
                return false;
            };
            let before = (member.weight, member.is_drained);
            member.weight = change.weight.unwrap_or(before.0);
            member.is_drained = change.is_drained.unwrap_or(before.1);
            if change.is_forced || !had_somebody || members.list.iter().any(Member::is_wanted) {
                return true;
            }
            outcome = Err(PoolError::NobodyLeft);
            if let Some(member) = members.list.iter_mut().find(|member| *member.endpoint.id == *id) {
                (member.weight, member.is_drained) = before;
            }
            false
        });
        outcome
    }

    /// Takes in that `endpoint` answered a probe, and what it serves.
    pub fn observe_good(&self, endpoint: &Arc<Endpoint>, models: ModelList) {
        self.change(|members| {
            let thresholds = members.thresholds.clone();
            let Some(member) = members.find(endpoint) else {
                return false;
            };
            let before = Arc::clone(&member.models);
            let serves_other = *before != models;
            if serves_other {
                member.models = Arc::new(models);
            }
            let is_news = member.observe(Observation::Good, None, &thresholds);
            if is_news {
                member.up_since = self.clock.now();
            }
            let is_on_trial = member.end_ejections_of_what_is_new(is_news, &before);
            is_news || serves_other || is_on_trial
        });
    }

    /// Takes in that something was wrong with `endpoint`.
    pub fn observe_bad(&self, endpoint: &Arc<Endpoint>, observation: Observation, reason: String) {
        self.change(|members| {
            let thresholds = members.thresholds.clone();
            let Some(member) = members.find(endpoint) else {
                return false;
            };
            member.observe(observation, Some(reason), &thresholds)
        });
    }

    /// Changes the members under their lock; where `change` says that it matters, a new snapshot comes into force.
    fn change(&self, change: impl FnOnce(&mut Members) -> bool) {
        let mut members = self.lock();
        if !change(&mut members) {
            return;
        }
        members.generation += 1;
        let snapshot = members.snapshot();
        members.forget(&snapshot);
        members.show_panics(&snapshot, &self.metrics);
        self.show(&members);
        self.snapshot.store(Arc::new(snapshot));
    }

    /// Shows the members to those who do not read snapshots.
    fn show(&self, members: &Members) {
        self.metrics
            .snapshot_generation
            .set(i64::try_from(members.generation).unwrap_or(i64::MAX));
        self.metrics
            .show_policy(members.policy.as_str(), &PolicyName::ALL.map(PolicyName::as_str));
        for member in &members.list {
            member.endpoint.set_out(!member.health.is_up());
            member
                .endpoint
                .metrics
                .healthy
                .set(i64::from(member.health.is_up()));
            member.endpoint.metrics.weight.set(i64::from(member.weight));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        // Changes only assign finished values, so that members left by a panicking thread are whole.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    fn new(endpoint: Arc<Endpoint>, weight: u32) -> Self {
        Self {
            endpoint,
            weight,
            listed_weight: weight,
            is_drained: false,
            health: Health::default(),
            up_since: Moment::default(),
            reason: None,
            models: Arc::default(),
            breakers: HashMap::new(),
        }
    }

    /// The worker at the same address under another name lends what is known of it until the first probe.
    fn known_as(self, namesake: Option<&Self>) -> Self {
        match namesake {
            None => self,
            Some(known) => Self {
                is_drained: known.is_drained,
                health: known.health,
                reason: known.reason.clone(),
                models: known.models.clone(),
                ..self
            },
        }
    }

    /// What an operator decided on a worker holds when it comes back at another address, as one does that was started anew.
    fn kept_as(self, former: Option<&Self>) -> Self {
        match former {
            None => self,
            Some(former) => Self {
                is_drained: former.is_drained,
                weight: if former.listed_weight == self.listed_weight {
                    former.weight
                } else {
                    self.weight
                },
                ..self
            },
        }
    }

    /// Whether it has another weight than its list says, or is drained: the will of an operator.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.is_drained || self.weight != self.listed_weight
    }

    /// The same member in a new list, which gives it this weight.
    fn relisted(self, weight: u32) -> Self {
        if weight == self.listed_weight {
            return self;
        }
        Self {
            weight,
            listed_weight: weight,
            ..self
        }
    }

    /// Whether it may be picked, for models that it has ready.
    #[must_use]
    pub fn takes_requests(&self) -> bool {
        self.health.is_up() && self.is_wanted()
    }

    /// Whether it has the version of the model ready, by its number or a label; any version where none is named.
    #[must_use]
    pub fn has_ready(&self, model: &str, version: Option<&str>) -> bool {
        self.models
            .entry(model)
            .is_some_and(|entry| entry.has_ready(version))
    }

    /// Whether it takes requests whenever it is up, if it went by its operators.
    fn is_wanted(&self) -> bool {
        !self.is_drained && self.weight > 0
    }

    /// As it stands among those that may take requests for this model.
    fn place(&self, model: &Arc<str>) -> Place {
        let known = self.endpoint.known_of(model);
        let state = self.breaker_of(model).state();
        let closed_since = match state {
            State::Closed { since } => since,
            _ => Moment::default(),
        };
        Place {
            endpoint: Arc::clone(&self.endpoint),
            load: known.load,
            circuit: known.circuit,
            state,
            weight: self.weight,
            up_since: self.up_since.max(closed_since),
        }
    }

    /// Stands with those that serve something, if it is wanted there; as one that may take requests if it is up.
    fn stand_with(&self, served: &mut Served, model: &Arc<str>) {
        if !self.is_wanted() {
            return;
        }
        served.known += 1;
        if self.takes_requests() {
            served.places.push(self.place(model));
        }
    }

    fn log(&self, reason: Option<&str>) {
        let (worker, authority) = (&self.endpoint.id, self.endpoint.address.authority().as_str());
        match reason {
            None => tracing::info!(%worker, authority, "the worker takes requests"),
            Some(reason) => tracing::warn!(%worker, authority, reason, "the worker takes no requests"),
        }
    }

    /// Moves the health on; gives whether that changes who takes requests.
    fn observe(
        &mut self,
        observation: Observation,
        reason: Option<String>,
        thresholds: &HealthConfig,
    ) -> bool {
        let was_up = self.health.is_up();
        self.health = self.health.after(observation, thresholds);
        let is_up = self.health.is_up();
        let is_news = was_up != is_up || (!is_up && self.reason.is_none());
        if is_news {
            self.log(reason.as_deref());
        }
        self.reason = if is_up && reason.is_none() {
            None
        } else {
            reason.or(self.reason.take())
        };
        was_up != is_up
    }
}

impl Members {
    fn find(&mut self, endpoint: &Arc<Endpoint>) -> Option<&mut Member> {
        self.list
            .iter_mut()
            .find(|member| Arc::ptr_eq(&member.endpoint, endpoint))
    }

    fn snapshot(&mut self) -> Snapshot {
        let mut serving: HashMap<Arc<str>, Serving> = HashMap::new();
        for member in &self.list {
            for model in &member.models.models {
                let name: Arc<str> = model.name.as_str().into();
                let Serving { any, versions } = serving.entry(Arc::clone(&name)).or_default();
                if model.has_ready(None) {
                    member.stand_with(any, &name);
                }
                for version in &model.versions {
                    let served = versions.entry(version.version.as_str().into()).or_default();
                    if version.is_ready() {
                        member.stand_with(served, &name);
                    }
                }
                // A label is a version to whoever asks: it goes to those that have ready what it points at there.
                for label in model.labels.keys() {
                    let served = versions.entry(label.as_str().into()).or_default();
                    if model.has_ready(Some(label)) {
                        member.stand_with(served, &name);
                    }
                }
            }
        }
        let models = serving
            .into_iter()
            .map(|(name, serving)| (name.clone(), self.route(name, serving)))
            .collect();
        let is_partial =
            self.list.is_empty() || self.list.iter().any(|member| member.models.models.is_empty());
        Snapshot {
            generation: self.generation,
            policy: self.policy,
            models,
            is_partial,
        }
    }

    fn route(&mut self, name: Arc<str>, serving: Serving) -> ModelRoute {
        let any_version = self.candidates(serving.any, &name, "");
        let versions = serving
            .versions
            .into_iter()
            .map(|(version, served)| {
                let candidates = self.candidates(served, &name, &version);
                (version, candidates)
            })
            .collect();
        ModelRoute {
            name,
            any_version,
            versions,
        }
    }

    fn candidates(&mut self, served: Served, model: &Arc<str>, version: &str) -> Candidates {
        let lane = self.lane_of(model, version);
        Candidates::new(self.policy, &self.balancing, served, lane)
    }

    fn lane_of(&mut self, model: &Arc<str>, version: &str) -> Arc<Lane> {
        let Lanes { room, by_version } = self.lanes.entry(Arc::clone(model)).or_default();
        let new = || Arc::new(Lane::to(Arc::clone(room)));
        Arc::clone(by_version.entry(version.into()).or_insert_with(new))
    }

    /// Forgets the lanes of models and versions that nobody has any more, and what is known of members for models that
    /// they have no more.
    fn forget(&mut self, snapshot: &Snapshot) {
        self.list.iter_mut().for_each(Member::forget_models);
        self.lanes.retain(|model, lanes| {
            let Some(route) = snapshot.models.get(model) else {
                return false;
            };
            let is_known = |version: &str| version.is_empty() || route.versions.contains_key(version);
            lanes.by_version.retain(|version, _| is_known(version));
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::api::models::{ModelEntry, VersionEntry, VersionState};
    use crate::gateway::endpoint::InFlight;
    use crate::gateway::snapshot::{NoRoute, Picked, Question, Wanted};

    pub(super) fn pool(policy: PolicyName, workers: &[(&str, u32)]) -> Pool {
        let thresholds = HealthConfig {
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            jitter: 0.0,
            rise: 2,
            fall: 3,
        };
        let balancing = BalancingConfig::default();
        let pool = Pool::new(
            policy,
            balancing,
            thresholds,
            BreakerConfig::default(),
            Clock::start(),
            GatewayMetrics::new(),
        );
        pool.set_members(&configs(workers));
        pool
    }

    fn weight(weight: u32) -> ShareChange {
        ShareChange {
            weight: Some(weight),
            ..ShareChange::default()
        }
    }

    pub(super) fn drained(is_drained: bool) -> ShareChange {
        ShareChange {
            is_drained: Some(is_drained),
            ..ShareChange::default()
        }
    }

    #[test]
    fn the_last_one_that_takes_requests_is_drained_by_force_only() {
        let pool = pool(PolicyName::RoundRobin, &[("a", 1), ("b", 1)]);
        pool.change_share("a", drained(true)).unwrap();
        assert_eq!(pool.change_share("b", drained(true)), Err(PoolError::NobodyLeft));
        assert!(!member(&pool, "b").is_drained);
        let both = ShareChange {
            weight: Some(7),
            ..drained(true)
        };
        assert_eq!(pool.change_share("b", both), Err(PoolError::NobodyLeft));
        assert_eq!(member(&pool, "b").weight, 1, "all of it or nothing");
        let by_force = ShareChange {
            is_forced: true,
            ..both
        };
        pool.change_share("b", by_force).unwrap();
        pool.change_share("a", weight(3)).unwrap();
        pool.change_share("a", drained(false)).unwrap();
        assert!(!member(&pool, "a").is_drained);
    }

    fn configs(workers: &[(&str, u32)]) -> Vec<EndpointConfig> {
        let config = |&(id, weight): &(&str, u32)| EndpointConfig {
            id: id.to_owned(),
            authority: format!("{id}:9000").parse().unwrap(),
            weight,
        };
        workers.iter().map(config).collect()
    }

    pub(super) fn serving(models: &[(&str, &[(&str, VersionState)])]) -> ModelList {
        let version = |&(version, state): &(&str, VersionState)| VersionEntry {
            version: version.to_owned(),
            state,
            engine: None,
            reason: None,
        };
        let model = |&(name, versions): &(&str, &[(&str, VersionState)])| ModelEntry {
            name: name.to_owned(),
            task: None,
            versions: versions.iter().map(version).collect(),
            labels: std::collections::BTreeMap::new(),
        };
        ModelList {
            models: models.iter().map(model).collect(),
        }
    }

    pub(super) fn up(pool: &Pool, id: &str, models: &ModelList) {
        pool.observe_good(&member(pool, id).endpoint, models.clone());
    }

    pub(super) fn member(pool: &Pool, id: &str) -> Member {
        pool.members()
            .into_iter()
            .find(|member| *member.endpoint.id == *id)
            .unwrap()
    }

    fn picks(pool: &Pool, model: &str, count: usize) -> String {
        let pick = |_| pick(pool, model, None, &[]).unwrap().endpoint.id.to_string();
        (0..count).map(pick).collect()
    }

    fn pick(
        pool: &Pool,
        model: &str,
        version: Option<&str>,
        tried: &[Arc<Endpoint>],
    ) -> Result<Picked, NoRoute> {
        let question = Question {
            model,
            version,
            key: None,
            room: Wanted::Free,
            is_explained: false,
        };
        pool.snapshot().pick(question, tried, pool.clock.now())
    }

    pub(super) const READY: &[(&str, VersionState)] = &[("1", VersionState::Ready)];

    #[test]
    fn what_an_operator_decided_holds_at_another_address() {
        let pool = pool(PolicyName::RoundRobin, &[("a", 1), ("b", 1), ("c", 1)]);
        pool.change_share("a", drained(true)).unwrap();
        pool.change_share("b", weight(5)).unwrap();
        pool.change_share("c", weight(5)).unwrap();
        let mut restarted = configs(&[("a", 1), ("b", 1), ("c", 2)]);
        for config in &mut restarted {
            config.authority = format!("{}:9001", config.id).parse().unwrap();
        }
        pool.set_members(&restarted);
        assert!(member(&pool, "a").is_drained);
        assert_eq!(member(&pool, "b").weight, 5);
        assert_eq!(member(&pool, "c").weight, 2, "its list says another one now");
    }

    #[test]
    fn only_those_that_serve_the_model_are_picked() {
        let pool = pool(PolicyName::RoundRobin, &[("a", 1), ("b", 1), ("c", 1)]);
        up(&pool, "a", &serving(&[("iris", READY)]));
        up(&pool, "b", &serving(&[("digits", READY)]));
        up(
            &pool,
            "c",
            &serving(&[("iris", READY), ("digits", &[("1", VersionState::Loading)])]),
        );
        assert_eq!(picks(&pool, "iris", 4), "acac");
        assert_eq!(picks(&pool, "digits", 3), "bbb");
    }

    #[test]
    fn a_version_is_asked_of_those_that_have_it() {
        let pool = pool(PolicyName::RoundRobin, &[("a", 1), ("b", 1)]);
        up(
            &pool,
            "a",
            &serving(&[("iris", &[("1", VersionState::Ready), ("2", VersionState::Ready)])]),
        );
        up(
            &pool,
            "b",
            &serving(&[("iris", &[("1", VersionState::Ready), ("2", VersionState::Failed)])]),
        );
        let of =
            |version| pick(&pool, "iris", Some(version), &[]).map(|picked| picked.endpoint.id.to_string());
        assert_eq!((of("2").unwrap(), of("2").unwrap()), ("a".into(), "a".into()));
        assert_ne!(of("1").unwrap(), of("1").unwrap());
        assert_eq!(of("3"), Err(NoRoute::UnknownVersion));
    }

    #[test]
    fn what_nobody_has_is_told_apart_from_what_nobody_can_serve_now() {
        let pool = pool(PolicyName::RoundRobin, &[("a", 1), ("b", 1)]);
        let refused = |model: &str| pick(&pool, model, None, &[]).unwrap_err();
        assert_eq!(refused("iris"), NoRoute::NoWorker, "nobody was seen yet");
        up(&pool, "a", &serving(&[("iris", READY)]));
        assert_eq!(refused("digits"), NoRoute::NoWorker, "b may have it");
        up(&pool, "b", &serving(&[("iris", READY)]));
        assert_eq!(refused("digits"), NoRoute::UnknownModel);
        for id in ["a", "b"] {
            pool.observe_bad(&member(&pool, id).endpoint, Observation::Out, "refused".into());
        }
        assert_eq!(refused("iris"), NoRoute::NoWorker);
    }

    #[test]
    fn weights_and_policy_switch_live_and_keep_health_and_requests() {
        let pool = pool(PolicyName::RoundRobin, &[("a", 3), ("b", 1), ("c", 1)]);
        for id in ["a", "b", "c"] {
            up(&pool, id, &serving(&[("iris", READY)]));
        }
        let picked = pick(&pool, "iris", None, &[]).unwrap();
        assert_eq!(*picked.endpoint.id, *"a");
        let guard = InFlight::begin(
            picked,
            pool.clock,
            Duration::from_secs(2),
            tokio::time::Instant::now(),
        );
        let before = pool.snapshot().generation;
        pool.set_policy(PolicyName::Weighted);
        assert_eq!(pool.snapshot().generation, before + 1);
        assert_eq!(picks(&pool, "iris", 5), "bacaa");
        pool.change_share("a", weight(0)).unwrap();
        assert_eq!(
            picks(&pool, "iris", 4).replace('b', "").len(),
            2,
            "a takes nothing, b and c share"
        );
        assert_eq!(member(&pool, "a").endpoint.in_flight(), 1);
        drop(guard);
        assert_eq!(member(&pool, "a").endpoint.in_flight(), 0);
        pool.change_share("b", weight(0)).unwrap();
        assert_eq!(pool.change_share("c", weight(0)), Err(PoolError::NobodyLeft));
        assert_eq!(picks(&pool, "iris", 2), "cc", "a refused change changes nothing");
        assert_eq!(
            pool.change_share("x", weight(1)),
            Err(PoolError::UnknownMember("x".into()))
        );
    }

    #[test]
    fn members_that_stay_are_not_touched_by_a_new_list() {
        let pool = pool(PolicyName::RoundRobin, &[("a", 1), ("b", 1)]);
        up(&pool, "a", &serving(&[("iris", READY)]));
        let a = member(&pool, "a").endpoint;
        let changes = pool.set_members(&configs(&[("c", 1), ("a", 5)]));
        assert_eq!(
            changes
                .joined
                .iter()
                .map(|e| e.id.to_string())
                .collect::<Vec<_>>(),
            ["c"]
        );
        assert_eq!(
            changes.left.iter().map(|e| e.id.to_string()).collect::<Vec<_>>(),
            ["b"]
        );
        let stayed = member(&pool, "a");
        assert!(Arc::ptr_eq(&a, &stayed.endpoint) && stayed.health.is_up() && stayed.weight == 5);
    }

    #[test]
    fn a_weight_that_an_operator_gave_lasts_until_the_list_says_another() {
        let pool = pool(PolicyName::Weighted, &[("a", 1), ("b", 1)]);
        pool.change_share("a", weight(7)).unwrap();
        pool.set_members(&configs(&[("a", 1)]));
        assert_eq!(member(&pool, "a").weight, 7);
        pool.set_members(&configs(&[("a", 2)]));
        assert_eq!(member(&pool, "a").weight, 2);
    }

    #[test]
    fn a_drained_member_comes_back_when_it_is_undrained() {
        let pool = pool(PolicyName::RoundRobin, &[("a", 1), ("b", 1)]);
        up(&pool, "a", &serving(&[("iris", READY)]));
        up(&pool, "b", &serving(&[("iris", READY)]));
        pool.change_share("a", drained(true)).unwrap();
        assert_eq!(picks(&pool, "iris", 3), "bbb");
        pool.change_share("a", drained(false)).unwrap();
        assert_eq!(picks(&pool, "iris", 4).chars().collect::<HashSet<_>>().len(), 2);
    }

    #[test]
    fn a_retry_goes_elsewhere_or_nowhere() {
        let pool = pool(PolicyName::RoundRobin, &[("a", 1), ("b", 1)]);
        up(&pool, "a", &serving(&[("iris", READY)]));
        up(&pool, "b", &serving(&[("iris", READY)]));
        let first = pick(&pool, "iris", None, &[]).unwrap().endpoint;
        let second = pick(&pool, "iris", None, std::slice::from_ref(&first))
            .unwrap()
            .endpoint;
        assert_ne!(first.id, second.id);
        assert_eq!(
            pick(&pool, "iris", None, &[first, second]).unwrap_err(),
            NoRoute::NoWorker
        );
    }

    #[test]
    fn a_probe_that_says_nothing_new_makes_no_snapshot() {
        let pool = pool(PolicyName::RoundRobin, &[("a", 1)]);
        up(&pool, "a", &serving(&[("iris", READY)]));
        let before = pool.snapshot().generation;
        up(&pool, "a", &serving(&[("iris", READY)]));
        assert_eq!(pool.snapshot().generation, before);
    }
}
