//! Operators that pick columns and put them side by side: ArrayFeatureExtractor, FeatureVectorizer.

use super::features::{Dimensions, NUMBERS, as_singles, tensor};
use super::take::take;
use super::{Attributes, Fact, MlError, MlOperator, View};
use crate::model::tensor::{Datatype, Slice, Tensor, Values};

/// Picks positions along the last axis of the first input; the second input says which. Negative ones count from the end,
/// as in the definition's reference: exporters take -1 for what they mask out later.
#[derive(Debug)]
pub(super) struct ArrayFeatureExtractor;

impl ArrayFeatureExtractor {
    /// The shape of the output. A single row comes out as a matrix of one row, as in ONNX Runtime.
    fn shape(values: &[usize], picked: &[usize]) -> Result<Vec<usize>, MlError> {
        let Some((_, outer)) = values.split_last() else {
            return Err(MlError::input(0, "expected at least one axis, found none"));
        };
        let mut shape = if outer.is_empty() { vec![1] } else { outer.to_vec() };
        shape.push(picked.iter().product());
        Ok(shape)
    }
}

impl MlOperator for ArrayFeatureExtractor {
    fn outputs(&self, inputs: &[Fact]) -> Result<Vec<Fact>, MlError> {
        let [values, positions] = inputs else {
            return Err(MlError::input(
                0,
                format!("expected two inputs, found {}", inputs.len()),
            ));
        };
        if positions.datatype != Datatype::I64 {
            return Err(MlError::input(
                1,
                format!("expected INT64, found {}", positions.datatype),
            ));
        }
        Ok(vec![Fact {
            datatype: values.datatype,
            shape: Self::shape(&values.shape, &positions.shape)?,
        }])
    }

    fn run(&self, inputs: &[View<'_>]) -> Result<Vec<Tensor>, MlError> {
        let [values, positions] = inputs else {
            return Err(MlError::input(
                0,
                format!("expected two inputs, found {}", inputs.len()),
            ));
        };
        let Slice::I64(picked) = positions.values else {
            return Err(MlError::input(1, "expected INT64"));
        };
        let shape = Self::shape(values.shape, positions.shape)?;
        let width = values.shape.last().copied().unwrap_or_default();
        let inside = |&position: &i64| {
            let from_begin = if position < 0 {
                position.saturating_add(width as i64)
            } else {
                position
            };
            usize::try_from(from_begin)
                .ok()
                .filter(|&position| position < width)
        };
        let picked: Option<Vec<usize>> = picked.iter().map(inside).collect();
        let Some(picked) = picked else {
            return Err(MlError::input(1, format!("expected positions among {width}")));
        };
        let rows: usize = values.shape[..values.shape.len() - 1].iter().product();
        let positions: Vec<usize> = (0..rows)
            .flat_map(|row| picked.iter().map(move |column| row * width + column))
            .collect();
        tensor(shape, take(values.values, &positions))
    }
}

/// Puts all inputs side by side as numbers, each cut off or filled up with zeros to the width that was set for it.
#[derive(Debug)]
pub(super) struct FeatureVectorizer {
    widths: Vec<usize>,
}

impl FeatureVectorizer {
    pub(super) fn from_node(attributes: Attributes<'_>) -> Result<Self, MlError> {
        let width = |&width: &i64| {
            usize::try_from(width).map_err(|_| MlError::Attribute {
                name: "inputdimensions",
                problem: format!("expected sizes, found {width}"),
            })
        };
        let widths = attributes.ints("inputdimensions")?.iter().map(width);
        Ok(Self {
            widths: widths.collect::<Result<_, _>>()?,
        })
    }

    fn check(&self, inputs: usize) -> Result<(), MlError> {
        if inputs > 0 && inputs == self.widths.len() {
            return Ok(());
        }
        let problem = format!("{} inputs are set, found {inputs}", self.widths.len());
        Err(MlError::input(0, problem))
    }
}

impl MlOperator for FeatureVectorizer {
    fn outputs(&self, inputs: &[Fact]) -> Result<Vec<Fact>, MlError> {
        self.check(inputs.len())?;
        for (position, fact) in inputs.iter().enumerate() {
            if !NUMBERS.contains(&fact.datatype) {
                return Err(MlError::input(
                    position,
                    format!("expected numbers, found {}", fact.datatype),
                ));
            }
        }
        Ok(vec![Fact {
            datatype: Datatype::F32,
            shape: vec![rows(&inputs[0].shape), self.widths.iter().sum()],
        }])
    }

