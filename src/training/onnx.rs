//! Writes graphs as ONNX (<https://onnx.ai/onnx/intro/>).
//!
//! Opset 13 and IR version 7 are those of ONNX 1.8 (2020): old enough for every runtime in use, and new enough for
//! Softmax along one axis. The batch dimension is symbolic.

use ndarray::{ArrayView1, ArrayView2};
use prost::Message;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, attribute_proto, tensor_proto,
    tensor_shape_proto, type_proto,
};

const OPSET_VERSION: i64 = 13;
const IR_VERSION: i64 = 7;
/// The name of the batch dimension.
const BATCH: &str = "N";

/// The operators that our models are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `A · B + C`.
    Gemm,
    /// `max(x, 0)`.
    Relu,
    /// Along the last axis.
    Softmax,
}

impl Operator {
    fn name(self) -> &'static str {
        match self {
            Self::Gemm => "Gemm",
            Self::Relu => "Relu",
            Self::Softmax => "Softmax",
        }
    }

    fn attributes(self) -> Vec<AttributeProto> {
        match self {
            Self::Gemm | Self::Relu => Vec::new(),
            Self::Softmax => vec![AttributeProto {
                name: "axis".into(),
                r#type: attribute_proto::AttributeType::Int.into(),
                i: -1,
                ..AttributeProto::default()
            }],
        }
    }
}

/// One step of a graph. Values are known by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    operator: Operator,
    inputs: Vec<String>,
    output: String,
}

impl Node {
    /// `operator` on the values `inputs`, its result named `output`.
    pub fn new<'a>(operator: Operator, inputs: impl IntoIterator<Item = &'a String>, output: &str) -> Self {
        Self {
            operator,
            inputs: inputs.into_iter().cloned().collect(),
            output: output.to_owned(),
        }
    }
}

/// A named constant, rounded to 32-bit floats.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    name: String,
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Tensor {
    /// A matrix, row by row.
    #[must_use]
    pub fn matrix(name: &str, values: ArrayView2<'_, f64>) -> Self {
        let rounded = values.iter().map(|&value| value as f32).collect();
        Self {
            name: name.to_owned(),
            shape: values.shape().to_vec(),
            values: rounded,
        }
    }

    /// A vector.
    #[must_use]
    pub fn vector(name: &str, values: ArrayView1<'_, f64>) -> Self {
        let rounded = values.iter().map(|&value| value as f32).collect();
        Self {
            name: name.to_owned(),
            shape: values.shape().to_vec(),
            values: rounded,
        }
    }
}

/// A computation on rows: one input and one output, each named and N × width.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// Each after those whose results it takes.
    pub nodes: Vec<Node>,
    /// The constants that nodes take.
    pub parameters: Vec<Tensor>,
    /// Name and width.
    pub input: (String, usize),
    /// Name and width.
    pub output: (String, usize),
}

impl Graph {
    /// Whether every parameter is a finite 32-bit float.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        self.parameters
            .iter()
            .all(|tensor| tensor.values.iter().all(|value| value.is_finite()))
    }

    /// The bytes of an ONNX file. `properties` are facts for people and tools, such as the names of the classes.
    #[must_use]
    pub fn encode(&self, name: &str, description: &str, properties: &[(&str, String)]) -> Vec<u8> {
        let graph = GraphProto {
            name: name.to_owned(),
            doc_string: description.to_owned(),
            node: self.nodes.iter().map(node).collect(),
            initializer: self.parameters.iter().map(initializer).collect(),
            input: vec![value_info(&self.input)],
            output: vec![value_info(&self.output)],
            ..GraphProto::default()
        };
        let model = ModelProto {
            ir_version: IR_VERSION,
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: OPSET_VERSION,
            }],
            producer_name: env!("CARGO_PKG_NAME").to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            doc_string: description.to_owned(),
            graph: Some(graph),
            metadata_props: properties
                .iter()
                .map(|(key, value)| StringStringEntryProto {
                    key: (*key).to_owned(),
                    value: value.clone(),
                })
                .collect(),
            ..ModelProto::default()
        };
        model.encode_to_vec()
    }
}

fn node(node: &Node) -> NodeProto {
    NodeProto {
        name: node.output.clone(),
        op_type: node.operator.name().to_owned(),
        input: node.inputs.clone(),
        output: vec![node.output.clone()],
        attribute: node.operator.attributes(),
        ..NodeProto::default()
    }
}

fn initializer(tensor: &Tensor) -> TensorProto {
    TensorProto {
        name: tensor.name.clone(),
        dims: tensor.shape.iter().map(|&extent| extent as i64).collect(),
        data_type: tensor_proto::DataType::Float.into(),
        raw_data: tensor
            .values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
        ..TensorProto::default()
    }
}

/// Float32, N × width.
fn value_info((name, width): &(String, usize)) -> ValueInfoProto {
    use tensor_shape_proto::dimension::Value;

    let dimension = |value| tensor_shape_proto::Dimension {
        value: Some(value),
        ..tensor_shape_proto::Dimension::default()
    };
    let shape = TensorShapeProto {
        dim: vec![
            dimension(Value::DimParam(BATCH.to_owned())),
            dimension(Value::DimValue(*width as i64)),
        ],
    };
    let tensor = type_proto::Tensor {
        elem_type: tensor_proto::DataType::Float.into(),
        shape: Some(shape),
    };
    ValueInfoProto {
        name: name.clone(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};
    use tract_onnx::prelude::*;

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
            let computed = run_by_tract(&model.graph().encode("test", "", &[]), &rows);
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
        let bytes = network(Head::Softmax)
            .graph()
            .encode("m", "A test.", &[("classes", "[\"a\"]".into())]);
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
        assert!(model.graph().is_finite());
        model.layers[1].bias[0] = 1e300;
        assert!(!model.graph().is_finite());
    }
}
