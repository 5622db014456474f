//! When a request may be tried again.
//!
//! What failed is tried on another endpoint where trying again is *safe* and *cheap*. It is safe because predictions
//! change nothing: that a worker may have computed one already does no harm. It is cheap only while few requests need
//! it; when every request fails, retries would double the load of workers that are already in trouble. So all
//! requests share a budget: a retry is allowed while the retries of the last ten seconds are at most a share of its
//! requests, or fewer than three. (The idea is Finagle's retry budget, and the "retry budget" chapter of the Google
//! SRE book.)

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rand::{Rng, RngExt};

use super::balance::Moment;

/// Seconds that the budget looks back.
const WINDOW: u64 = 10;
/// So many retries are always allowed within the window: with little traffic a share of it is nothing.
const ALWAYS_ALLOWED: u32 = 3;

/// So many tries that cost nothing are followed by another one: each costs its client a little time.
pub const MAX_FREE: u32 = 8;
/// The longest pause before a retry.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// How long to wait before the n-th retry (from 1 on): anything up to `base` doubled each time. This "full jitter" keeps
/// requests that failed together from coming back together (Brooker 2015, "Exponential backoff and jitter").
#[must_use]
pub fn backoff(base: Duration, n: u32, rng: &mut impl Rng) -> Duration {
    let longest = base.saturating_mul(1 << (n - 1).min(16)).min(LONGEST_PAUSE);
    longest.mul_f64(rng.random())
}

/// Why the try before was not enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There was no connection.
    NotConnected,
    /// The connection broke before the answer was whole.
    BrokenOff,
    /// This gateway had no descriptor left for a connection.
    OutOfDescriptors,
    /// What answered was no worker: an error in another shape than ours.
    BadAnswer,
    /// The worker said that as many wait there as may.
    Overloaded,
    /// The worker could not run the model.
    Internal,
    /// The worker said that it is shutting down.
    Draining,
    /// The worker said that the model is not ready there.
    NotReady,
    /// The worker no longer has the model that its last probe told of.
    ModelNotFound,
    /// The worker no longer has the version that its last probe told of.
    VersionNotFound,
}

impl Reason {
    /// Whether the try cost no worker anything: nobody took the request in. To go on elsewhere cannot multiply a load then,
    /// and is neither counted among the attempts nor taken out of the budget.
    #[must_use]
    pub const fn is_free(self) -> bool {
        matches!(self, Self::NotConnected | Self::Draining | Self::NotReady)
    }

    /// As it stands in metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotConnected => "not_connected",
            Self::BrokenOff => "broken_off",
            Self::OutOfDescriptors => "out_of_descriptors",
            Self::BadAnswer => "bad_answer",
            Self::Overloaded => "overloaded",
            Self::Internal => "internal",
            Self::Draining => "draining",
            Self::NotReady => "not_ready",
            Self::ModelNotFound => "model_not_found",
            Self::VersionNotFound => "version_not_found",
        }
    }
}

/// The budget that all requests share; nothing has happened in a new one. Counting takes no lock; at the turn of a second, counts of concurrent
/// requests may be lost, which matters to nobody.
#[derive(Debug, Default)]
pub struct RetryBudget {
    seconds: [Second; WINDOW as usize],
}

#[derive(Debug, Default)]
struct Second {
    /// Which second since the origin of time; its counts are of no other.
    number: AtomicU64,
    requests: AtomicU32,
    retries: AtomicU32,
}

impl RetryBudget {
    /// Counts a request, which earns a share of a retry.
    pub fn deposit(&self, now: Moment) {
        self.second(now).requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a retry out, if `share` retries per request allow it.
    pub fn withdraw(&self, share: f64, now: Moment) -> bool {
        let second = self.second(now);
        let (requests, retries) = self.totals(now);
        let allowed = (f64::from(requests) * share).max(f64::from(ALWAYS_ALLOWED));
        if f64::from(retries) + 1.0 > allowed {
            return false;
        }
        second.retries.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn second(&self, now: Moment) -> &Second {
        let number = number(now);
        let second = &self.seconds[(number % WINDOW) as usize];
        if second.number.swap(number, Ordering::Relaxed) != number {
            second.requests.store(0, Ordering::Relaxed);
            second.retries.store(0, Ordering::Relaxed);
        }
        second
    }

    fn totals(&self, now: Moment) -> (u32, u32) {
        let number = number(now);
        let is_recent =
            |second: &&Second| number - second.number.load(Ordering::Relaxed).min(number) < WINDOW;
        self.seconds
            .iter()
            .filter(is_recent)
            .fold((0, 0), |(requests, retries), second| {
                (
                    requests + second.requests.load(Ordering::Relaxed),
                    retries + second.retries.load(Ordering::Relaxed),
                )
            })
    }
}

/// Of the second that a moment is in. One-based, so that a fresh slot (number 0) is of no second.
fn number(now: Moment) -> u64 {
    now.since(Moment::default()).as_secs() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(budget: &RetryBudget, now: Moment, tries: usize) -> usize {
        (0..tries).filter(|_| budget.withdraw(0.2, now)).count()
    }

    #[test]
    fn three_retries_are_always_allowed() {
        let now = Moment::default();
        assert_eq!(allowed(&RetryBudget::default(), now, 10), 3);
    }

    #[test]
    fn retries_are_a_share_of_the_requests() {
        let now = Moment::default();
        let budget = RetryBudget::default();
        (0..100).for_each(|_| budget.deposit(now));
        assert_eq!(allowed(&budget, now, 100), 20);
    }

    #[test]
    fn what_was_long_ago_counts_no_more() {
        let now = Moment::default();
        let budget = RetryBudget::default();
        (0..100).for_each(|_| budget.deposit(now));
        assert_eq!(allowed(&budget, now + Duration::from_secs(9), 100), 20);
        assert_eq!(
            allowed(&budget, now + Duration::from_secs(10), 100),
            0,
            "20 retries are recent, no request is"
        );
        assert_eq!(allowed(&budget, now + Duration::from_secs(60), 100), 3);
    }

    #[test]
    fn pauses_grow_and_are_spread() {
        let mut rng = rand::rng();
        let base = Duration::from_millis(10);
        let mut longest_of = |n| (0..1_000).map(|_| backoff(base, n, &mut rng)).max().unwrap();
        for (n, bound) in [(1, 10), (2, 20), (3, 40), (9, 250), (100, 250)] {
            let bound = Duration::from_millis(bound);
            let longest = longest_of(n);
            assert!(
                longest <= bound && longest > bound.mul_f64(0.9),
                "{n}: {longest:?}"
            );
        }
        assert_eq!(backoff(Duration::ZERO, 1, &mut rng), Duration::ZERO);
    }
}
