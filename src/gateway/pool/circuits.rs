//! The breakers of the members: what requests meet moves them, and who is ejected shows in the next snapshot.

use std::collections::HashSet;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::{Member, Members, Pool};
use crate::api::models::ModelList;
use crate::config::BreakerConfig;
use crate::gateway::balance::Moment;
use crate::gateway::circuit::{Breaker, Mark, Reason, Standing, ejection};
use crate::gateway::snapshot::{Picked, Snapshot};
use crate::telemetry::gateway_metrics::GatewayMetrics;

impl Pool {
    /// Ejects from now on by other rules.
    pub fn set_breaker(&self, rules: &BreakerConfig) {
        self.lock().breaker = rules.clone();
    }

    /// Takes in what a request says of whether its endpoint can serve its model. A success takes no lock, unless it was on
    /// trial; what a failure means is seen at once where it fills the measure of failures in a row, and with the next
    /// review otherwise.
    pub fn take_mark(&self, picked: &Picked, mark: Mark, rules: &BreakerConfig, now: Moment) {
        let model = &picked.model;
        let in_a_row = picked.circuit.window.count(mark, now);
        if picked.trial.is_some() {
            self.change(|members| members.take_trial(picked, mark, now));
        } else if in_a_row > 0 && in_a_row == rules.consecutive_failures {
            self.change(|members| members.eject(model, now));
        } else if mark == Mark::Failure {
            self.lock_failed().insert(Arc::clone(model));
        }
    }

    /// Ends the ejections whose time is over, and looks at the models for which requests failed since the last review:
    /// nothing gets worse without a failure.
    pub fn review_circuits(&self) {
        let failed = std::mem::take(&mut *self.lock_failed());
        let now = self.clock.now();
        self.change(|members| {
            let have_ended = members.end_ejections(now);
            let ejected = failed.iter().filter(|model| members.eject(model, now)).count();
            have_ended || ejected > 0
        });
    }

    fn lock_failed(&self) -> MutexGuard<'_, HashSet<Arc<str>>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Members {
    /// Ejects those that fail at this model, as far as the others allow it; gives whether there were any.
    fn eject(&mut self, model: &Arc<str>, now: Moment) -> bool {
        let mut serving: Vec<&mut Member> = self
            .list
            .iter_mut()
            .filter(|member| member.is_wanted() && member.has_ready(model, None))
            .collect();
        let standings: Vec<_> = serving.iter().map(|member| member.standing(model, now)).collect();
        let to_eject = ejection::to_eject(&standings, &self.breaker);
        for &(index, reason) in &to_eject {
            serving[index].eject(model, reason, now, &self.breaker);
        }
        !to_eject.is_empty()
    }

    fn take_trial(&mut self, picked: &Picked, mark: Mark, now: Moment) -> bool {
        let rules = self.breaker.clone();
        let Some(member) = self.find(&picked.endpoint) else {
            return false;
        };
        let Some(breaker) = member.breakers.get_mut(&picked.model) else {
            return false;
        };
        let is_news = breaker.take_trial(mark, now, &rules);
        if is_news {
            // What came before the ejection says nothing of the endpoint as it is now.
            picked.circuit.window.clear();
            let reason = (mark == Mark::Failure).then_some(Reason::Trial);
            member.tell(&picked.model, reason, now);
        }
        is_news
    }

    fn end_ejections(&mut self, now: Moment) -> bool {
        let end = |member: &mut Member| member.end_ejections(|_, breaker| breaker.end_ejection(now));
        self.list
            .iter_mut()
            .map(end)
            .fold(false, |any, ended| any | ended)
    }

    /// Shows for which models ejections are ignored, and says so where that begins or ends.
    pub(super) fn show_panics(&mut self, snapshot: &Snapshot, metrics: &GatewayMetrics) {
        self.panics.retain(|model, _| {
            let is_known = snapshot.models.contains_key(model);
            if !is_known {
                metrics.forget_model(model);
            }
            is_known
        });
        for (model, route) in &snapshot.models {
            let is_panic = route.any_version.is_panic;
            let was_panic = self
                .panics
                .insert(Arc::clone(model), is_panic)
                .unwrap_or_default();
            metrics.show_panic(model, is_panic);
            match (was_panic, is_panic) {
                (false, true) => {
                    tracing::warn!(%model, "fewer than half of its workers are healthy: ejections are ignored");
                }
                (true, false) => tracing::info!(%model, "enough of its workers are healthy again"),
                _ => {}
            }
        }
    }
}

impl Member {
    /// Its breaker for this model.
    #[must_use]
    pub fn breaker_of(&self, model: &str) -> Breaker {
        self.breakers.get(model).copied().unwrap_or_default()
    }

