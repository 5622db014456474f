//! Columns of numbers, and what fills their gaps.

use super::super::TrainingError;
use super::super::dataset::Missing;

/// What stands for a missing number; none where it is refused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Filling(pub(super) Option<f64>);

impl Filling {
    /// The mean or median of the numbers that are there. With a choice to fill, columns that have no gap in the training part
    /// are filled as well: a client's row may have one.
    pub(super) fn fit(column: &str, values: &[f64], missing: Missing) -> Result<Self, TrainingError> {
        let mut present: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
        if missing == Missing::Refuse {
            return Ok(Self(None));
        }
        if present.is_empty() {
            return Err(TrainingError::NoValues {
                column: column.to_owned(),
            });
        }
        Ok(Self(Some(match missing {
            Missing::Median => median(&mut present),
            _ => present.iter().map(|value| value / present.len() as f64).sum(),
        })))
    }

    pub(super) fn apply(self, column: &str, value: f64) -> Result<f64, TrainingError> {
        if !value.is_nan() {
            return Ok(value);
        }
        self.0.ok_or_else(|| TrainingError::NoValues {
            column: column.to_owned(),
        })
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], values[middle])
    } else {
        values[middle]
    }
}
