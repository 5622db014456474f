//! Weights that follow what each worker can do.

/// The most by which a measured weight can differ from another.
const STEPS: f64 = 100.0;

/// Weights in proportion to `capacities` (requests per second, none where not known yet), for candidates with these
/// weights of their own, which are multiplied in. The fastest gets 100 for a weight of 1, every other its share of that
/// and 1 at least; who is not known counts as the median of those that are.
#[must_use]
pub fn weights(capacities: &[Option<f32>], own: &[u32]) -> Vec<u32> {
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
    use super::*;

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
