//! Least squares, with an optional L2 penalty (ridge), L1 penalty (lasso), or both (elastic net).

use linfa::traits::Fit;
use linfa_elasticnet::ElasticNet;
use linfa_linear::LinearRegression as LeastSquares;
use ndarray::{Array1, Array2, ArrayView1, Axis, concatenate};
use serde_json::json;

use super::TrainingError;
use super::algorithm::{Algorithm, Context, Fitted, fit_columns};
use super::dataset::{Dataset, Target, TargetKind};
use super::feed_forward::{Dense, FeedForward, Head};
use super::options::table;
use super::standardise::Standardiser;

/// A standardised column has norm √n; if what the others leave of it is smaller than this share, it is one of their
/// linear combinations, up to rounding.
const INDEPENDENCE: f64 = 1e-8;

/// Coordinate descent goes on until the duality gap, which bounds how much is left to gain, is below this share of the
/// target's sum of squares; coefficients then differ from the best by far less than 1e-6 of the target's deviation.
const GAP: f64 = 1e-13;
/// A gap that is near enough where rounding or [`MAX_ROUNDS`] ends the descent earlier.
const NEAR_ENOUGH: f64 = 1e-9;
/// Rounds over all columns, at most.
const MAX_ROUNDS: u32 = 20_000;

/// Minimises ‖y − Xw − b‖² + λ₁‖w‖₁ + λ₂‖w‖² over w and b, the columns of X standardised; b carries no penalty.
///
/// On n rows it is scikit-learn's `ElasticNet` with alpha · l1_ratio = λ₁ / 2n and alpha · (1 − l1_ratio) = λ₂ / n.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearRegression {
    /// λ₂, at least 0.
    pub ridge: f64,
    /// λ₁, at least 0; above 0 it makes coefficients exactly 0.
    pub lasso: f64,
}

