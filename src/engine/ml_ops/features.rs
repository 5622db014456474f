//! The matrix of numbers that numeric operators take: a row of features for each sample.

use std::borrow::Cow;

use super::{Fact, MlError, View};
use crate::model::tensor::{Datatype, Slice, Tensor, Values};

/// How many samples there are, and how many features each of them has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dimensions {
    /// Samples.
    pub(super) rows: usize,
    /// Features of each sample, at least one.
    pub(super) width: usize,
}

impl Dimensions {
    /// Reads a shape: `[rows, width]`, or `[width]` for a single row.
    fn of(shape: &[usize]) -> Result<Self, MlError> {
        let (rows, width) = match *shape {
            [width] => (1, width),
            [rows, width] => (rows, width),
            _ => {
                return Err(refused(format!(
                    "expected the shape [rows, features], found {shape:?}"
                )));
            }
        };
        if width == 0 {
            return Err(refused(
                "expected at least one feature a row, found none".to_owned(),
            ));
        }
        Ok(Self { rows, width })
    }

    /// Makes sure that rows have exactly `expected` features.
    pub(super) fn expect_width(self, expected: usize) -> Result<Self, MlError> {
        if self.width == expected {
            return Ok(self);
        }
        let problem = format!("expected {expected} features a row, found {}", self.width);
        Err(refused(problem))
    }
}

/// The error of an operator's only input.
pub(super) fn refused(problem: String) -> MlError {
    MlError::input(0, problem)
}

/// A text as errors show it, cut off where it is long.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 40;
    let shown: String = text.chars().take(LONGEST).collect();
    format!("{shown:?}")
}

/// The one input of an operator that has only one.
pub(super) fn only<T>(inputs: &[T]) -> Result<&T, MlError> {
    match inputs {
        [input] => Ok(input),
        _ => Err(refused(format!("expected one input, found {}", inputs.len()))),
    }
}

/// The only output of an operator.
pub(super) fn tensor(shape: Vec<usize>, values: Values) -> Result<Vec<Tensor>, MlError> {
    let tensor = Tensor::new(shape, values).map_err(|error| refused(error.to_string()))?;
    Ok(vec![tensor])
}

/// Type and dimensions of the only input, which holds numbers of one of `types`.
pub(super) fn fact(inputs: &[Fact], types: &[Datatype]) -> Result<(Datatype, Dimensions), MlError> {
    let fact = only(inputs)?;
    if !types.contains(&fact.datatype) {
        let names: Vec<&str> = types.iter().map(|datatype| datatype.as_str()).collect();
        let problem = format!("expected {}, found {}", names.join(", "), fact.datatype);
        return Err(refused(problem));
    }
    Ok((fact.datatype, Dimensions::of(&fact.shape)?))
}

/// The types that all operators of the first versions of `ai.onnx.ml` take.
pub(super) const NUMBERS: [Datatype; 4] = [Datatype::F32, Datatype::F64, Datatype::I64, Datatype::I32];

/// The only input, with its dimensions checked against its values.
pub(super) fn view<'a>(inputs: &[View<'a>]) -> Result<(Slice<'a>, Dimensions), MlError> {
    let view = only(inputs)?;
    Ok((view.values, Dimensions::of(view.shape)?))
}

/// The only input as single-precision numbers, in which ONNX Runtime computes whatever the type.
pub(super) fn singles<'a>(inputs: &[View<'a>]) -> Result<(Cow<'a, [f32]>, Dimensions), MlError> {
    let (values, dimensions) = view(inputs)?;
    Ok((as_singles(values, dimensions)?, dimensions))
}

/// `values` as single-precision numbers, as many as `dimensions` ask for.
pub(super) fn as_singles(values: Slice<'_>, dimensions: Dimensions) -> Result<Cow<'_, [f32]>, MlError> {
    let singles: Cow<'_, [f32]> = match values {
        Slice::F32(values) => values.into(),
        Slice::F64(values) => values.iter().map(|&value| value as f32).collect(),
        Slice::F16(values) => values.iter().map(|&value| value.to_f32()).collect(),
        Slice::I64(values) => values.iter().map(|&value| value as f32).collect(),
        Slice::I32(values) => values.iter().map(|&value| value as f32).collect(),
        _ => return Err(refused("expected numbers".to_owned())),
    };
    check_count(singles.len(), dimensions)?;
    Ok(singles)
}

/// Makes sure that there are as many values as `dimensions` ask for.
pub(super) fn check_count(count: usize, dimensions: Dimensions) -> Result<(), MlError> {
    let Dimensions { rows, width } = dimensions;
    if rows.checked_mul(width) == Some(count) {
        return Ok(());
    }
    let problem = format!("expected {rows} rows of {width} features, found {count} values");
    Err(refused(problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_axis_is_a_single_row() {
        assert_eq!(Dimensions::of(&[3]), Ok(Dimensions { rows: 1, width: 3 }));
    }

    #[test]
    fn shapes_that_are_no_matrix_are_refused() {
        for shape in [&[][..], &[1, 2, 3], &[4, 0]] {
            assert!(Dimensions::of(shape).is_err(), "{shape:?}");
        }
    }

    #[test]
    fn a_shape_that_overflows_is_refused() {
        let inputs = [View {
            shape: &[usize::MAX, 2],
            values: Slice::F32(&[1.0, 2.0]),
        }];
        assert!(singles(&inputs).is_err());
    }
}