    fn standing(&self, model: &Arc<str>, now: Moment) -> Standing {
        Standing {
            is_up: self.health.is_up(),
            is_ejected: self.breaker_of(model).is_ejecting(),
            counts: self.endpoint.known_of(model).circuit.window.counts(now),
        }
    }

    fn eject(&mut self, model: &Arc<str>, reason: Reason, now: Moment, rules: &BreakerConfig) {
        let breaker = self.breakers.entry(Arc::clone(model)).or_default();
        breaker.eject(now, rules);
        self.tell(model, Some(reason), now);
    }

    /// Ends the ejections that `end` ends; gives whether there were any.
    fn end_ejections(&mut self, end: impl Fn(&str, &mut Breaker) -> bool) -> bool {
        let mut is_any = false;
        for (model, breaker) in &mut self.breakers {
            if end(model, breaker) {
                is_any = true;
                let worker = &self.endpoint.id;
                tracing::info!(%worker, %model, "the ejection is over: one request at a time goes there on trial");
            }
        }
        is_any
    }

    /// What made it fail may be gone where the worker was gone itself, or has other versions of a model than `before`.
    pub(super) fn end_ejections_of_what_is_new(&mut self, is_back: bool, before: &ModelList) -> bool {
        let after = Arc::clone(&self.models);
        let is_new = |name: &str| is_back || before.entry(name) != after.entry(name);
        self.end_ejections(|model, breaker| is_new(model) && breaker.end_ejection_early())
    }

    /// Tells how its breaker for this model stands now: opened for a reason, or closed.
    fn tell(&self, model: &Arc<str>, opened: Option<Reason>, now: Moment) {
        let (worker, metrics) = (&self.endpoint.id, &self.endpoint.metrics);
        metrics.show_ejected(model, opened.is_some());
        let Some(reason) = opened.map(Reason::as_str) else {
            tracing::info!(%worker, %model, "the worker serves the model again");
            return;
        };
        metrics.count_ejection(model, reason);
        let until = self.breaker_of(model).open_until();
        let time = until.map(|until| until.since(now)).unwrap_or_default();
        tracing::warn!(%worker, %model, reason, ?time, "the worker is ejected for this model");
    }

    /// Forgets what is known of it for models that it has no more.
    pub(super) fn forget_models(&mut self) {
        let models = Arc::clone(&self.models);
        let serves = |name: &str| models.entry(name).is_some();
        self.endpoint.keep_known(serves);
        self.keep_breakers(serves);
    }

    /// Forgets that it was ever ejected.
    pub(super) fn forget_breakers(&mut self) {
        self.keep_breakers(|_| false);
    }

