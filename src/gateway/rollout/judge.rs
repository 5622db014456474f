//! Whether a split is so much worse than live that it is taken back. Pure: what lately came of the requests of both in,
//! a reason out.

use std::fmt;
use std::time::Duration;

use super::tally::Sample;
use crate::config::RollbackConfig;

/// The quantile of latencies that is compared.
const QUANTILE: f64 = 0.95;
/// So many standard deviations more requests than expected must be too slow: that happens by chance once in some
/// hundred looks at very few requests, and hardly ever with more of them.
const CERTAINTY: f64 = 3.0;

/// Why a split is taken back, with its figures.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// More of its requests fail than of live's.
    ErrorRate {
        /// Its failures and requests.
        split: (u32, u32),
        /// Those of live.
        live: (u32, u32),
        /// By how much its rate may lie over live's.
        allowed: f64,
    },
    /// Its requests take longer than live's.
    Latency {
        /// Its 95th percentile.
        split: Duration,
        /// That of live.
        live: Duration,
        /// How many times live's it may be.
        allowed: f64,
    },
}

/// Why a split is to be taken back, if it is. What is compared is told in docs/rollout.md.
#[must_use]
pub fn judge(rules: &RollbackConfig, live: &Sample, split: &Sample) -> Option<Reason> {
    if split.requests < rules.min_requests {
        return None;
    }
    error_rate(rules, live, split).or_else(|| latency(rules, live, split))
}

/// Requests that live lacks up to `min_requests` count as answered: a handful of them says little of its rate.
fn error_rate(rules: &RollbackConfig, live: &Sample, split: &Sample) -> Option<Reason> {
    let of_live = f64::from(live.failures) / f64::from(live.requests.max(rules.min_requests));
    let is_over = split.error_rate() > of_live + rules.max_error_rate;
    is_over.then_some(Reason::ErrorRate {
        split: (split.failures, split.requests),
        live: (live.failures, live.requests),
        allowed: rules.max_error_rate,
    })
}

/// If the split were just as slow as it may be, one in twenty of its requests would take longer than the bound. It is
/// over where so many more do that it is no chance.
fn latency(rules: &RollbackConfig, live: &Sample, split: &Sample) -> Option<Reason> {
    let is_known = live.latencies.count() >= rules.min_requests;
    if rules.max_latency_ratio == 0.0 || !is_known {
        return None;
    }
    let of_live = live.latencies.quantile(QUANTILE)?;
    let bound = of_live.mul_f64(rules.max_latency_ratio);
    let slow = f64::from(split.latencies.longer_than(bound));
    let count = f64::from(split.latencies.count());
    let expected = count * (1.0 - QUANTILE);
    let is_over = slow > expected + CERTAINTY * (expected * QUANTILE).sqrt();
    is_over.then_some(Reason::Latency {
        split: split.latencies.quantile(QUANTILE)?,
        live: of_live,
        allowed: rules.max_latency_ratio,
    })
}

impl Reason {
    /// As it stands in metric labels.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::ErrorRate { .. } => "error_rate",
            Self::Latency { .. } => "latency",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ErrorRate {
                split: (failed, of),
                live: (live_failed, of_live),
                allowed,
            } => write!(
                formatter,
                "{failed} of {of} requests failed, and {live_failed} of {of_live} of live: its error rate is more than {allowed} higher"
            ),
            Self::Latency { split, live, allowed } => write!(
                formatter,
                "its 95th percentile is {:.1} ms, and that of live {:.1} ms: more than {allowed} times as long",
                split.as_secs_f64() * 1e3,
                live.as_secs_f64() * 1e3
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tally::Tally;
    use super::*;
    use crate::gateway::balance::Moment;
    use crate::gateway::circuit::Mark;

    const NOW: Moment = Moment::from_micros(1_000_000_000);

    /// So many requests, of which so many failed; the others took these times in turn.
    fn sample(requests: u32, failures: u32, millis: &[u64]) -> Sample {
        let tally = Tally::over(Duration::from_secs(60));
        for _ in 0..failures {
            tally.count(Mark::Failure, Duration::ZERO, NOW);
        }
        for &time in millis.iter().cycle().take((requests - failures) as usize) {
            tally.count(Mark::Success, Duration::from_millis(time), NOW);
        }
        tally.sample(NOW)
    }

    fn why(live: &Sample, split: &Sample) -> Option<&'static str> {
        judge(&RollbackConfig::default(), live, split).map(|reason| reason.as_str())
    }