    fn run(&self, inputs: &[View<'_>]) -> Result<Vec<Tensor>, MlError> {
        self.check(inputs.len())?;
        let rows = rows(inputs[0].shape);
        let total: usize = self.widths.iter().sum();
        let mut joined = vec![0.0; rows.saturating_mul(total)];
        let mut start = 0;
        for (position, (view, &width)) in inputs.iter().zip(&self.widths).enumerate() {
            let own: usize = match view.shape {
                [] => 1,
                [width] if rows == 1 => *width,
                [_, columns @ ..] => columns.iter().product(),
            };
            let numbers = as_singles(view.values, Dimensions { rows, width: own })
                .map_err(|error| MlError::input(position, error.to_string()))?;
            let copied = own.min(width);
            if copied > 0 {
                let into = joined.chunks_exact_mut(total);
                for (into, from) in into.zip(numbers.chunks_exact(own)) {
                    into[start..start + copied].copy_from_slice(&from[..copied]);
                }
            }
            start += width;
        }
        tensor(vec![rows, total], Values::F32(joined))
    }
}

/// Rows of an input: a single axis is a single row.
fn rows(shape: &[usize]) -> usize {
    match shape {
        [rows, _, ..] => *rows,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view<'a>(shape: &'a [usize], values: Slice<'a>) -> View<'a> {
        View { shape, values }
    }

    #[test]
    fn columns_are_picked_in_the_order_asked_for() {
        let values = Slice::I32(&[1, 2, 3, 4, 5, 6]);
        let inputs = [view(&[2, 3], values), view(&[2], Slice::I64(&[2, 0]))];
        let picked = ArrayFeatureExtractor.run(&inputs).unwrap();
        assert_eq!(picked[0].shape(), [2, 2]);
        assert_eq!(picked[0].values(), &Values::I32(vec![3, 1, 6, 4]));
    }

    #[test]
    fn labels_are_picked_as_a_row() {
        let labels = ["no".to_owned(), "yes".to_owned()];
        let inputs = [
            view(&[2], Slice::Text(&labels)),
            view(&[3], Slice::I64(&[1, 0, 1])),
        ];
        let picked = ArrayFeatureExtractor.run(&inputs).unwrap();
        assert_eq!(picked[0].shape(), [1, 3]);
    }

    #[test]
    fn negative_positions_count_from_the_end() {
        let inputs = [view(&[1, 2], Slice::I32(&[3, 4])), view(&[1], Slice::I64(&[-1]))];
        assert_eq!(
            ArrayFeatureExtractor.run(&inputs).unwrap()[0].values(),
            &Values::I32(vec![4])
        );
    }

    #[test]
    fn a_position_outside_is_refused() {
        for position in [-3, 2, i64::MIN] {
            let positions = [position];
            let inputs = [
                view(&[1, 2], Slice::F32(&[0.0, 1.0])),
                view(&[1], Slice::I64(&positions)),
            ];
            assert!(ArrayFeatureExtractor.run(&inputs).is_err(), "{position}");
        }
    }

    #[test]
    fn inputs_are_cut_and_filled_to_their_widths() {
        let vectorizer = FeatureVectorizer { widths: vec![1, 3] };
        let inputs = [
            view(&[2, 2], Slice::I64(&[1, 2, 3, 4])),
            view(&[2, 2], Slice::F32(&[5.0, 6.0, 7.0, 8.0])),
        ];
        let joined = vectorizer.run(&inputs).unwrap();
        assert_eq!(joined[0].shape(), [2, 4]);
        let expected = Values::F32(vec![1.0, 5.0, 6.0, 0.0, 3.0, 7.0, 8.0, 0.0]);
        assert_eq!(joined[0].values(), &expected);
    }
}
