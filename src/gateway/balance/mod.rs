//! Balancing policies: pure arithmetic that picks one of several endpoints.
//!
//! A policy is made for one set of candidates and knows nothing of sockets, clocks or health: the set holds only
//! endpoints that may be used. What changes from pick to pick comes in with [`Pick`]: the number of the turn, the time, the
//! key and the randomness; what is known of each candidate stands in its [`Load`]. So every policy can be checked exactly,
//! count by count, a simulation can run the same code on virtual time, and none of them takes a lock.

pub mod asking;
mod cheapest;
mod consistent_hash;
mod estimate;
#[cfg(test)]
mod fixture;
mod least_request;
mod load;
mod measured;
mod peak_ewma;
mod power_of_two;
mod prequal;
mod random;
mod round_robin;
mod slow_start;
mod weighted;

use std::fmt::Debug;
use std::sync::Arc;

use rand::Rng;

pub use self::consistent_hash::{ConsistentHash, hash};
pub use self::least_request::LeastRequest;
pub use self::load::{EndpointLoad, Load, SignalLimits, Told};
pub use self::measured::Measured;
pub use self::peak_ewma::PeakEwma;
pub use self::power_of_two::PowerOfTwo;
pub use self::prequal::{Prequal, SIGNAL_LIMITS};
pub use self::random::Random;
pub use self::round_robin::RoundRobin;
pub use self::slow_start::SlowStart;
pub use self::weighted::Weighted;
pub use crate::api::load_report::LoadReport;
use crate::config::{BalancingConfig, PolicyName, WeightSource};
pub use crate::moment::Moment;

/// One endpoint that may be picked.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The hash of its name: the same in every gateway.
    pub id: u64,
    /// Its share, 1 or more, under the policies that honour weights: all but `round_robin` and `random`.
    pub weight: u32,
    /// What is known of it.
    pub load: Arc<Load>,
}

impl Candidate {
    /// What [`occupancy`](Self::occupancy) is made from, in words.
    fn explain_occupancy(&self) -> String {
        let (in_flight, weight, occupancy) = (self.load.in_flight(), self.weight, self.occupancy());
        format!("{in_flight} in flight, with one more for a weight of {weight}: {occupancy:.2}")
    }

    /// Requests that would be in flight there with one more, for its weight.
    fn occupancy(&self) -> f32 {
        (self.load.in_flight() + 1) as f32 / self.weight as f32
    }
}

/// What one pick is made from.
pub struct Pick<'a> {
    /// Where in its cycle the policy stands: how many requests this set has seen before, or anything for a retry.
    pub turn: u64,
    /// What the request is to stay with, hashed; only `consistent_hash` asks for it.
    pub key: Option<u64>,
    /// Indices that are out of question, ascending: where this request was already tried.
    pub avoid: &'a [usize],
    /// The time.
    pub now: Moment,
    /// The randomness.
    pub rng: &'a mut dyn Rng,
}

/// Picks one of the candidates it was made for.
pub trait Policy: Debug + Send + Sync {
    /// The index of the candidate to use, or none where every candidate is to be avoided.
    fn pick(&self, pick: Pick<'_>) -> Option<usize>;

    /// The figures that speak for or against one candidate, in words for people (in ASCII: they also go into a header).
    fn explain(&self, index: usize, key: Option<u64>, now: Moment) -> String;

    /// Takes over what changes slowly. It is called about once a second, and not by requests.
    fn refresh(&self) {}
}

/// The policy of this name over these candidates.
#[must_use]
pub fn build(name: PolicyName, candidates: Box<[Candidate]>, config: &BalancingConfig) -> Box<dyn Policy> {
    match name {
        PolicyName::RoundRobin => Box::new(RoundRobin::over(candidates.len())),
        PolicyName::Random => Box::new(Random::over(candidates.len())),
        PolicyName::Weighted => match config.weights {
            WeightSource::Configured => Box::new(Weighted::over(&weights(&candidates))),
            WeightSource::Measured => Box::new(Measured::over(candidates)),
        },
        PolicyName::LeastRequest => Box::new(LeastRequest::over(candidates)),
        PolicyName::PowerOfTwo => Box::new(PowerOfTwo::over(candidates)),
        PolicyName::PeakEwma => Box::new(PeakEwma::over(candidates, config.decay)),
        PolicyName::Prequal => Box::new(Prequal::over(candidates, config.hot_quantile, config.decay)),
        PolicyName::ConsistentHash => Box::new(ConsistentHash::over(candidates, config.load_bound)),
    }
}

fn weights(candidates: &[Candidate]) -> Vec<u32> {
    candidates.iter().map(|candidate| candidate.weight).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::fixture::{busy, one_pick, one_pick_at};
    use super::*;

    /// Every policy, over candidates with these weights and requests in flight.
    fn policies(known: &[(u32, u32)]) -> Vec<Box<dyn Policy>> {
        let configured = BalancingConfig::default();
        let measured = BalancingConfig {
            weights: WeightSource::Measured,
            ..configured.clone()
        };
        let mut policies: Vec<Box<dyn Policy>> = PolicyName::ALL
            .into_iter()
            .map(|name| build(name, busy(known), &configured))
            .collect();
        policies.push(build(PolicyName::Weighted, busy(known), &measured));
        policies
    }

    proptest! {
        #[test]
        fn no_policy_ever_picks_what_is_to_be_avoided(
            known in prop::collection::vec((1_u32..20, 0_u32..9), 1..40),
            avoided in prop::collection::btree_set(0_usize..40, 0..40),
            turn in any::<u64>(),
            seed in any::<u64>(),
        ) {
            let avoid: Vec<usize> = avoided.into_iter().filter(|&index| index < known.len()).collect();
            for policy in policies(&known) {
                match one_pick_at(&*policy, turn, None, &avoid, seed) {
                    None => prop_assert_eq!(avoid.len(), known.len(), "{:?} gave up", policy),
                    Some(index) => {
                        prop_assert!(index < known.len());
                        prop_assert!(!avoid.contains(&index), "{:?} picked {}", policy, index);
                    }
                }
            }
        }
    }

    #[test]
    fn every_policy_gives_figures_that_fit_into_a_header() {
        for policy in policies(&[(1, 0), (3, 2)]) {
            for index in 0..2 {
                let figures = policy.explain(index, Some(7), Moment::default());
                assert!(!figures.is_empty() && figures.is_ascii(), "{policy:?}: {figures}");
            }
        }
    }

    #[test]
    fn no_candidates_no_pick() {
        for policy in policies(&[]) {
            assert_eq!(one_pick(&*policy, None, &[]), None, "{policy:?}");
        }
    }
}
