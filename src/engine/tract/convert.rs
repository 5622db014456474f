//! Tensors of ours to tensors of tract, and back.

use tract_onnx::prelude::tract_ndarray::ArrayD;
use tract_onnx::prelude::{Datum, DatumType, IntoTValue, TValue, TVec, Tensor as TractTensor};
use tract_onnx::tract_hir::internal::TractResult;

use super::text_of;
use crate::engine::EngineError;
use crate::model::tensor::{Datatype, Tensor, Values};

/// The type in which values of tract's `datatype` are served; none where they cannot be.
pub(super) fn served_as(datatype: DatumType) -> Option<Datatype> {
    Some(match datatype {
        DatumType::Bool => Datatype::Bool,
        DatumType::U8 => Datatype::U8,
        DatumType::U16 => Datatype::U16,
        DatumType::U32 => Datatype::U32,
        DatumType::U64 => Datatype::U64,
        DatumType::I8 => Datatype::I8,
        DatumType::I16 => Datatype::I16,
        DatumType::I32 => Datatype::I32,
        // tract counts in dimensions where ONNX counts in 64-bit integers.
        DatumType::I64 | DatumType::TDim => Datatype::I64,
        DatumType::F16 => Datatype::F16,
        DatumType::F32 => Datatype::F32,
        DatumType::F64 => Datatype::F64,
        DatumType::String => Datatype::Text,
        _ => return None,
    })
}

/// The type in which tract holds values that are served as `datatype`.
pub(super) fn datum_type(datatype: Datatype) -> DatumType {
    match datatype {
        Datatype::Bool => DatumType::Bool,
        Datatype::U8 => DatumType::U8,
        Datatype::U16 => DatumType::U16,
        Datatype::U32 => DatumType::U32,
        Datatype::U64 => DatumType::U64,
        Datatype::I8 => DatumType::I8,
        Datatype::I16 => DatumType::I16,
        Datatype::I32 => DatumType::I32,
        Datatype::I64 => DatumType::I64,
        Datatype::F16 => DatumType::F16,
        // tract has no BF16; every value of it is one of F32.
        Datatype::F32 | Datatype::BF16 => DatumType::F32,
        Datatype::F64 => DatumType::F64,
        Datatype::Text => DatumType::String,
    }
}

/// `inputs` as tract takes them, each in the type that its graph has for it.
pub(super) fn to_tract(inputs: Vec<Tensor>, types: &[DatumType]) -> Result<TVec<TValue>, EngineError> {
    let mut converted = TVec::with_capacity(inputs.len());
    for (input, (tensor, &datatype)) in inputs.into_iter().zip(types).enumerate() {
        let found = tensor.datatype();
        let expected = served_as(datatype).unwrap_or(found);
        if found != expected {
            return Err(EngineError::WrongDatatype {
                input,
                expected,
                found,
            });
        }
        let value = convert(tensor, datatype).map_err(|error| EngineError::Failed(text_of(&error)))?;
        converted.push(value);
    }
    Ok(converted)
}

fn convert(tensor: Tensor, datatype: DatumType) -> TractResult<TValue> {
    let tensor = into_tract(tensor)?;
    if tensor.datum_type() == datatype {
        return Ok(tensor.into_tvalue());
    }
    Ok(tensor.cast_to_dt(datatype)?.into_owned().into_tvalue())
}

/// `tensor` in tract's own type for its values.
pub(super) fn into_tract(tensor: Tensor) -> TractResult<TractTensor> {
    let shape = tensor.shape().to_vec();
    match tensor.into_values() {
        Values::Bool(values) => array(shape, values),
        Values::U8(values) => array(shape, values),
        Values::U16(values) => array(shape, values),
        Values::U32(values) => array(shape, values),
        Values::U64(values) => array(shape, values),
        Values::I8(values) => array(shape, values),
        Values::I16(values) => array(shape, values),
        Values::I32(values) => array(shape, values),
        Values::I64(values) => array(shape, values),
        Values::F16(values) => array(shape, values),
        Values::F32(values) => array(shape, values),
        Values::F64(values) => array(shape, values),
        Values::Text(values) => array(shape, values),
        Values::BF16(values) => array(shape, values.into_iter().map(f32::from).collect()),
    }
}

fn array<T: Datum>(shape: Vec<usize>, values: Vec<T>) -> TractResult<TractTensor> {
    Ok(ArrayD::from_shape_vec(shape, values)?.into())
}

/// An output of tract as a tensor of ours.
pub(super) fn from_tract(output: &TractTensor) -> Result<Tensor, EngineError> {
    let shape = output.shape().to_vec();
    let values = values_of(output).map_err(|error| EngineError::Failed(text_of(&error)))?;
    Ok(Tensor::new(shape, values)?)
}

fn values_of(tensor: &TractTensor) -> TractResult<Values> {
    let datatype = tensor.datum_type();
    Ok(match served_as(datatype) {
        Some(Datatype::Bool) => Values::Bool(copied(tensor)?),
        Some(Datatype::U8) => Values::U8(copied(tensor)?),
        Some(Datatype::U16) => Values::U16(copied(tensor)?),
        Some(Datatype::U32) => Values::U32(copied(tensor)?),
        Some(Datatype::U64) => Values::U64(copied(tensor)?),
        Some(Datatype::I8) => Values::I8(copied(tensor)?),
        Some(Datatype::I16) => Values::I16(copied(tensor)?),
        Some(Datatype::I32) => Values::I32(copied(tensor)?),
        Some(Datatype::I64) => Values::I64(copied(&*tensor.cast_to::<i64>()?)?),
        Some(Datatype::F16) => Values::F16(copied(tensor)?),
        Some(Datatype::F32) => Values::F32(copied(tensor)?),
        Some(Datatype::F64) => Values::F64(copied(tensor)?),
        Some(Datatype::Text) => Values::Text(copied(tensor)?),
        Some(Datatype::BF16) | None => {
            tract_onnx::tract_hir::internal::bail!("an output has the element type {datatype:?}")
        }
    })
}

fn copied<T: Datum>(tensor: &TractTensor) -> TractResult<Vec<T>> {
    Ok(tensor.try_as_plain_ram()?.as_slice::<T>()?.to_vec())
}
