//! What the written file itself answers: the figures of a training run are those of the artifact, on the engine that
//! serves it.

use std::path::Path;

use ndarray::{Array2, ArrayView2};

use super::TrainingError;
use super::dataset::{Column, Dataset, Values};
use crate::engine::{self, EngineError, LoadOptions};
use crate::model::artifact::{Metadata, TOKENIZER_FILE};
use crate::model::engine_choice::EngineChoice;
use crate::model::preprocessing::text::{RowsProblem, TextInput, TextRows, Texts, Tokenizer};
use crate::model::signature::{Signature, TensorSpec};
use crate::model::tensor::{self, Datatype, Tensor};

/// Rows that are run together.
const ROWS_AT_ONCE: usize = 64;

/// Runs the rows of `data` through the graph at `path`: n × 1 numbers, n × steps or n × classes. Of a graph that puts out
/// nothing but labels, n × classes as well: 1 for the label and 0 for the others. `said` is what `model.toml` says of the
/// inputs; a tokenizer lies beside the graph.
pub(super) fn predict(path: &Path, said: &Metadata, data: &Dataset) -> Result<Array2<f64>, TrainingError> {
    let options = LoadOptions {
        max_batch_size: ROWS_AT_ONCE,
        engine: EngineChoice::Tract,
    };
    let graph = engine::load(path, &options)?;
    let signature = graph.signature().clone();
    let inputs = Inputs::new(&signature, path, said, data)?;
    let mut engine = graph.engine();
    let mut values = Vec::new();
    let mut width = 1;
    for start in (0..data.rows()).step_by(ROWS_AT_ONCE) {
        let count = ROWS_AT_ONCE.min(data.rows() - start);
        let outputs = engine.run(inputs.part(start, count)?)?;
        let answer = answer(&signature, &outputs)?;
        let numbers = numbers(answer, data.target.class_names())?;
        width = numbers.len() / count;
        values.extend(numbers);
    }
    Array2::from_shape_vec((data.rows(), width), values)
        .map_err(|_| unexpected("another number of values than rows"))
}

/// What the graph takes of all rows.
enum Inputs<'a> {
    /// Tensors of all rows.
    Tensors(Vec<Tensor>),
    /// Texts, which become tokens of as many places as those of a part need.
    Texts(Box<TextRows>, &'a [String]),
}

impl<'a> Inputs<'a> {
    fn new(
        signature: &Signature,
        path: &Path,
        said: &Metadata,
        data: &'a Dataset,
    ) -> Result<Self, TrainingError> {
        match (&said.text, data.columns.as_slice()) {
            (Some(text), [column]) => match &column.values {
                Values::Texts(texts) => Ok(Self::Texts(Box::new(text_rows(signature, path, text)?), texts)),
                _ => Err(TrainingError::OneText {
                    columns: data.names(),
                }),
            },
            (Some(_), _) => Err(TrainingError::OneText {
                columns: data.names(),
            }),
            (None, _) => inputs(signature, data).map(Self::Tensors),
        }
    }

    fn part(&self, start: usize, count: usize) -> Result<Vec<Tensor>, TrainingError> {
        match self {
            Self::Tensors(tensors) => Ok(tensors
                .iter()
                .map(|input| input.slice_rows(start, count))
                .collect()),
            Self::Texts(rows, texts) => {
                let part = &texts[start..start + count];
                let part: Vec<Texts<'_>> = part.iter().map(|text| Texts::One(text)).collect();
                let tokenized = rows.tokenize(&part).map_err(|problem| untold(start, &problem))?;
                Ok(tokenized.tensors)
            }
        }
    }
}

/// Texts of the part from `start` on that become no tokens.
fn untold(start: usize, problem: &RowsProblem) -> TrainingError {
    TrainingError::Fit(match problem {
        RowsProblem::Row { row, problem } => {
            format!("text {} of those held out has {problem}", start + row + 1)
        }
        other => format!("texts that are held out do not fit together: {other:?}"),
    })
}

/// The tokenizer beside the graph, as serving reads it.
fn text_rows(signature: &Signature, path: &Path, said: &TextInput) -> Result<TextRows, TrainingError> {
    let failed = |cause: &dyn std::fmt::Display| TrainingError::Fit(cause.to_string());
    let tokenizer = Tokenizer::read(&path.with_file_name(TOKENIZER_FILE)).map_err(|cause| failed(&cause))?;
    TextRows::new(tokenizer, said, signature).map_err(|cause| failed(&cause))
}

/// The tensors that the graph takes: all columns in one, in the shape of its rows, or each column in its own.
fn inputs(signature: &Signature, data: &Dataset) -> Result<Vec<Tensor>, TrainingError> {
    match signature.inputs.as_slice() {
        [input] if data.columns.len() > 1 || matches!(data.columns[0].values, Values::Numbers(_)) => {
            let matrix = data.matrix()?;
            Ok(vec![together(signature, input, matrix.view())?])
        }
        _ => data.columns.iter().map(alone).collect(),
    }
}

fn together(
    signature: &Signature,
    input: &TensorSpec,
    matrix: ArrayView2<'_, f64>,
) -> Result<Tensor, TrainingError> {
    let row_shape: Option<Vec<usize>> = signature.row_shape(input).iter().copied().collect();
    let row_shape = row_shape.unwrap_or_else(|| vec![matrix.ncols()]);
    let shape = std::iter::once(matrix.nrows()).chain(row_shape).collect();
    let values = matrix.iter().map(|&value| value as f32).collect();
    Ok(Tensor::new(shape, tensor::Values::F32(values)).map_err(EngineError::from)?)
}

fn alone(column: &Column) -> Result<Tensor, TrainingError> {
    let values = match &column.values {
        Values::Numbers(values) => tensor::Values::F32(values.iter().map(|&value| value as f32).collect()),
        Values::Categories(values) | Values::Texts(values) => tensor::Values::Text(values.clone()),
    };
    Ok(Tensor::new(vec![values.len(), 1], values).map_err(EngineError::from)?)
}

/// The output that holds the numbers or the probabilities; a classifier's label may stand beside it, or alone.
fn answer<'a>(signature: &Signature, outputs: &'a [Tensor]) -> Result<&'a Tensor, TrainingError> {
    let position = signature
        .outputs
        .iter()
        .position(|output| output.datatype.is_float());
    let is_label = |output: &TensorSpec| output.datatype == Datatype::Text;
    position
        .or_else(|| signature.outputs.iter().position(is_label))
        .and_then(|position| outputs.get(position))
        .ok_or_else(|| unexpected("no output of numbers or labels"))
}

fn numbers(tensor: &Tensor, classes: &[String]) -> Result<Vec<f64>, TrainingError> {
    match tensor.values() {
        tensor::Values::F32(values) => Ok(values.iter().copied().map(f64::from).collect()),
        tensor::Values::F64(values) => Ok(values.clone()),
        tensor::Values::Text(labels) => {
            let decided = labels.iter().flat_map(|label| {
                classes
                    .iter()
                    .map(move |class| f64::from(u8::from(class == label)))
            });
            Ok(decided.collect())
        }
        _ => Err(unexpected("an output that is not of numbers")),
    }
}

fn unexpected(what: &str) -> TrainingError {
    TrainingError::Fit(format!("the fitted graph gives {what}"))
}
