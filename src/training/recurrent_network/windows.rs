//! A series as windows, and the parts of a series that never see their future.
//!
//! Window i holds the values `i .. i + T` and is followed by the H values that are to be forecast. The windows of two parts
//! overlap in time, so between a part and what came before it H − 1 windows are left out: every value that is forecast in a
//! part lies after every value that was seen before. What is known when a forecast is made may lie in the earlier part, as it
//! does in use.

use ndarray::{Array1, Array2, ArrayView1, concatenate, s};

use super::super::TrainingError;
use super::super::dataset::{Dataset, Target};
use super::super::split::Split;

/// Every window of `window` values (at least 1) that `horizon` more (at least 1) come after, in the order of time.
pub(super) fn windows(
    series: ArrayView1<'_, f64>,
    window: usize,
    horizon: usize,
) -> Result<Dataset, TrainingError> {
    let count = (series.len() + 1).saturating_sub(window.saturating_add(horizon));
    if count == 0 {
        return Err(TrainingError::ShortSeries { window, horizon });
    }
    let known = Array2::from_shape_fn((count, window), |(row, place)| series[row + place]);
    let steps = Array2::from_shape_fn((count, horizon), |(row, step)| series[row + window + step]);
    let names: Vec<String> = (1..=window).rev().map(|lag| format!("lag_{lag}")).collect();
    Ok(Dataset::of_numbers(&names, &known, Target::Steps(steps)))
}

/// The series that neighbouring windows were cut from.
pub(super) fn series(known: &Array2<f64>, steps: &Array2<f64>) -> Array1<f64> {
    let last = steps.nrows() - 1;
    let parts = [known.row(0), steps.column(0), steps.slice(s![last, 1..])];
    concatenate(ndarray::Axis(0), &parts).expect("vectors can be put in a row")
}

/// Holds out the last `fraction` of the windows: at least one. `gap` windows before them are on neither side.
pub(super) fn last_part(rows: usize, fraction: f64, gap: usize) -> Split {
    let held_out = ((rows as f64 * fraction).round() as usize).clamp(1, rows);
    after(rows - held_out, rows, gap)
}

/// Cuts the windows into one part more than `parts`. Each but the first is held out once, and all before it is fitted on.
pub(super) fn expanding(rows: usize, parts: usize, gap: usize) -> Vec<Split> {
    let start = |part: usize| rows * part / (parts + 1);
    (1..=parts)
        .map(|part| after(start(part), start(part + 1), gap))
        .collect()
}

fn after(start: usize, end: usize, gap: usize) -> Split {
    Split {
        train: (0..start.saturating_sub(gap)).collect(),
        test: (start..end).collect(),
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;
    use proptest::prelude::*;

    use super::*;

    fn of_time(length: usize, window: usize, horizon: usize) -> Result<Dataset, TrainingError> {
        // Each value is the time at which it is known.
        windows(
            Array1::from_shape_fn(length, |time| time as f64).view(),
            window,
            horizon,
        )
    }

    fn steps(data: &Dataset) -> &Array2<f64> {
        let Target::Steps(steps) = &data.target else {
            panic!("steps")
        };
        steps
    }

    fn is_in_order(data: &Dataset, Split { train, test }: &Split) -> bool {
        let seen = train
            .iter()
            .map(|&row| steps(data).row(row)[steps(data).ncols() - 1]);
        let last_seen = seen.fold(f64::NEG_INFINITY, f64::max);
        test.iter().all(|&row| steps(data)[[row, 0]] > last_seen)
    }

    #[test]
    fn windows_are_oldest_first_and_followed_by_what_comes() {
        let data = of_time(6, 3, 2).unwrap();
        assert_eq!(data.names(), ["lag_3", "lag_2", "lag_1"]);
        assert_eq!(data.matrix().unwrap(), array![[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]]);
        assert_eq!(steps(&data), array![[3.0, 4.0], [4.0, 5.0]]);
        assert!(matches!(of_time(4, 3, 2), Err(TrainingError::ShortSeries { .. })));
        assert!(of_time(9, usize::MAX, 2).is_err());
    }

    proptest! {
        #[test]
        fn no_part_sees_its_future(
            length in 2_usize..120, window in 1_usize..20, horizon in 1_usize..20, fraction in 0.01..0.99, parts in 1_usize..6,
        ) {
            let Ok(data) = of_time(length, window, horizon) else { return Ok(()) };
            let gap = horizon - 1;
            let split = last_part(data.rows(), fraction, gap);
            prop_assert!(is_in_order(&data, &split) && !split.test.is_empty());
            prop_assert_eq!(split.test.last(), Some(&(data.rows() - 1)));
            // No more is left out than must be.
            prop_assert!(split.train.is_empty() || split.train.len() + gap + split.test.len() == data.rows());
            for split in expanding(data.rows(), parts, gap) {
                prop_assert!(is_in_order(&data, &split));
            }
        }

        #[test]
        fn windows_know_their_series(
            values in prop::collection::vec(-9.0_f64..9.0, 2..60), window in 1_usize..9, horizon in 1_usize..9,
        ) {
            let whole = Array1::from(values);
            let Ok(data) = windows(whole.view(), window, horizon) else { return Ok(()) };
            prop_assert_eq!(series(&data.matrix().unwrap(), steps(&data)), whole);
        }

        #[test]
        fn parts_follow_each_other(rows in 1_usize..200, parts in 1_usize..9) {
            prop_assume!(parts <= rows);
            let held_out: Vec<usize> = expanding(rows, parts, 3).into_iter().flat_map(|split| split.test).collect();
            let first = held_out[0];
            prop_assert_eq!(held_out, (first..rows).collect::<Vec<_>>());
            prop_assert!(expanding(rows, parts, 3).iter().all(|split| !split.test.is_empty()));
        }
    }
}
