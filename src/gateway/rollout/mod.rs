//! Which version takes the requests that name none: most go to live, a share to a canary, and copies of some to a shadow.
//!
//! What decides is pure: [`split`] says whose a request is, [`judge`] from the [`tally`] of each version whether a
//! split is taken back, [`comparison`] how far two answers are apart. Around that, [`part`] sends a request as the part
//! of the rollout that it is, [`shadow`] sends the copies, and [`admin`] shows and changes it all. The rollouts in
//! force are read without a lock; whoever changes one puts a whole new one in its place.

pub(super) mod admin;
pub mod comparison;
pub mod judge;
mod part;
mod shadow;
pub mod split;
pub mod tally;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tokio::time::sleep;

pub(super) use self::part::{Part, begin, forward, prefer_live};

use self::judge::Reason;
use self::shadow::Shadow;
use self::tally::Tally;
use super::Gateway;
use super::balance::{Moment, hash};
use super::circuit::Mark;
use super::clock::Clock;
use crate::config::{HashKey, RolloutConfig};
use crate::telemetry::gateway_metrics::{GatewayMetrics, RolloutMetrics};

/// Time between two looks at whether a split is to be taken back.
const REVIEW: Duration = Duration::from_millis(100);

/// The rollouts of a gateway.
#[derive(Debug)]
pub struct Rollouts {
    in_force: ArcSwap<BTreeMap<String, Arc<Rollout>>>,
    /// Held while one is changed.
    changing: Mutex<()>,
    copies: Arc<Semaphore>,
    /// Held by the one comparison that is going on: however many answers come, they take one thread and the memory of two.
    comparing: Arc<tokio::sync::Mutex<()>>,
    clock: Clock,
    metrics: GatewayMetrics,
}

/// The rollout of one model, as it is in force.
#[derive(Debug)]
pub struct Rollout {
    /// The model.
    pub model: String,
    /// As it was asked for.
    pub config: RolloutConfig,
    live: Arc<Arm>,
    splits: Vec<Split>,
    /// Those of the splits that are in force, in their order.
    shares: Box<[f64]>,
    shadow: Option<Arc<Shadow>>,
    /// The hash of the model's name.
    salt: u64,
    turns: Arc<AtomicU64>,
}

/// A version that takes a share of the requests.
#[derive(Clone, Debug)]
struct Split {
    arm: Arc<Arm>,
    /// As it was asked for.
    share: f64,
    taken_back: Option<TakenBack>,
}

#[derive(Clone, Debug)]
struct TakenBack {
    reason: Reason,
    at: Moment,
}

/// A version that takes requests, and what came of them.
#[derive(Debug)]
struct Arm {
    version: String,
    is_live: bool,
    tally: Tally,
    metrics: RolloutMetrics,
}

impl Rollouts {
    /// These, as the configuration has them.
    #[must_use]
    pub fn new(configs: &BTreeMap<String, RolloutConfig>, clock: Clock, metrics: GatewayMetrics) -> Self {
        let rollouts = Self {
            in_force: ArcSwap::default(),
            changing: Mutex::default(),
            copies: Arc::new(Semaphore::new(shadow::MAX_COPIES)),
            comparing: Arc::default(),
            clock,
            metrics,
        };
        for (model, config) in configs {
            rollouts.set(model, Some(config), "config");
        }
        rollouts
    }

    /// That of a model, if it has one.
    #[must_use]
    pub fn of(&self, model: &str) -> Option<Arc<Rollout>> {
        self.in_force.load().get(model).cloned()
    }

    /// All of them, by model.
    #[must_use]
    pub fn all(&self) -> Arc<BTreeMap<String, Arc<Rollout>>> {
        self.in_force.load_full()
    }

    /// All of them, with the shares that are in force.
    #[must_use]
    pub fn configs(&self) -> BTreeMap<String, RolloutConfig> {
        let in_force = self.in_force.load();
        let config = |(model, rollout): (&String, &Arc<Rollout>)| (model.clone(), rollout.config_in_force());
        in_force.iter().map(config).collect()
    }

