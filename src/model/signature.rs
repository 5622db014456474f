//! What a graph takes and what it puts out, and how rows become batches.

use super::tensor::Datatype;

/// The inputs and outputs of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// What it takes, in the graph's order.
    pub inputs: Vec<TensorSpec>,
    /// What it puts out, in the graph's order.
    pub outputs: Vec<TensorSpec>,
    /// How rows stand in these tensors.
    pub batch: Batch,
}

/// One tensor of a [`Signature`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name in the graph.
    pub name: String,
    /// Its element type.
    pub datatype: Datatype,
    /// Its size along each axis; none where the size is free.
    pub shape: Vec<Option<usize>>,
}

impl TensorSpec {
    /// Its shape with -1 where a size is free, as ONNX's tools and the Open Inference Protocol write it.
    #[must_use]
    pub fn written_shape(&self) -> Vec<i64> {
        let size = |size: &Option<usize>| size.and_then(|size| i64::try_from(size).ok()).unwrap_or(-1);
        self.shape.iter().map(size).collect()
    }
}

/// How the rows of a request stand in the tensors of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// Axis 0 of every tensor counts rows, and takes any number of them.
    Free,
    /// Axis 0 of every tensor counts rows, and takes exactly so many.
    Fixed(usize),
    /// No axis counts rows: the whole graph is for one row.
    Absent,
}

impl Batch {
    /// Whether axis 0 of the graph's tensors counts rows.
    #[must_use]
    pub const fn has_axis(self) -> bool {
        !matches!(self, Self::Absent)
    }
}

impl Signature {
    /// The shape of one row of a tensor of this signature.
    #[must_use]
    pub fn row_shape<'a>(&self, spec: &'a TensorSpec) -> &'a [Option<usize>] {
        if self.batch.has_axis() {
            spec.shape.get(1..).unwrap_or_default()
        } else {
            &spec.shape
        }
    }

    /// How an input can be batched, judged by what the file declares alone: where every input begins with a free
    /// axis, that axis counts rows; where every tensor begins with the same size, that size is a fixed batch.
    #[must_use]
    pub fn declared_batch(inputs: &[TensorSpec], outputs: &[TensorSpec]) -> Batch {
        let first = |spec: &TensorSpec| spec.shape.first().copied();
        if inputs.iter().all(|input| first(input) == Some(None)) {
            return Batch::Free;
        }
        let Some(Some(Some(size))) = inputs.first().map(first) else {
            return Batch::Absent;
        };
        // A single axis of fixed size is more likely the features of one row than a batch of single values.
        let has_rows = inputs.iter().all(|input| input.shape.len() >= 2);
        let is_shared = inputs
            .iter()
            .chain(outputs)
            .all(|spec| first(spec) == Some(Some(size)));
        if has_rows && is_shared {
            Batch::Fixed(size)
        } else {
            Batch::Absent
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(shape: &[i64]) -> TensorSpec {
        TensorSpec {
            name: "x".into(),
            datatype: Datatype::F32,
            shape: shape.iter().map(|&size| usize::try_from(size).ok()).collect(),
        }
    }

    fn declared(inputs: &[&[i64]], outputs: &[&[i64]]) -> Batch {
        let specs = |shapes: &[&[i64]]| shapes.iter().map(|shape| spec(shape)).collect::<Vec<_>>();
        Signature::declared_batch(&specs(inputs), &specs(outputs))
    }

    #[test]
    fn the_batch_axis_is_the_first_one_that_all_tensors_share() {
        assert_eq!(declared(&[&[-1, 4]], &[&[-1, 3]]), Batch::Free);
        assert_eq!(declared(&[&[-1, 4], &[-1, 1]], &[&[-1]]), Batch::Free);
        assert_eq!(declared(&[&[1, 3, 8, 8]], &[&[1, 10]]), Batch::Fixed(1));
        assert_eq!(declared(&[&[4]], &[&[4]]), Batch::Absent);
        assert_eq!(declared(&[&[2, 4]], &[&[3]]), Batch::Absent);
        assert_eq!(declared(&[&[]], &[&[]]), Batch::Absent);
    }

    #[test]
    fn a_row_has_the_shape_without_the_batch_axis() {
        let mut signature = Signature {
            inputs: vec![spec(&[-1, 3, 8])],
            outputs: vec![],
            batch: Batch::Free,
        };
        assert_eq!(signature.row_shape(&signature.inputs[0]), [Some(3), Some(8)]);
        signature.batch = Batch::Absent;
        assert_eq!(
            signature.row_shape(&signature.inputs[0]),
            [None, Some(3), Some(8)]
        );
    }
}
