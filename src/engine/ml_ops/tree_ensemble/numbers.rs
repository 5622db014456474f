//! Numbers of attributes that may come as a list or as a tensor.

use half::f16;
use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::DataType;

use super::super::{Attributes, MlError};

/// The numbers of the list `list` or, where there is none, of the tensor `tensor`; none where neither is there.
pub(super) fn list_or_tensor(
    attributes: Attributes<'_>,
    list: &'static str,
    tensor: &'static str,
) -> Result<Vec<f64>, MlError> {
    let numbers = attributes.floats(list)?;
    if numbers.is_empty() {
        return self::tensor(attributes, tensor);
    }
    if attributes.has(tensor) {
        let problem = format!("expected this or {tensor}, found both");
        return Err(MlError::Attribute { name: list, problem });
    }
    Ok(numbers.iter().map(|&number| f64::from(number)).collect())
}

/// The numbers of the tensor `name`; none where it is not there.
pub(super) fn tensor(attributes: Attributes<'_>, name: &'static str) -> Result<Vec<f64>, MlError> {
    let Some(tensor) = attributes.tensor(name)? else {
        return Ok(Vec::new());
    };
    let numbers = if tensor.raw_data.is_empty() {
        typed(tensor)
    } else {
        raw(tensor)
    };
    numbers.map_err(|problem| MlError::Attribute { name, problem })
}

fn unknown_type(tensor: &TensorProto) -> String {
    format!(
        "expected a tensor of numbers, found one of type {}",
        tensor.data_type
    )
}

fn typed(tensor: &TensorProto) -> Result<Vec<f64>, String> {
    let ints = tensor.int32_data.iter();
    match DataType::try_from(tensor.data_type) {
        Ok(DataType::Float) => Ok(tensor
            .float_data
            .iter()
            .map(|&number| f64::from(number))
            .collect()),
        Ok(DataType::Double) => Ok(tensor.double_data.clone()),
        Ok(DataType::Uint8) => Ok(ints.map(|&number| f64::from(number)).collect()),
        Ok(DataType::Float16) => Ok(ints.map(|&bits| f16::from_bits(bits as u16).to_f64()).collect()),
        _ => Err(unknown_type(tensor)),
    }
}

fn raw(tensor: &TensorProto) -> Result<Vec<f64>, String> {
    let bytes = tensor.raw_data.as_ref();
    match DataType::try_from(tensor.data_type) {
        Ok(DataType::Float) => decoded(bytes, |bytes| f64::from(f32::from_le_bytes(bytes))),
        Ok(DataType::Double) => decoded(bytes, f64::from_le_bytes),
        Ok(DataType::Uint8) => decoded(bytes, |[byte]| f64::from(byte)),
        Ok(DataType::Float16) => decoded(bytes, |bytes| f16::from_le_bytes(bytes).to_f64()),
        _ => Err(unknown_type(tensor)),
    }
}

fn decoded<const SIZE: usize>(bytes: &[u8], decode: impl Fn([u8; SIZE]) -> f64) -> Result<Vec<f64>, String> {
    let (numbers, rest) = bytes.as_chunks::<SIZE>();
    if !rest.is_empty() {
        return Err(format!(
            "expected a multiple of {SIZE} bytes, found {}",
            bytes.len()
        ));
    }
    Ok(numbers.iter().map(|&number| decode(number)).collect())
}
