//! Smooth weighted round robin: shares in proportion to the weights, evenly spread.
//!
//! Laying candidates out as A A A B C would be exact as well, and send bursts. nginx's smooth weighted round robin
//! avoids that, at the price of a lock around its running weights. Here the whole cycle is laid out once, when the
//! set changes; a pick is then one look into a table. The layout is worst-case fair weighted fair queueing (WF²Q;
//! Bennett and Zhang, INFOCOM 1996): with W the sum of the weights, the k-th turn of a candidate with weight w may
//! come from slot k·W/w on and is due by slot (k + 1)·W/w; each slot goes to the turn that is due first among those
//! that may come. So nobody is ever a whole turn ahead of its share or behind it. For weights 3:1:1 that gives
//! A B A C A.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Moment, Pick, Policy};

/// The longest cycle that is laid out. Weights whose cycle is longer are scaled down to it, each keeping 1 at least.
const MAX_CYCLE: u64 = 1 << 16;

/// Gives each candidate exactly its weight in turns per cycle.
#[derive(Debug)]
pub struct Weighted {
    cycle: Box<[u32]>,
}

impl Weighted {
    /// Over candidates with these weights; one with weight 0 has no turn.
    #[must_use]
    pub fn over(weights: &[u32]) -> Self {
        Self {
            cycle: lay_out(&shortest(weights)),
        }
    }
}

impl Policy for Weighted {
    fn pick(&self, pick: Pick<'_>) -> Option<usize> {
        let first = pick.turn.checked_rem(self.cycle.len() as u64)? as usize;
        let in_order = self.cycle[first..].iter().chain(&self.cycle[..first]);
        in_order
            .map(|&index| index as usize)
            .find(|index| !pick.avoid.contains(index))
    }

    fn explain(&self, index: usize, _: Option<u64>, _: Moment) -> String {
        let own = self
            .cycle
            .iter()
            .filter(|&&other| other as usize == index)
            .count();
        format!("{own} of {} turns", self.cycle.len())
    }
}

/// The weights in lowest terms, scaled down where their cycle would still be too long.
fn shortest(weights: &[u32]) -> Vec<u64> {
    let divisor = weights
        .iter()
        .fold(0, |divisor, &weight| greatest_common_divisor(divisor, weight))
        .max(1);
    let lowest: Vec<u64> = weights
        .iter()
        .map(|&weight| u64::from(weight / divisor))
        .collect();
    let total: u64 = lowest.iter().sum();
    if total <= MAX_CYCLE {
        return lowest;
    }
    let scale = |weight: u64| {
        if weight == 0 {
            0
        } else {
            (weight * MAX_CYCLE / total).max(1)
        }
    };
    lowest.into_iter().map(scale).collect()
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

/// One cycle: each candidate as often as its weight says.
fn lay_out(weights: &[u64]) -> Box<[u32]> {
    let total: u64 = weights.iter().sum();
    // Turns that may not come yet, by the slot from which they may, and turns that may, by the slot they are due by.
    let mut waiting = BinaryHeap::new();
    let mut open = BinaryHeap::new();
    let has_turns = |&(_, &weight): &(u32, &u64)| weight > 0;
    waiting.extend(
        (0..)
            .zip(weights)
            .filter(has_turns)
            .map(|(index, _)| Reverse((0, index, 0))),
    );
    let mut cycle = Vec::with_capacity(total as usize);
    for slot in 0..total {
        while let Some(&Reverse((_, index, turn))) =
            waiting.peek().filter(|Reverse((from, ..))| *from <= slot)
        {
            waiting.pop();
            let due = ((turn + 1) * total).div_ceil(weights[index as usize]);
            open.push(Reverse((due, index, turn)));
        }
        // Some turn is always open: up to any slot, the shares that may have come add up to more than the slots.
        let Some(Reverse((_, index, turn))) = open.pop() else {
            continue;
        };
        cycle.push(index);
        let from = ((turn + 1) * total).div_ceil(weights[index as usize]);
        waiting.push(Reverse((from, index, turn + 1)));
    }
    cycle.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture::one_pick_at;
    use super::*;

    fn picks(weights: &[u32], turns: u64) -> Vec<usize> {
        let policy = Weighted::over(weights);
        (0..turns)
            .map(|turn| one_pick_at(&policy, turn, None, &[], 1).unwrap())
            .collect()
    }

    fn letters(weights: &[u32], turns: u64) -> String {
        picks(weights, turns)
            .into_iter()
            .map(|index| char::from(b'A' + index as u8))
            .collect()
    }

    #[test]
    fn the_turns_of_the_heaviest_are_spread() {
        assert_eq!(letters(&[3, 1, 1], 10), "ABACAABACA");
        assert_eq!(letters(&[5, 1, 1], 7), "ABAACAA");
        assert_eq!(letters(&[1, 1], 4), "ABAB");
        assert_eq!(letters(&[600, 400], 5), letters(&[3, 2], 5));
    }

    #[test]
    fn ten_thousand_picks_give_each_its_share() {
        for weights in [&[3_u32, 1, 1][..], &[7, 5, 3, 1], &[1; 9], &[1000, 1], &[2, 0, 3]] {
            let cycle = u64::from(weights.iter().sum::<u32>());
            let mut counts = vec![0_u64; weights.len()];
            for index in picks(weights, 10_000) {
                counts[index] += 1;
            }
            let cycles = 10_000 / cycle;
            for (&count, &weight) in counts.iter().zip(weights) {
                let whole = cycles * u64::from(weight);
                let rest = if 10_000 % cycle == 0 { 0 } else { u64::from(weight) };
                assert!((whole..=whole + rest).contains(&count), "{weights:?}: {counts:?}");
            }
        }
    }

    #[test]
    fn very_unequal_weights_over_many_candidates_stay_in_bounds() {
        let weights: Vec<u32> = (0..1000).map(|index| 1 + index % 1000).collect();
        let policy = Weighted::over(&weights);
        assert!(
            policy.cycle.len() as u64 <= MAX_CYCLE + 1000,
            "{}",
            policy.cycle.len()
        );
        let served: std::collections::HashSet<_> = policy.cycle.iter().collect();
        assert_eq!(served.len(), 1000, "somebody is starved");
    }

    proptest! {
        #[test]
        fn nobody_is_ever_a_whole_turn_ahead_or_behind(weights in prop::collection::vec(0_u32..30, 1..8)) {
            let total: u32 = weights.iter().sum();
            prop_assume!(total > 0);
            let order = picks(&weights, u64::from(total));
            for (index, &weight) in weights.iter().enumerate() {
                let mut count = 0_i64;
                for (slot, &picked) in order.iter().enumerate() {
                    count += i64::from(picked == index);
                    let ahead = count * i64::from(total) - (slot as i64 + 1) * i64::from(weight);
                    prop_assert!(ahead.abs() < i64::from(total), "{:?}: {:?}", weights, order);
                }
                prop_assert_eq!(count, i64::from(weight), "a cycle is exact");
            }
        }
    }
}
