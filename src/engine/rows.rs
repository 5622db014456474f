//! From the rows of a batch to the tensors that a graph takes, and back.
//!
//! Some engines optimise one plan for each concrete shape. So that there are few shapes, a batch is padded up to the
//! next power of two; the padding repeats the first row (zeros could be something that a graph divides by) and is
//! cut off again. Graphs with a fixed batch run in pieces of that size, graphs without a batch axis row by row.

use super::{EngineError, contain_panics};
use crate::model::signature::{Batch, Signature, TensorSpec};
use crate::model::tensor::{Datatype, Tensor, Values};

/// What becomes of a batch whose size is free.
#[derive(Clone, Copy, Debug)]
pub(super) enum Padding<'a> {
    /// It runs as it is.
    None,
    /// It is filled up to a power of two, or to this most that ever runs together.
    PowersOfTwo(usize),
    /// It runs in pieces of so many rows, and of fewer where so many are not left: for graphs whose rows take so long that
    /// one row more than there are costs more than another run, and where nothing else is prepared.
    Pieces(&'a [usize]),
}

impl Padding<'_> {
    /// Rows of the tensors in which so many rows run, where they run together.
    pub(super) fn size(self, rows: usize) -> usize {
        match self {
            Self::None | Self::Pieces(_) => rows,
            Self::PowersOfTwo(max_batch_size) => bucket(rows, max_batch_size),
        }
    }
}

/// Rows that a batch of `rows` is padded to, if never more than `max_batch_size` rows run together.
fn bucket(rows: usize, max_batch_size: usize) -> usize {
    rows.next_power_of_two().min(max_batch_size.max(rows))
}

/// The largest of `sizes`, one of which is 1, that is not more than `left`.
fn piece(sizes: &[usize], left: usize) -> usize {
    let fitting = sizes.iter().copied().filter(|&size| size <= left);
    fitting.max().unwrap_or(1)
}

/// Every bucket up to `max_batch_size`.
pub(super) fn buckets(max_batch_size: usize) -> impl Iterator<Item = usize> {
    let powers = std::iter::successors(Some(1_usize), |size| size.checked_mul(2));
    powers
        .take_while(move |&size| size < max_batch_size)
        .chain([max_batch_size])
}

/// Runs all rows of `inputs` through `run`, which takes tensors as the graph does.
pub(super) fn run_rows(
    batch: Batch,
    padding: Padding<'_>,
    inputs: Vec<Tensor>,
    mut run: impl FnMut(Vec<Tensor>) -> Result<Vec<Tensor>, EngineError>,
) -> Result<Vec<Tensor>, EngineError> {
    let rows = inputs.first().map_or(0, Tensor::rows);
    match batch {
        Batch::Free => match padding {
            Padding::Pieces(sizes) => run_pieces(
                &inputs,
                |left| piece(sizes, left),
                |rows| {
                    let size = rows.first().map_or(0, Tensor::rows);
                    run_padded(size, rows, &mut run)
                },
            ),
            _ => run_padded(padding.size(rows), inputs, &mut run),
        },
        Batch::Fixed(size) if rows <= size => run_padded(size, inputs, &mut run),
        Batch::Fixed(size) => run_pieces(&inputs, |_| size, |piece| run_padded(size, piece, &mut run)),
        Batch::Absent => run_pieces(
            &inputs,
            |_| 1,
            |row| {
                let outputs = run(row.into_iter().map(Tensor::into_single).collect())?;
                Ok(outputs.into_iter().map(Tensor::into_row).collect())
            },
        ),
    }
}

/// How many rows, and the size of their free axes where it is known.
pub(super) type Shape = (usize, Option<usize>);

/// Rows of zeros for each input; none where nobody knows the shape of a row.
pub(super) fn zeros(signature: &Signature, shape: Shape) -> Option<Vec<Tensor>> {
    filled(signature, shape, Values::zeros)
}

fn filled(
    signature: &Signature,
    shape: Shape,
    values: impl Fn(Datatype, usize) -> Values,
) -> Option<Vec<Tensor>> {
    let tensor = |spec: &TensorSpec| {
        let shape = shape_of(signature, spec, shape)?;
        let values = values(spec.datatype, shape.iter().product());
        Tensor::new(shape, values).ok()
    };
    signature.inputs.iter().map(tensor).collect()
}

/// The shapes of such rows in each input; none where nobody knows the shape of a row.
pub(super) fn shapes(signature: &Signature, shape: Shape) -> Option<Vec<Vec<usize>>> {
    let inputs = signature.inputs.iter();
    inputs.map(|spec| shape_of(signature, spec, shape)).collect()
}

fn shape_of(signature: &Signature, spec: &TensorSpec, (rows, free): Shape) -> Option<Vec<usize>> {
    let row = signature.row_shape(spec).iter();
    let sizes = row.map(|size| size.or(free));
    std::iter::once(Some(rows)).chain(sizes).collect()
}

