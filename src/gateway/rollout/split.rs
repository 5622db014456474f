//! Which requests a split gets. Pure: where a request falls in [0, 1), and to whom that belongs.
//!
//! Without a key, requests fall there one after the other in the additive sequence of the golden ratio, which fills
//! every interval evenly: after any number of requests each split has had its share of them, give or take a few. With a
//! key, they fall where its hash says, so that one key stays with one version.
//!
//! The first split lies at 0 and grows upwards, the last one at 1 and grows downwards, and what is left between them is
//! live's. So one of two splits can grow or shrink without moving a key of the other. No such layout exists for three:
//! each split would have to keep clear of what the others may ever grow into, whatever their shares are.

/// The fraction of the golden ratio, in units of 2^-64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Where the request of this turn falls. The first one falls in the middle, from where the sequence strays least.
#[must_use]
pub fn at_turn(turn: u64) -> f64 {
    fraction(turn.wrapping_mul(GOLDEN).wrapping_add(1 << 63))
}

/// Where requests with this key, hashed, fall. The salt (the model's, hashed) keeps the keys that are first in one
/// rollout from being first in all of them, and from all being on the same worker under `consistent_hash`.
#[must_use]
pub fn at_key(key: u64, salt: u64) -> f64 {
    fraction(mixed(key ^ mixed(salt)))
}

/// The split to which a point belongs, by its index; none: to live. The shares are in the order of the splits, their
/// sum is at most 1.
#[must_use]
pub fn of_point(shares: &[f64], point: f64) -> Option<usize> {
    let (&last, others) = shares.split_last()?;
    let mut end = 0.0;
    for (index, share) in others.iter().enumerate() {
        end += share;
        if point < end {
            return Some(index);
        }
    }
    let index = others.len();
    let is_lasts = if others.is_empty() {
        point < last
    } else {
        point >= 1.0 - last
    };
    is_lasts.then_some(index)
}

/// The upper 53 bits as a number in [0, 1): as many as one holds exactly.
fn fraction(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// The finisher of MurmurHash3: every bit of the result depends on every bit that goes in.
const fn mixed(mut bits: u64) -> u64 {
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^ (bits >> 33)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gateway::balance::hash;

    fn shares() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec(0.0..1.0_f64, 1..5).prop_map(|mut shares| {
            let sum: f64 = shares.iter().sum();
            shares.iter_mut().for_each(|share| *share /= sum.max(1.0));
            shares
        })
    }

    fn of_key(shares: &[f64], key: u32) -> Option<usize> {
        of_point(shares, at_key(hash(&key.to_le_bytes()), hash(b"iris")))
    }

    proptest! {
        #[test]
        fn by_turn_shares_are_exact_at_any_time(shares in shares(), first in any::<u64>()) {
            let mut counts = vec![0_u32; shares.len()];
            for request in 1..=2_000_u32 {
                let turn = first.wrapping_add(request.into());
                if let Some(index) = of_point(&shares, at_turn(turn)) {
                    counts[index] += 1;
                }
                for (count, share) in counts.iter().zip(&shares) {
                    let error = f64::from(*count) - share * f64::from(request);
                    prop_assert!(error.abs() < 4.0, "{count} of {request} are not {share}");
                }
            }
        }

        #[test]
        fn a_share_that_grows_takes_from_live_only(
            mut shares in prop::collection::vec(0.0..0.5_f64, 1..3), which in any::<prop::sample::Index>(), by in 0.0..1.0_f64,
        ) {
            let before = shares.clone();
            let left = 1.0 - shares.iter().sum::<f64>();
            let grown = which.index(shares.len());
            shares[grown] += left * by;
            for key in 0..500 {
                let (was, is) = (of_key(&before, key), of_key(&shares, key));
                prop_assert!(was == is || (was.is_none() && is == Some(grown)), "{was:?} -> {is:?}");
            }
        }

        #[test]
        fn keys_are_spread_by_the_shares(shares in shares(), first in any::<u32>()) {
            const KEYS: u32 = 4_000;
            let mut counts = vec![0_u32; shares.len()];
            for key in 0..KEYS {
                if let Some(index) = of_key(&shares, first.wrapping_add(key)) {
                    counts[index] += 1;
                }
            }
            for (count, share) in counts.iter().zip(&shares) {
                let error = f64::from(*count) / f64::from(KEYS) - share;
                prop_assert!(error.abs() < 0.05, "{count} of {KEYS} are not {share}");
            }
        }
    }

    #[test]
    fn nothing_and_everything_are_exact() {
        for turn in (0..10_000).chain(u64::MAX - 10..=u64::MAX) {
            assert_eq!(of_point(&[0.0], at_turn(turn)), None);
            assert_eq!(of_point(&[1.0], at_turn(turn)), Some(0));
            assert_eq!(of_point(&[0.0, 1.0], at_turn(turn)), Some(1));
            assert_eq!(of_point(&[], at_turn(turn)), None);
        }
    }

    #[test]
    fn who_is_first_in_one_rollout_is_not_first_in_another() {
        let is_canary = |key: u32, model: &[u8]| at_key(hash(&key.to_le_bytes()), hash(model)) < 0.1;
        let both = (0..10_000).filter(|&key| is_canary(key, b"iris") && is_canary(key, b"digits"));
        let both = both.count();
        assert!((50..200).contains(&both), "a hundredth of all: {both}");
    }
}
