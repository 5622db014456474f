//! How good a fit is on rows that it has not seen, over several divisions of the training part.

use super::random::Generator;

/// Divides rows into `folds` parts of about the same size, by chance, each with about the same share of every stratum; the
/// rows of each part are in rising order.
#[must_use]
pub fn folds(strata: &[usize], folds: usize, generator: &mut Generator) -> Vec<Vec<usize>> {
    let mut members = vec![Vec::new(); strata.iter().max().map_or(0, |&last| last + 1)];
    for (row, &stratum) in strata.iter().enumerate() {
        members[stratum].push(row);
    }
    let mut parts = vec![Vec::new(); folds];
    // Dealt out like cards, on and on over all strata, so that no part is larger than another by more than one.
    let mut turn = 0;
    for mut rows in members {
        generator.shuffle(&mut rows);
        for row in rows {
            parts[turn % folds].push(row);
            turn += 1;
        }
    }
    for part in &mut parts {
        part.sort_unstable();
    }
    parts
}

/// Mean and standard deviation (divisor n) of the figures of the parts.
#[must_use]
pub fn mean_and_deviation(figures: &[f64]) -> (f64, f64) {
    let count = figures.len() as f64;
    let mean = figures.iter().sum::<f64>() / count;
    let variance = figures.iter().map(|figure| (figure - mean).powi(2)).sum::<f64>() / count;
    (mean, variance.sqrt())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_row_is_in_one_part_and_the_parts_are_alike(
            strata in prop::collection::vec(0_usize..4, 10..200), count in 2_usize..10, seed: u64,
        ) {
            let parts = folds(&strata, count, &mut Generator::new(seed));
            let mut all: Vec<usize> = parts.iter().flatten().copied().collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..strata.len()).collect::<Vec<_>>());
            let spread = |sizes: Vec<usize>| sizes.iter().max().unwrap() - sizes.iter().min().unwrap();
            prop_assert!(spread(parts.iter().map(Vec::len).collect()) <= 1);
            for stratum in 0..4 {
                let count = |part: &Vec<usize>| part.iter().filter(|&&row| strata[row] == stratum).count();
                prop_assert!(spread(parts.iter().map(count).collect()) <= 1);
            }
        }
    }

    #[test]
    fn the_deviation_is_that_of_a_hand_calculation() {
        assert_eq!(mean_and_deviation(&[1.0, 3.0]), (2.0, 1.0));
    }
}
