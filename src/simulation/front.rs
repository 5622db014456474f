//! One simulated gateway.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::rngs::Xoshiro256PlusPlus;

use super::request::Ticket;
use super::scenario::Scenario;
use crate::config::{BalancingConfig, PolicyName};
use crate::gateway::balance::{
    self, Candidate, Load, LoadReport, Moment, Pick, Policy, SlowStart, asking, hash,
};
use crate::gateway::concurrency::{NoPick, pick_with_room};
use crate::gateway::retry::RetryBudget;

/// Balances over the members of the fleet by what it knows itself.
#[derive(Debug)]
pub(super) struct Front {
    name: PolicyName,
    balancing: BalancingConfig,
    known: Vec<Known>,
    /// The workers that may be picked, ascending, and the policy over these.
    members: Vec<usize>,
    policy: Box<dyn Policy>,
    slow_start: SlowStart,
    /// Requests that wait for a worker with room, in the order in which they came.
    pub(super) line: VecDeque<Ticket>,
    turns: u64,
    turns_at_last_look: u64,
    pub(super) budget: RetryBudget,
    rng: Xoshiro256PlusPlus,
}

/// What it knows of one worker. It outlives policies and absences.
#[derive(Debug)]
struct Known {
    candidate: Candidate,
    is_member: bool,
    up_since: Moment,
}

impl Front {
    pub(super) fn new(scenario: &Scenario, name: PolicyName, rng: Xoshiro256PlusPlus) -> Self {
        let known = |(index, worker): (usize, &super::WorkerSpec)| Known {
            candidate: Candidate {
                id: hash(format!("w{index}").as_bytes()),
                weight: worker.weight,
                load: Arc::new(Load::of(Arc::default())),
            },
            is_member: worker.weight > 0,
            up_since: Moment::default(),
        };
        let mut front = Self {
            name,
            balancing: scenario.balancing.clone(),
            known: scenario.workers.iter().enumerate().map(known).collect(),
            members: Vec::new(),
            policy: balance::build(name, Box::default(), &scenario.balancing),
            slow_start: SlowStart::default(),
            line: VecDeque::new(),
            turns: 0,
            turns_at_last_look: 0,
            budget: RetryBudget::default(),
            rng,
        };
        front.rebuild();
        front
    }

    /// A new policy over the members of now; what is known of them stays.
    fn rebuild(&mut self) {
        self.members = (0..self.known.len())
            .filter(|&index| self.known[index].is_member)
            .collect();
        let candidates = self
            .members
            .iter()
            .map(|&index| self.known[index].candidate.clone());
        self.policy = balance::build(self.name, candidates.collect(), &self.balancing);
        let up_since = self.members.iter().map(|&index| self.known[index].up_since);
        self.slow_start = SlowStart::of(up_since, self.balancing.slow_start);
    }

    pub(super) fn set_policy(&mut self, name: PolicyName) {
        self.name = name;
        self.rebuild();
    }

    pub(super) fn set_member(&mut self, worker: usize, is_member: bool, now: Moment) {
        let known = &mut self.known[worker];
        if is_member && !known.is_member {
            known.up_since = now;
        }
        known.is_member = is_member;
        self.rebuild();
    }

    /// Whom a request goes to, other than those in `tried`; it has its place there from now on.
    pub(super) fn pick(&mut self, key: u64, tried: &[usize], now: Moment) -> Result<usize, NoPick> {
        let turn = if tried.is_empty() {
            self.turns += 1;
            self.turns - 1
        } else {
            self.rng.next_u64()
        };
        let mut avoid: Vec<usize> = tried
            .iter()
            .filter_map(|worker| self.members.binary_search(worker).ok())
            .collect();
        avoid.sort_unstable();
        let Self {
            known, members, rng, ..
        } = self;
        let known = |index: usize| &known[members[index]];
        let by_policy = |avoid: &[usize]| {
            let pick = Pick {
                turn,
                key: Some(key),
                avoid,
                now,
                rng: &mut *rng,
            };
            self.slow_start
                .pick(&*self.policy, pick, |index| known(index).up_since)
        };
        let most = |load: &Load| self.balancing.concurrency.most(load.limit.get());
        let take = |index: usize| {
            let load = &known(index).candidate.load;
            load.try_begin(most(load)).then_some(())
        };
        let is_full = |index: usize| {
            let load = &known(index).candidate.load;
            load.awaited() >= most(load)
        };
        let (index, ()) = pick_with_room(members.len(), avoid, by_policy, take, is_full)?;
        Ok(members[index])
    }

    /// Whether anybody but those in `tried` could take a request.
    pub(super) fn has_another(&self, tried: &[usize]) -> bool {
        self.members.iter().any(|worker| !tried.contains(worker))
    }

    /// Requests that a worker has of this gateway.
    pub(super) fn awaited(&self, worker: usize) -> u32 {
        self.load(worker).awaited()
    }

    /// A prediction came after this time, of a request that met so many, itself included.
    pub(super) fn answered(&self, worker: usize, took: Duration, met: u32, now: Moment) {
        let load = self.load(worker);
        load.limit.answered(took, met.max(load.awaited()));
        load.observe(took, now, self.balancing.decay);
        self.load(worker).end();
    }

    /// A worker said that it has too much.
    pub(super) fn refused(&self, worker: usize) {
        self.load(worker).limit.refused();
    }

    /// An error came after this time.
    pub(super) fn failed(&self, worker: usize, took: Duration, now: Moment) {
        let penalty = took.max(self.balancing.failure_penalty);
        self.load(worker)
            .observe_failure(penalty, now, self.balancing.decay);
        self.load(worker).end();
    }

    /// Nothing came within this time, for a request that met so many, itself included.
    pub(super) fn given_up(&self, worker: usize, after: Duration, met: u32, now: Moment) {
        let load = self.load(worker);
        load.limit.missed(after, met.max(load.awaited()));
        self.load(worker)
            .observe_at_least(after, now, self.balancing.decay);
        self.load(worker).end();
    }

    /// A worker told its load.
    pub(super) fn told(&self, worker: usize, report: &LoadReport, now: Moment) {
        self.load(worker).report(report, now);
    }

    /// Lets the policy take over what changes slowly.
    pub(super) fn refresh(&self) {
        self.policy.refresh();
    }

    /// Whom to ask for its load, as the gateway's prober does.
    pub(super) fn whom_to_ask(&mut self, now: Moment) -> Vec<usize> {
        let turns_before = std::mem::replace(&mut self.turns_at_last_look, self.turns);
        if self.name != PolicyName::Prequal || turns_before == self.turns {
            return Vec::new();
        }
        let Self {
            known, members, rng, ..
        } = self;
        let asked = asking::whom_to_ask(members, |&worker| &known[worker].candidate.load, now, rng);
        asked.into_iter().copied().collect()
    }

    pub(super) fn load(&self, worker: usize) -> &Load {
        &self.known[worker].candidate.load
    }
}
