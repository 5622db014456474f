//! The outputs of a model, chosen and written as a request asks for them.

use super::classification::largest;
use super::inputs::names;
use crate::api::datum::shortened;
use crate::api::error::{ApiError, ErrorCode};
use crate::api::v2::request::RequestedOutput;
use crate::api::v2::response::{self, InferResponse, OutputTensor, Written};
use crate::model::schema::Answer;
use crate::model::signature::Signature;
use crate::model::tensor::{Datatype, Tensor};
use crate::worker::served::Served;

/// One output that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// Its position in the signature.
    position: usize,
    is_binary: bool,
    /// So many of its largest values, in place of the tensor.
    classification: Option<usize>,
}

/// The outputs that a request asks for, in its order; all of them, in the model's, where it asks for none.
pub(super) fn choose(
    requested: Option<Vec<RequestedOutput>>,
    is_binary: bool,
    model: &str,
    signature: &Signature,
) -> Result<Vec<Chosen>, ApiError> {
    let whole = |position| Chosen {
        position,
        is_binary,
        classification: None,
    };
    let Some(requested) = requested.filter(|requested| !requested.is_empty()) else {
        return Ok((0..signature.outputs.len()).map(whole).collect());
    };
    let mut chosen: Vec<Chosen> = Vec::new();
    for output in requested {
        let name = shortened(&output.name);
        let Some(position) = signature.outputs.iter().position(|spec| spec.name == output.name) else {
            let known = names(&signature.outputs);
            return Err(ApiError::invalid_input(format!(
                "unexpected inference output '{name}' for model '{model}'; its outputs are {known}"
            )));
        };
        if chosen.iter().any(|other| other.position == position) {
            return Err(ApiError::invalid_input(format!(
                "output '{name}' for model '{model}' is asked for twice"
            )));
        }
        let classification = output.classification.filter(|&count| count > 0);
        let datatype = signature.outputs[position].datatype;
        if classification.is_some() && matches!(datatype, Datatype::Text | Datatype::Bool) {
            return Err(ApiError::invalid_input(format!(
                "output '{name}' for model '{model}' is {datatype}; classification is for numbers"
            )));
        }
        chosen.push(Chosen {
            is_binary: output.binary_data.unwrap_or(is_binary),
            classification: classification.map(|count| usize::try_from(count).unwrap_or(usize::MAX)),
            ..whole(position)
        });
    }
    Ok(chosen)
}

/// Writes the `chosen` ones of `outputs`.
pub(super) fn write(
    served: &Served,
    id: Option<&str>,
    chosen: &[Chosen],
    outputs: Vec<Tensor>,
) -> Result<Written, ApiError> {
    let signature = &served.schema.signature;
    let has_rows = signature.batch.has_axis();
    // A graph for one row has no axis for it.
    let in_shape_of_graph = |output: Tensor| if has_rows { output } else { output.into_single() };
    let mut outputs: Vec<Option<Tensor>> = outputs.into_iter().map(Some).collect();
    let mut tensors = Vec::with_capacity(chosen.len());
    for wanted in chosen {
        // None is chosen twice, and the engine gave as many as the signature says.
        let Some(output) = outputs.get_mut(wanted.position).and_then(Option::take) else {
            let message = format!("model {} gave fewer outputs than it has", served.model);
            return Err(ApiError::new(ErrorCode::Internal, message));
        };
        check_finite(served, &output, *wanted)?;
        tensors.push(in_shape_of_graph(match wanted.classification {
            None => output,
            Some(count) => largest(&output, count, labels_of(served, wanted.position)),
        }));
    }
    let written = |(wanted, tensor): (&Chosen, _)| OutputTensor {
        name: &signature.outputs[wanted.position].name,
        tensor,
        is_binary: wanted.is_binary,
    };
    let response = InferResponse {
        model_name: &served.model,
        model_version: &served.version,
        id,
        outputs: chosen.iter().zip(&tensors).map(written).collect(),
    };
    response::write(&response).map_err(|error| {
        tracing::error!(model = %served.model, %error, "an answer could not be written");
        ApiError::new(ErrorCode::Internal, "the answer could not be written")
    })
}

/// JSON has no word for what is not a finite number; bytes have.
fn check_finite(served: &Served, output: &Tensor, wanted: Chosen) -> Result<(), ApiError> {
    if wanted.is_binary && wanted.classification.is_none() {
        return Ok(());
    }
    match output.first_non_finite_row() {
        None => Ok(()),
        Some(row) => {
            let (model, name) = (
                &served.model,
                &served.schema.signature.outputs[wanted.position].name,
            );
            let message = format!(
                "model {model} gave a number that is not finite for row {row}, in output {name}; JSON has none, ask for binary_data"
            );
            Err(ApiError::new(ErrorCode::Internal, message))
        }
    }
}

/// The names of the values of one row of an output, where it has any.
fn labels_of(served: &Served, position: usize) -> &[String] {
    match &served.schema.answer {
        Answer::Classification {
            probabilities,
            classes,
            ..
        } if *probabilities == position => classes,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::signature::{Batch, TensorSpec};

    fn signature() -> Signature {
        let output = |name: &str, datatype| TensorSpec {
            name: name.into(),
            datatype,
            shape: vec![None, Some(2)],
        };
        Signature {
            inputs: vec![],
            outputs: vec![output("label", Datatype::Text), output("scores", Datatype::F32)],
            batch: Batch::Free,
        }
    }

    fn requested(name: &str, binary_data: Option<bool>, classification: Option<u64>) -> RequestedOutput {
        RequestedOutput {
            name: name.into(),
            binary_data,
            classification,
        }
    }

    fn chosen(requested: Option<Vec<RequestedOutput>>) -> Result<Vec<(usize, bool, Option<usize>)>, String> {
        let chosen =
            choose(requested, true, "m", &signature()).map_err(|error| error.message.into_owned())?;
        let told = |chosen: &Chosen| (chosen.position, chosen.is_binary, chosen.classification);
        Ok(chosen.iter().map(told).collect())
    }

    #[test]
    fn outputs_come_as_they_are_asked_for() {
        assert_eq!(chosen(None), Ok(vec![(0, true, None), (1, true, None)]));
        let asked = vec![
            requested("scores", Some(false), Some(3)),
            requested("label", None, Some(0)),
        ];
        assert_eq!(
            chosen(Some(asked)),
            Ok(vec![(1, false, Some(3)), (0, true, None)])
        );
    }

    #[test]
    fn outputs_that_cannot_be_had_are_told() {
        for (asked, told) in [
            (
                vec![requested("y", None, None)],
                "unexpected inference output 'y' for model 'm'; its outputs are 'label', 'scores'",
            ),
            (
                vec![requested("scores", None, None), requested("scores", None, None)],
                "asked for twice",
            ),
            (
                vec![requested("label", None, Some(1))],
                "classification is for numbers",
            ),
        ] {
            let message = chosen(Some(asked)).unwrap_err();
            assert!(message.contains(told), "{message}");
        }
    }
}
