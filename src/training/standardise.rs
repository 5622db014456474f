//! Columns of mean 0 and standard deviation 1.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};

/// The affine map `(x − mean) / scale` of each column.
#[derive(Clone, Debug, PartialEq)]
pub struct Standardiser {
    /// The mean of each column, in the column's unit.
    pub mean: Array1<f64>,
    /// The standard deviation of each column (divisor n), in the column's unit; 1 for a constant column.
    pub scale: Array1<f64>,
}

impl Standardiser {
    /// Fits the map on `rows` (n × F, n > 0). A column whose deviation is only rounding counts as constant: it
    /// becomes 0 and is not blown up.
    #[must_use]
    pub fn fit(rows: ArrayView2<'_, f64>) -> Self {
        let (mean, scale) = rows
            .axis_iter(Axis(1))
            .map(mean_and_scale)
            .unzip::<_, _, Vec<_>, Vec<_>>();
        Self {
            mean: mean.into(),
            scale: scale.into(),
        }
    }

    /// Maps `rows` (n × F).
    #[must_use]
    pub fn apply(&self, rows: ArrayView2<'_, f64>) -> Array2<f64> {
        (&rows - &self.mean) / &self.scale
    }
}

fn mean_and_scale(column: ArrayView1<'_, f64>) -> (f64, f64) {
    let rows = column.len() as f64;
    let mean = column.iter().map(|value| value / rows).sum::<f64>();
    let deviation = column
        .iter()
        .map(|value| (value - mean).powi(2) / rows)
        .sum::<f64>()
        .sqrt();
    let rounding = 10.0 * f64::EPSILON * rows.sqrt() * mean.abs();
    (mean, if deviation > rounding { deviation } else { 1.0 })
}

#[cfg(test)]
mod tests {
    use ndarray::array;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn columns_are_centred_and_scaled() {
        let rows = array![[1.0, 10.0], [3.0, 50.0]];
        let standardiser = Standardiser::fit(rows.view());
        assert_eq!(
            standardiser,
            Standardiser {
                mean: array![2.0, 30.0],
                scale: array![1.0, 20.0]
            }
        );
        assert_eq!(standardiser.apply(rows.view()), array![[-1.0, -1.0], [1.0, 1.0]]);
    }

    #[test]
    fn a_constant_column_becomes_zero() {
        for constant in [0.0, 0.1, 1e9 / 3.0] {
            let rows = Array2::from_elem((7, 1), constant);
            let standardised = Standardiser::fit(rows.view()).apply(rows.view());
            assert!(
                standardised.iter().all(|value| value.abs() < 1e-6),
                "{constant}: {standardised}"
            );
        }
    }

    proptest! {
        #[test]
        fn the_fitted_rows_have_mean_0_and_deviation_1(
            values in prop::collection::vec(-1e3_f64..1e3, 2..50),
        ) {
            prop_assume!(values.iter().any(|value| (value - values[0]).abs() > 1e-3));
            let rows = Array2::from_shape_vec((values.len(), 1), values).unwrap();
            let column = Standardiser::fit(rows.view()).apply(rows.view());
            prop_assert!(column.mean().unwrap().abs() < 1e-9);
            prop_assert!((column.std(0.0) - 1.0).abs() < 1e-9);
        }
    }
}