    /// Puts a rollout in force in place of the one that the model had, or ends that; gives whether there was one. Its
    /// versions are judged anew. A comparison of the same versions goes on.
    pub fn set(&self, model: &str, config: Option<&RolloutConfig>, by: &str) -> bool {
        let before = self.change(|all| {
            let before = all.remove(model);
            if let Some(before) = &before {
                self.forget(before, config);
            }
            if let Some(config) = config {
                let rollout = self.build(model, config, before.as_deref());
                all.insert(model.to_owned(), Arc::new(rollout));
            }
            before
        });
        let text = |config: &RolloutConfig| serde_json::to_string(config).unwrap_or_default();
        let after = config.map(text);
        let before = before.map(|rollout| text(&rollout.config_in_force()));
        let had_one = before.is_some();
        if before != after {
            let or_none = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
            let (before, after) = (or_none(before), or_none(after));
            tracing::info!(model, %before, %after, by, "a rollout was changed");
        }
        had_one
    }

    /// Applies what differs between two configurations. A rollout that did not change there is left as operators and
    /// judgements have made it.
    pub fn take_over(
        &self,
        before: &BTreeMap<String, RolloutConfig>,
        after: &BTreeMap<String, RolloutConfig>,
    ) {
        for model in before.keys().filter(|&model| !after.contains_key(model)) {
            self.set(model, None, "config");
        }
        for (model, config) in after {
            if before.get(model) != Some(config) {
                self.set(model, Some(config), "config");
            }
        }
    }

    /// Takes back the splits that are too much worse than live.
    fn review(&self) {
        let now = self.clock.now();
        for rollout in self.in_force.load().values() {
            for (index, reason) in rollout.to_take_back(now) {
                self.take_back(rollout, index, reason, now);
            }
        }
    }

    fn take_back(&self, judged: &Rollout, index: usize, reason: Reason, now: Moment) {
        let Split { arm, .. } = &judged.splits[index];
        self.change(|all| {
            let is_its = |split: &Split| Arc::ptr_eq(&split.arm, arm);
            let rollout = all.get(&judged.model);
            // Whoever was put in force meanwhile is judged by requests of its own.
            let Some(rollout) = rollout.filter(|rollout| rollout.splits.iter().any(is_its)) else {
                return;
            };
            let (model, version) = (&judged.model, &arm.version);
            let before = rollout.shares[index];
            tracing::warn!(model, version, before, after = 0.0, %reason, "a split was taken back");
            arm.metrics.count_rollback(reason.as_str());
            let rollout = rollout.without(index, TakenBack { reason, at: now });
            rollout.show_shares();
            all.insert(rollout.model.clone(), Arc::new(rollout));
        });
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<String, Arc<Rollout>>) -> T) -> T {
        // The map in force is always whole, whatever happened to whoever held this.
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = BTreeMap::clone(&self.in_force.load());
        let result = change(&mut all);
        self.in_force.store(Arc::new(all));
        result
    }

    fn build(&self, model: &str, config: &RolloutConfig, before: Option<&Rollout>) -> Rollout {
        let arm = |version: &String, is_live| {
            Arc::new(Arm {
                version: version.clone(),
                is_live,
                tally: Tally::over(config.rollback.window),
                metrics: self.metrics.of_rollout(model, version),
            })
        };
        let split = |(version, &share): (&String, &f64)| Split {
            arm: arm(version, false),
            share,
            taken_back: None,
        };
        let rollout = Rollout {
            model: model.to_owned(),
            config: config.clone(),
            live: arm(&config.live, true),
            splits: config.splits.iter().map(split).collect(),
            shares: config.splits.values().copied().collect(),
            shadow: self.shadow_of(model, config, before),
            salt: hash(model.as_bytes()),
            turns: before.map(|before| Arc::clone(&before.turns)).unwrap_or_default(),
        };
        rollout.show_shares();
        rollout
    }

    /// The comparison that goes on, where it is of the same versions.
    fn shadow_of(
        &self,
        model: &str,
        config: &RolloutConfig,
        before: Option<&Rollout>,
    ) -> Option<Arc<Shadow>> {
        let version = config.shadow.as_ref()?;
        let going_on = before.and_then(|before| before.shadow.as_ref());
        let going_on = going_on.filter(|shadow| shadow.is_of(&config.live, version));
        let new = || {
            let metrics = self.metrics.of_shadow(model, version);
            Arc::new(Shadow::new(&config.live, version, metrics, self.clock.now()))
        };
        Some(going_on.map_or_else(new, Arc::clone))
    }

    /// Forgets what is shown of versions that are not in `after`.
    fn forget(&self, before: &Rollout, after: Option<&RolloutConfig>) {
        let stays = |version: &String| {
            after.is_some_and(|after| after.live == *version || after.splits.contains_key(version))
        };
        for arm in before.arms() {
            if !stays(&arm.version) {
                self.metrics.forget_rollout(&before.model, &arm.version);
            }
        }
        if let Some(version) = &before.config.shadow
            && after.is_none_or(|after| after.shadow.as_ref() != Some(version))
        {
            self.metrics.forget_shadow(&before.model, version);
        }
    }
}

