//! Whoever has least to do.

use super::cheapest::cheapest;
use super::{Candidate, Moment, Pick, Policy};

/// Picks the candidate with the fewest requests in flight for its weight, ties at random. It is nginx's `least_conn`,
/// HAProxy's `leastconn` and Envoy's `LEAST_REQUEST` with an active request bias of 1.
#[derive(Debug)]
pub struct LeastRequest {
    candidates: Box<[Candidate]>,
}

impl LeastRequest {
    /// Over these candidates.
    #[must_use]
    pub fn over(candidates: Box<[Candidate]>) -> Self {
        Self { candidates }
    }
}

impl Policy for LeastRequest {
    fn pick(&self, pick: Pick<'_>) -> Option<usize> {
        cheapest(self.candidates.len(), pick.avoid, pick.rng, |index| {
            self.candidates[index].occupancy()
        })
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
    fn the_one_with_fewest_in_flight_is_picked() {
        let policy = LeastRequest::over(busy(&[(1, 2), (1, 0), (1, 1)]));
        assert_eq!(picks(&policy, 50, &[]), [0, 50, 0]);
        assert_eq!(picks(&policy, 50, &[1]), [0, 0, 50]);
    }

    #[test]
    fn a_heavier_one_may_have_more_in_flight() {
        let policy = LeastRequest::over(busy(&[(4, 2), (1, 0)]));
        assert_eq!(picks(&policy, 50, &[]), [50, 0], "3 of 4 is less than 1 of 1");
    }

    #[test]
    fn ties_are_broken_at_random() {
        let policy = LeastRequest::over(busy(&[(1, 0), (1, 0), (1, 7)]));
        let counts = picks::<3>(&policy, 1_000, &[]);
        assert!(counts[0] > 400 && counts[1] > 400 && counts[2] == 0, "{counts:?}");
    }
}
