//! The fitted net as a graph, from a window in the series' own unit to a forecast in it.

use ndarray::{Array1, Array2};
use serde_json::{Value, json};

use super::super::feed_forward::Dense;
use super::super::onnx::{Attribute, BATCH, Constant, Domain, Element, Graph, Size};
use super::{Cell, Transform};

/// The weights of one recurrent layer; G gates of U units each, in ONNX's order.
pub(super) struct Recurrence {
    /// Inputs × G·U.
    pub(super) input: Array2<f64>,
    /// U × G·U.
    pub(super) recurrent: Array2<f64>,
    /// G·U, of what comes from the value.
    pub(super) bias: Array1<f64>,
    /// G·U, of what comes from the state.
    pub(super) state_bias: Array1<f64>,
}

/// A fitted net.
pub(super) struct Forecaster {
    pub(super) cell: Cell,
    pub(super) transform: Transform,
    /// Of the transformed series.
    pub(super) mean: f64,
    /// Of the transformed series.
    pub(super) scale: f64,
    /// From the value on.
    pub(super) layers: Vec<Recurrence>,
    /// From the last state to the transformed steps.
    pub(super) head: Dense,
    /// From the standardised window to what is added to that.
    pub(super) linear: Option<Dense>,
}

impl Forecaster {
    /// From `inputs` (N × `window`, oldest first) to `predictions` (N × H).
    pub(super) fn graph(&self, window: usize) -> Graph {
        let mut graph = Graph::default();
        let inputs = graph.input("inputs", Element::F32, &[BATCH, Size::Fixed(window)]);
        let values = self.transform.add_to(&mut graph, &inputs);
        let window_values = self.standardise(&mut graph, &values);
        // The operators take T × N × values.
        let order = vec![("perm", Attribute::Ints(vec![1, 0]))];
        let values = graph.node("Transpose", &[&window_values], "series.by_time", order);
        let last_axis = graph.parameter("axis_of_values", &[1], Constant::I64(vec![2]));
        let mut state = graph.node("Unsqueeze", &[&values, &last_axis], "series.values", vec![]);
        // Layers put out all states as T × directions × N × units, and the last one as directions × N × units.
        for (place, layer) in self.layers.iter().enumerate() {
            let is_last = place + 1 == self.layers.len();
            let states = self.add_layer(&mut graph, (place, layer), &state, is_last);
            let directions = Constant::I64(vec![i64::from(!is_last)]);
            let axis = graph.parameter(&format!("layer{place}.axis_of_directions"), &[1], directions);
            state = graph.node(
                "Squeeze",
                &[&states, &axis],
                &format!("layer{place}.state"),
                vec![],
            );
        }
        let mut steps = affine(&mut graph, "head", &self.head, &state);
        if let Some(linear) = &self.linear {
            let others = affine(&mut graph, "linear", linear, &window_values);
            steps = graph.node("Add", &[&steps, &others], "forecast", vec![]);
        }
        self.transform.add_inverse_to(&mut graph, &steps, "predictions");
        graph.output(
            "predictions",
            Element::F32,
            &[BATCH, Size::Fixed(self.head.bias.len())],
        );
        graph
    }

    fn standardise(&self, graph: &mut Graph, values: &str) -> String {
        let mean = graph.parameter("series.mean", &[], Constant::F32(vec![self.mean as f32]));
        let scale = graph.parameter("series.scale", &[], Constant::F32(vec![self.scale as f32]));
        let centred = graph.node("Sub", &[values, &mean], "series.centred", vec![]);
        graph.node("Div", &[&centred, &scale], "series.standardised", vec![])
    }

    fn add_layer(
        &self,
        graph: &mut Graph,
        (place, layer): (usize, &Recurrence),
        values: &str,
        is_last: bool,
    ) -> String {
        let units = layer.recurrent.nrows();
        let name = |part: &str| format!("layer{place}.{part}");
        let weights = [("input", &layer.input), ("recurrent", &layer.recurrent)]
            .map(|(part, weights)| one_direction(graph, &name(part), &weights.t().to_owned()));
        let bias: Vec<f64> = layer.bias.iter().chain(&layer.state_bias).copied().collect();
        let bias = graph.parameter(&name("bias"), &[1, bias.len()], single(&bias));
        let (all, last) = (name("states"), name("last"));
        let mut attributes = vec![("hidden_size", Attribute::Int(units as i64))];
        let operator = match self.cell {
            Cell::Lstm => "LSTM",
            Cell::Gru => {
                attributes.push(("linear_before_reset", Attribute::Int(1)));
                "GRU"
            }
        };
        // An output that nobody wants has no name.
        let outputs: &[&str] = if is_last { &["", &last] } else { &[&all] };
        graph.node_of(
            Domain::Onnx,
            operator,
            &[values, &weights[0], &weights[1], &bias],
            outputs,
            attributes,
        );
        if is_last { last } else { all }
    }

    /// For a report: exact weights, with gates in ONNX's order.
    pub(super) fn parameters(&self) -> Value {
        let nested =
            |matrix: &Array2<f64>| -> Vec<Vec<f64>> { matrix.outer_iter().map(|row| row.to_vec()).collect() };
        let dense = |dense: &Dense| json!({"weights": nested(&dense.weights), "bias": dense.bias.to_vec()});
        let layer = |layer: &Recurrence| {
            json!({
                "input": nested(&layer.input),
                "recurrent": nested(&layer.recurrent),
                "bias": layer.bias.to_vec(),
                "state_bias": layer.state_bias.to_vec(),
            })
        };
        json!({
            "standardisation": {"mean": self.mean, "scale": self.scale},
            "layers": self.layers.iter().map(layer).collect::<Vec<_>>(),
            "head": dense(&self.head),
            "linear": self.linear.as_ref().map(dense),
        })
    }
}

fn affine(graph: &mut Graph, name: &str, dense: &Dense, values: &str) -> String {
    let weights = graph.matrix(&format!("{name}.weights"), dense.weights.view());
    let bias = graph.vector(&format!("{name}.bias"), dense.bias.view());
    graph.node(
        "Gemm",
        &[values, &weights, &bias],
        &format!("{name}.steps"),
        vec![],
    )
}

/// A matrix as the only direction of an operator.
fn one_direction(graph: &mut Graph, name: &str, matrix: &Array2<f64>) -> String {
    let values: Vec<f64> = matrix.iter().copied().collect();
    graph.parameter(name, &[1, matrix.nrows(), matrix.ncols()], single(&values))
}

fn single(values: &[f64]) -> Constant {
    Constant::F32(values.iter().map(|&value| value as f32).collect())
}
