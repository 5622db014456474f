//! The same key to the same endpoint.

use super::{Candidate, Moment, Pick, Policy};

/// Gives each key its endpoint, by weighted rendezvous hashing (Thaler and Ravishankar 1998): every candidate has a
/// score for the key, and the highest wins. Who joins or leaves moves only the keys that it wins or had; there is no
/// ring to lay out. Loads are bounded (Mirrokni, Thorup and Zadimoghaddam 2016): nobody takes more than its share of
/// all requests in flight times a bound, and what goes beyond goes to the next score.
#[derive(Debug)]
pub struct ConsistentHash {
    candidates: Box<[Candidate]>,
    total_weight: f64,
    load_bound: f64,
}

impl ConsistentHash {
    /// Over these candidates; a `load_bound` of 1.25 lets each have a quarter more than its share.
    #[must_use]
    pub fn over(candidates: Box<[Candidate]>, load_bound: f64) -> Self {
        let total_weight = candidates
            .iter()
            .map(|candidate| f64::from(candidate.weight))
            .sum();
        Self {
            candidates,
            total_weight,
            load_bound,
        }
    }

    /// The most requests that a candidate may have in flight, the new one included.
    fn limit(&self, candidate: &Candidate, in_flight: u32) -> f64 {
        let share = f64::from(candidate.weight) / self.total_weight;
        (self.load_bound * f64::from(in_flight + 1) * share).ceil()
    }
}

impl Policy for ConsistentHash {
    fn pick(&self, pick: Pick<'_>) -> Option<usize> {
        // Who has no key may go anywhere.
        let key = pick.key.unwrap_or_else(|| pick.rng.next_u64());
        let in_flight = self
            .candidates
            .iter()
            .map(|candidate| candidate.load.in_flight())
            .sum();
        let mut best: Option<(usize, f64)> = None;
        let mut best_with_room: Option<(usize, f64)> = None;
        for (index, candidate) in self.candidates.iter().enumerate() {
            if pick.avoid.contains(&index) {
                continue;
            }
            let score = score(candidate, key);
            let is_better = |best: Option<(usize, f64)>| best.is_none_or(|(_, known)| score > known);
            if is_better(best) {
                best = Some((index, score));
            }
            let has_room = f64::from(candidate.load.in_flight() + 1) <= self.limit(candidate, in_flight);
            if has_room && is_better(best_with_room) {
                best_with_room = Some((index, score));
            }
        }
        best_with_room.or(best).map(|(index, _)| index)
    }

    fn explain(&self, index: usize, key: Option<u64>, _: Moment) -> String {
        let Some(key) = key else {
            return "no key: anywhere".to_owned();
        };
        let total = self
            .candidates
            .iter()
            .map(|candidate| candidate.load.in_flight())
            .sum();
        let candidate = &self.candidates[index];
        let (score, in_flight) = (score(candidate, key), candidate.load.in_flight());
        let limit = self.limit(candidate, total);
        format!("a score of {score:.3} for the key; {in_flight} in flight of {limit:.0} that it may have")
    }
}

/// -w / ln(u) with u uniform in (0, 1): the highest of these belongs to each candidate with a chance in proportion to w.
fn score(candidate: &Candidate, key: u64) -> f64 {
    let mixed = mix(candidate.id ^ mix(key));
    let uniform = ((mixed >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -f64::from(candidate.weight) / uniform.ln()
}

/// SplitMix64's finaliser (Steele, Lea and Flood 2014): every bit of the input moves half of the output's.
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The hash of a name or a key. The same on every machine and in every version, so that several gateways agree
/// (FNV-1a; [`ConsistentHash`] mixes it further).
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{busy, one_pick};
    use super::*;

    const KEYS: u64 = 20_000;

    fn owner(policy: &ConsistentHash, key: u64, avoid: &[usize]) -> usize {
        one_pick(policy, Some(key), avoid).unwrap()
    }

    #[test]
    fn keys_are_shared_by_weight() {
        let policy = ConsistentHash::over(busy(&[(3, 0), (1, 0), (1, 0)]), 1.25);
        let mut counts = [0_u64; 3];
        (0..KEYS).for_each(|key| counts[owner(&policy, key, &[])] += 1);
        let shares = counts.map(|count| count as f64 / KEYS as f64);
        for (share, expected) in shares.iter().zip([0.6, 0.2, 0.2]) {
            assert!((share - expected).abs() < 0.015, "{shares:?}");
        }
    }

    #[test]
    fn only_the_keys_of_who_goes_move() {
        let policy = ConsistentHash::over(busy(&[(1, 0); 5]), 1.25);
        for key in 0..2_000 {
            let before = owner(&policy, key, &[]);
            let after = owner(&policy, key, &[2]);
            assert!(
                after != 2 && (before == 2 || before == after),
                "key {key}: {before}, then {after}"
            );
        }
    }

    #[test]
    fn who_has_more_than_its_bounded_share_gets_nothing_more() {
        let policy = ConsistentHash::over(busy(&[(1, 10), (1, 0), (1, 0)]), 1.25);
        // 1.25 × 11 / 3 = 4.6, so the first one's 10 are too many.
        assert!((0..200).all(|key| owner(&policy, key, &[]) != 0));
    }

    #[test]
    fn the_hash_of_a_name_never_changes() {
        assert_eq!(hash(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
