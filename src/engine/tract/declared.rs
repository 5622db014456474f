//! What an ONNX file declares, and what tract makes of it.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dimension;
use tract_onnx::pb::type_proto::{Tensor as TensorType, Value};
use tract_onnx::pb::{GraphProto, ValueInfoProto};
use tract_onnx::prelude::{DatumType, TDim, TypedModel};

use super::{convert, text_of};
use crate::engine::EngineError;
use crate::engine::probe::Found;
use crate::model::signature::TensorSpec;

/// The element types of the inputs that are not weights, as tract names them.
pub(super) fn input_types(graph: &GraphProto) -> Result<Vec<DatumType>, EngineError> {
    inputs(graph).map(|input| Ok(declared_type(input)?.0)).collect()
}

/// The inputs that are not weights.
pub(super) fn input_specs(graph: &GraphProto) -> Result<Vec<TensorSpec>, EngineError> {
    inputs(graph).map(declared_spec).collect()
}

/// The outputs.
pub(super) fn output_specs(graph: &GraphProto) -> Result<Vec<TensorSpec>, EngineError> {
    graph.output.iter().map(declared_spec).collect()
}

/// The outputs as they are in the typed graph.
pub(super) fn found_outputs(typed: &TypedModel, outputs: &[TensorSpec]) -> Result<Vec<Found>, EngineError> {
    let mut found = Vec::with_capacity(outputs.len());
    for (position, output) in outputs.iter().enumerate() {
        let fact = typed
            .output_fact(position)
            .map_err(|error| EngineError::Unprepared(text_of(&error)))?;
        let datatype = convert::served_as(fact.datum_type)
            .ok_or_else(|| unsupported(&output.name, format!("{:?}", fact.datum_type)))?;
        let size = |dimension: &TDim| usize::try_from(dimension.to_i64().ok()?).ok();
        let shape = fact.shape.iter().map(size).collect();
        found.push(Found { datatype, shape });
    }
    Ok(found)
}

/// The graph's inputs without those that only name weights.
fn inputs(graph: &GraphProto) -> impl Iterator<Item = &ValueInfoProto> {
    let is_weight = |name: &str| graph.initializer.iter().any(|weight| weight.name == name);
    graph.input.iter().filter(move |input| !is_weight(&input.name))
}

fn declared_spec(tensor: &ValueInfoProto) -> Result<TensorSpec, EngineError> {
    let (datatype, shape) = declared_type(tensor)?;
    let datatype =
        convert::served_as(datatype).ok_or_else(|| unsupported(&tensor.name, format!("{datatype:?}")))?;
    let dimensions = shape.shape.iter().flat_map(|shape| &shape.dim);
    let size = |value: &Option<Dimension>| match value {
        Some(Dimension::DimValue(size)) => usize::try_from(*size).ok(),
        _ => None,
    };
    Ok(TensorSpec {
        name: tensor.name.clone(),
        datatype,
        shape: dimensions.map(|dimension| size(&dimension.value)).collect(),
    })
}

fn declared_type(tensor: &ValueInfoProto) -> Result<(DatumType, &TensorType), EngineError> {
    let Some(Value::TensorType(declared)) = tensor.r#type.as_ref().and_then(|kind| kind.value.as_ref())
    else {
        return Err(unsupported(&tensor.name, "no tensor".to_owned()));
    };
    let onnx_type = DataType::try_from(declared.elem_type)
        .map_err(|_| unsupported(&tensor.name, declared.elem_type.to_string()))?;
    let datatype =
        DatumType::try_from(onnx_type).map_err(|_| unsupported(&tensor.name, format!("{onnx_type:?}")))?;
    Ok((datatype, declared))
}

fn unsupported(tensor: &str, datatype: String) -> EngineError {
    EngineError::UnsupportedDatatype {
        tensor: tensor.to_owned(),
        datatype,
    }
}
