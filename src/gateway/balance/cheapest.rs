//! The candidate that costs least.

use rand::{Rng, RngExt};

/// So many candidates are all looked at. Of more, as many are drawn as [`SAMPLE`] says: the best of a few drawn ones is
/// nearly as good as the best of all (Mitzenmacher 2001, "the power of two choices"), and many gateways that do so do
/// not all rush to the same one.
const FULL_SCAN: usize = 32;
/// Candidates drawn from a large set.
const SAMPLE: usize = 8;

/// The index below `count` with the least `cost`, other than those in `avoid`; of equals, one at random. None where all
/// are to be avoided.
pub(super) fn cheapest(
    count: usize,
    avoid: &[usize],
    rng: &mut dyn Rng,
    cost: impl Fn(usize) -> f32,
) -> Option<usize> {
    let open = open(count, avoid);
    if open == 0 {
        return None;
    }
    if count <= FULL_SCAN {
        let indices = (0..count).filter(|index| !avoid.contains(index));
        return least(indices, rng, cost);
    }
    let mut drawn = [0; SAMPLE];
    drawn.fill_with(|| nth_open(rng.random_range(0..open), avoid));
    least(drawn.into_iter(), rng, cost)
}

/// How many of `count` candidates are not in `avoid`.
pub(super) fn open(count: usize, avoid: &[usize]) -> usize {
    count.saturating_sub(avoid.len())
}

/// The index of the n-th candidate, counted from 0, of those that are not in `avoid`, which is ascending: each avoided
/// one before it moves it up by one.
pub(super) fn nth_open(n: usize, avoid: &[usize]) -> usize {
    avoid
        .iter()
        .fold(n, |index, &avoided| index + usize::from(avoided <= index))
}

/// The one of these with the least cost; of equals, one at random. Draws once, however many equals there are.
pub(super) fn least(
    indices: impl Iterator<Item = usize>,
    rng: &mut dyn Rng,
    cost: impl Fn(usize) -> f32,
) -> Option<usize> {
    let mut least = f32::INFINITY;
    let mut equals = [0; FULL_SCAN];
    let mut count = 0;
    for index in indices.take(FULL_SCAN) {
        let cost = cost(index);
        if cost < least {
            (least, count) = (cost, 0);
        }
        if cost <= least {
            equals[count] = index;
            count += 1;
        }
    }
    match count {
        0 => None,
        1 => Some(equals[0]),
        _ => Some(equals[rng.random_range(0..count)]),
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
        fn of_a_small_set_the_least_is_found(costs in prop::collection::vec(0_u8..5, 1..FULL_SCAN), seed in any::<u64>()) {
            let mut rng = StdRng::seed_from_u64(seed);
            let found = cheapest(costs.len(), &[], &mut rng, |index| f32::from(costs[index])).unwrap();
            prop_assert_eq!(Some(&costs[found]), costs.iter().min());
        }
    }

    #[test]
    fn equals_have_the_same_chance() {
        let mut rng = StdRng::seed_from_u64(5);
        let mut counts = [0; 4];
        for _ in 0..9_000 {
            let found = cheapest(4, &[1], &mut rng, |_| 1.0);
            counts[found.unwrap()] += 1;
        }
        assert_eq!(counts[1], 0);
        let is_fair = |&count: &i32| (2_800..3_200).contains(&count);
        assert!(
            [counts[0], counts[2], counts[3]].iter().all(is_fair),
            "{counts:?}"
        );
    }

    #[test]
    fn of_a_large_set_a_good_one_is_found() {
        let mut rng = StdRng::seed_from_u64(5);
        let mut ranks: Vec<usize> = (0..1_001)
            .map(|_| cheapest(1_000, &[0], &mut rng, |index| index as f32).unwrap())
            .collect();
        ranks.sort_unstable();
        assert!(ranks[0] > 0, "it was to be avoided");
        // The least of 8 drawn ones is below rank r of 1,000 with the chance 1 - (1 - r/1000)^8: the median is 83.
        assert!(
            (60..110).contains(&ranks[500]),
            "the median rank is {}",
            ranks[500]
        );
    }
}
