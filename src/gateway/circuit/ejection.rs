//! Who is to be ejected, seen over all endpoints that serve one model.
//!
//! An endpoint may be judged by itself (failures in a row, the share of failures) or beside the others (an outlier of their
//! success rates). Whether it is ejected depends on the others in any case: the last one never is, nor more than a share
//! of them, since those that stay must carry the load.

use crate::config::BreakerConfig;

use super::window::Counts;

/// Fewer endpoints than this have no outliers. Among n, a single one is at most √(n − 1) standard deviations from the mean.
const MIN_HOSTS: usize = 5;
/// The least distance from the mean at which a success rate is an outlier: where all others never fail, the deviation is so
/// small that one failure in a thousand would be far out.
const MIN_DISTANCE: f64 = 0.05;

/// Why an endpoint was ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// So many requests in a row failed.
    ConsecutiveFailures,
    /// Too large a share of its requests failed.
    FailureRate,
    /// It succeeds far less often than the others.
    Outlier,
    /// It failed on trial.
    Trial,
}

impl Reason {
    /// Every reason there is.
    pub const ALL: [Self; 4] = [
        Self::ConsecutiveFailures,
        Self::FailureRate,
        Self::Outlier,
        Self::Trial,
    ];

    /// As it stands in metric labels and log lines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::FailureRate => "failure_rate",
            Self::Outlier => "outlier",
            Self::Trial => "trial",
        }
    }
}

/// How one of the endpoints that serve a model stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether it could take requests, its breaker aside.
    pub is_up: bool,
    /// Whether it is ejected, or back on trial.
    pub is_ejected: bool,
    /// What lately came of its requests.
    pub counts: Counts,
}

impl Standing {
    fn takes_requests(&self) -> bool {
        self.is_up && !self.is_ejected
    }
}

/// Those who are to be ejected now, by their index, the worst first.
#[must_use]
pub fn to_eject(standings: &[Standing], config: &BreakerConfig) -> Vec<(usize, Reason)> {
    let outlier_below = outlier_bound(standings, config);
    let mut bad: Vec<_> = standings
        .iter()
        .enumerate()
        .filter(|(_, standing)| standing.takes_requests())
        .filter_map(|(index, standing)| Some((index, judge(standing.counts, outlier_below, config)?)))
        .collect();
    let badness = |&(index, _): &(usize, Reason)| {
        let counts = standings[index].counts;
        (counts.failure_rate(), counts.consecutive)
    };
    bad.sort_by(|a, b| {
        let ((rate, row), (other_rate, other_row)) = (badness(a), badness(b));
        other_rate.total_cmp(&rate).then(other_row.cmp(&row))
    });
    bad.truncate(room(standings, config));
    bad
}

/// How many more may be ejected.
fn room(standings: &[Standing], config: &BreakerConfig) -> usize {
    let ejected = standings.iter().filter(|standing| standing.is_ejected).count();
    let working = standings
        .iter()
        .filter(|standing| standing.takes_requests())
        .count();
    let cap = (standings.len() as f64 * config.max_ejected) as usize;
    cap.saturating_sub(ejected).min(working.saturating_sub(1))
}

fn judge(counts: Counts, outlier_below: Option<f64>, config: &BreakerConfig) -> Option<Reason> {
    let is_row = config.consecutive_failures > 0 && counts.consecutive >= config.consecutive_failures;
    if is_row {
        return Some(Reason::ConsecutiveFailures);
    }
    if counts.total() < config.min_requests {
        return None;
    }
    if config.failure_rate > 0.0 && counts.failure_rate() >= config.failure_rate {
        return Some(Reason::FailureRate);
    }
    let is_outlier = outlier_below.is_some_and(|bound| success_rate(counts) < bound);
    is_outlier.then_some(Reason::Outlier)
}

/// The success rate below which an endpoint is an outlier; none where too few have enough requests. It is Envoy's: the
/// mean less so many standard deviations.
fn outlier_bound(standings: &[Standing], config: &BreakerConfig) -> Option<f64> {
    let rates: Vec<f64> = standings
        .iter()
        .filter(|standing| standing.takes_requests() && standing.counts.total() >= config.min_requests)
        .map(|standing| success_rate(standing.counts))
        .collect();
    if config.outlier_factor == 0.0 || rates.len() < MIN_HOSTS {
        return None;
    }
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / rates.len() as f64;
    let average = mean(&mut rates.iter().copied());
    let variance = mean(&mut rates.iter().map(|rate| (rate - average).powi(2)));
    let distance = config.outlier_factor * variance.sqrt();
    Some(average - distance.max(MIN_DISTANCE))
}

fn success_rate(counts: Counts) -> f64 {
    1.0 - counts.failure_rate()
}

