//! Graphs that are built here and written as ONNX (<https://onnx.ai/onnx/intro/>).
//!
//! Opset 13 and IR version 7 are those of ONNX 1.8 (2020): old enough for every runtime in use, and new enough for
//! Softmax along one axis. The batch dimension is symbolic.

mod encode;

use ndarray::{ArrayView1, ArrayView2};

/// The axis that counts rows, by the name that it has in every graph.
pub const BATCH: Size = Size::Free("N");

/// Where an operator is defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// The standard's own operators.
    Onnx,
    /// `ai.onnx.ml`: classical models and what prepares columns for them.
    Ml,
    /// ONNX Runtime's own operators, `com.microsoft`.
    Runtime,
}

/// A named constant of a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// One integer.
    Int(i64),
    /// Several.
    Ints(Vec<i64>),
    /// One number.
    Float(f32),
    /// Several.
    Floats(Vec<f32>),
    /// One text.
    Text(String),
    /// Several.
    Texts(Vec<String>),
}

/// One step of a graph. Values are known by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    operator: &'static str,
    domain: Domain,
    inputs: Vec<String>,
    outputs: Vec<String>,
    attributes: Vec<(&'static str, Attribute)>,
}

/// What a constant holds, in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub enum Constant {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit integers.
    I64(Vec<i64>),
}

/// A named constant that nodes take.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    name: String,
    shape: Vec<usize>,
    values: Constant,
}

/// The element type of an input or output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// 32-bit floats.
    F32,
    /// 64-bit integers.
    I64,
    /// Texts.
    Text,
}

/// The size of an axis of an input or output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Any size; the same name means the same size.
    Free(&'static str),
    /// Exactly this one.
    Fixed(usize),
}

/// An input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub element: Element,
    /// Its sizes; the first counts rows.
    pub shape: Vec<Size>,
}

/// A computation on rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// What it takes.
    pub inputs: Vec<Port>,
    /// What it puts out.
    pub outputs: Vec<Port>,
    nodes: Vec<Node>,
    parameters: Vec<Parameter>,
}

impl Graph {
    /// Declares an input and returns its name, for the nodes that take it.
    pub fn input(&mut self, name: &str, element: Element, shape: &[Size]) -> String {
        self.inputs.push(Port::new(name, element, shape));
        name.to_owned()
    }

    /// Declares that the value `name` is put out.
    pub fn output(&mut self, name: &str, element: Element, shape: &[Size]) {
        self.outputs.push(Port::new(name, element, shape));
    }

    /// Adds a node of the standard's own domain with one output, and returns the name of that.
    pub fn node(
        &mut self,
        operator: &'static str,
        inputs: &[&str],
        output: &str,
        attributes: Vec<(&'static str, Attribute)>,
    ) -> String {
        self.node_of(Domain::Onnx, operator, inputs, &[output], attributes);
        output.to_owned()
    }

    /// Adds a node of any domain with any number of outputs.
    pub fn node_of(
        &mut self,
        domain: Domain,
        operator: &'static str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: Vec<(&'static str, Attribute)>,
    ) {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        self.nodes.push(Node {
            operator,
            domain,
            inputs: owned(inputs),
            outputs: owned(outputs),
            attributes,
        });
    }

    /// Adds a constant and returns its name. `values` are as many as `shape` asks for.
    pub fn parameter(&mut self, name: &str, shape: &[usize], values: Constant) -> String {
        self.parameters.push(Parameter {
            name: name.to_owned(),
            shape: shape.to_vec(),
            values,
        });
        name.to_owned()
    }

    /// Adds a matrix, row by row, rounded to 32-bit floats.
    pub fn matrix(&mut self, name: &str, values: ArrayView2<'_, f64>) -> String {
        let rounded = values.iter().map(|&value| value as f32).collect();
        self.parameter(name, values.shape(), Constant::F32(rounded))
    }

    /// Adds a vector, rounded to 32-bit floats.
    pub fn vector(&mut self, name: &str, values: ArrayView1<'_, f64>) -> String {
        let rounded = values.iter().map(|&value| value as f32).collect();
        self.parameter(name, values.shape(), Constant::F32(rounded))
    }

