//! Graphs without maps.
//!
//! The files of scikit-learn's exporter take maps in and put maps out, and no tensor engine has such values. What makes
//! tensors of them and maps of tensors is taken out before an engine sees the graph.

mod declared;
mod inputs;
mod zip_map;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::type_proto::{Tensor, Value};
use tract_onnx::pb::{
    AttributeProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto, TypeProto, ValueInfoProto,
};

use super::{EngineError, class_names};
use crate::model::dictionary::Dictionary;

/// The operator set of nodes that are put in the place of others, in files that import none. All that are known have these
/// operators.
const DEFAULT_OPERATOR_SET: i64 = 13;

/// What a graph without its maps does not tell any more, or only to those who trace it.
#[derive(Debug, Default)]
pub(super) struct Dissolved {
    /// The names of the classes, in the order of their probabilities.
    pub(super) classes: Vec<String>,
    /// The inputs whose rows are objects.
    pub(super) dictionaries: Vec<Dictionary>,
    /// Whether the graph is another one now.
    pub(super) is_changed: bool,
}

/// Takes maps out of the graph of `model`, which was read from `file`.
pub(super) fn dissolve(model: &mut ModelProto, file: &[u8]) -> Result<Dissolved, EngineError> {
    let Some(graph) = &mut model.graph else {
        return Ok(Dissolved::default());
    };
    let dictionaries = inputs::make_tensors(graph, file)?;
    let zipped = zip_map::unzip(graph)?;
    let is_changed = zipped.is_some() || !dictionaries.is_empty();
    if is_changed && !model.opset_import.iter().any(|set| set.domain.is_empty()) {
        model.opset_import.push(OperatorSetIdProto {
            version: DEFAULT_OPERATOR_SET,
            ..OperatorSetIdProto::default()
        });
    }
    Ok(Dissolved {
        classes: zipped.unwrap_or_else(|| class_names::traced(graph)),
        dictionaries,
        is_changed,
    })
}

/// Puts an operator of ONNX's own in the place of a node that has to do with maps.
fn replace(node: &mut NodeProto, op_type: &str, attributes: Vec<AttributeProto>) {
    op_type.clone_into(&mut node.op_type);
    node.domain.clear();
    node.attribute = attributes;
}

/// Declares those of `names` that are outputs of the graph as matrices: exporters declare them as of another type or for
/// one row.
fn declare_outputs(
    declared: &mut [ValueInfoProto],
    names: &[String],
    element: DataType,
    columns: Option<usize>,
) {
    let outputs = declared.iter_mut().filter(|output| names.contains(&output.name));
    outputs.for_each(|output| output.r#type = Some(matrix(element, columns)));
}

/// `[N, columns]`, both of any size where `columns` is left open.
fn matrix(element: DataType, columns: Option<usize>) -> TypeProto {
    let size = |value| Dimension {
        value: Some(value),
        ..Dimension::default()
    };
    let named = |name: &str| size(dimension::Value::DimParam(name.to_owned()));
    let columns = columns.map(|columns| size(dimension::Value::DimValue(columns as i64)));
    let shape = TensorShapeProto {
        dim: vec![named("N"), columns.unwrap_or_else(|| named("columns"))],
    };
    TypeProto {
        value: Some(Value::TensorType(Tensor {
            elem_type: element.into(),
            shape: Some(shape),
        })),
        ..TypeProto::default()
    }
}
