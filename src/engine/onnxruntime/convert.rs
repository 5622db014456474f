//! Tensors of ours to values of ONNX Runtime, and back.

use std::fmt::Debug;

use ort::value::{
    DynValue, PrimitiveTensorElementType, Tensor as RuntimeTensor, TensorElementType, ValueRef,
};

use super::failed;
use crate::engine::EngineError;
use crate::model::tensor::{Datatype, Tensor, Values};

/// The type in which values of ONNX Runtime's `datatype` are served; none where they cannot be.
pub(super) fn served_as(datatype: TensorElementType) -> Option<Datatype> {
    Some(match datatype {
        TensorElementType::Bool => Datatype::Bool,
        TensorElementType::Uint8 => Datatype::U8,
        TensorElementType::Uint16 => Datatype::U16,
        TensorElementType::Uint32 => Datatype::U32,
        TensorElementType::Uint64 => Datatype::U64,
        TensorElementType::Int8 => Datatype::I8,
        TensorElementType::Int16 => Datatype::I16,
        TensorElementType::Int32 => Datatype::I32,
        TensorElementType::Int64 => Datatype::I64,
        TensorElementType::Float16 => Datatype::F16,
        TensorElementType::Bfloat16 => Datatype::BF16,
        TensorElementType::Float32 => Datatype::F32,
        TensorElementType::Float64 => Datatype::F64,
        TensorElementType::String => Datatype::Text,
        _ => return None,
    })
}

/// `tensor` as ONNX Runtime takes it; numbers are not copied.
pub(super) fn to_value(tensor: Tensor) -> ort::Result<DynValue> {
    let shape = tensor.shape().to_vec();
    match tensor.into_values() {
        Values::Bool(values) => numbers(shape, values),
        Values::U8(values) => numbers(shape, values),
        Values::U16(values) => numbers(shape, values),
        Values::U32(values) => numbers(shape, values),
        Values::U64(values) => numbers(shape, values),
        Values::I8(values) => numbers(shape, values),
        Values::I16(values) => numbers(shape, values),
        Values::I32(values) => numbers(shape, values),
        Values::I64(values) => numbers(shape, values),
        Values::F16(values) => numbers(shape, values),
        Values::BF16(values) => numbers(shape, values),
        Values::F32(values) => numbers(shape, values),
        Values::F64(values) => numbers(shape, values),
        Values::Text(values) => Ok(RuntimeTensor::from_string_array((shape, values.as_slice()))?.into_dyn()),
    }
}

fn numbers<T>(shape: Vec<usize>, values: Vec<T>) -> ort::Result<DynValue>
where
    T: PrimitiveTensorElementType + Debug + Clone + 'static,
{
    Ok(RuntimeTensor::from_array((shape, values))?.into_dyn())
}

/// An output of ONNX Runtime as a tensor of ours.
pub(super) fn from_value(output: &ValueRef<'_>) -> Result<Tensor, EngineError> {
    let datatype = output.dtype().tensor_type().and_then(served_as);
    let copied = match datatype {
        Some(Datatype::Bool) => copied(output, Values::Bool),
        Some(Datatype::U8) => copied(output, Values::U8),
        Some(Datatype::U16) => copied(output, Values::U16),
        Some(Datatype::U32) => copied(output, Values::U32),
        Some(Datatype::U64) => copied(output, Values::U64),
        Some(Datatype::I8) => copied(output, Values::I8),
        Some(Datatype::I16) => copied(output, Values::I16),
        Some(Datatype::I32) => copied(output, Values::I32),
        Some(Datatype::I64) => copied(output, Values::I64),
        Some(Datatype::F16) => copied(output, Values::F16),
        Some(Datatype::BF16) => copied(output, Values::BF16),
        Some(Datatype::F32) => copied(output, Values::F32),
        Some(Datatype::F64) => copied(output, Values::F64),
        Some(Datatype::Text) => output
            .try_extract_strings()
            .map(|(shape, values)| (shape.to_vec(), Values::Text(values))),
        None => {
            return Err(EngineError::Failed(format!("an output is {}", output.dtype())));
        }
    };
    let (shape, values) = copied.map_err(failed)?;
    let sizes = shape
        .into_iter()
        .map(|size| usize::try_from(size).unwrap_or_default());
    Ok(Tensor::new(sizes.collect(), values)?)
}

fn copied<T: PrimitiveTensorElementType + Clone>(
    output: &ValueRef<'_>,
    values: impl FnOnce(Vec<T>) -> Values,
) -> ort::Result<(Vec<i64>, Values)> {
    let (shape, slice) = output.try_extract_tensor::<T>()?;
    Ok((shape.to_vec(), values(slice.to_vec())))
}
