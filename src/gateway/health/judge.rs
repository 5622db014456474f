//! The judgement on one endpoint: a state machine that observations move.

use crate::config::HealthConfig;

/// What was seen of an endpoint, by a probe or by a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// It answered, and has a model ready.
    Good,
    /// It did not answer in time, broke off, or answered what no worker would.
    Failure,
    /// It cannot be used, and there is no doubt: nobody listens there, or it says so itself.
    Out,
}

/// Whether an endpoint takes requests, and what it would take to change that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Health {
    /// Never seen well. The first good probe takes it in: a start need not wait for `rise`.
    #[default]
    Unknown,
    /// Takes requests; so many failures in a row so far.
    Up {
        /// Since the last good observation.
        failures: u32,
    },
    /// Takes none; so many good observations in a row so far.
    Down {
        /// Since the last bad observation.
        successes: u32,
    },
}

impl Health {
    /// Whether it takes requests.
    #[must_use]
    pub fn is_up(self) -> bool {
        matches!(self, Self::Up { .. })
    }

    /// The state after one more observation.
    #[must_use]
    pub fn after(self, observation: Observation, thresholds: &HealthConfig) -> Self {
        match (self, observation) {
            (Self::Unknown, Observation::Failure | Observation::Out) => Self::Unknown,
            (Self::Up { failures }, Observation::Failure) if failures + 1 < thresholds.fall => Self::Up {
                failures: failures + 1,
            },
            (Self::Down { successes }, Observation::Good) if successes + 1 < thresholds.rise => Self::Down {
                successes: successes + 1,
            },
            (_, Observation::Good) => Self::Up { failures: 0 },
            (_, Observation::Failure | Observation::Out) => Self::Down { successes: 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Observation::{Failure, Good, Out};
    use super::*;

    fn after(observations: &[Observation]) -> Health {
        let thresholds = HealthConfig {
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            jitter: 0.0,
            rise: 2,
            fall: 3,
        };
        let observe = |health: Health, &observation: &Observation| health.after(observation, &thresholds);
        observations.iter().fold(Health::default(), observe)
    }

    #[test]
    fn the_first_good_probe_takes_an_endpoint_in() {
        assert!(!after(&[]).is_up());
        assert!(after(&[Good]).is_up());
        assert!(after(&[Failure, Out, Good]).is_up());
    }

    #[test]
    fn it_falls_after_so_many_failures_in_a_row() {
        assert!(after(&[Good, Failure, Failure]).is_up());
        assert!(!after(&[Good, Failure, Failure, Failure]).is_up());
        assert!(after(&[Good, Failure, Failure, Good, Failure, Failure]).is_up());
    }

    #[test]
    fn it_is_out_at_once_where_there_is_no_doubt() {
        assert!(!after(&[Good, Out]).is_up());
    }

    #[test]
    fn it_rises_after_so_many_good_probes_in_a_row() {
        assert!(!after(&[Good, Out, Good]).is_up());
        assert!(after(&[Good, Out, Good, Good]).is_up());
        assert!(!after(&[Good, Out, Good, Failure, Good]).is_up());
    }
}
