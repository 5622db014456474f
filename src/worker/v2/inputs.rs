//! The inputs of a request, held against the signature of the version that it is for.

use crate::api::datum::shortened;
use crate::api::error::ApiError;
use crate::api::v2::request::{NamedTensor, parse_raw};
use crate::model::preprocessing::text::{Texts, Tokenized};
use crate::model::schema::Schema;
use crate::model::signature::{Signature, TensorSpec};
use crate::model::tensor::{Tensor, Values};
use crate::worker::validation::{MAX_ROWS, tokenize};

/// The tensors in the order of the signature, each with an axis of rows in front, all with the same number of them.
pub(super) fn arrange(
    inputs: Vec<NamedTensor>,
    model: &str,
    signature: &Signature,
) -> Result<Vec<Tensor>, ApiError> {
    let mut found: Vec<Option<Tensor>> = vec![None; signature.inputs.len()];
    for NamedTensor { name, tensor } in inputs {
        let Some(position) = signature.inputs.iter().position(|spec| spec.name == name) else {
            let (name, known) = (shortened(&name), names(&signature.inputs));
            return Err(ApiError::invalid_input(format!(
                "unexpected inference input '{name}' for model '{model}'; its inputs are {known}"
            )));
        };
        check(&signature.inputs[position], &tensor, model, signature)?;
        if found[position].replace(tensor).is_some() {
            let name = shortened(&name);
            return Err(ApiError::invalid_input(format!(
                "inference input '{name}' for model '{model}' is given twice"
            )));
        }
    }
    if let Some(missing) = found.iter().position(Option::is_none) {
        let (missing, known) = (&signature.inputs[missing].name, names(&signature.inputs));
        return Err(ApiError::invalid_input(format!(
            "inference input '{missing}' for model '{model}' is missing; its inputs are {known}"
        )));
    }
    let tensors: Vec<Tensor> = found.into_iter().flatten().collect();
    if !signature.batch.has_axis() {
        return Ok(tensors.into_iter().map(Tensor::into_row).collect());
    }
    check_rows(&tensors, signature)?;
    Ok(tensors)
}

/// The name of an input that brings texts in place of the inputs of a graph that takes tokens.
const TEXT: &str = "text";

/// The tokens of a request whose only input is [`TEXT`]; none where it has other inputs, or the model takes no texts. The
/// tensor has the shape `[rows]` or `[rows, 1]`, and `[rows, 2]` for texts that are read together.
pub(super) fn tokens_of(
    inputs: &[NamedTensor],
    model: &str,
    schema: &Schema,
) -> Result<Option<Tokenized>, ApiError> {
    let (Some(text), [NamedTensor { name, tensor }]) = (&schema.text, inputs) else {
        return Ok(None);
    };
    let is_own = |spec: &TensorSpec| spec.name == TEXT;
    if name != TEXT || schema.signature.inputs.iter().any(is_own) {
        return Ok(None);
    }
    let (Values::Text(texts), shape) = (tensor.values(), tensor.shape()) else {
        let datatype = tensor.datatype();
        return Err(ApiError::invalid_input(format!(
            "inference input '{TEXT}' data-type is '{datatype}', model expects 'BYTES'"
        )));
    };
    if !matches!(shape, [_] | [_, 1 | 2]) || shape[0] == 0 {
        let shape = format!("{shape:?}");
        return Err(ApiError::invalid_input(format!(
            "unexpected shape for input '{TEXT}' for model '{model}': expected [-1], or [-1, 2] for pairs, got {}",
            shortened(&shape)
        )));
    }
    check_count(shape[0])?;
    let rows: Vec<Texts<'_>> = texts.chunks_exact(tensor.row_len()).map(texts_of).collect();
    tokenize(&rows, model, text).map(Some)
}

fn texts_of(row: &[String]) -> Texts<'_> {
    match row {
        [first, second] => Texts::Pair(first, second),
        _ => Texts::One(&row[0]),
    }
}

/// The only input of a raw request: a single row.
pub(super) fn only(bytes: &[u8], model: &str, signature: &Signature) -> Result<NamedTensor, ApiError> {
    let [spec] = signature.inputs.as_slice() else {
        let count = signature.inputs.len();
        return Err(ApiError::invalid_input(format!(
            "a raw request is for models with one input; model '{model}' has {count}"
        )));
    };
    let mut tensor = parse_raw(bytes, spec.datatype, signature.row_shape(spec))?;
    if signature.batch.has_axis() {
        tensor = tensor.into_row();
    }
    let name = spec.name.clone();
    Ok(NamedTensor { name, tensor })
}

