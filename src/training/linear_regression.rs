//! Least squares, with an optional L2 penalty.

use linfa::traits::Fit;
use linfa_linear::LinearRegression as LeastSquares;
use ndarray::{Array1, Array2, ArrayView1, Axis, concatenate};

use super::TrainingError;
use super::algorithm::{Algorithm, Context, Fitted, fit_columns};
use super::dataset::{Dataset, Target, TargetKind};
use super::feed_forward::{Dense, FeedForward, Head};
use super::options::table;
use super::standardise::Standardiser;

/// A standardised column has norm √n; if what the others leave of it is smaller than this share, it is one of their
/// linear combinations, up to rounding.
const INDEPENDENCE: f64 = 1e-8;

/// Minimises ‖y − Xw − b‖² + λ‖w‖² over w and b, the columns of X standardised; b carries no penalty.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearRegression {
    /// λ, at least 0; 0 is ordinary least squares.
    pub ridge: f64,
}

impl Algorithm for LinearRegression {
    fn name(&self) -> &'static str {
        "linear-regression"
    }

    fn options(&self) -> toml::Table {
        table([("ridge", self.ridge.into())])
    }

    fn target_kind(&self) -> TargetKind {
        TargetKind::Numbers
    }

    fn check(&self) -> Result<(), TrainingError> {
        let holds = self.ridge.is_finite() && self.ridge >= 0.0;
        TrainingError::check(holds, "--ridge", "a finite number, 0 or above", &self.ridge)
    }

    fn fit(&self, data: &Dataset, context: &mut Context<'_>) -> Result<Fitted, TrainingError> {
        fit_columns(data, context, |columns, _| match &columns.data.target {
            Target::Numbers(target) => self.fit_rows(&columns.rows, target.view(), &columns.names),
            _ => Err(TrainingError::wrong_target()),
        })
    }
}

impl LinearRegression {
    /// Fits on `rows` (n × F) and `target` (n); `features` name the columns in errors.
    pub fn fit_rows(
        &self,
        rows: &Array2<f64>,
        target: ArrayView1<'_, f64>,
        features: &[String],
    ) -> Result<FeedForward, TrainingError> {
        let standardiser = Standardiser::fit(rows.view());
        let standardised = standardiser.apply(rows.view());
        // A constant column says nothing: its coefficient is 0.
        let varying: Vec<usize> = (0..rows.ncols())
            .filter(|&column| norm(standardised.column(column)) > INDEPENDENCE * norm_of_standardised(rows))
            .collect();
        let design = standardised.select(Axis(1), &varying);
        if self.ridge == 0.0
            && let Some(column) = first_dependent(&design)
        {
            let column = features[varying[column]].clone();
            return Err(TrainingError::Dependent {
                column,
                rows: rows.nrows(),
            });
        }
        // The columns have mean 0, so the best intercept is the target's mean, whatever the coefficients are.
        let intercept = target.sum() / target.len() as f64;
        let mut weights = Array2::zeros((rows.ncols(), 1));
        if !varying.is_empty() {
            let solution = self.solve(&design, &target.mapv(|value| value - intercept))?;
            for (&column, weight) in varying.iter().zip(solution) {
                weights[[column, 0]] = weight;
            }
        }
        let layer = Dense {
            weights,
            bias: Array1::from_elem(1, intercept),
        };
        Ok(FeedForward {
            standardiser,
            layers: vec![layer],
            head: Head::Identity,
        })
    }

    /// The penalty is F more rows: √λ in one column each, and target 0. Unlike the normal equations this does not
    /// square the condition number.
    fn solve(&self, design: &Array2<f64>, target: &Array1<f64>) -> Result<Array1<f64>, TrainingError> {
        let columns = design.ncols();
        let (design, target) = if self.ridge > 0.0 {
            let penalty = Array2::eye(columns) * self.ridge.sqrt();
            let design = concatenate(Axis(0), &[design.view(), penalty.view()]);
            let target = concatenate(Axis(0), &[target.view(), Array1::zeros(columns).view()]);
            (
                design.map_err(|error| fit_error(&error))?,
                target.map_err(|error| fit_error(&error))?,
            )
        } else {
            (design.clone(), target.clone())
        };
        let fitted = LeastSquares::default()
            .with_intercept(false)
            .fit(&linfa::Dataset::new(design, target))
            .map_err(|error| fit_error(&error))?;
        Ok(fitted.params().clone())
    }
}

fn fit_error(cause: &dyn std::error::Error) -> TrainingError {
    TrainingError::Fit(cause.to_string())
}

fn norm(column: ArrayView1<'_, f64>) -> f64 {
    column.dot(&column).sqrt()
}

