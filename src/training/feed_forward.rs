//! A stack of dense layers: one for the linear models, several with ReLU between them for a neural network.

use ndarray::{Array1, Array2, ArrayView2, Axis};
use serde_json::json;

use super::fitted::FittedModel;
use super::onnx::{Attribute, BATCH, Element, Graph, Size};
use super::standardise::Standardiser;

/// The affine map `x · weights + bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    /// Inputs × outputs.
    pub weights: Array2<f64>,
    /// One value an output.
    pub bias: Array1<f64>,
}

impl Dense {
    fn apply(&self, rows: ArrayView2<'_, f64>) -> Array2<f64> {
        rows.dot(&self.weights) + &self.bias
    }

    /// The one layer that does `standardiser` and then this layer: `w / scale`, and `b − mean / scale · w`.
    fn after(&self, standardiser: &Standardiser) -> Self {
        let weights = &self.weights / &standardiser.scale.view().insert_axis(Axis(1));
        let bias = &self.bias - standardiser.mean.dot(&weights);
        Self { weights, bias }
    }
}

/// What becomes of the last layer's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// They are the prediction.
    Identity,
    /// Softmax makes them class probabilities.
    Softmax,
}

/// A feed-forward network: standardisation, dense layers with ReLU between them, and a head.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedForward {
    /// Fitted on the training part.
    pub standardiser: Standardiser,
    /// At least one; the first takes standardised features.
    pub layers: Vec<Dense>,
    /// What becomes of the last layer's outputs.
    pub head: Head,
}

impl FeedForward {
    /// The layers with the standardisation folded into the first one.
    fn folded(&self) -> Vec<Dense> {
        let mut layers = self.layers.clone();
        if let Some(first) = layers.first_mut() {
            *first = first.after(&self.standardiser);
        }
        layers
    }
}

impl FittedModel for FeedForward {
    fn predict(&self, rows: ArrayView2<'_, f64>) -> Array2<f64> {
        let mut values = self.standardiser.apply(rows);
        for (place, layer) in self.layers.iter().enumerate() {
            if place > 0 {
                values.mapv_inplace(|value| value.max(0.0));
            }
            values = layer.apply(values.view());
        }
        match self.head {
            Head::Identity => values,
            Head::Softmax => softmax(values),
        }
    }

    fn add_to(&self, graph: &mut Graph, features: &str) {
        let layers = self.folded();
        let output = match self.head {
            Head::Identity => "predictions",
            Head::Softmax => "probabilities",
        };
        let last = layers.len() - 1;
        let mut value = features.to_owned();
        for (place, layer) in layers.iter().enumerate() {
            let weights = graph.matrix(&format!("layer{place}.weights"), layer.weights.view());
            let bias = graph.vector(&format!("layer{place}.bias"), layer.bias.view());
            let affine = match (place == last, self.head) {
                (true, Head::Identity) => output.to_owned(),
                _ => format!("layer{place}.affine"),
            };
            value = graph.node("Gemm", &[&value, &weights, &bias], &affine, vec![]);
            if place < last {
                value = graph.node("Relu", &[&value], &format!("layer{place}.active"), vec![]);
            }
        }
        if self.head == Head::Softmax {
            graph.node("Softmax", &[&value], output, vec![("axis", Attribute::Int(-1))]);
        }
        graph.output(
            output,
            Element::F32,
            &[BATCH, Size::Fixed(layers[last].bias.len())],
        );
    }

    fn parameters(&self) -> serde_json::Value {
        let layer = |layer: &Dense| json!({"weights": nested(&layer.weights), "bias": layer.bias.to_vec()});
        json!({
            "standardisation": {
                "mean": self.standardiser.mean.to_vec(),
                "scale": self.standardiser.scale.to_vec(),
            },
            "layers": self.layers.iter().map(layer).collect::<Vec<_>>(),
        })
    }
}

fn nested(matrix: &Array2<f64>) -> Vec<Vec<f64>> {
    matrix.outer_iter().map(|row| row.to_vec()).collect()
}

/// Row by row `exp(x) / Σ exp(x)`. The row's maximum is taken off first, so that no exponential overflows.
#[must_use]
pub fn softmax(mut logits: Array2<f64>) -> Array2<f64> {
    for mut row in logits.rows_mut() {
        let maximum = row.fold(f64::NEG_INFINITY, |maximum, &logit| maximum.max(logit));
        row.mapv_inplace(|logit| (logit - maximum).exp());
        let sum = row.sum();
        row /= sum;
    }
    logits
}

#[cfg(test)]
mod tests {
    use ndarray::array;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn softmax_survives_logits_that_overflow_exp() {
        assert_eq!(
            softmax(array![[1000.0, 1000.0], [-1000.0, 0.0]]),
            array![[0.5, 0.5], [0.0, 1.0]]
        );
    }

    #[test]
    fn relu_stands_between_layers_and_not_behind_the_last() {
        let network = FeedForward {
            standardiser: Standardiser {
                mean: array![0.0],
                scale: array![1.0],
            },
            layers: vec![
                Dense {
                    weights: array![[1.0, -1.0]],
                    bias: array![0.0, 0.0],
                },
                Dense {
                    weights: array![[-1.0], [-2.0]],
                    bias: array![0.5],
                },
            ],
            head: Head::Identity,
        };
        assert_eq!(
            network.predict(array![[3.0], [-3.0]].view()),
            array![[-2.5], [-5.5]]
        );
    }

    proptest! {
        #[test]
        fn folding_the_standardisation_changes_no_prediction(
            values in prop::collection::vec(-100.0_f64..100.0, 12),
            mean in prop::collection::vec(-50.0_f64..50.0, 3),
            scale in prop::collection::vec(0.1_f64..10.0, 3),
        ) {
            let rows = Array2::from_shape_vec((4, 3), values).unwrap();
            let standardiser = Standardiser { mean: mean.into(), scale: scale.into() };
            let layer = Dense { weights: array![[1.0, 2.0], [-0.5, 3.0], [0.25, -1.0]], bias: array![0.1, -4.0] };
            let folded = layer.after(&standardiser).apply(rows.view());
            let separate = layer.apply(standardiser.apply(rows.view()).view());
            for (one, other) in folded.iter().zip(&separate) {
                prop_assert!((one - other).abs() <= 1e-9 * (1.0 + other.abs()), "{one} {other}");
            }
        }

        #[test]
        fn probabilities_sum_to_one(logits in prop::collection::vec(-800.0_f64..800.0, 6)) {
            let probabilities = softmax(Array2::from_shape_vec((2, 3), logits).unwrap());
            for row in probabilities.rows() {
                prop_assert!((row.sum() - 1.0).abs() < 1e-12);
                prop_assert!(row.iter().all(|probability| (0.0..=1.0).contains(probability)));
            }
        }
    }
}
