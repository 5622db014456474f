//! CumSum: sums along an axis, which a second input names.
//!
//! It is one of ONNX's own operators; tract's takes no dimensions in place of numbers, and no axis that comes with a request.

use std::ops::AddAssign;

use super::features::tensor;
use super::{Attributes, Fact, MlError, MlOperator, View};
use crate::model::tensor::{Datatype, Slice, Tensor, Values};

const TYPES: [Datatype; 6] = [
    Datatype::F32,
    Datatype::F64,
    Datatype::I32,
    Datatype::I64,
    Datatype::U32,
    Datatype::U64,
];

/// Sums of all values up to each along an axis.
#[derive(Debug)]
pub(super) struct CumSum {
    /// Whether a value is left out of its own sum.
    is_exclusive: bool,
    /// Whether it sums from the end.
    is_reverse: bool,
}

impl CumSum {
    pub(super) fn from_node(attributes: Attributes<'_>) -> Result<Self, MlError> {
        Ok(Self {
            is_exclusive: attributes.int("exclusive")?.unwrap_or(0) != 0,
            is_reverse: attributes.int("reverse")?.unwrap_or(0) != 0,
        })
    }

    /// Sums of lines of `length` values, of which `inner` lie side by side.
    fn sums<T: Copy + Default + AddAssign>(&self, values: &[T], length: usize, inner: usize) -> Vec<T> {
        let mut sums = values.to_vec();
        let block = (length * inner).max(1);
        for block in sums.chunks_exact_mut(block) {
            for line in 0..inner {
                let mut sum = T::default();
                for step in 0..length {
                    let step = if self.is_reverse { length - 1 - step } else { step };
                    let place = &mut block[step * inner + line];
                    let before = sum;
                    sum += *place;
                    *place = if self.is_exclusive { before } else { sum };
                }
            }
        }
        sums
    }
}

fn axis_of(axis: &View<'_>, axes: usize) -> Result<usize, MlError> {
    let axis = match axis.values {
        Slice::I64(&[axis]) => axis,
        Slice::I32(&[axis]) => axis.into(),
        other => {
            return Err(MlError::input(
                1,
                format!("expected one INT64 or INT32, found {}", other.datatype()),
            ));
        }
    };
    let from_begin = if axis < 0 {
        axis.saturating_add(axes as i64)
    } else {
        axis
    };
    let found = usize::try_from(from_begin).ok().filter(|&axis| axis < axes);
    found.ok_or_else(|| MlError::input(1, format!("there is no axis {axis} among {axes}")))
}

fn two<T>(inputs: &[T]) -> Result<[&T; 2], MlError> {
    match inputs {
        [values, axis] => Ok([values, axis]),
        _ => Err(MlError::input(
            0,
            format!("expected two inputs, found {}", inputs.len()),
        )),
    }
}

impl MlOperator for CumSum {
    fn outputs(&self, inputs: &[Fact]) -> Result<Vec<Fact>, MlError> {
        let [values, _] = two(inputs)?;
        if TYPES.contains(&values.datatype) {
            return Ok(vec![values.clone()]);
        }
        Err(MlError::input(
            0,
            format!("expected numbers, found {}", values.datatype),
        ))
    }

    fn run(&self, inputs: &[View<'_>]) -> Result<Vec<Tensor>, MlError> {
        let [values, axis] = two(inputs)?;
        let axis = axis_of(axis, values.shape.len())?;
        let length = values.shape[axis];
        let inner = values.shape[axis + 1..].iter().product();
        let sums = match values.values {
            Slice::F32(values) => Values::F32(self.sums(values, length, inner)),
            Slice::F64(values) => Values::F64(self.sums(values, length, inner)),
            Slice::I32(values) => Values::I32(self.sums(values, length, inner)),
            Slice::I64(values) => Values::I64(self.sums(values, length, inner)),
            Slice::U32(values) => Values::U32(self.sums(values, length, inner)),
            Slice::U64(values) => Values::U64(self.sums(values, length, inner)),
            other => {
                return Err(MlError::input(
                    0,
                    format!("expected numbers, found {}", other.datatype()),
                ));
            }
        };
        tensor(values.shape.to_vec(), sums)
    }
}

#[cfg(test)]
mod tests {
    use super::super::node_fixture::NodeFixture;
    use super::*;

    fn sums(node: &NodeFixture, axis: i64) -> Result<Values, MlError> {
        let axis = [axis];
        let inputs = [
            View {
                shape: &[2, 3],
                values: Slice::F64(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            },
            View {
                shape: &[],
                values: Slice::I64(&axis),
            },
        ];
        Ok(node.make("CumSum")?.run(&inputs)?.remove(0).into_values())
    }

    /// The published examples.
    #[test]
    fn sums_go_along_an_axis() {
        let node = NodeFixture::default;
        let values = |values: [f64; 6]| Ok(Values::F64(values.to_vec()));
        assert_eq!(sums(&node(), 0), values([1., 2., 3., 5., 7., 9.]));
        assert_eq!(sums(&node(), -1), values([1., 3., 6., 4., 9., 15.]));
        assert_eq!(
            sums(&node().int("exclusive", 1), 1),
            values([0., 1., 3., 0., 4., 9.])
        );
        assert_eq!(
            sums(&node().int("reverse", 1), 1),
            values([6., 5., 3., 15., 11., 6.])
        );
        let both = node().int("reverse", 1).int("exclusive", 1);
        assert_eq!(sums(&both, 1), values([5., 3., 0., 11., 6., 0.]));
        assert!(sums(&node(), 2).is_err() && sums(&node(), i64::MIN).is_err());
    }
}
