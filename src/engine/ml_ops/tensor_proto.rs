//! Tensors that stand in a file, in attributes or as constants.

use half::f16;
use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::DataType;

use crate::model::tensor::{Datatype, Values};

/// The values of `tensor`, from its raw bytes (little-endian) or its list; or what is wrong with them. It is not about
/// tensors that lie in another file, nor about types that no attribute has.
pub(crate) fn tensor_values(tensor: &TensorProto) -> Result<Values, String> {
    if tensor.raw_data.is_empty() {
        typed(tensor)
    } else {
        raw(tensor)
    }
}

/// The datatype that a file names by this number; none where nothing is served as it.
pub(super) fn datatype_of(number: i32) -> Option<Datatype> {
    Some(match DataType::try_from(number).ok()? {
        DataType::Bool => Datatype::Bool,
        DataType::Uint8 => Datatype::U8,
        DataType::Uint16 => Datatype::U16,
        DataType::Uint32 => Datatype::U32,
        DataType::Uint64 => Datatype::U64,
        DataType::Int8 => Datatype::I8,
        DataType::Int16 => Datatype::I16,
        DataType::Int32 => Datatype::I32,
        DataType::Int64 => Datatype::I64,
        DataType::Float16 => Datatype::F16,
        DataType::Float => Datatype::F32,
        DataType::Double => Datatype::F64,
        DataType::String => Datatype::Text,
        _ => return None,
    })
}

fn typed(tensor: &TensorProto) -> Result<Values, String> {
    let ints = tensor.int32_data.iter();
    Ok(match DataType::try_from(tensor.data_type) {
        Ok(DataType::Int64) => Values::I64(tensor.int64_data.clone()),
        Ok(DataType::Int32) => Values::I32(tensor.int32_data.clone()),
        Ok(DataType::Int16) => Values::I16(ints.map(|&number| number as i16).collect()),
        Ok(DataType::Uint8) => Values::U8(ints.map(|&number| number as u8).collect()),
        Ok(DataType::Float) => Values::F32(tensor.float_data.clone()),
        Ok(DataType::Double) => Values::F64(tensor.double_data.clone()),
        Ok(DataType::Float16) => Values::F16(ints.map(|&bits| f16::from_bits(bits as u16)).collect()),
        Ok(DataType::String) => {
            let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
            Values::Text(tensor.string_data.iter().map(text).collect())
        }
        _ => return Err(unknown_type(tensor)),
    })
}

fn raw(tensor: &TensorProto) -> Result<Values, String> {
    let bytes = tensor.raw_data.as_ref();
    Ok(match DataType::try_from(tensor.data_type) {
        Ok(DataType::Int64) => Values::I64(decoded(bytes, i64::from_le_bytes)?),
        Ok(DataType::Int32) => Values::I32(decoded(bytes, i32::from_le_bytes)?),
        Ok(DataType::Int16) => Values::I16(decoded(bytes, i16::from_le_bytes)?),
        Ok(DataType::Uint8) => Values::U8(bytes.to_vec()),
        Ok(DataType::Float) => Values::F32(decoded(bytes, f32::from_le_bytes)?),
        Ok(DataType::Double) => Values::F64(decoded(bytes, f64::from_le_bytes)?),
        Ok(DataType::Float16) => Values::F16(decoded(bytes, f16::from_le_bytes)?),
        _ => return Err(unknown_type(tensor)),
    })
}

fn unknown_type(tensor: &TensorProto) -> String {
    format!(
        "expected a tensor of numbers or texts, found one of type {}",
        tensor.data_type
    )
}

fn decoded<T, const SIZE: usize>(bytes: &[u8], decode: impl Fn([u8; SIZE]) -> T) -> Result<Vec<T>, String> {
    let (numbers, rest) = bytes.as_chunks::<SIZE>();
    if rest.is_empty() {
        return Ok(numbers.iter().map(|&number| decode(number)).collect());
    }
    Err(format!(
        "expected a multiple of {SIZE} bytes, found {}",
        bytes.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(data_type: DataType) -> TensorProto {
        TensorProto {
            data_type: data_type.into(),
            ..TensorProto::default()
        }
    }

    #[test]
    fn values_are_read_from_bytes_and_from_lists() {
        let mut bytes = tensor(DataType::Int16);
        bytes.raw_data = vec![1, 0, 255, 255];
        assert_eq!(tensor_values(&bytes), Ok(Values::I16(vec![1, -1])));
        bytes.raw_data.pop();
        assert!(tensor_values(&bytes).is_err());
        let mut list = tensor(DataType::Float16);
        list.int32_data = vec![0x3c00];
        assert_eq!(tensor_values(&list), Ok(Values::F16(vec![f16::ONE])));
        assert!(tensor_values(&tensor(DataType::Complex64)).is_err());
    }
}
