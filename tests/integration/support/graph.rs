//! Small ONNX graphs, made in code.

use prost::Message;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, attribute_proto, type_proto,
};

pub(crate) const FLOAT: DataType = DataType::Float;
pub(crate) const INT64: DataType = DataType::Int64;
pub(crate) const TEXT: DataType = DataType::String;

/// Long enough for a test to see a run going on, short enough to wait for.
const SLOW_STEPS: usize = 60;
const SLOW_WIDTH: i64 = 1 << 20;

/// A graph that grows step by step.
#[derive(Default)]
pub(crate) struct Graph(GraphProto);

impl Graph {
    /// With an input; a size of -1 is free.
    pub(crate) fn input(mut self, name: &str, datatype: DataType, shape: &[i64]) -> Self {
        self.0.input.push(value_info(name, datatype, shape));
        self
    }

    pub(crate) fn output(mut self, name: &str, datatype: DataType, shape: &[i64]) -> Self {
        self.0.output.push(value_info(name, datatype, shape));
        self
    }

    pub(crate) fn floats(mut self, name: &str, shape: &[i64], values: &[f32]) -> Self {
        self.0.initializer.push(TensorProto {
            name: name.into(),
            dims: shape.to_vec(),
            data_type: DataType::Float.into(),
            float_data: values.to_vec(),
            ..TensorProto::default()
        });
        self
    }

    pub(crate) fn integers(mut self, name: &str, shape: &[i64], values: &[i64]) -> Self {
        self.0.initializer.push(TensorProto {
            name: name.into(),
            dims: shape.to_vec(),
            data_type: DataType::Int64.into(),
            int64_data: values.to_vec(),
            ..TensorProto::default()
        });
        self
    }

    pub(crate) fn node(self, operator: &str, inputs: &[&str], output: &str) -> Self {
        self.node_with(operator, inputs, output, &[])
    }

    pub(crate) fn node_with(
        mut self,
        operator: &str,
        inputs: &[&str],
        output: &str,
        attributes: &[(&str, i64)],
    ) -> Self {
        let attribute = |&(name, value): &(&str, i64)| AttributeProto {
            name: name.into(),
            r#type: attribute_proto::AttributeType::Int.into(),
            i: value,
            ..AttributeProto::default()
        };
        self.0.node.push(NodeProto {
            op_type: operator.into(),
            name: format!("make_{output}"),
            input: inputs.iter().map(|&name| name.into()).collect(),
            output: vec![output.into()],
            attribute: attributes.iter().map(attribute).collect(),
            ..NodeProto::default()
        });
        self
    }

    /// The bytes of `model.onnx`.
    /// An If, with a graph for either case; each puts out one value.
    pub(crate) fn branch(mut self, condition: &str, then: Self, otherwise: Self, output: &str) -> Self {
        let attribute = |name: &str, Self(graph): Self| AttributeProto {
            name: name.into(),
            r#type: attribute_proto::AttributeType::Graph.into(),
            g: Some(graph),
            ..AttributeProto::default()
        };
        self.0.node.push(NodeProto {
            op_type: "If".into(),
            input: vec![condition.into()],
            output: vec![output.into()],
            attribute: vec![
                attribute("then_branch", then),
                attribute("else_branch", otherwise),
            ],
            ..NodeProto::default()
        });
        self
    }

    pub(crate) fn bytes(mut self) -> Vec<u8> {
        self.0.name = "test".into();
        let model = ModelProto {
            ir_version: 7,
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: 13,
            }],
            graph: Some(self.0),
            ..ModelProto::default()
        };
        model.encode_to_vec()
    }
}