fn norm_of_standardised(rows: &Array2<f64>) -> f64 {
    (rows.nrows() as f64).sqrt()
}

/// The first column that the ones before it determine, by modified Gram–Schmidt.
fn first_dependent(design: &Array2<f64>) -> Option<usize> {
    let mut basis: Vec<Array1<f64>> = Vec::new();
    for (place, column) in design.axis_iter(Axis(1)).enumerate() {
        let mut rest = column.to_owned();
        for direction in &basis {
            let projection = rest.dot(direction);
            rest.scaled_add(-projection, direction);
        }
        let length = norm(rest.view());
        if length <= INDEPENDENCE * norm(column) {
            return Some(place);
        }
        basis.push(rest / length);
    }
    None
}

#[cfg(test)]
mod tests {
    use ndarray::array;
    use proptest::prelude::*;

    use super::super::fitted::FittedModel;
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|column| format!("x{column}")).collect()
    }

    fn fit(ridge: f64, rows: &Array2<f64>, target: &Array1<f64>) -> Result<FeedForward, TrainingError> {
        LinearRegression { ridge }.fit_rows(rows, target.view(), &names(rows.ncols()))
    }

    #[test]
    fn a_plane_is_found_again() {
        let rows = array![
            [1.0, 200.0],
            [2.0, 100.0],
            [3.0, 500.0],
            [4.0, 300.0],
            [7.0, 100.0]
        ];
        let target = rows.map_axis(Axis(1), |row| 3.0 * row[0] - 0.01 * row[1] + 5.0);
        let predicted = fit(0.0, &rows, &target).unwrap().predict(rows.view());
        for (guess, truth) in predicted.iter().zip(&target) {
            assert!((guess - truth).abs() < 1e-10, "{guess} {truth}");
        }
    }

    #[test]
    fn ridge_on_one_column_is_the_formula() {
        // Standardised x = ±1, centred y = ±3: w = Σxy / (Σx² + λ) = 12 / (4 + 2).
        let model = fit(
            2.0,
            &array![[0.0], [2.0], [0.0], [2.0]],
            &array![4.0, 10.0, 4.0, 10.0],
        )
        .unwrap();
        assert!((model.layers[0].weights[[0, 0]] - 2.0).abs() < 1e-12);
        assert!((model.layers[0].bias[0] - 7.0).abs() < 1e-12);
    }

    #[test]
    fn a_constant_column_gets_no_weight() {
        let rows = array![[1.0, 0.1], [2.0, 0.1], [3.0, 0.1], [5.0, 0.1]];
        let model = fit(0.0, &rows, &array![2.0, 4.0, 6.0, 10.0]).unwrap();
        assert_eq!(model.layers[0].weights[[1, 0]], 0.0);
        assert!((model.predict(array![[4.0, 0.1]].view())[[0, 0]] - 8.0).abs() < 1e-10);
    }

    #[test]
    fn a_dependent_column_is_named_and_ridge_takes_it() {
        let rows = array![
            [1.0, 0.3, 2.3],
            [2.0, 0.1, 4.1],
            [3.0, 0.5, 6.5],
            [5.0, 0.2, 10.2],
            [4.0, 0.9, 8.9]
        ];
        let target = array![1.0, 2.0, 3.0, 4.0, 5.0];
        let error = fit(0.0, &rows, &target).unwrap_err();
        assert!(
            matches!(&error, TrainingError::Dependent { column, .. } if column == "x2"),
            "{error}"
        );
        assert!(fit(0.1, &rows, &target).is_ok());
    }

    #[test]
    fn a_penalty_below_zero_is_refused() {
        for ridge in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(LinearRegression { ridge }.check().unwrap_err().is_usage());
        }
    }

    proptest! {
        /// At the minimum the gradient Xᵀ(Xw + b − y) + λw is 0.
        #[test]
        fn the_gradient_vanishes_at_the_fit(
            values in prop::collection::vec(-5.0_f64..5.0, 30),
            target in prop::collection::vec(-5.0_f64..5.0, 10),
            ridge in 0.01_f64..10.0,
        ) {
            let rows = Array2::from_shape_vec((10, 3), values).unwrap();
            let target = Array1::from(target);
            let model = fit(ridge, &rows, &target).unwrap();
            let standardised = model.standardiser.apply(rows.view());
            let residual = model.predict(rows.view()).column(0).to_owned() - &target;
            let gradient = standardised.t().dot(&residual) + model.layers[0].weights.column(0).to_owned() * ridge;
            prop_assert!(gradient.iter().all(|entry| entry.abs() < 1e-8), "{gradient}");
            prop_assert!(residual.sum().abs() < 1e-8);
        }
    }
}
