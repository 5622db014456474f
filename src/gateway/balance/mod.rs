//! Balancing policies: pure arithmetic that picks one of several endpoints.
//!
//! A policy is made for one set of candidates and knows nothing of sockets, clocks or health: the set holds only
//! endpoints that may be used. What changes from pick to pick comes in with [`Pick`]: the number of the turn and the
//! randomness. So every policy can be checked exactly, count by count, and none of them takes a lock.

mod random;
mod round_robin;
mod weighted;

use std::fmt::Debug;

use rand::Rng;

pub use random::Random;
pub use round_robin::RoundRobin;
pub use weighted::Weighted;

use crate::config::PolicyName;

/// What one pick is made from.
pub struct Pick<'a> {
    /// Where in its cycle the policy stands: how many requests this set has seen before, or anything for a retry.
    pub turn: u64,
    /// Indices that are out of question, ascending: where this request was already tried.
    pub avoid: &'a [usize],
    /// The randomness.
    pub rng: &'a mut dyn Rng,
}

/// Picks one of the candidates it was made for.
pub trait Policy: Debug + Send + Sync {
    /// The index of the candidate to use, or none where every candidate is to be avoided.
    fn pick(&self, pick: Pick<'_>) -> Option<usize>;
}

/// The policy of this name over candidates with these weights, each 1 or more.
#[must_use]
pub fn build(name: PolicyName, weights: &[u32]) -> Box<dyn Policy> {
    match name {
        PolicyName::RoundRobin => Box::new(RoundRobin::over(weights.len())),
        PolicyName::Random => Box::new(Random::over(weights.len())),
        PolicyName::Weighted => Box::new(Weighted::over(weights)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    proptest! {
        #[test]
        fn no_policy_ever_picks_what_is_to_be_avoided(
            weights in prop::collection::vec(1_u32..20, 1..12),
            avoided in prop::collection::btree_set(0_usize..12, 0..12),
            turn in any::<u64>(),
            seed in any::<u64>(),
        ) {
            let avoid: Vec<usize> = avoided.into_iter().filter(|&index| index < weights.len()).collect();
            for name in PolicyName::ALL {
                let mut rng = StdRng::seed_from_u64(seed);
                let picked = build(name, &weights).pick(Pick { turn, avoid: &avoid, rng: &mut rng });
                match picked {
                    None => prop_assert_eq!(avoid.len(), weights.len(), "{} gave up", name),
                    Some(index) => {
                        prop_assert!(index < weights.len());
                        prop_assert!(!avoid.contains(&index), "{} picked {}", name, index);
                    }
                }
            }
        }
    }

    #[test]
    fn no_candidates_no_pick() {
        for name in PolicyName::ALL {
            let mut rng = StdRng::seed_from_u64(1);
            assert_eq!(
                build(name, &[]).pick(Pick {
                    turn: 0,
                    avoid: &[],
                    rng: &mut rng
                }),
                None
            );
        }
    }
}