fn value_info(name: &str, datatype: DataType, shape: &[i64]) -> ValueInfoProto {
    let dimension = |&size: &i64| Dimension {
        value: Some(match size {
            -1 => dimension::Value::DimParam("N".into()),
            size => dimension::Value::DimValue(size),
        }),
        ..Dimension::default()
    };
    let tensor = type_proto::Tensor {
        elem_type: datatype.into(),
        shape: Some(TensorShapeProto {
            dim: shape.iter().map(dimension).collect(),
        }),
    };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

/// y = x, rows of `columns` floats.
pub(crate) fn identity(columns: i64) -> Vec<u8> {
    Graph::default()
        .input("x", FLOAT, &[-1, columns])
        .node("Identity", &["x"], "y")
        .output("y", FLOAT, &[-1, columns])
        .bytes()
}

/// y = x · w + b: one number a row.
pub(crate) fn linear(weights: &[f32], intercept: f32) -> Vec<u8> {
    let columns = i64::try_from(weights.len()).expect("a test's graph is small");
    Graph::default()
        .input("x", FLOAT, &[-1, columns])
        .floats("w", &[columns, 1], weights)
        .floats("b", &[1], &[intercept])
        .node("MatMul", &["x", "w"], "xw")
        .node("Add", &["xw", "b"], "y")
        .output("y", FLOAT, &[-1, 1])
        .bytes()
}

/// y = 12 / x, in whole numbers.
pub(crate) fn whole_division() -> Vec<u8> {
    Graph::default()
        .input("x", INT64, &[-1, 1])
        .integers("twelve", &[1], &[12])
        .node("Div", &["twelve", "x"], "y")
        .output("y", INT64, &[-1, 1])
        .bytes()
}

/// One number a row, and a good part of a second for each.
pub(crate) fn slow() -> Vec<u8> {
    let mut graph = Graph::default()
        .input("x", FLOAT, &[-1, 1])
        .floats("w", &[1, SLOW_WIDTH], &vec![1.0; SLOW_WIDTH as usize])
        .node("MatMul", &["x", "w"], "t0");
    for step in 0..SLOW_STEPS {
        let (from, to) = (format!("t{step}"), format!("t{}", step + 1));
        graph = graph.node("Tanh", &[&from], &to);
    }
    let last = format!("t{SLOW_STEPS}");
    graph
        .node_with("ReduceMax", &[&last], "y", &[("keepdims", 0)])
        .output("y", FLOAT, &[-1])
        .bytes()
}

/// total = age + 2 · income, and the age as it came.
pub(crate) fn two_inputs() -> Vec<u8> {
    Graph::default()
        .input("age", FLOAT, &[-1, 1])
        .input("income", FLOAT, &[-1, 1])
        .node("Add", &["age", "income"], "once")
        .node("Add", &["once", "income"], "total")
        .node("Identity", &["age"], "same_age")
        .output("total", FLOAT, &[-1, 1])
        .output("same_age", FLOAT, &[-1, 1])
        .bytes()
}

/// y = relu(x) for exactly `rows` rows of two floats.
pub(crate) fn fixed_batch(rows: i64) -> Vec<u8> {
    Graph::default()
        .input("x", FLOAT, &[rows, 2])
        .node("Relu", &["x"], "y")
        .output("y", FLOAT, &[rows, 2])
        .bytes()
}

/// Gives back its texts, one in each row.
pub(crate) fn texts() -> Vec<u8> {
    Graph::default()
        .input("x", TEXT, &[-1, 1])
        .node("Identity", &["x"], "y")
        .output("y", TEXT, &[-1, 1])
        .bytes()
}

/// Declares a free batch, and reshapes to one row.
pub(crate) fn baked_batch() -> Vec<u8> {
    Graph::default()
        .input("x", FLOAT, &[-1, 2])
        .integers("shape", &[2], &[1, 2])
        .node("Reshape", &["x", "shape"], "y")
        .output("y", FLOAT, &[-1, 2])
        .bytes()
}

/// Needs an operator that nobody has.
pub(crate) fn unknown_operator() -> Vec<u8> {
    Graph::default()
        .input("x", FLOAT, &[-1, 2])
        .node("Telepathy", &["x"], "y")
        .output("y", FLOAT, &[-1, 2])
        .bytes()
}

/// y = 1 / x: not finite for 0.
pub(crate) fn reciprocal() -> Vec<u8> {
    Graph::default()
        .input("x", FLOAT, &[-1, 1])
        .node("Reciprocal", &["x"], "y")
        .output("y", FLOAT, &[-1, 1])
        .bytes()
}

/// What scikit-learn's exporter makes of a classifier: an integer label beside the probabilities.
pub(crate) fn label_and_probabilities() -> Vec<u8> {
    Graph::default()
        .input("x", FLOAT, &[-1, 3])
        .node_with("Softmax", &["x"], "probabilities", &[("axis", -1)])
        .node_with("ArgMax", &["x"], "label", &[("axis", 1), ("keepdims", 0)])
        .output("label", INT64, &[-1])
        .output("probabilities", FLOAT, &[-1, 3])
        .bytes()
}

/// The sum of a row of any length: two free axes.
pub(crate) fn sequence_sum() -> Vec<u8> {
    let mut graph = Graph::default()
        .input("x", FLOAT, &[-1, -1])
        .integers("axes", &[1], &[1])
        .node_with("ReduceSum", &["x", "axes"], "y", &[("keepdims", 0)])
        .output("y", FLOAT, &[-1]);
    rename_axis(&mut graph.0.input[0], 1, "S");
    graph.bytes()
}

/// A free axis of a size of its own.
fn rename_axis(tensor: &mut ValueInfoProto, axis: usize, name: &str) {
    if let Some(TypeProto {
        value: Some(type_proto::Value::TensorType(tensor)),
        ..
    }) = &mut tensor.r#type
        && let Some(shape) = &mut tensor.shape
    {
        shape.dim[axis].value = Some(dimension::Value::DimParam(name.into()));
    }
}

/// The sum over all rows: no axis of the output counts rows.
pub(crate) fn sum_of_everything() -> Vec<u8> {
    Graph::default()
        .input("x", FLOAT, &[-1, 2])
        .node_with("ReduceSum", &["x"], "y", &[("keepdims", 0)])
        .output("y", FLOAT, &[])
        .bytes()
}

/// Two numbers for each token: its own number, and that of the one after it in the vocabulary, of which there are forty.
pub(crate) fn tokens() -> Vec<u8> {
    let table: Vec<f32> = (0..40_u8)
        .flat_map(|token| [f32::from(token), f32::from(token) + 1.0])
        .collect();
    let mut graph = Graph::default()
        .input("input_ids", INT64, &[-1, -1])
        .floats("table", &[40, 2], &table)
        .node("Gather", &["table", "input_ids"], "y")
        .output("y", FLOAT, &[-1, -1, 2]);
    for tensor in [&mut graph.0.input[0], &mut graph.0.output[0]] {
        rename_axis(tensor, 1, "S");
    }
    graph.bytes()
}