impl Algorithm for LinearRegression {
    fn name(&self) -> &'static str {
        "linear-regression"
    }

    fn options(&self) -> toml::Table {
        let mut options = table([("ridge", self.ridge.into())]);
        if self.lasso > 0.0 {
            options.insert("lasso".to_owned(), self.lasso.into());
        }
        options
    }

    fn target_kind(&self) -> TargetKind {
        TargetKind::Numbers
    }

    fn check(&self) -> Result<(), TrainingError> {
        for (option, penalty) in [("--ridge", self.ridge), ("--lasso", self.lasso)] {
            let holds = penalty.is_finite() && penalty >= 0.0;
            TrainingError::check(holds, option, "a finite number, 0 or above", &penalty)?;
        }
        Ok(())
    }

    fn fit(&self, data: &Dataset, context: &mut Context<'_>) -> Result<Fitted, TrainingError> {
        let mut zeros = 0;
        let mut fitted = fit_columns(data, context, |columns, _| match &columns.data.target {
            Target::Numbers(target) => {
                let model = self.fit_rows(&columns.rows, target.view(), &columns.names)?;
                zeros = model.layers[0]
                    .weights
                    .iter()
                    .filter(|&&weight| weight == 0.0)
                    .count();
                Ok(model)
            }
            _ => Err(TrainingError::wrong_target()),
        })?;
        if self.lasso > 0.0 {
            fitted.parameters["zero_coefficients"] = json!(zeros);
        }
        Ok(fitted)
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
            && self.lasso == 0.0
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
            let centred = target.mapv(|value| value - intercept);
            let solution = if self.lasso > 0.0 {
                self.descend(&design, &centred)?
            } else {
                self.solve(&design, &centred)?
            };
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

    /// Coordinate descent, one coefficient at a time to where it is best.
    fn descend(&self, design: &Array2<f64>, target: &Array1<f64>) -> Result<Array1<f64>, TrainingError> {
        let rows = target.len() as f64;
        // In units of the target's deviation, so that what counts as 0 does not depend on its unit.
        let unit = norm(target.view()) / rows.sqrt();
        if unit == 0.0 {
            return Ok(Array1::zeros(design.ncols()));
        }
        let (l1, l2) = (self.lasso / unit / (2.0 * rows), self.ridge / rows);
        let fitted = ElasticNet::params()
            .penalty(l1 + l2)
            .l1_ratio(l1 / (l1 + l2))
            .with_intercept(false)
            .tolerance(GAP)
            .max_iterations(MAX_ROUNDS)
            .fit(&linfa::Dataset::new(design.clone(), target / unit))
            .map_err(|error| fit_error(&error))?;
        // Whether it came to its end it does not say; the gap does, and a sum of squares is `rows` in this unit.
        if fitted.n_steps() >= MAX_ROUNDS && fitted.duality_gap() > NEAR_ENOUGH * rows {
            return Err(TrainingError::Undetermined { rounds: MAX_ROUNDS });
        }
        Ok(fitted.hyperplane() * unit)
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
        penalised(ridge, 0.0, rows, target)
    }

    fn penalised(
        ridge: f64,
        lasso: f64,
        rows: &Array2<f64>,
        target: &Array1<f64>,
    ) -> Result<FeedForward, TrainingError> {
        LinearRegression { ridge, lasso }.fit_rows(rows, target.view(), &names(rows.ncols()))
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
            assert!(
                LinearRegression { ridge, lasso: 0.0 }
                    .check()
                    .unwrap_err()
                    .is_usage()
            );
            let lasso = ridge;
            assert!(
                LinearRegression { ridge: 0.0, lasso }
                    .check()
                    .unwrap_err()
                    .is_usage()
            );
        }
    }

    /// Standardised x = ±1, centred y = ±3: w = (12 − λ₁ / 2) / (4 + λ₂), and 0 from λ₁ = 24 on.
    #[test]
    fn lasso_and_elastic_net_on_one_column_are_the_formula() {
        let (rows, target) = (array![[0.0], [2.0], [0.0], [2.0]], array![4.0, 10.0, 4.0, 10.0]);
        for (lasso, ridge, expected) in [
            (4.0, 0.0, 2.5),
            (4.0, 1.0, 2.0),
            (23.0, 0.0, 0.125),
            (25.0, 0.0, 0.0),
        ] {
            let model = penalised(ridge, lasso, &rows, &target).unwrap();
            let weight = model.layers[0].weights[[0, 0]];
            assert!((weight - expected).abs() < 1e-9, "{lasso} {ridge}: {weight}");
            assert_eq!(model.layers[0].bias[0], 7.0);
        }
    }

    #[test]
    fn lasso_takes_dependent_columns_and_a_constant_target() {
        let rows = array![[1.0, 2.0], [2.0, 4.0], [3.0, 6.0], [5.0, 10.0]];
        assert!(penalised(0.0, 0.1, &rows, &array![1.0, 2.0, 3.0, 5.0]).is_ok());
        let constant = penalised(0.0, 0.1, &rows, &array![2.0, 2.0, 2.0, 2.0]).unwrap();
        assert_eq!(constant.layers[0].weights, Array2::<f64>::zeros((2, 1)));
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

        /// At the minimum 2 xᵀ(Xw − y) + 2 λ₂ w is −λ₁ times the sign of w, and between −λ₁ and λ₁ where w is 0; in whatever
        /// unit the target is.
        #[test]
        fn the_slopes_of_an_elastic_net_are_those_of_its_minimum(
            values in prop::collection::vec(-5.0_f64..5.0, 30),
            target in prop::collection::vec(-5.0_f64..5.0, 10),
            ridge in 0.0_f64..10.0,
            lasso in 0.1_f64..100.0,
            unit in prop_oneof![Just(1e-9), Just(1.0), Just(1e9)],
        ) {
            let rows = Array2::from_shape_vec((10, 3), values).unwrap();
            let target = Array1::from(target) * unit;
            let lasso = lasso * unit;
            let model = penalised(ridge, lasso, &rows, &target).unwrap();
            let standardised = model.standardiser.apply(rows.view());
            let residual = model.predict(rows.view()).column(0).to_owned() - &target;
            let weights = model.layers[0].weights.column(0).to_owned();
            let slopes = (standardised.t().dot(&residual) + &weights * ridge) * 2.0;
            for (slope, weight) in slopes.iter().zip(&weights) {
                let allowed = 1e-4 * unit;
                if *weight == 0.0 {
                    prop_assert!(slope.abs() <= lasso + allowed, "{slope} {lasso}");
                } else {
                    prop_assert!((slope + lasso * weight.signum()).abs() <= allowed, "{slope} {weight} {lasso}");
                }
            }
        }
    }
}