/// Whether ejections are to be ignored: of `known` endpoints, fewer than half are left. The others would be overrun, and
/// so many failures at once are more likely not the endpoints' own.
#[must_use]
pub fn is_panic(known: usize, working: usize) -> bool {
    working * 2 < known
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn config() -> BreakerConfig {
        BreakerConfig::default()
    }

    fn with(successes: u32, failures: u32) -> Standing {
        Standing {
            is_up: true,
            is_ejected: false,
            counts: Counts {
                successes,
                failures,
                consecutive: 0,
            },
        }
    }

    fn in_a_row(failures: u32) -> Standing {
        let mut standing = with(100, failures);
        standing.counts.consecutive = failures;
        standing
    }

    #[test]
    fn failures_in_a_row_eject() {
        let good = with(100, 0);
        assert_eq!(to_eject(&[good, in_a_row(4)], &config()), []);
        let ejected = to_eject(&[good, in_a_row(5)], &config());
        assert_eq!(ejected, [(1, Reason::ConsecutiveFailures)]);
    }

    #[test]
    fn a_share_of_failures_ejects_where_there_are_enough_requests() {
        let good = with(100, 0);
        assert_eq!(
            to_eject(&[good, with(9, 10)], &config()),
            [],
            "19 requests say little"
        );
        assert_eq!(to_eject(&[good, with(11, 10)], &config()), []);
        assert_eq!(
            to_eject(&[good, with(10, 10)], &config()),
            [(1, Reason::FailureRate)]
        );
    }

    #[test]
    fn who_succeeds_far_less_often_than_the_others_is_an_outlier() {
        let good = with(100, 0);
        let bad = with(80, 20);
        assert_eq!(
            to_eject(&[good, good, bad, good, good], &config()),
            [(2, Reason::Outlier)]
        );
        assert_eq!(
            to_eject(&[good, good, bad, good], &config()),
            [],
            "four are too few to tell"
        );
        let slightly_bad = with(96, 4);
        assert_eq!(
            to_eject(&[good, good, slightly_bad, good, good], &config()),
            [],
            "it is far out only because the others are so good"
        );
        assert_eq!(to_eject(&[bad; 6], &config()), [], "all alike: nobody is out");
    }

    #[test]
    fn rules_are_switched_off_by_zero() {
        let off = BreakerConfig {
            consecutive_failures: 0,
            failure_rate: 0.0,
            outlier_factor: 0.0,
            ..config()
        };
        let mut broken = in_a_row(100);
        broken.counts.successes = 0;
        let mut standings = [with(100, 0); 6];
        standings[3] = broken;
        assert_eq!(to_eject(&standings, &off), []);
        assert_eq!(to_eject(&standings, &config()).len(), 1);
    }

    #[test]
    fn the_worst_go_first_where_not_all_may() {
        let standings = [with(10, 30), with(0, 40), with(20, 20), with(100, 0)];
        let ejected: Vec<_> = to_eject(&standings, &config())
            .into_iter()
            .map(|(index, _)| index)
            .collect();
        assert_eq!(ejected, [1, 0]);
    }

    #[test]
    fn panic_begins_below_half() {
        assert!(!is_panic(2, 1) && !is_panic(3, 2) && !is_panic(4, 2) && !is_panic(0, 0));
        assert!(is_panic(1, 0) && is_panic(3, 1) && is_panic(4, 1));
    }

    fn standings() -> impl Strategy<Value = Vec<Standing>> {
        let counts = (0_u32..60, 0_u32..60, 0_u32..9);
        let standing = (any::<bool>(), prop::bool::weighted(0.2), counts).prop_map(
            |(is_up, is_ejected, (successes, failures, consecutive))| Standing {
                is_up,
                is_ejected,
                counts: Counts {
                    successes,
                    failures,
                    consecutive: consecutive.min(failures),
                },
            },
        );
        prop::collection::vec(standing, 0..30)
    }

    proptest! {
        #[test]
        fn never_the_last_one_and_never_more_than_the_cap(
            before in standings(),
            max_ejected in 0.0..=1.0,
        ) {
            let config = BreakerConfig { max_ejected, ..config() };
            let mut after = before.clone();
            for (index, _) in to_eject(&before, &config) {
                prop_assert!(after[index].takes_requests(), "{index} is out already, or twice in the list");
                after[index].is_ejected = true;
            }
            let working = |all: &[Standing]| all.iter().filter(|one| one.takes_requests()).count();
            let ejected = |all: &[Standing]| all.iter().filter(|one| one.is_ejected).count();
            prop_assert!(working(&after) >= working(&before).min(1));
            let cap = (before.len() as f64 * max_ejected) as usize;
            prop_assert!(ejected(&after) <= cap.max(ejected(&before)));
        }

        #[test]
        fn without_volume_nobody_is_ejected(before in standings()) {
            for (index, reason) in to_eject(&before, &config()) {
                let counts = before[index].counts;
                let is_enough = counts.total() >= config().min_requests;
                let is_row = counts.consecutive >= config().consecutive_failures;
                prop_assert!(is_enough || is_row && reason == Reason::ConsecutiveFailures);
            }
        }

        #[test]
        fn those_ejected_are_no_better_than_those_that_stay_though_they_were_to_go(before in standings()) {
            let unbounded = BreakerConfig { max_ejected: 1.0, ..config() };
            let wanted = to_eject(&before, &unbounded);
            let ejected = to_eject(&before, &config());
            let rate = |index: usize| before[index].counts.failure_rate();
            let stays = |index: usize| ejected.iter().all(|(other, _)| *other != index);
            for (index, _) in wanted.iter().filter(|(index, _)| stays(*index)) {
                prop_assert!(ejected.iter().all(|(other, _)| rate(*other) >= rate(*index)));
            }
        }
    }
}
