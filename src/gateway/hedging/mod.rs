//! Sends a prediction that takes long to a second worker as well, so that one slow worker does not make its client slow (Dean
//! and Barroso, "The tail at scale", CACM 2013).
//!
//! While the first worker is up that is a *hedge*, which is within a budget and needs a worker with room to spare. Once it
//! is out it is a *rescue*: what is there may never be answered. Whoever answers first has won; the other is given up, and need
//! not compute it.

mod percentile;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

pub use self::percentile::Percentile;
use super::Gateway;
use super::attempt::{Tried, try_once};
use super::concurrency::Lane;
use super::endpoint::Endpoint;
use super::forward::Call;
use super::snapshot::{Picked, Question, Wanted};
use super::verdict::Latency;
use crate::config::HedgingConfig;
use crate::http::deadline::Deadline;

/// Before it is known how long predictions take, a request may be rescued after this time.
const NOTHING_KNOWN: Duration = Duration::from_secs(1);
/// Who found no second worker looks again after this time at the latest.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// After how long a prediction is hedged; never where nothing is known of how long it should take.
#[must_use]
pub fn delay(usual: &Percentile, config: &HedgingConfig) -> Option<Duration> {
    if config.percentile == 0.0 {
        return None;
    }
    Some(usual.get()?.max(config.min_delay))
}

/// Tries `call` at the worker that was picked for it, which `tried` ends with, and perhaps at a second one, which `tried` ends
/// with then.
pub(super) async fn try_hedged(
    gateway: &Gateway,
    call: &Call,
    (picked, now): (Picked, Instant),
    tried: &mut Vec<Arc<Endpoint>>,
    decisions: &mut Vec<String>,
) -> Tried {
    let first = First::begin(gateway, call, &picked, now);
    let mut trying = pin!(try_once(gateway, call, picked, now));
    let second = match first.wait(&mut trying, tried).await {
        Err(done) => return done,
        Ok(second) => second,
    };
    let now = Instant::now();
    if let Some(decision) = &second.decision {
        let waited = (now - first.begun).as_millis();
        decisions.push(format!("hedged after {waited} ms: {decision}"));
    }
    tried.push(Arc::clone(&second.endpoint));
    // In boxes, because hardly any request comes here: all others would have to carry room for it.
    let mut second = Box::pin(try_once(gateway, call, second, now));
    Box::pin(first.race(trying, second.as_mut())).await
}

/// A try that may be hedged.
struct First<'a> {
    gateway: &'a Gateway,
    call: &'a Call,
    config: HedgingConfig,
    lane: Arc<Lane>,
    endpoint: Arc<Endpoint>,
    /// After how long; none where that is not known, or where nothing is hedged.
    delay: Option<Duration>,
    begun: Instant,
}

impl<'a> First<'a> {
    fn begin(gateway: &'a Gateway, call: &'a Call, picked: &Picked, now: Instant) -> Self {
        let config = gateway.setting(|settings| settings.hedging.clone());
        let lane = Arc::clone(picked.slot.lane());
        Self {
            delay: delay(&lane.usual, &config),
            gateway,
            call,
            config,
            lane,
            endpoint: Arc::clone(&picked.endpoint),
            begun: now,
        }
    }

    /// Waits until it has ended, or a second worker is to try.
    async fn wait(
        &self,
        trying: &mut Pin<&mut impl Future<Output = Tried>>,
        tried: &[Arc<Endpoint>],
    ) -> Result<Picked, Tried> {
        let (mut patience, mut was_refused) = (self.first_patience(), false);
        let deadline = self.call.deadline.0;
        let mut look = self
            .begun
            .checked_add(patience)
            .map_or(deadline, |look| look.min(deadline));
        loop {
            if let Some(done) = self.gateway.alarms.timeout_at(look, trying.as_mut()).await {
                self.learn_from(&done);
                return Err(done);
            }
            if look >= deadline {
                return Err(trying.as_mut().await);
            }
            let reason = match self.pick_second(tried) {
                Ok(second) => return Ok(second),
                Err(reason) => reason,
            };
            if !std::mem::replace(&mut was_refused, true) {
                let refused = &self.gateway.metrics.hedges_refused;
                refused.with_label_values(&[reason]).inc();
            }
            patience = (patience * 2).min(LOOK_AGAIN);
            look = (Instant::now() + patience).min(deadline);
        }
    }

