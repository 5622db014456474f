//! The signature of a graph: what its file declares, checked against what an engine makes of it.
//!
//! Files lie about batches. Exporters declare a free batch and bake a size of 1 into a reshape, or leave the shape of
//! an output open. So the graph is analysed with two rows: if every output then has two, the batch really is free.

use super::EngineError;
use crate::model::signature::{Batch, Signature, TensorSpec};
use crate::model::tensor::Datatype;

/// Values of one row, at most: a file can declare any shape, and warming up allocates it.
const MAX_ROW_VALUES: usize = 1 << 28;

/// What an engine makes of an output.
pub(super) struct Found {
    pub(super) datatype: Datatype,
    pub(super) shape: Vec<Option<usize>>,
}

/// What is known of a graph before it runs.
pub(super) struct Probed {
    pub(super) signature: Signature,
    /// Why the engine could not analyse it, where sizes that had to be guessed may be to blame: the signature is then
    /// what the file declares.
    pub(super) doubt: Option<EngineError>,
}

impl Probed {
    fn sure(signature: Signature) -> Self {
        let doubt = None;
        Self { signature, doubt }
    }
}

/// The signature of a graph that declares these tensors; `analyse` gives what becomes of its outputs for concrete input
/// shapes.
pub(super) fn signature(
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    analyse: impl Fn(&[&[usize]]) -> Result<Vec<Found>, EngineError>,
) -> Result<Probed, EngineError> {
    if inputs.is_empty() {
        return Err(EngineError::Malformed("the graph has no input".to_owned()));
    }
    let declared = Signature {
        batch: Signature::declared_batch(&inputs, &outputs),
        inputs,
        outputs,
    };
    check_size(&declared)?;
    match declared.batch {
        Batch::Free => free_batch(declared, analyse),
        Batch::Fixed(rows) => with_outputs(declared, rows, analyse),
        Batch::Absent => with_outputs(declared, 1, analyse),
    }
}

/// Finds out whether a batch that is declared as free really is.
fn free_batch(
    mut declared: Signature,
    analyse: impl Fn(&[&[usize]]) -> Result<Vec<Found>, EngineError>,
) -> Result<Probed, EngineError> {
    if let Ok(outputs) = output_shapes(&declared, 2, &analyse)
        && begin_with(&outputs, 2)
    {
        refine(&mut declared, outputs);
        return Ok(Probed::sure(declared));
    }
    let one_row = match output_shapes(&declared, 1, &analyse) {
        Ok(outputs) => outputs,
        // Sizes that were guessed for other free axes may not suit the graph; the file is all there is then.
        Err(error) if has_other_free_axes(&declared) => {
            return Ok(Probed {
                signature: declared,
                doubt: Some(error),
            });
        }
        Err(error) => return Err(error),
    };
    if begin_with(&one_row, 1) {
        declared.batch = Batch::Fixed(1);
        for spec in declared.inputs.iter_mut().chain(&mut declared.outputs) {
            if let Some(first) = spec.shape.first_mut() {
                *first = Some(1);
            }
        }
    } else {
        declared.batch = Batch::Absent;
    }
    refine(&mut declared, one_row);
    Ok(Probed::sure(declared))
}

fn with_outputs(
    mut declared: Signature,
    rows: usize,
    analyse: impl Fn(&[&[usize]]) -> Result<Vec<Found>, EngineError>,
) -> Result<Probed, EngineError> {
    let mut doubt = None;
    match output_shapes(&declared, rows, &analyse) {
        Ok(outputs) => refine(&mut declared, outputs),
        Err(error) if declared.inputs.iter().any(|input| input.shape.contains(&None)) => doubt = Some(error),
        Err(error) => return Err(error),
    }
    Ok(Probed {
        signature: declared,
        doubt,
    })
}

/// Datatype and shape of every output, as the engine finds them for `rows` rows.
fn output_shapes(
    declared: &Signature,
    rows: usize,
    analyse: &impl Fn(&[&[usize]]) -> Result<Vec<Found>, EngineError>,
) -> Result<Vec<Found>, EngineError> {
    let concrete = |input: &TensorSpec| -> Vec<usize> {
        let sizes = input.shape.iter().enumerate();
        let is_batch = |axis| axis == 0 && declared.batch.has_axis();
        sizes
            .map(|(axis, size)| if is_batch(axis) { rows } else { size.unwrap_or(1) })
            .collect()
    };
    let shapes: Vec<Vec<usize>> = declared.inputs.iter().map(concrete).collect();
    let shapes: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
    analyse(&shapes)
}

fn begin_with(outputs: &[Found], rows: usize) -> bool {
    outputs
        .iter()
        .all(|output| output.shape.first() == Some(&Some(rows)))
}

fn has_other_free_axes(signature: &Signature) -> bool {
    let is_free = |input: &TensorSpec| signature.row_shape(input).contains(&None);
    signature.inputs.iter().any(is_free)
}

/// Puts what was found in place of what was declared. Where sizes of free axes were guessed, only the number of axes
/// and the sizes that the file declares are sure.
fn refine(declared: &mut Signature, found: Vec<Found>) {
    let is_guessed = has_other_free_axes(declared);
    let is_free = declared.batch == Batch::Free;
    for (output, Found { datatype, mut shape }) in declared.outputs.iter_mut().zip(found) {
        output.datatype = datatype;
        if is_guessed && output.shape.len() == shape.len() {
            continue;
        }
        if is_guessed {
            shape.fill(None);
        }
        if is_free && let Some(first) = shape.first_mut() {
            *first = None;
        }
        output.shape = shape;
    }
}

fn check_size(signature: &Signature) -> Result<(), EngineError> {
    for input in &signature.inputs {
        let sizes = input.shape.iter().map(|size| size.unwrap_or(1));
        let values = sizes.fold(1_usize, usize::saturating_mul);
        if values == 0 || values > MAX_ROW_VALUES {
            return Err(EngineError::Malformed(format!(
                "input {:?} holds {values} values; from 1 to {MAX_ROW_VALUES} can be served",
                input.name
            )));
        }
    }
    Ok(())
}