fn run_padded(
    size: usize,
    mut inputs: Vec<Tensor>,
    run: &mut impl FnMut(Vec<Tensor>) -> Result<Vec<Tensor>, EngineError>,
) -> Result<Vec<Tensor>, EngineError> {
    let rows = inputs.first().map_or(0, Tensor::rows);
    for input in &mut inputs {
        input.resize_rows(size);
    }
    let mut outputs = run(inputs)?;
    for (output, tensor) in outputs.iter_mut().enumerate() {
        let found = tensor.rows();
        if found != size || tensor.shape().is_empty() {
            return Err(EngineError::RowCount {
                output,
                expected: size,
                found,
            });
        }
        tensor.resize_rows(rows);
    }
    Ok(outputs)
}

fn run_pieces(
    inputs: &[Tensor],
    size_for: impl Fn(usize) -> usize,
    mut run: impl FnMut(Vec<Tensor>) -> Result<Vec<Tensor>, EngineError>,
) -> Result<Vec<Tensor>, EngineError> {
    let rows = inputs.first().map_or(0, Tensor::rows);
    let mut whole: Vec<Tensor> = Vec::new();
    let mut start = 0;
    while start < rows {
        let size = size_for(rows - start).max(1);
        let piece = inputs.iter().map(|input| input.slice_rows(start, size)).collect();
        let outputs = run(piece)?;
        start += size;
        if whole.is_empty() {
            whole = outputs;
            continue;
        }
        for (all, output) in whole.iter_mut().zip(outputs) {
            all.append(output)?;
        }
    }
    Ok(whole)
}

/// Runs rows of zeros and, where the graph cannot run those, ones: zeros may be what it divides by, and an empty
/// text no number. That an operator refuses such values says nothing against the graph.
pub(super) fn try_out(
    signature: &Signature,
    shape: Shape,
    mut run: impl FnMut(Vec<Tensor>) -> Result<Vec<Tensor>, EngineError>,
) -> Result<(), EngineError> {
    let Some(zeros) = zeros(signature, shape) else {
        return Ok(());
    };
    match contain_panics(|| run(zeros)) {
        Ok(_) | Err(EngineError::RefusedValues(_)) => Ok(()),
        Err(error) => {
            let ones = filled(signature, shape, Values::ones).ok_or(error)?;
            run(ones).map(|_| ())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn column(values: impl IntoIterator<Item = i64>) -> Tensor {
        let values: Vec<i64> = values.into_iter().collect();
        Tensor::new(vec![values.len()], Values::I64(values)).unwrap()
    }

    fn doubled(tensor: &Tensor) -> Tensor {
        let Values::I64(values) = tensor.values() else {
            panic!("{tensor:?}")
        };
        let values = values.iter().map(|value| value * 2).collect();
        Tensor::new(tensor.shape().to_vec(), Values::I64(values)).unwrap()
    }

    #[test]
    fn buckets_are_the_powers_of_two_and_the_maximum() {
        assert_eq!(buckets(1).collect::<Vec<_>>(), [1]);
        assert_eq!(buckets(8).collect::<Vec<_>>(), [1, 2, 4, 8]);
        assert_eq!(buckets(12).collect::<Vec<_>>(), [1, 2, 4, 8, 12]);
        assert_eq!(bucket(9, 12), 12);
        assert_eq!(bucket(3, 12), 4);
    }

    #[test]
    fn an_output_that_does_not_follow_the_rows_is_an_error() {
        let run = |_: Vec<Tensor>| Ok(vec![column([1])]);
        let outcome = run_rows(Batch::Free, Padding::None, vec![column([1, 2])], run);
        assert!(
            matches!(outcome, Err(EngineError::RowCount { .. })),
            "{outcome:?}"
        );
    }

    fn any_batch() -> impl Strategy<Value = Batch> {
        prop_oneof![
            Just(Batch::Free),
            (1_usize..9).prop_map(Batch::Fixed),
            Just(Batch::Absent)
        ]
    }

    fn any_padding() -> impl Strategy<Value = Padding<'static>> {
        prop_oneof![
            Just(Padding::None),
            (1_usize..40).prop_map(Padding::PowersOfTwo),
            Just(Padding::Pieces(&[1, 4, 16]))
        ]
    }

    proptest! {
        #[test]
        fn every_row_gets_its_own_answer_in_order(batch in any_batch(), rows in 1_usize..40, padding in any_padding()) {
            let input = column((0..rows).map(|row| row as i64));
            let run = |inputs: Vec<Tensor>| {
                let expected: Vec<usize> = match batch {
                    Batch::Free if matches!(padding, Padding::Pieces(_)) => {
                        assert!([1, 4, 16].contains(&inputs[0].rows()));
                        inputs[0].shape().to_vec()
                    }
                    Batch::Free => vec![padding.size(rows)],
                    Batch::Fixed(size) => vec![size],
                    Batch::Absent => vec![],
                };
                assert_eq!(inputs[0].shape(), expected);
                Ok(vec![doubled(&inputs[0])])
            };
            let outputs = run_rows(batch, padding, vec![input.clone()], run).unwrap();
            prop_assert_eq!(outputs, vec![doubled(&input)]);
        }
    }
}
