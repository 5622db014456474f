//! Numbers of attributes that may come as a list or as a tensor.

use super::super::tensor_proto::tensor_values;
use super::super::{Attributes, MlError};
use crate::model::tensor::Values;

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
        return Err(MlError::attribute(list, problem));
    }
    Ok(numbers.iter().map(|&number| f64::from(number)).collect())
}

/// The numbers of the tensor `name`; none where it is not there.
pub(super) fn tensor(attributes: Attributes<'_>, name: &'static str) -> Result<Vec<f64>, MlError> {
    let Some(tensor) = attributes.tensor(name)? else {
        return Ok(Vec::new());
    };
    let values = tensor_values(tensor).map_err(|problem| MlError::attribute(name, problem))?;
    Ok(match values {
        Values::F64(numbers) => numbers,
        Values::F32(numbers) => numbers.into_iter().map(f64::from).collect(),
        Values::F16(numbers) => numbers.into_iter().map(f64::from).collect(),
        Values::U8(numbers) => numbers.into_iter().map(f64::from).collect(),
        other => {
            let problem = format!(
                "expected floating-point numbers or modes, found {}",
                other.datatype()
            );
            return Err(MlError::attribute(name, problem));
        }
    })
}
