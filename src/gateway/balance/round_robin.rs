//! One after the other.

use super::{Moment, Pick, Policy};

/// Gives every candidate its turn; counts never differ by more than one.
#[derive(Debug)]
pub struct RoundRobin {
    candidates: u64,
}

impl RoundRobin {
    /// Over so many candidates.
    #[must_use]
    pub fn over(candidates: usize) -> Self {
        Self {
            candidates: candidates as u64,
        }
    }
}

impl Policy for RoundRobin {
    fn pick(&self, pick: Pick<'_>) -> Option<usize> {
        let first = pick.turn.checked_rem(self.candidates)?;
        let in_order = (first..self.candidates).chain(0..first);
        in_order
            .map(|index| index as usize)
            .find(|index| !pick.avoid.contains(index))
    }

    fn explain(&self, _: usize, _: Option<u64>, _: Moment) -> String {
        format!("1 of {} turns", self.candidates)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::one_pick_at;
    use super::*;

    #[test]
    fn ten_thousand_picks_differ_by_one_at_most() {
        for candidates in [1, 2, 3, 7, 16] {
            let policy = RoundRobin::over(candidates);
            let mut counts = vec![0_u32; candidates];
            for turn in 0..10_000 {
                counts[one_pick_at(&policy, turn, None, &[], 1).unwrap()] += 1;
            }
            let spread = counts.iter().max().unwrap() - counts.iter().min().unwrap();
            assert!(spread <= 1, "{counts:?}");
        }
    }

    #[test]
    fn the_next_in_line_stands_in_for_one_to_avoid() {
        let picked = one_pick_at(&RoundRobin::over(3), 1, None, &[1, 2], 1);
        assert_eq!(picked, Some(0));
    }
}