    /// Whether every fitted number in it is finite.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        let finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
        let parameters = self.parameters.iter().all(|parameter| match &parameter.values {
            Constant::F32(values) => finite(values),
            Constant::I64(_) => true,
        });
        let mut attributes = self.nodes.iter().flat_map(|node| &node.attributes);
        // A single float is an option and no fitted number; one of the imputer's is not-a-number by its meaning.
        parameters
            && attributes.all(|(_, attribute)| match attribute {
                Attribute::Floats(values) => finite(values),
                _ => true,
            })
    }
}

impl Port {
    fn new(name: &str, element: Element, shape: &[Size]) -> Self {
        Self {
            name: name.to_owned(),
            element,
            shape: shape.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};
    use tract_onnx::prelude::{DatumExt, Framework, InferenceModelExt, IntoTensor, tract_ndarray, tvec};
    use tract_onnx::tract_hir::internal::IntoRunnable;

    use prost::Message;
    use tract_onnx::pb::ModelProto;

    use super::super::feed_forward::{Dense, FeedForward, Head};
    use super::super::fitted::FittedModel;
    use super::super::standardise::Standardiser;
    use super::*;

    fn network(head: Head) -> FeedForward {
        FeedForward {
            standardiser: Standardiser {
                mean: array![10.0, -3.0],
                scale: array![4.0, 0.5],
            },
            layers: vec![
                Dense {
                    weights: array![[1.0, -0.5, 0.3], [0.2, 0.7, -1.1]],
                    bias: array![0.1, 0.0, -0.2],
                },
                Dense {
                    weights: array![[0.4, -1.0], [1.5, 0.6], [-0.8, 0.9]],
                    bias: array![2.0, 1.0],
                },
            ],
            head,
        }
    }

    fn graph_of(model: &FeedForward) -> Graph {
        let mut graph = Graph::default();
        let inputs = graph.input("inputs", Element::F32, &[BATCH, Size::Fixed(2)]);
        model.add_to(&mut graph, &inputs);
        graph
    }

    fn run_by_tract(onnx: &[u8], rows: &Array2<f64>) -> Vec<f32> {
        let input = tract_ndarray::Array2::from_shape_fn(rows.dim(), |place| rows[place] as f32);
        let model = tract_onnx::onnx()
            .model_for_read(&mut &*onnx)
            .unwrap()
            .with_input_fact(0, f32::fact([rows.nrows(), rows.ncols()]).into())
            .unwrap()
            .into_optimized()
            .unwrap()
            .into_runnable()
            .unwrap();
        let outputs = model.run(tvec!(input.into_tensor().into())).unwrap();
        outputs[0]
            .to_plain_array_view::<f32>()
            .unwrap()
            .iter()
            .copied()
            .collect()
    }

    #[test]
    fn the_graph_computes_what_the_model_predicts() {
        let rows = array![[9.0, -2.0], [14.5, -3.5], [0.0, 0.0]];
        for head in [Head::Identity, Head::Softmax] {
            let model = network(head);
            let predicted = model.predict(rows.view());
            let computed = run_by_tract(&graph_of(&model).encode("test", "", &[]), &rows);
            assert_eq!(computed.len(), predicted.len());
            for (&one, &other) in computed.iter().zip(&predicted) {
                assert!(
                    (f64::from(one) - other).abs() <= 1e-5 * other.abs().max(0.1),
                    "{head:?}: {one} {other}"
                );
            }
        }
    }

    #[test]
    fn the_file_says_who_made_it_and_what_it_takes() {
        let bytes =
            graph_of(&network(Head::Softmax)).encode("m", "A test.", &[("classes", "[\"a\"]".into())]);
        let model = ModelProto::decode(&*bytes).unwrap();
        assert_eq!((model.producer_name.as_str(), model.ir_version), ("millrace", 7));
        assert_eq!(model.opset_import[0].version, 13);
        assert_eq!(model.metadata_props[0].key, "classes");
        let graph = model.graph.unwrap();
        assert_eq!(
            (graph.input[0].name.as_str(), graph.output[0].name.as_str()),
            ("inputs", "probabilities")
        );
        let operators: Vec<_> = graph.node.iter().map(|node| node.op_type.as_str()).collect();
        assert_eq!(operators, ["Gemm", "Relu", "Gemm", "Softmax"]);
    }

    #[test]
    fn parameters_beyond_32_bits_are_seen() {
        let mut model = network(Head::Identity);
        assert!(graph_of(&model).is_finite());
        model.layers[1].bias[0] = 1e300;
        assert!(!graph_of(&model).is_finite());
    }
}
