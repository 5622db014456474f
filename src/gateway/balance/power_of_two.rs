//! The better of two that are drawn.

use rand::RngExt;

use super::cheapest::{nth_open, open};
use super::{Candidate, Moment, Pick, Policy};

/// Draws two *distinct* candidates and picks the one with fewer requests in flight for its weight. That nearly matches
/// looking at all of them, and many gateways that do so do not all rush to the same one (Mitzenmacher 2001). Drawn with
/// replacement, as nginx and HAProxy do, a slow one would meet itself and be picked.
#[derive(Debug)]
pub struct PowerOfTwo {
    candidates: Box<[Candidate]>,
}

impl PowerOfTwo {
    /// Over these candidates.
    #[must_use]
    pub fn over(candidates: Box<[Candidate]>) -> Self {
        Self { candidates }
    }
}

impl Policy for PowerOfTwo {
    fn pick(&self, pick: Pick<'_>) -> Option<usize> {
        let open = open(self.candidates.len(), pick.avoid);
        if open < 2 {
            return (open == 1).then(|| nth_open(0, pick.avoid));
        }
        let first = pick.rng.random_range(0..open);
        // Drawn from one fewer, and moved past the first.
        let second = pick.rng.random_range(0..open - 1);
        let second = second + usize::from(second >= first);
        let [first, second] = [first, second].map(|drawn| nth_open(drawn, pick.avoid));
        let is_second_better = self.candidates[second].occupancy() < self.candidates[first].occupancy();
        Some(if is_second_better { second } else { first })
    }

    fn explain(&self, index: usize, _: Option<u64>, _: Moment) -> String {
        self.candidates[index].explain_occupancy()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{busy, picks};
    use super::*;

    #[test]
    fn the_busiest_is_never_picked_while_it_is_alone_so_busy() {
        let policy = PowerOfTwo::over(busy(&[(1, 9), (1, 0), (1, 1), (1, 0)]));
        let counts = picks::<4>(&policy, 3_000, &[]);
        // Of 6 pairs, 1 is with 0 or 3 in five; the third meets the busiest in one.
        assert_eq!(counts[0], 0);
        assert!((400..600).contains(&counts[2]), "one pair of six: {counts:?}");
    }

    #[test]
    fn two_draws_are_never_the_same() {
        let policy = PowerOfTwo::over(busy(&[(1, 9), (1, 0)]));
        assert_eq!(picks(&policy, 1_000, &[]), [0, 1_000]);
        assert_eq!(picks(&policy, 10, &[1]), [10, 0], "the last one left");
    }
}
