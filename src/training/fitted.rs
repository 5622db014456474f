//! What the algorithms on columns hand back.

use ndarray::{Array2, ArrayView2};

use super::onnx::Graph;

/// A fitted model of encoded columns, whatever fitted it.
pub trait FittedModel {
    /// Predicts for encoded `rows` (n × F): n × 1 numbers for regression, n × C class probabilities for classification.
    fn predict(&self, rows: ArrayView2<'_, f64>) -> Array2<f64>;

    /// Adds the same computation to a graph, on the value `features` (N × F), and declares what it puts out.
    fn add_to(&self, graph: &mut Graph, features: &str);

    /// The exact parameters, in 64-bit floats, for a report.
    fn parameters(&self) -> serde_json::Value;
}
