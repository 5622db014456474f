//! Multinomial logistic regression by penalised maximum likelihood.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};

use super::TrainingError;
use super::algorithm::{Algorithm, Context, Fitted, fit_columns};
use super::dataset::{Dataset, Target, TargetKind};
use super::feed_forward::{Dense, FeedForward, Head};
use super::lbfgs;
use super::options::{integer, table};
use super::standardise::Standardiser;

/// The search goes on to here, so that what is left of its path, which depends on the machine's rounding, is far below
/// the 32-bit floats of the graph. In the gradient of the mean loss.
const TOLERANCE: f64 = 1e-12;
/// Where rounding or the limit of steps ends the search earlier, this is near enough.
const NEAR_ENOUGH: f64 = 1e-8;

/// Minimises −Σ cᵢ ln p(yᵢ | xᵢ) + ½λ‖w‖², cᵢ the weight of a row (1 unless classes are weighted), the columns of X standardised; the intercepts carry no penalty.
///
/// p is the softmax of one linear function a class. With two classes the penalty is doubled: only the difference w₁ − w₀
/// matters then, and ½λ‖w₁ − w₀‖² = λ(‖w₀‖² + ‖w₁‖²) at w₀ = −w₁, so the fit is that of the usual binary model with
/// penalty ½λ‖w‖² (and so that of scikit-learn with C = 1/λ, for any number of classes).
#[derive(Clone, Debug, PartialEq)]
pub struct LogisticRegression {
    /// λ, at least 0.
    pub l2: f64,
    /// The optimiser's steps are at most so many.
    pub max_iterations: u64,
}

impl Algorithm for LogisticRegression {
    fn name(&self) -> &'static str {
        "logistic-regression"
    }

    fn options(&self) -> toml::Table {
        table([
            ("l2", self.l2.into()),
            ("max_iterations", integer(self.max_iterations)),
        ])
    }

    fn target_kind(&self) -> TargetKind {
        TargetKind::Classes
    }

    fn check(&self) -> Result<(), TrainingError> {
        let holds = self.l2.is_finite() && self.l2 >= 0.0;
        TrainingError::check(holds, "--l2", "a finite number, 0 or above", &self.l2)?;
        TrainingError::check(
            self.max_iterations > 0,
            "--max-iterations",
            "at least 1",
            &self.max_iterations,
        )
    }

    fn fit(&self, data: &Dataset, context: &mut Context<'_>) -> Result<Fitted, TrainingError> {
        fit_columns(data, context, |columns, _| match &columns.data.target {
            Target::Classes { names, labels } => {
                self.fit_rows(&columns.rows, labels, names.len(), &columns.data.weights)
            }
            _ => Err(TrainingError::wrong_target()),
        })
    }
}

impl LogisticRegression {
    /// Fits on `rows` (n × F) and `labels` (n numbers below `class_count`), each counted by its weight (n).
    pub fn fit_rows(
        &self,
        rows: &Array2<f64>,
        labels: &[usize],
        class_count: usize,
        weights: &Array1<f64>,
    ) -> Result<FeedForward, TrainingError> {
        let standardiser = Standardiser::fit(rows.view());
        let penalty = if class_count == 2 { 2.0 * self.l2 } else { self.l2 };
        let likelihood = Likelihood {
            rows: standardiser.apply(rows.view()),
            labels,
            weights,
            class_count,
            penalty,
        };
        let start = Array1::zeros((rows.ncols() + 1) * class_count);
        let minimum = lbfgs::minimise(
            |point| likelihood.loss(point),
            start,
            TOLERANCE,
            self.max_iterations,
        );
        if minimum.steepness > NEAR_ENOUGH {
            return Err(TrainingError::NotConverged {
                iterations: minimum.iterations,
            });
        }
        let (weights, bias) = likelihood.unpack(&minimum.point);
        let layer = Dense {
            weights: weights.to_owned(),
            bias: bias.to_owned(),
        };
        Ok(FeedForward {
            standardiser,
            layers: vec![layer],
            head: Head::Softmax,
        })
    }
}

/// The function to minimise. A point is the weights (F × C), row by row, and then the C intercepts.
struct Likelihood<'a> {
    rows: Array2<f64>,
    labels: &'a [usize],
    weights: &'a Array1<f64>,
    class_count: usize,
    penalty: f64,
}

