//! Weights that follow what each worker can do.

use arc_swap::ArcSwap;

use super::{Candidate, Moment, Pick, Policy, Weighted, weights as own_weights};

/// Weights that differ less from those in force than by this share of them are left as they are: laying out a cycle is work.
const TOLERANCE: f64 = 0.1;

/// [`Weighted`] by the capacities that the workers were measured to have, which is the classic "weight by server
/// performance" without anybody who keeps the weights up to date.
#[derive(Debug)]
pub struct Measured {
    candidates: Box<[Candidate]>,
    in_force: ArcSwap<InForce>,
}

#[derive(Debug)]
struct InForce {
    weights: Vec<u32>,
    schedule: Weighted,
}

impl Measured {
    /// Over these candidates, by what is known of them now.
    #[must_use]
    pub fn over(candidates: Box<[Candidate]>) -> Self {
        let in_force = ArcSwap::from_pointee(InForce::of(measure(&candidates)));
        Self { candidates, in_force }
    }
}

impl InForce {
    fn of(weights: Vec<u32>) -> Self {
        let schedule = Weighted::over(&weights);
        Self { weights, schedule }
    }
}

impl Policy for Measured {
    fn pick(&self, pick: Pick<'_>) -> Option<usize> {
        self.in_force.load().schedule.pick(pick)
    }

    fn refresh(&self) {
        let weights = measure(&self.candidates);
        if differ(&weights, &self.in_force.load().weights) {
            self.in_force.store(InForce::of(weights).into());
        }
    }

    fn explain(&self, index: usize, key: Option<u64>, now: Moment) -> String {
        let turns = self.in_force.load().schedule.explain(index, key, now);
        match self.candidates[index].load.capacity() {
            Some(capacity) => format!("{turns}, for {capacity:.0} requests/s that it can answer"),
            None => format!("{turns}; it never said what it can do"),
        }
    }
}

fn measure(candidates: &[Candidate]) -> Vec<u32> {
    let capacities: Vec<_> = candidates
        .iter()
        .map(|candidate| candidate.load.capacity())
        .collect();
    weights(&capacities, &own_weights(candidates))
}

fn differ(weights: &[u32], in_force: &[u32]) -> bool {
    let mut pairs = weights.iter().zip(in_force);
    pairs.any(|(&new, &old)| f64::from(new.abs_diff(old)) > f64::from(old) * TOLERANCE)
}

/// The most by which a measured weight can differ from another.
const STEPS: f64 = 100.0;

/// Weights in proportion to `capacities` (requests per second, none where not known yet), for candidates with these
/// weights of their own, which are multiplied in. The fastest gets 100 for a weight of 1, every other its share of that
/// and 1 at least; who is not known counts as the median of those that are.
fn weights(capacities: &[Option<f32>], own: &[u32]) -> Vec<u32> {
    let mut known: Vec<f32> = capacities.iter().copied().flatten().collect();
    if known.is_empty() {
        return own.to_vec();
    }
    known.sort_unstable_by(f32::total_cmp);
    let (median, greatest) = (known[known.len() / 2], known[known.len() - 1]);
    let scaled = |(capacity, &own): (&Option<f32>, &u32)| {
        let share = f64::from(capacity.unwrap_or(median)) / f64::from(greatest);
        ((share * STEPS).round().max(1.0) as u32).saturating_mul(own)
    };
    capacities.iter().zip(own).map(scaled).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{busy, picks};
    use super::super::{LoadReport, Moment};
    use super::*;

    #[test]
    fn shares_follow_what_workers_say() {
        let policy = Measured::over(busy(&[(1, 0), (1, 0)]));
        assert_eq!(picks(&policy, 100, &[]), [50, 50], "nothing is known");
        let tell = |index: usize, rate| {
            let report = LoadReport {
                requests_per_second: Some(rate),
                utilization: Some(0.5),
                ..LoadReport::default()
            };
            policy.candidates[index].load.report(&report, Moment::default());
        };
        tell(0, 150.0);
        tell(1, 50.0);
        assert_eq!(
            picks(&policy, 100, &[]),
            [50, 50],
            "requests do not lay out cycles"
        );
        policy.refresh();
        let [fast, slow] = picks::<2>(&policy, 133, &[]);
        assert_eq!((fast, slow), (100, 33));
    }

    #[test]
    fn small_changes_are_none() {
        assert!(!differ(&[100, 52], &[100, 50]));
        assert!(differ(&[100, 60], &[100, 50]));
    }

    #[test]
    fn they_are_in_proportion_to_the_capacities() {
        assert_eq!(
            weights(&[Some(500.0), Some(50.0), Some(250.0)], &[1, 1, 1]),
            [100, 10, 50]
        );
        assert_eq!(weights(&[Some(500.0), Some(500.0)], &[3, 1]), [300, 100]);
    }

    #[test]
    fn who_is_not_known_yet_counts_as_one_in_the_middle() {
        assert_eq!(
            weights(&[Some(100.0), None, Some(50.0), Some(10.0)], &[1; 4]),
            [100, 50, 50, 10]
        );
        assert_eq!(weights(&[None, None], &[3, 1]), [3, 1]);
    }

    #[test]
    fn nobody_is_left_without_a_turn() {
        assert_eq!(weights(&[Some(1e6), Some(1e-3)], &[1, 1]), [100, 1]);
    }
}