    proptest! {
        #[test]
        fn nobody_is_judged_by_few_requests(
            requests in 0..50_u32, live in 0..1_000_u32, millis in 1..10_000_u64, fails in any::<bool>(),
        ) {
            let split = sample(requests, if fails { requests } else { 0 }, &[millis]);
            prop_assert_eq!(why(&sample(live, 0, &[1]), &split), None);
        }

        #[test]
        fn who_fails_far_more_than_live_is_always_taken_back(
            requests in 50..500_u32, share in 0.3..=1.0_f64, live in 0..5_000_u32,
        ) {
            let split = sample(requests, (f64::from(requests) * share) as u32, &[10]);
            let live = sample(live, live / 10, &[10]);
            prop_assert_eq!(why(&live, &split), Some("error_rate"));
        }

        #[test]
        fn who_fails_as_live_does_is_not_blamed(requests in 50..500_u32, live in 50..5_000_u32, share in 0.0..=1.0_f64) {
            let failed = |of: u32| (f64::from(of) * share) as u32;
            let (split, live) = (sample(requests, failed(requests), &[10]), sample(live, failed(live), &[10]));
            prop_assert_eq!(why(&live, &split), None);
        }

        #[test]
        fn who_is_far_slower_than_live_is_always_taken_back(
            requests in 50..500_u32, live in 50..5_000_u32, millis in 1..1_000_u64, times in 3..20_u64,
        ) {
            let split = sample(requests, 0, &[millis * times]);
            prop_assert_eq!(why(&sample(live, 0, &[millis]), &split), Some("latency"));
        }

        #[test]
        fn who_is_as_slow_as_live_is_not_blamed(
            requests in 50..500_u32, live in 500..5_000_u32, millis in prop::collection::vec(1..10_000_u64, 1..40),
        ) {
            let (split, live) = (sample(requests, 0, &millis), sample(live, 0, &millis));
            prop_assert_eq!(why(&live, &split), None);
        }
    }

    #[test]
    fn a_few_slow_requests_are_chance_and_many_are_not() {
        let live = sample(1_000, 0, &[10]);
        let slow = |count: usize| {
            let mut times = vec![10; 100 - count];
            times.extend(vec![100; count]);
            why(&live, &sample(100, 0, &times))
        };
        assert_eq!(slow(5), None);
        assert_eq!(slow(11), None);
        assert_eq!(slow(12), Some("latency"));
    }

    #[test]
    fn a_live_version_with_hardly_any_requests_excuses_little() {
        let split = sample(60, 30, &[10]);
        assert_eq!(why(&sample(2, 1, &[10]), &split), Some("error_rate"));
        assert_eq!(why(&sample(0, 0, &[10]), &split), Some("error_rate"));
        let slow = sample(60, 0, &[500]);
        assert_eq!(
            why(&sample(49, 0, &[10]), &slow),
            None,
            "live's latency is not known"
        );
    }

    #[test]
    fn rules_can_be_switched_off() {
        let never = RollbackConfig {
            max_error_rate: 1.0,
            max_latency_ratio: 0.0,
            ..RollbackConfig::default()
        };
        let live = sample(1_000, 0, &[1]);
        assert_eq!(judge(&never, &live, &sample(100, 100, &[1])), None);
        assert_eq!(judge(&never, &live, &sample(100, 0, &[10_000])), None);
    }

    #[test]
    fn the_reason_says_what_was_measured() {
        let live = sample(1_000, 1, &[10]);
        let told = |split: &Sample| {
            judge(&RollbackConfig::default(), &live, split)
                .unwrap()
                .to_string()
        };
        assert_eq!(
            told(&sample(60, 30, &[10])),
            "30 of 60 requests failed, and 1 of 1000 of live: its error rate is more than 0.05 higher"
        );
        assert!(
            told(&sample(60, 0, &[100])).starts_with("its 95th percentile is 10"),
            "{}",
            told(&sample(60, 0, &[100]))
        );
    }
}