impl Likelihood<'_> {
    fn unpack<'p>(&self, point: &'p Array1<f64>) -> (ArrayView2<'p, f64>, ArrayView1<'p, f64>) {
        let (weights, bias) = point
            .view()
            .split_at(Axis(0), self.rows.ncols() * self.class_count);
        let weights = weights
            .into_shape_with_order((self.rows.ncols(), self.class_count))
            .expect("a point has F · C weights before its intercepts");
        (weights, bias)
    }

    /// The penalised loss and its gradient, both divided by n so that the tolerance means the same for any n.
    fn loss(&self, point: &Array1<f64>) -> lbfgs::Evaluated {
        let (weights, bias) = self.unpack(point);
        let mut error = self.rows.dot(&weights) + bias;
        let mut loss = 0.5 * self.penalty * weights.iter().map(|weight| weight * weight).sum::<f64>();
        for ((mut row, &label), &weight) in error.outer_iter_mut().zip(self.labels).zip(self.weights) {
            // ln Σ exp, with the maximum taken off each row by itself: none overflows, none loses all its digits.
            let maximum = row.fold(f64::NEG_INFINITY, |maximum, &logit| maximum.max(logit));
            let own = row[label] - maximum;
            row.mapv_inplace(|logit| (logit - maximum).exp());
            let sum = row.sum();
            loss += weight * (sum.ln() - own);
            row /= sum;
            row[label] -= 1.0;
            row *= weight;
        }
        let mut gradient = self.rows.t().dot(&error);
        gradient.scaled_add(self.penalty, &weights);
        let gradient = gradient.into_iter().chain(error.sum_axis(Axis(0)));
        let rows = self.labels.len() as f64;
        (loss / rows, gradient.map(|entry| entry / rows).collect())
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;
    use proptest::prelude::*;

    use super::super::fitted::FittedModel;
    use super::*;

    fn overlapping() -> (Array2<f64>, Vec<usize>) {
        let rows = array![
            [0.0, 1.0],
            [1.0, 0.5],
            [2.0, 3.0],
            [3.0, 0.0],
            [4.0, 2.0],
            [5.0, 1.0],
            [2.5, 2.0]
        ];
        (rows, vec![0, 0, 1, 0, 1, 2, 2])
    }

    #[test]
    fn classes_that_are_apart_are_told_apart() {
        let rows = array![[0.0], [1.0], [10.0], [11.0], [20.0], [21.0]];
        let labels = [0, 0, 1, 1, 2, 2];
        let model = LogisticRegression {
            l2: 0.01,
            max_iterations: 500,
        }
        .fit_rows(&rows, &labels, 3, &Array1::ones(labels.len()))
        .unwrap();
        for (probabilities, &label) in model.predict(rows.view()).outer_iter().zip(&labels) {
            assert!(probabilities[label] > 0.8, "{probabilities}");
        }
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        let (rows, labels) = overlapping();
        let weights = Array1::from_iter((1..8_u8).map(f64::from));
        let likelihood = Likelihood {
            rows,
            labels: &labels,
            weights: &weights,
            class_count: 3,
            penalty: 0.7,
        };
        let point = Array1::from_iter((0..9_u8).map(|place| f64::from(place).sin()));
        let (_, gradient) = likelihood.loss(&point);
        for place in 0..point.len() {
            let shifted = |by: f64| {
                let mut shifted = point.clone();
                shifted[place] += by;
                likelihood.loss(&shifted).0
            };
            let slope = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
            assert!(
                (slope - gradient[place]).abs() < 1e-8,
                "{place}: {slope} {}",
                gradient[place]
            );
        }
    }

    #[test]
    fn without_features_that_help_the_class_shares_are_predicted() {
        let rows = Array2::from_elem((4, 1), 3.0);
        let model = LogisticRegression {
            l2: 1.0,
            max_iterations: 100,
        }
        .fit_rows(&rows, &[0, 1, 1, 1], 2, &Array1::ones(4))
        .unwrap();
        let share = model.predict(rows.view())[[0, 1]];
        assert!((share - 0.75).abs() < 1e-7, "{share}");
    }

    #[test]
    fn a_weight_of_two_is_the_row_twice() {
        let fit = |rows: &Array2<f64>, labels: &[usize], weights: Array1<f64>| {
            let options = LogisticRegression {
                l2: 1.0,
                max_iterations: 500,
            };
            options.fit_rows(rows, labels, 2, &weights).unwrap()
        };
        // Rows on both sides of the mean, so that repeating them does not move the standardisation.
        let rows = array![[-1.0], [1.0], [-1.0], [1.0]];
        let weighted = fit(&rows, &[0, 1, 1, 0], array![2.0, 2.0, 1.0, 1.0]);
        let repeated = array![[-1.0], [1.0], [-1.0], [1.0], [-1.0], [1.0]];
        let repeated = fit(&repeated, &[0, 1, 1, 0, 0, 1], Array1::ones(6));
        for (one, other) in weighted.layers[0].weights.iter().zip(&repeated.layers[0].weights) {
            assert!((one - other).abs() < 1e-9, "{one} {other}");
        }
    }

    #[test]
    fn too_few_steps_are_told() {
        let (rows, labels) = overlapping();
        let error = LogisticRegression {
            l2: 1.0,
            max_iterations: 1,
        }
        .fit_rows(&rows, &labels, 3, &Array1::ones(labels.len()))
        .unwrap_err();
        assert!(
            matches!(error, TrainingError::NotConverged { iterations: 1 }),
            "{error}"
        );
    }

    proptest! {
        /// A softmax is unchanged by a shift of all classes, so weights and intercepts each sum to 0 over them.
        #[test]
        fn the_parameters_are_centred(l2 in 0.1_f64..10.0) {
            let (rows, labels) = overlapping();
            let model = LogisticRegression { l2, max_iterations: 500 }.fit_rows(&rows, &labels, 3, &Array1::ones(labels.len())).unwrap();
            let layer = &model.layers[0];
            prop_assert!(layer.weights.sum_axis(Axis(1)).iter().all(|sum| sum.abs() < 1e-6));
            prop_assert!(layer.bias.sum().abs() < 1e-6);
        }
    }
}
