//! What a model's outputs say, a row at a time.

use std::ops::Range;

use ndarray::Array2;

use super::rows::Rows;
use super::{OfflineError, OfflineModel};
use crate::model::schema::Answer;
use crate::model::tensor::{Slice, Tensor};
use crate::training::dataset::Table;
use crate::training::evaluation::likeliest;

/// What comes out for some rows.
pub(super) enum Answers {
    /// The class of each row, and the probability of each class.
    Classes {
        labels: Vec<String>,
        probabilities: Array2<f64>,
    },
    /// Numbers, n × as many as the model puts out for a row.
    Numbers(Array2<f64>),
    /// Values of several outputs, or none that are numbers: as texts, a list for each row.
    Texts(Vec<Vec<String>>),
}

impl Answers {
    /// What the model says of these rows of a table.
    pub(super) fn to(
        model: &mut OfflineModel,
        table: &Table,
        rows: &Rows,
        chunk: Range<usize>,
    ) -> Result<Self, OfflineError> {
        let outputs = rows.run(model, table, chunk)?;
        Ok(Self::of(model, &outputs))
    }

    /// Reads the outputs as the model's schema says.
    fn of(model: &OfflineModel, outputs: &[Tensor]) -> Self {
        match &model.schema.answer {
            Answer::Classification {
                probabilities,
                label,
                classes,
            } => {
                let probabilities = numbers(&outputs[*probabilities]).unwrap_or_default();
                let labels = match label {
                    Some(label) => texts(&outputs[*label]),
                    None => named(&probabilities, classes),
                };
                Self::Classes {
                    labels,
                    probabilities,
                }
            }
            Answer::Regression { output } | Answer::Forecast { output } => {
                Self::Numbers(numbers(&outputs[*output]).unwrap_or_default())
            }
            Answer::Generic => match outputs {
                [output] => numbers(output).map_or_else(|| Self::Texts(listed(outputs)), Self::Numbers),
                _ => Self::Texts(listed(outputs)),
            },
        }
    }
}

/// A tensor of floating-point numbers as n × numbers of a row.
pub(super) fn numbers(tensor: &Tensor) -> Option<Array2<f64>> {
    let values: Vec<f64> = match tensor.values().as_slice() {
        Slice::F32(values) => values.iter().copied().map(f64::from).collect(),
        Slice::F64(values) => values.to_vec(),
        Slice::F16(values) => values.iter().map(|&value| f64::from(value)).collect(),
        Slice::BF16(values) => values.iter().map(|&value| f64::from(value)).collect(),
        _ => return None,
    };
    Array2::from_shape_vec((tensor.rows(), tensor.row_len()), values).ok()
}

fn named(probabilities: &Array2<f64>, classes: &[String]) -> Vec<String> {
    let name = |class: usize| classes.get(class).cloned().unwrap_or_else(|| class.to_string());
    probabilities
        .rows()
        .into_iter()
        .map(|row| name(likeliest(row)))
        .collect()
}

/// Every value of a tensor as a text.
pub(super) fn texts(tensor: &Tensor) -> Vec<String> {
    fn written<T: ToString>(values: &[T]) -> Vec<String> {
        values.iter().map(ToString::to_string).collect()
    }
    match tensor.values().as_slice() {
        Slice::Bool(values) => written(values),
        Slice::U8(values) => written(values),
        Slice::U16(values) => written(values),
        Slice::U32(values) => written(values),
        Slice::U64(values) => written(values),
        Slice::I8(values) => written(values),
        Slice::I16(values) => written(values),
        Slice::I32(values) => written(values),
        Slice::I64(values) => written(values),
        Slice::F16(values) => written(values),
        Slice::BF16(values) => written(values),
        Slice::F32(values) => written(values),
        Slice::F64(values) => written(values),
        Slice::Text(values) => values.to_vec(),
    }
}

/// For each row the values of all outputs, one after the other.
fn listed(outputs: &[Tensor]) -> Vec<Vec<String>> {
    let rows = outputs.first().map_or(0, Tensor::rows);
    let mut listed = vec![Vec::new(); rows];
    for output in outputs {
        let texts = texts(output);
        for (row, values) in listed.iter_mut().zip(texts.chunks(output.row_len().max(1))) {
            row.extend_from_slice(values);
        }
    }
    listed
}
