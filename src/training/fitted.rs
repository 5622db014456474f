//! What every algorithm hands back.

use ndarray::{Array2, ArrayView2};

use super::onnx::Graph;

/// A fitted model, whatever fitted it.
pub trait FittedModel {
    /// Predicts for `rows` (n × F, in the units of the data file): n × 1 numbers for regression, n × C class
    /// probabilities for classification.
    fn predict(&self, rows: ArrayView2<'_, f64>) -> Array2<f64>;

    /// The same computation as a graph that takes rows in the units of the data file.
    fn graph(&self) -> Graph;

    /// The exact parameters, in 64-bit floats, for a report.
    fn parameters(&self) -> serde_json::Value;
}
