//! From a model's outputs to the body of the answer.

use std::cmp::Ordering;
use std::ops::Range;

use super::served::Served;
use crate::api::error::{ApiError, ErrorCode};
use crate::api::predict::{Listed, Nested, Outputs, PredictResponse};
use crate::model::schema::Answer;
use crate::model::tensor::{Slice, Tensor, Values};

/// Writes `outputs`, one row for each row of the request, as the JSON body of the answer. Where the rows were texts, `places`
/// says for each where its tokens stand: what an output says of the places that were filled up is left out.
pub(super) fn write(
    served: &Served,
    outputs: &[Tensor],
    places: Option<&[Range<usize>]>,
) -> Result<Vec<u8>, ApiError> {
    let schema = &served.schema;
    check_finite(served, outputs)?;
    let mut response = PredictResponse {
        model: &served.model,
        version: &served.version,
        predictions: None,
        probabilities: None,
        classes: None,
        outputs: None,
    };
    let rows = [outputs.first().map_or(0, Tensor::rows)];
    let names: Vec<&str>;
    let indices: Vec<i64>;
    match (&schema.answer, outputs) {
        (Answer::Regression { output }, _) => response.predictions = Some(column(&rows, &outputs[*output])),
        (
            Answer::Classification {
                probabilities,
                label,
                classes,
            },
            _,
        ) => {
            response.probabilities = Some(nested(&outputs[*probabilities]));
            if !classes.is_empty() {
                response.classes = Some(classes);
            }
            if let Some(label) = label {
                response.predictions = Some(column(&rows, &outputs[*label]));
            } else if classes.is_empty() {
                let largest = largest(&outputs[*probabilities]);
                indices = largest.map(|index| index as i64).collect();
                response.predictions = Some(Nested {
                    shape: &rows,
                    values: Listed::Values(Slice::I64(&indices)),
                    places: None,
                });
            } else {
                names = largest(&outputs[*probabilities])
                    .map(|index| classes.get(index).map_or("", String::as_str))
                    .collect();
                response.predictions = Some(Nested {
                    shape: &rows,
                    values: Listed::Names(&names),
                    places: None,
                });
            }
        }
        (Answer::Forecast { output }, _) => response.predictions = Some(nested(&outputs[*output])),
        (Answer::Generic, [output]) => {
            let places = places.filter(|_| served.has_token_axis(0));
            response.predictions = Some(Nested {
                places,
                ..nested(output)
            });
        }
        (Answer::Generic, _) => {
            let named = schema.signature.outputs.iter().zip(outputs).enumerate();
            let named = named.map(|(position, (spec, output))| {
                let places = places.filter(|_| served.has_token_axis(position));
                (
                    spec.name.as_str(),
                    Nested {
                        places,
                        ..nested(output)
                    },
                )
            });
            response.outputs = Some(Outputs(named.collect()));
        }
    }
    serde_json::to_vec(&response).map_err(|error| {
        tracing::error!(model = %served.model, %error, "an answer could not be written");
        ApiError::new(ErrorCode::Internal, "the answer could not be written")
    })
}

/// JSON has no word for what is not a finite number, and an answer with a hole is none.
fn check_finite(served: &Served, outputs: &[Tensor]) -> Result<(), ApiError> {
    let specs = &served.schema.signature.outputs;
    for (spec, output) in specs.iter().zip(outputs) {
        if let Some(row) = output.first_non_finite_row() {
            let (model, name) = (&served.model, &spec.name);
            return Err(ApiError::new(
                ErrorCode::Internal,
                format!("model {model} gave a number that is not finite for inputs[{row}], in output {name}"),
            ));
        }
    }
    Ok(())
}

/// One value a row, whether the output has a second axis or not.
fn column<'a>(rows: &'a [usize; 1], output: &'a Tensor) -> Nested<'a> {
    Nested {
        shape: rows,
        values: Listed::Values(output.values().as_slice()),
        places: None,
    }
}

fn nested(output: &Tensor) -> Nested<'_> {
    Nested {
        shape: output.shape(),
        values: Listed::Values(output.values().as_slice()),
        places: None,
    }
}

/// For each row the position of its largest value; the first of several equal ones.
fn largest(probabilities: &Tensor) -> Box<dyn Iterator<Item = usize> + '_> {
    let width = probabilities.row_len().max(1);
    match probabilities.values() {
        Values::F32(values) => Box::new(
            values
                .chunks_exact(width)
                .map(|row| position_of_largest(row, f32::total_cmp)),
        ),
        Values::F64(values) => Box::new(
            values
                .chunks_exact(width)
                .map(|row| position_of_largest(row, f64::total_cmp)),
        ),
        _ => Box::new(std::iter::empty()),
    }
}

fn position_of_largest<T>(row: &[T], compare: impl Fn(&T, &T) -> Ordering) -> usize {
    let mut best = 0;
    for (position, value) in row.iter().enumerate().skip(1) {
        if compare(value, &row[best]).is_gt() {
            best = position;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_wins_and_the_first_of_equals() {
        let values = Values::F32(vec![0.2, 0.5, 0.3, 0.4, 0.2, 0.4]);
        let probabilities = Tensor::new(vec![2, 3], values).unwrap();
        assert_eq!(largest(&probabilities).collect::<Vec<_>>(), [1, 0]);
    }
}
