//! Which rows are held out.

use super::random::Generator;

/// Row numbers of the two parts, each in rising order; together they are all rows, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Rows to fit on.
    pub train: Vec<usize>,
    /// Rows held out.
    pub test: Vec<usize>,
}

/// Holds out `fraction` of the rows, chosen by chance within each stratum: `strata[row]` is the row's class, or 0 for
/// all rows where there are none.
///
/// A stratum of n rows gives `n · fraction` of them, rounded, but at least one and never its last one: every class of
/// two rows or more is on both sides. A lone row is fitted on.
#[must_use]
pub fn split(strata: &[usize], fraction: f64, generator: &mut Generator) -> Split {
    let stratum_count = strata.iter().max().map_or(0, |&last| last + 1);
    let mut members = vec![Vec::new(); stratum_count];
    for (row, &stratum) in strata.iter().enumerate() {
        members[stratum].push(row);
    }
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for mut rows in members {
        generator.shuffle(&mut rows);
        let kept = rows.split_off(held_out(rows.len(), fraction));
        test.extend(rows);
        train.extend(kept);
    }
    train.sort_unstable();
    test.sort_unstable();
    Split { train, test }
}

fn held_out(rows: usize, fraction: f64) -> usize {
    if rows < 2 {
        return 0;
    }
    ((rows as f64 * fraction).round() as usize).clamp(1, rows - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn count(rows: &[usize], strata: &[usize], stratum: usize) -> usize {
        rows.iter().filter(|&&row| strata[row] == stratum).count()
    }

    proptest! {
        #[test]
        fn every_row_is_on_exactly_one_side(
            strata in prop::collection::vec(0_usize..5, 0..200), fraction in 0.01..0.99, seed: u64,
        ) {
            let Split { mut train, test } = split(&strata, fraction, &mut Generator::new(seed));
            train.extend(&test);
            train.sort_unstable();
            prop_assert_eq!(train, (0..strata.len()).collect::<Vec<_>>());
        }

        #[test]
        fn every_stratum_of_two_is_on_both_sides_in_its_share(
            strata in prop::collection::vec(0_usize..5, 0..200), fraction in 0.01..0.99, seed: u64,
        ) {
            let Split { train, test } = split(&strata, fraction, &mut Generator::new(seed));
            for stratum in 0..5 {
                let (kept, held_out) = (count(&train, &strata, stratum), count(&test, &strata, stratum));
                if kept + held_out >= 2 {
                    prop_assert!(kept > 0 && held_out > 0);
                    prop_assert!((held_out as f64 - (kept + held_out) as f64 * fraction).abs() <= 1.0);
                }
            }
        }

        #[test]
        fn a_seed_is_a_split(strata in prop::collection::vec(0_usize..3, 0..50), seed: u64) {
            let once = split(&strata, 0.3, &mut Generator::new(seed));
            prop_assert_eq!(once, split(&strata, 0.3, &mut Generator::new(seed)));
        }
    }

    #[test]
    fn another_seed_is_another_split() {
        let strata = [0; 100];
        let one = split(&strata, 0.2, &mut Generator::new(1));
        assert_ne!(one, split(&strata, 0.2, &mut Generator::new(2)));
    }
}
