//! Values picked by their positions.

use crate::model::tensor::{Slice, Values};

/// The values at `positions`, each of which lies inside.
pub(super) fn take(values: Slice<'_>, positions: &[usize]) -> Values {
    fn picked<T: Clone>(values: &[T], positions: &[usize]) -> Vec<T> {
        positions
            .iter()
            .map(|&position| values[position].clone())
            .collect()
    }
    match values {
        Slice::Bool(values) => Values::Bool(picked(values, positions)),
        Slice::U8(values) => Values::U8(picked(values, positions)),
        Slice::U16(values) => Values::U16(picked(values, positions)),
        Slice::U32(values) => Values::U32(picked(values, positions)),
        Slice::U64(values) => Values::U64(picked(values, positions)),
        Slice::I8(values) => Values::I8(picked(values, positions)),
        Slice::I16(values) => Values::I16(picked(values, positions)),
        Slice::I32(values) => Values::I32(picked(values, positions)),
        Slice::I64(values) => Values::I64(picked(values, positions)),
        Slice::F16(values) => Values::F16(picked(values, positions)),
        Slice::BF16(values) => Values::BF16(picked(values, positions)),
        Slice::F32(values) => Values::F32(picked(values, positions)),
        Slice::F64(values) => Values::F64(picked(values, positions)),
        Slice::Text(values) => Values::Text(picked(values, positions)),
    }
}
