//! How far figures of a few rows can be from those of all.

use super::super::random::Generator;

/// Rows are drawn again so many times.
const DRAWS: usize = 1_000;
/// Of more rows the interval is narrow, and drawing them again slow.
const MAX_ROWS: usize = 20_000;
/// The quantile of the normal distribution that leaves 2.5 % above it.
const NORMAL: f64 = 1.959_964;

/// The interval of a share of which `hits` of `rows` were seen, at 95 % (Wilson 1927,
/// <https://doi.org/10.1080/01621459.1927.10502953>): from 0 to 1 where nothing was seen.
#[must_use]
pub(super) fn wilson(hits: u32, rows: u32) -> (f64, f64) {
    if rows == 0 {
        return (0.0, 1.0);
    }
    let (rows, square) = (f64::from(rows), NORMAL * NORMAL);
    let share = f64::from(hits) / rows;
    let centre = (share + square / (2.0 * rows)) / (1.0 + square / rows);
    let spread = NORMAL * (share * (1.0 - share) / rows + square / (4.0 * rows * rows)).sqrt();
    let half = spread / (1.0 + square / rows);
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

/// The interval of the root of the mean of `squares` at 95 %, by drawing as many of them again and again (Efron 1979,
/// <https://doi.org/10.1214/aos/1176344552>); none for a single row, for very many, and for what is no number.
#[must_use]
pub(super) fn bootstrap_rmse(squares: &[f64], seed: u64) -> Option<(f64, f64)> {
    let rows = squares.len();
    if !(2..=MAX_ROWS).contains(&rows) || !squares.iter().all(|square| square.is_finite()) {
        return None;
    }
    let mut generator = Generator::new(seed);
    let mut draw = || {
        let share = f64::midpoint(generator.uniform(1.0), 1.0);
        squares[((share * rows as f64) as usize).min(rows - 1)]
    };
    let mut roots: Vec<f64> = (0..DRAWS)
        .map(|_| ((0..rows).map(|_| draw()).sum::<f64>() / rows as f64).sqrt())
        .collect();
    roots.sort_by(f64::total_cmp);
    Some((roots[DRAWS / 40], roots[DRAWS - 1 - DRAWS / 40]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wilsons_interval_is_that_of_the_literature() {
        // By statsmodels: proportion_confint(45, 50, method="wilson").
        let (least, most) = wilson(45, 50);
        assert!(
            (least - 0.786_398).abs() < 1e-5 && (most - 0.956_524).abs() < 1e-5,
            "{least} {most}"
        );
        assert_eq!(wilson(0, 0), (0.0, 1.0));
    }

    proptest! {
        #[test]
        fn the_share_lies_in_its_interval(rows in 1_u32..5_000, hits in 0_u32..5_000) {
            let hits = hits.min(rows);
            let share = f64::from(hits) / f64::from(rows);
            let (least, most) = wilson(hits, rows);
            prop_assert!(0.0 <= least && least <= share + 1e-12 && share <= most + 1e-12 && most <= 1.0);
        }

        #[test]
        fn the_root_lies_in_its_interval_and_a_seed_is_an_interval(
            squares in prop::collection::vec(0.0_f64..100.0, 20..60), seed: u64,
        ) {
            let root = (squares.iter().sum::<f64>() / squares.len() as f64).sqrt();
            let (least, most) = bootstrap_rmse(&squares, seed).unwrap();
            prop_assert!(least <= root && root <= most, "{} {} {}", least, root, most);
            prop_assert_eq!(bootstrap_rmse(&squares, seed), Some((least, most)));
        }
    }

    #[test]
    fn what_says_nothing_has_no_interval() {
        assert_eq!(bootstrap_rmse(&[1.0], 7), None);
        assert_eq!(bootstrap_rmse(&[1.0, f64::NAN], 7), None);
    }
}