fn check(spec: &TensorSpec, tensor: &Tensor, model: &str, signature: &Signature) -> Result<(), ApiError> {
    let name = &spec.name;
    if tensor.datatype() != spec.datatype {
        return Err(ApiError::invalid_input(format!(
            "inference input '{name}' data-type is '{}', model expects '{}'",
            tensor.datatype(),
            spec.datatype
        )));
    }
    let expected = client_shape(spec, signature);
    let fits = |(&found, &expected): (&usize, &i64)| expected == -1 || usize::try_from(expected) == Ok(found);
    let shape = tensor.shape();
    if shape.len() != expected.len() || !shape.iter().zip(&expected).all(fits) {
        let shape = format!("{shape:?}");
        return Err(ApiError::invalid_input(format!(
            "unexpected shape for input '{name}' for model '{model}': expected {expected:?}, got {}",
            shortened(&shape)
        )));
    }
    // An empty tensor has sizes that no bytes stand for, and a graph could fill them.
    if shape.contains(&0) {
        return Err(ApiError::invalid_input(format!(
            "input '{name}' for model '{model}' is empty: its shape is {shape:?}; expected 1 or more along every axis"
        )));
    }
    Ok(())
}

fn check_rows(tensors: &[Tensor], signature: &Signature) -> Result<(), ApiError> {
    let rows = tensors.first().map_or(0, Tensor::rows);
    if let Some(other) = tensors.iter().position(|tensor| tensor.rows() != rows) {
        let (first, second) = (&signature.inputs[0].name, &signature.inputs[other].name);
        return Err(ApiError::invalid_input(format!(
            "inputs '{first}' and '{second}' have {rows} and {} rows; expected as many of each",
            tensors[other].rows()
        )));
    }
    check_count(rows)
}

fn check_count(rows: usize) -> Result<(), ApiError> {
    if rows > MAX_ROWS {
        return Err(ApiError::invalid_input(format!(
            "the inputs have {rows} rows; one request takes at most {MAX_ROWS}"
        )));
    }
    Ok(())
}

/// The shape as clients see it: -1 where a size is free. Axis 0 takes any number of rows wherever it counts them.
pub(super) fn client_shape(spec: &TensorSpec, signature: &Signature) -> Vec<i64> {
    let mut shape = spec.written_shape();
    if signature.batch.has_axis()
        && let Some(rows) = shape.first_mut()
    {
        *rows = -1;
    }
    shape
}

/// The names of tensors, as an error lists them.
pub(super) fn names(specs: &[TensorSpec]) -> String {
    let names: Vec<String> = specs.iter().map(|spec| format!("'{}'", spec.name)).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::signature::Batch;
    use crate::model::tensor::Datatype;

    fn signature(batch: Batch) -> Signature {
        let spec = |name: &str, shape: &[Option<usize>]| TensorSpec {
            name: name.into(),
            datatype: Datatype::F32,
            shape: shape.to_vec(),
        };
        Signature {
            inputs: vec![spec("a", &[None, Some(2)]), spec("b", &[None])],
            outputs: vec![],
            batch,
        }
    }

    fn input(name: &str, shape: &[usize]) -> NamedTensor {
        let values = Values::zeros(Datatype::F32, shape.iter().product());
        NamedTensor {
            name: name.into(),
            tensor: Tensor::new(shape.to_vec(), values).unwrap(),
        }
    }

    fn shapes(inputs: Vec<NamedTensor>, batch: Batch) -> Result<Vec<Vec<usize>>, String> {
        let tensors = arrange(inputs, "m", &signature(batch)).map_err(|error| error.message.into_owned())?;
        Ok(tensors.iter().map(|tensor| tensor.shape().to_vec()).collect())
    }

    #[test]
    fn inputs_stand_in_the_order_of_the_signature() {
        let inputs = || vec![input("b", &[3]), input("a", &[3, 2])];
        assert_eq!(shapes(inputs(), Batch::Free), Ok(vec![vec![3, 2], vec![3]]));
        assert_eq!(
            shapes(inputs(), Batch::Absent),
            Ok(vec![vec![1, 3, 2], vec![1, 3]])
        );
    }

    #[test]
    fn what_does_not_fit_is_told_by_its_name() {
        for (inputs, told) in [
            (
                vec![input("c", &[1])],
                "unexpected inference input 'c' for model 'm'; its inputs are 'a', 'b'",
            ),
            (vec![input("a", &[1, 2])], "'b' for model 'm' is missing"),
            (vec![input("a", &[1, 2]), input("a", &[1, 2])], "given twice"),
            (
                vec![input("a", &[2, 3])],
                "unexpected shape for input 'a' for model 'm': expected [-1, 2], got [2, 3]",
            ),
            (vec![input("a", &[2])], "expected [-1, 2], got [2]"),
            (vec![input("a", &[0, 2])], "is empty"),
            (vec![input("a", &[2, 2]), input("b", &[3])], "have 2 and 3 rows"),
            (
                vec![input("a", &[10_001, 2]), input("b", &[10_001])],
                "at most 10000",
            ),
        ] {
            let message = shapes(inputs, Batch::Free).unwrap_err();
            assert!(message.contains(told), "{message}");
        }
        let wrong = NamedTensor {
            name: "b".into(),
            tensor: Tensor::new(vec![1], Values::I64(vec![1])).unwrap(),
        };
        let message = shapes(vec![wrong], Batch::Free).unwrap_err();
        assert_eq!(
            message,
            "inference input 'b' data-type is 'INT64', model expects 'FP32'"
        );
    }
}
