//! Each with the same chance.

use rand::RngExt;

use super::cheapest::{nth_open, open};
use super::{Moment, Pick, Policy};

/// Draws uniformly, whatever was drawn before; needs no shared state at all.
#[derive(Debug)]
pub struct Random {
    candidates: usize,
}

impl Random {
    /// Over so many candidates.
    #[must_use]
    pub fn over(candidates: usize) -> Self {
        Self { candidates }
    }
}

impl Policy for Random {
    fn pick(&self, pick: Pick<'_>) -> Option<usize> {
        let open = open(self.candidates, pick.avoid);
        (open > 0).then(|| nth_open(pick.rng.random_range(0..open), pick.avoid))
    }

    fn explain(&self, _: usize, _: Option<u64>, _: Moment) -> String {
        format!("a chance of 1 in {}", self.candidates)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::super::Moment;
    use super::*;

    /// Pearson's statistic of `counts` against equal shares.
    fn chi_squared(counts: &[u32]) -> f64 {
        let expected = f64::from(counts.iter().sum::<u32>()) / counts.len() as f64;
        counts
            .iter()
            .map(|&count| (f64::from(count) - expected).powi(2) / expected)
            .sum()
    }

    fn counts_of(candidates: usize, avoid: &[usize], seed: u64) -> Vec<u32> {
        let policy = Random::over(candidates);
        let mut rng = StdRng::seed_from_u64(seed);
        let mut counts = vec![0; candidates];
        for turn in 0..10_000 {
            let pick = Pick {
                turn,
                key: None,
                avoid,
                now: Moment::default(),
                rng: &mut rng,
            };
            counts[policy.pick(pick).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn ten_thousand_picks_pass_a_chi_squared_test() {
        // Critical values at 99.9 %, for candidates - 1 degrees of freedom.
        for (candidates, critical) in [(2, 10.828), (3, 13.816), (5, 18.467), (16, 37.697)] {
            let statistic = chi_squared(&counts_of(candidates, &[], 7));
            assert!(statistic < critical, "{candidates} candidates: {statistic}");
        }
    }

    #[test]
    fn what_is_left_after_avoiding_some_is_uniform_too() {
        let counts = counts_of(5, &[0, 3], 11);
        assert_eq!((counts[0], counts[3]), (0, 0));
        let left = [counts[1], counts[2], counts[4]];
        assert!(chi_squared(&left) < 13.816, "{counts:?}");
    }
}