    fn first_patience(&self) -> Duration {
        let is_on = self.config.percentile > 0.0 && self.call.is_prediction();
        if !is_on {
            return Duration::MAX;
        }
        self.delay.unwrap_or(NOTHING_KNOWN)
    }

    fn learn_from(&self, done: &Tried) {
        if self.call.is_prediction() && done.verdict.latency == Latency::Measured {
            self.lane.usual.observe(done.took, self.config.percentile);
        }
    }

    /// Who tries as well; or why nobody does.
    fn pick_second(&self, tried: &[Arc<Endpoint>]) -> Result<Picked, &'static str> {
        if self.endpoint.is_out() {
            return self.pick(Wanted::Free, tried);
        }
        if self.delay.is_none() {
            return Err("unknown");
        }
        if self.lane.waiting() > 0 {
            return Err("loaded");
        }
        let picked = self.pick(Wanted::Spare, tried)?;
        let (gateway, now) = (self.gateway, self.gateway.clock.now());
        if !gateway.hedging_budget.withdraw(self.config.budget, now) {
            return Err("budget");
        }
        Ok(picked)
    }

    fn pick(&self, room: Wanted, tried: &[Arc<Endpoint>]) -> Result<Picked, &'static str> {
        let question = Question {
            room,
            ..self.call.question()
        };
        let snapshot = self.gateway.pool.snapshot();
        let picked = snapshot.pick(question, tried, self.gateway.clock.now());
        picked.map_err(|_| "loaded")
    }

    /// The first good answer of both, or the last failure.
    async fn race(
        self,
        mut first: Pin<&mut impl Future<Output = Tried>>,
        mut second: Pin<&mut impl Future<Output = Tried>>,
    ) -> Tried {
        self.lane.usual.observe_above(self.config.percentile);
        let deadline = self.call.deadline;
        tokio::select! {
            done = to_the_end(&mut first, deadline) => {
                let has_won = done.verdict.retry.is_some();
                self.count(has_won);
                if has_won { to_the_end(&mut second, deadline).await } else { done }
            }
            done = to_the_end(&mut second, deadline) => {
                let has_won = done.verdict.retry.is_none();
                self.count(has_won);
                if !has_won {
                    return to_the_end(&mut first, deadline).await;
                }
                self.endpoint.metrics.count("given_up");
                self.endpoint.probe_now.notify_one();
                done
            }
        }
    }

    fn count(&self, has_won: bool) {
        let outcome = if has_won { "won" } else { "lost" };
        self.gateway.metrics.hedges.with_label_values(&[outcome]).inc();
    }
}

/// What comes of `trying`, which ends when it is looked at after the deadline.
async fn to_the_end(trying: &mut Pin<&mut impl Future<Output = Tried>>, deadline: Deadline) -> Tried {
    match timeout_at(deadline.0, trying.as_mut()).await {
        Ok(done) => done,
        Err(_) => trying.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_hedged_before_enough_is_known_or_where_it_is_switched_off() {
        let usual = Percentile::default();
        let config = HedgingConfig::default();
        let observe = |count| (0..count).for_each(|_| usual.observe(Duration::from_millis(40), 0.95));
        observe(99);
        assert_eq!(delay(&usual, &config), None);
        observe(1);
        assert!(delay(&usual, &config).unwrap() > Duration::from_millis(10));
        let patient = HedgingConfig {
            min_delay: Duration::from_secs(1),
            ..config.clone()
        };
        assert_eq!(delay(&usual, &patient), Some(Duration::from_secs(1)));
        let never = HedgingConfig {
            percentile: 0.0,
            ..config
        };
        assert_eq!(delay(&usual, &never), None);
    }
}
