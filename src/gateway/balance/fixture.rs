//! Candidates and picks for the tests of policies.

use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::{Candidate, Load, Moment, Pick, Policy, hash};

/// Candidates with these weights and requests in flight.
pub(super) fn busy(known: &[(u32, u32)]) -> Box<[Candidate]> {
    let candidate = |(index, &(weight, in_flight)): (usize, &(u32, u32))| {
        let load = Load::of(Arc::default());
        (0..in_flight).for_each(|_| load.begin());
        Candidate {
            id: hash(&index.to_le_bytes()),
            weight,
            load: Arc::new(load),
        }
    };
    known.iter().enumerate().map(candidate).collect()
}

/// How often each candidate was picked in so many picks, at the origin of time.
pub(super) fn picks<const N: usize>(policy: &dyn Policy, count: u64, avoid: &[usize]) -> [u32; N] {
    let mut counts = [0; N];
    for turn in 0..count {
        let picked = one_pick_at(policy, turn, None, avoid, turn).expect("somebody is open");
        counts[picked] += 1;
    }
    counts
}

/// One pick for a key.
pub(super) fn one_pick(policy: &dyn Policy, key: Option<u64>, avoid: &[usize]) -> Option<usize> {
    one_pick_at(policy, 0, key, avoid, 1)
}

/// One pick at a turn, with randomness from `seed`.
pub(super) fn one_pick_at(
    policy: &dyn Policy,
    turn: u64,
    key: Option<u64>,
    avoid: &[usize],
    seed: u64,
) -> Option<usize> {
    policy.pick(Pick {
        turn,
        key,
        avoid,
        now: Moment::default(),
        rng: &mut StdRng::seed_from_u64(seed),
    })
}
