//! The state machine that stops requests for one model from going to one endpoint, and lets them go there again.
//!
//! Closed, it lets all requests through. When it opens, the endpoint is ejected for a time that grows with every
//! ejection in a row. After that it is half open: one request at a time goes there on trial. Enough that succeed close
//! it; one that fails opens it again, for longer.

use std::time::Duration;

use super::window::Mark;
use crate::config::BreakerConfig;
use crate::gateway::balance::Moment;

/// Trials in a row that must succeed before all requests come again.
const TRIALS: u32 = 3;

/// The breaker of one endpoint and one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    state: State,
    /// Ejections in a row, when the state began.
    times: u32,
}

/// What a breaker does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// All go through.
    Closed {
        /// When it was closed; the origin of time where it was never open.
        since: Moment,
    },
    /// None does.
    Open {
        /// When it becomes half open.
        until: Moment,
    },
    /// One at a time does.
    HalfOpen {
        /// Those that succeeded so far.
        passed: u32,
    },
}

impl Default for State {
    fn default() -> Self {
        Self::Closed {
            since: Moment::default(),
        }
    }
}

impl State {
    /// As it is shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half_open",
        }
    }
}

impl Breaker {
    /// What it does with requests.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether the endpoint does not get its share of requests: its breaker is open or half open.
    #[must_use]
    pub fn is_ejecting(&self) -> bool {
        !matches!(self.state, State::Closed { .. })
    }

    /// When the ejection ends, where there is one.
    #[must_use]
    pub fn open_until(&self) -> Option<Moment> {
        match self.state {
            State::Open { until } => Some(until),
            _ => None,
        }
    }

    /// Ejections in a row: one less for each `base` that it has stayed closed.
    #[must_use]
    pub fn times(&self, now: Moment, base: Duration) -> u32 {
        let State::Closed { since } = self.state else {
            return self.times;
        };
        let forgiven = now.since(since).as_micros() / base.as_micros().max(1);
        self.times
            .saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
    }

    /// Ejects the endpoint; gives for how long. What is ejected already stays so, for as long as it was to be.
    pub fn eject(&mut self, now: Moment, config: &BreakerConfig) -> Option<Duration> {
        if self.is_ejecting() {
            return None;
        }
        Some(self.open(now, config))
    }

    fn open(&mut self, now: Moment, config: &BreakerConfig) -> Duration {
        let times = self.times(now, config.ejection).saturating_add(1);
        let time = config.ejection.saturating_mul(times).min(config.max_ejection);
        // Counting on beyond the longest ejection would only make it harder to forget.
        self.times = times.min(times_of_longest(config));
        self.state = State::Open { until: now + time };
        time
    }

    /// Whether the ejection has just ended: it is half open from now on.
    pub fn end_ejection(&mut self, now: Moment) -> bool {
        let is_over = matches!(self.state, State::Open { until } if until <= now);
        is_over && self.end_ejection_early()
    }

    /// Ends the ejection before its time: what made the endpoint fail may be gone. Gives whether there was one.
    pub fn end_ejection_early(&mut self) -> bool {
        let is_open = matches!(self.state, State::Open { .. });
        if is_open {
            self.state = State::HalfOpen { passed: 0 };
        }
        is_open
    }

    /// Takes in what came of a trial; gives whether it is closed or open again because of that. What comes when it is not
    /// half open any more says nothing.
    pub fn take_trial(&mut self, mark: Mark, now: Moment, config: &BreakerConfig) -> bool {
        let State::HalfOpen { passed } = self.state else {
            return false;
        };
        match mark {
            Mark::Failure => {
                self.open(now, config);
            }
            Mark::Success if passed + 1 < TRIALS => self.state = State::HalfOpen { passed: passed + 1 },
            Mark::Success => self.state = State::Closed { since: now },
        }
        !matches!(self.state, State::HalfOpen { .. })
    }
}