impl Rollout {
    /// What a request stays with a version by, if anything.
    #[must_use]
    pub fn key(&self) -> Option<&HashKey> {
        self.config.key.as_ref()
    }

    /// Live and all splits.
    fn arms(&self) -> impl Iterator<Item = &Arc<Arm>> {
        [&self.live]
            .into_iter()
            .chain(self.splits.iter().map(|split| &split.arm))
    }

    /// Whose the next request is, with this key if it has one.
    fn choose(&self, key: Option<u64>) -> &Arc<Arm> {
        let point = match key {
            Some(key) => split::at_key(key, self.salt),
            None => split::at_turn(self.turns.fetch_add(1, Ordering::Relaxed)),
        };
        match split::of_point(&self.shares, point) {
            Some(index) => &self.splits[index].arm,
            None => &self.live,
        }
    }

    fn live_share(&self) -> f64 {
        let of_splits: f64 = self.shares.iter().sum();
        (1.0 - of_splits).max(0.0)
    }

    fn show_shares(&self) {
        self.live.metrics.share.set(self.live_share());
        for (split, share) in self.splits.iter().zip(&self.shares) {
            split.arm.metrics.share.set(*share);
        }
    }

    /// The same with this split taken back.
    fn without(&self, index: usize, taken_back: TakenBack) -> Self {
        let (mut splits, mut shares) = (self.splits.clone(), self.shares.clone());
        splits[index].taken_back = Some(taken_back);
        shares[index] = 0.0;
        Self {
            model: self.model.clone(),
            config: self.config.clone(),
            live: Arc::clone(&self.live),
            splits,
            shares,
            shadow: self.shadow.clone(),
            salt: self.salt,
            turns: Arc::clone(&self.turns),
        }
    }

    fn config_in_force(&self) -> RolloutConfig {
        let versions = self.splits.iter().map(|split| split.arm.version.clone());
        RolloutConfig {
            splits: versions.zip(self.shares.iter().copied()).collect(),
            ..self.config.clone()
        }
    }

    /// The splits that are too much worse than live, by their indices.
    fn to_take_back(&self, now: Moment) -> Vec<(usize, Reason)> {
        let has_share = |&index: &usize| self.shares[index] > 0.0;
        let mut judged = (0..self.splits.len()).filter(has_share).peekable();
        if judged.peek().is_none() {
            return Vec::new();
        }
        let live = self.live.tally.sample(now);
        let verdict = |index: usize| {
            let sample = self.splits[index].arm.tally.sample(now);
            judge::judge(&self.config.rollback, &live, &sample).map(|reason| (index, reason))
        };
        judged.filter_map(verdict).collect()
    }
}

impl Arm {
    fn take_mark(&self, mark: Mark, elapsed: Duration, now: Moment) {
        self.tally.count(mark, elapsed, now);
    }
}

/// Takes back splits, until the gateway goes.
pub(super) async fn review(gateway: Weak<Gateway>) {
    loop {
        sleep(REVIEW).await;
        let Some(gateway) = gateway.upgrade() else { return };
        gateway.rollouts.review();
    }
}