    fn keep_breakers(&mut self, is_kept: impl Fn(&str) -> bool) {
        let metrics = &self.endpoint.metrics;
        self.breakers.retain(|model, _| {
            let is_kept = is_kept(model);
            if !is_kept {
                metrics.forget_ejections(model, &Reason::ALL.map(Reason::as_str));
            }
            is_kept
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::runtime::Builder;
    use tokio::time::advance;

    use super::super::ShareChange;
    use super::super::tests::{READY, drained, member, pool, serving, up};
    use super::*;
    use crate::config::PolicyName;
    use crate::gateway::health::judge::Observation;
    use crate::gateway::snapshot::{Question, Wanted};

    const IDS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

    /// One thing that happens to a pool.
    #[derive(Clone, Debug)]
    enum Event {
        /// So many requests, which those of these members that get them answer well and the others do not.
        Requests(usize, [bool; IDS.len()]),
        Up(usize),
        Down(usize),
        Drained(usize, bool),
        /// So many milliseconds pass, with the reviews that fall into them.
        Wait(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        let index = || 0..IDS.len();
        prop_oneof![
            4 => (1_usize..60, prop::array::uniform6(any::<bool>())).prop_map(|(count, good)| Event::Requests(count, good)),
            1 => index().prop_map(Event::Up),
            1 => index().prop_map(Event::Down),
            1 => (index(), any::<bool>()).prop_map(|(index, is_drained)| Event::Drained(index, is_drained)),
            3 => (1_u64..20_000).prop_map(Event::Wait),
        ]
    }

    /// Gives how many requests were answered badly.
    async fn happen(pool: &Pool, event: &Event) -> usize {
        let mut failures = 0;
        match *event {
            Event::Requests(count, good) => {
                for _ in 0..count {
                    let question = Question {
                        model: "iris",
                        version: None,
                        key: None,
                        room: Wanted::Free,
                        is_explained: false,
                    };
                    let Ok(picked) = pool.snapshot().pick(question, &[], pool.clock.now()) else {
                        return failures;
                    };
                    let index = IDS.iter().position(|id| **id == *picked.endpoint.id).unwrap();
                    let mark = if good[index] { Mark::Success } else { Mark::Failure };
                    failures += usize::from(mark == Mark::Failure);
                    pool.take_mark(&picked, mark, &BreakerConfig::default(), pool.clock.now());
                }
            }
            Event::Up(index) => (0..2).for_each(|_| up(pool, IDS[index], &serving(&[("iris", READY)]))),
            Event::Down(index) => {
                pool.observe_bad(
                    &member(pool, IDS[index]).endpoint,
                    Observation::Out,
                    "gone".into(),
                );
            }
            Event::Drained(index, is_drained) => {
                let change = ShareChange {
                    is_forced: true,
                    ..drained(is_drained)
                };
                pool.change_share(IDS[index], change).unwrap();
            }
            Event::Wait(millis) => {
                let reviews = millis.div_ceil(1_000);
                for _ in 0..reviews {
                    advance(Duration::from_millis(millis / reviews)).await;
                    pool.review_circuits();
                }
            }
        }
        failures
    }

    /// Runs on virtual time.
    fn simulate<T>(simulation: impl Future<Output = T>) -> T {
        let mut runtime = Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(simulation)
    }

    fn six_that_are_up() -> Pool {
        let pool = pool(PolicyName::RoundRobin, &IDS.map(|id| (id, 1)));
        for id in IDS {
            up(&pool, id, &serving(&[("iris", READY)]));
        }
        pool
    }

    /// Those that a policy may pick, and those that would be there without breakers.
    fn open_of_able(pool: &Pool) -> (usize, usize) {
        let able = pool
            .members()
            .iter()
            .filter(|member| member.takes_requests())
            .count();
        (pool.snapshot().models["iris"].any_version.places().len(), able)
    }

    /// Everybody is up and answers well from now on.
    async fn all_is_well_for_a_while(pool: &Pool) {
        for index in 0..IDS.len() {
            happen(pool, &Event::Up(index)).await;
            happen(pool, &Event::Drained(index, false)).await;
        }
        for _ in 0..40 {
            happen(pool, &Event::Wait(10_000)).await;
            happen(pool, &Event::Requests(30, [true; IDS.len()])).await;
        }
    }

    proptest! {
        #[test]
        fn whatever_happens_half_of_those_that_are_up_can_be_picked_and_in_the_end_all(
            events in prop::collection::vec(event(), 1..40),
        ) {
            simulate(async {
                let pool = six_that_are_up();
                for event in events {
                    happen(&pool, &event).await;
                    let (open, able) = open_of_able(&pool);
                    prop_assert!(open * 2 >= able, "{open} of {able} after {event:?}");
                    prop_assert!(open > 0 || able == 0);
                }
                all_is_well_for_a_while(&pool).await;
                prop_assert_eq!(open_of_able(&pool), (IDS.len(), IDS.len()), "nobody stays ejected");
                Ok(())
            })?;
        }

        #[test]
        fn who_always_fails_gets_less_and_less_and_the_others_carry_on(bad in 0..IDS.len(), per_second in 10_usize..60) {
            simulate(async {
                let pool = six_that_are_up();
                let good = std::array::from_fn(|index| index != bad);
                // Ejected for 5, 10, 15 seconds and so on, and one trial after each: six in two minutes, four in the next two.
                for most in [5 + 6, 4] {
                    let mut failures = 0;
                    for _ in 0..120 {
                        failures += happen(&pool, &Event::Requests(per_second, good)).await;
                        happen(&pool, &Event::Wait(1_000)).await;
                        let (open, able) = open_of_able(&pool);
                        prop_assert!(open + 1 >= able, "one is bad, one is out");
                    }
                    prop_assert!(failures <= most, "{failures}");
                }
                Ok(())
            })?;
        }
    }

    #[tokio::test]
    async fn a_gateway_whose_workers_are_well_makes_no_snapshot() {
        let pool = pool(PolicyName::RoundRobin, &[("a", 1), ("b", 1)]);
        for id in ["a", "b"] {
            up(&pool, id, &serving(&[("iris", READY)]));
        }
        let before = pool.snapshot().generation;
        happen(&pool, &Event::Requests(50, [true; IDS.len()])).await;
        pool.review_circuits();
        assert_eq!(pool.snapshot().generation, before);
        happen(&pool, &Event::Requests(10, [false, true, true, true, true, true])).await;
        assert_eq!(
            pool.snapshot().generation,
            before + 1,
            "one ejection, one snapshot"
        );
    }
}