/// The number of ejections in a row of which the last takes as long as any may.
fn times_of_longest(config: &BreakerConfig) -> u32 {
    let times = config
        .max_ejection
        .as_micros()
        .div_ceil(config.ejection.as_micros().max(1));
    u32::try_from(times).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn config() -> BreakerConfig {
        BreakerConfig::default()
    }

    fn at(second: u64) -> Moment {
        Moment::from_micros(second * 1_000_000)
    }

    /// Opens it and waits until it is half open.
    fn half_open(breaker: &mut Breaker, now: &mut Moment) {
        breaker.eject(*now, &config()).unwrap();
        wait(breaker, now);
    }

    fn wait(breaker: &mut Breaker, now: &mut Moment) {
        let State::Open { until } = breaker.state() else {
            panic!("{breaker:?} is not open")
        };
        *now = until;
        assert!(breaker.end_ejection(*now));
    }

    fn close(breaker: &mut Breaker, now: Moment) {
        for _ in 0..TRIALS {
            breaker.take_trial(Mark::Success, now, &config());
        }
        assert!(!breaker.is_ejecting());
    }

    #[test]
    fn it_is_half_open_when_its_time_is_over_and_not_before() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.eject(at(10), &config()), Some(Duration::from_secs(5)));
        assert!(!breaker.end_ejection(at(14)));
        assert_eq!(breaker.eject(at(14), &config()), None, "it is out already");
        assert!(breaker.end_ejection(at(15)));
        assert_eq!(breaker.state(), State::HalfOpen { passed: 0 });
        assert!(!breaker.end_ejection(at(16)), "once");
    }

    #[test]
    fn enough_trials_close_it() {
        let (mut breaker, mut now) = (Breaker::default(), at(0));
        half_open(&mut breaker, &mut now);
        let news = [(); 4].map(|()| breaker.take_trial(Mark::Success, now, &config()));
        assert_eq!(news, [false, false, true, false]);
        assert_eq!(breaker.state(), State::Closed { since: now });
    }

    #[test]
    fn one_failed_trial_opens_it_again_for_longer() {
        let (mut breaker, mut now) = (Breaker::default(), at(0));
        half_open(&mut breaker, &mut now);
        for times in 2..=30 {
            breaker.take_trial(Mark::Success, now, &config());
            assert!(breaker.take_trial(Mark::Failure, now, &config()));
            let before = now;
            wait(&mut breaker, &mut now);
            let time = Duration::from_secs(5 * times).min(Duration::from_secs(120));
            assert_eq!(now.since(before), time, "ejection {times}");
        }
        assert_eq!(
            breaker.times(now, config().ejection),
            24,
            "24 × 5 s are the longest"
        );
    }

    #[test]
    fn each_base_time_that_it_stays_closed_forgives_one_ejection() {
        let (mut breaker, mut now) = (Breaker::default(), at(0));
        half_open(&mut breaker, &mut now);
        breaker.take_trial(Mark::Failure, now, &config());
        wait(&mut breaker, &mut now);
        close(&mut breaker, now);
        let times = |seconds| breaker.times(now + Duration::from_secs(seconds), config().ejection);
        assert_eq!([0, 4, 5, 9, 10, 1_000].map(times), [2, 2, 1, 1, 0, 0]);
        let after = |seconds| {
            let mut again = breaker;
            again
                .eject(now + Duration::from_secs(seconds), &config())
                .unwrap()
        };
        assert_eq!([0, 5, 10].map(after).map(|time| time.as_secs()), [15, 10, 5]);
    }

    proptest! {
        #[test]
        fn whatever_happens_it_is_out_for_no_longer_than_the_longest_ejection_and_never_for_ever(
            steps in prop::collection::vec((0_u8..3, 0_u64..30_000_000), 1..200),
        ) {
            let (mut breaker, mut now) = (Breaker::default(), at(0));
            for (what, pause) in steps {
                now = now + Duration::from_micros(pause);
                breaker.end_ejection(now);
                let times = breaker.times(now, config().ejection);
                match what {
                    0 => {
                        breaker.eject(now, &config());
                    }
                    1 => {
                        breaker.take_trial(Mark::Failure, now, &config());
                    }
                    _ => {
                        breaker.take_trial(Mark::Success, now, &config());
                    }
                }
                if let State::Open { until } = breaker.state() {
                    prop_assert!(until.since(now) <= config().max_ejection);
                    let mut later = breaker;
                    prop_assert!(later.end_ejection(now + config().max_ejection));
                }
                prop_assert!(breaker.times(now, config().ejection) <= times + 1);
                prop_assert!(breaker.times(now, config().ejection) <= times_of_longest(&config()));
            }
        }
    }
}
