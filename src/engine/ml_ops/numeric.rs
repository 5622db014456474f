//! Operators that change each number of a row by itself or by its row: Scaler, Normalizer, Binarizer, Imputer.

use super::features::{self, NUMBERS, refused, tensor};
use super::{Attributes, Fact, MlError, MlOperator, View};
use crate::model::tensor::{Datatype, Slice, Tensor, Values};

/// (x − offset) · scale, with one number for all features or one for each.
#[derive(Debug)]
pub(super) struct Scaler {
    offset: Vec<f32>,
    scale: Vec<f32>,
}

impl Scaler {
    pub(super) fn from_node(attributes: Attributes<'_>) -> Result<Self, MlError> {
        let or = |found: &[f32], default| {
            if found.is_empty() {
                vec![default]
            } else {
                found.to_vec()
            }
        };
        Ok(Self {
            offset: or(attributes.floats("offset")?, 0.0),
            scale: or(attributes.floats("scale")?, 1.0),
        })
    }
}

impl MlOperator for Scaler {
    fn outputs(&self, inputs: &[Fact]) -> Result<Vec<Fact>, MlError> {
        let (_, dimensions) = features::fact(inputs, &NUMBERS)?;
        expect_per_feature("offset", self.offset.len(), dimensions.width)?;
        expect_per_feature("scale", self.scale.len(), dimensions.width)?;
        Ok(same_shape(inputs, Datatype::F32))
    }

    fn run(&self, inputs: &[View<'_>]) -> Result<Vec<Tensor>, MlError> {
        let (numbers, dimensions) = features::singles(inputs)?;
        expect_per_feature("offset", self.offset.len(), dimensions.width)?;
        expect_per_feature("scale", self.scale.len(), dimensions.width)?;
        let mut scaled = Vec::with_capacity(numbers.len());
        for row in numbers.chunks_exact(dimensions.width) {
            let factors = self.offset.iter().cycle().zip(self.scale.iter().cycle());
            let scale = |(x, (offset, scale)): (&f32, (&f32, &f32))| (x - offset) * scale;
            scaled.extend(row.iter().zip(factors).map(scale));
        }
        shaped(inputs, Values::F32(scaled))
    }
}

/// What a row is divided by. Rows for which that is 0 stay as they are.
#[derive(Clone, Copy, Debug)]
enum Norm {
    /// The largest value.
    Max,
    /// The sum of the absolute values.
    L1,
    /// The square root of the sum of squares.
    L2,
}

/// Divides each row by its norm.
#[derive(Debug)]
pub(super) struct Normalizer(Norm);

impl Normalizer {
    pub(super) fn from_node(attributes: Attributes<'_>) -> Result<Self, MlError> {
        let norm = match attributes.text("norm")?.unwrap_or("MAX") {
            "MAX" => Norm::Max,
            "L1" => Norm::L1,
            "L2" => Norm::L2,
            other => {
                return Err(MlError::Attribute {
                    name: "norm",
                    problem: format!("expected MAX, L1 or L2, found {other}"),
                });
            }
        };
        Ok(Self(norm))
    }
}

impl Norm {
    fn of(self, row: &[f32]) -> f32 {
        match self {
            Self::Max => row.iter().copied().fold(f32::NEG_INFINITY, f32::max),
            Self::L1 => row.iter().map(|x| x.abs()).sum(),
            Self::L2 => row.iter().map(|x| x * x).sum::<f32>().sqrt(),
        }
    }
}

impl MlOperator for Normalizer {
    fn outputs(&self, inputs: &[Fact]) -> Result<Vec<Fact>, MlError> {
        features::fact(inputs, &NUMBERS)?;
        Ok(same_shape(inputs, Datatype::F32))
    }

    fn run(&self, inputs: &[View<'_>]) -> Result<Vec<Tensor>, MlError> {
        let (numbers, dimensions) = features::singles(inputs)?;
        let mut numbers = numbers.into_owned();
        for row in numbers.chunks_exact_mut(dimensions.width) {
            let norm = self.0.of(row);
            if norm != 0.0 {
                row.iter_mut().for_each(|x| *x /= norm);
            }
        }
        shaped(inputs, Values::F32(numbers))
    }
}

/// 1 for what is above the threshold, and 0 for the rest.
#[derive(Debug)]
pub(super) struct Binarizer {
    threshold: f32,
}

impl Binarizer {
    pub(super) fn from_node(attributes: Attributes<'_>) -> Result<Self, MlError> {
        let threshold = attributes.float("threshold")?.unwrap_or(0.0);
        Ok(Self { threshold })
    }
}

impl MlOperator for Binarizer {
    fn outputs(&self, inputs: &[Fact]) -> Result<Vec<Fact>, MlError> {
        let (datatype, _) = features::fact(inputs, &NUMBERS)?;
        Ok(same_shape(inputs, datatype))
    }

    fn run(&self, inputs: &[View<'_>]) -> Result<Vec<Tensor>, MlError> {
        let threshold = f64::from(self.threshold);
        let values = match features::view(inputs)?.0 {
            Slice::F32(numbers) => {
                let above = |&x: &f32| f32::from(u8::from(x > self.threshold));
                Values::F32(numbers.iter().map(above).collect())
            }
            Slice::F64(numbers) => {
                let above = |&x: &f64| f64::from(u8::from(x > threshold));
                Values::F64(numbers.iter().map(above).collect())
            }
            Slice::I64(numbers) => {
                let above = |&x: &i64| i64::from(x as f64 > threshold);
                Values::I64(numbers.iter().map(above).collect())
            }
            Slice::I32(numbers) => {
                let above = |&x: &i32| i32::from(f64::from(x) > threshold);
                Values::I32(numbers.iter().map(above).collect())
            }
            _ => return Err(refused("expected numbers".to_owned())),
        };
        shaped(inputs, values)
    }
}

/// Puts a value in the place of one that stands for "missing": one value for all features or one for each.
#[derive(Debug)]
pub(super) struct Imputer {
    floats: Vec<f32>,
    missing_float: f32,
    ints: Vec<i64>,
    missing_int: i64,
}

impl Imputer {
    pub(super) fn from_node(attributes: Attributes<'_>) -> Result<Self, MlError> {
        Ok(Self {
            floats: attributes.floats("imputed_value_floats")?.to_vec(),
            missing_float: attributes.float("replaced_value_float")?.unwrap_or(0.0),
            ints: attributes.ints("imputed_value_int64s")?.to_vec(),
            missing_int: attributes.int("replaced_value_int64")?.unwrap_or(0),
        })
    }
}

impl MlOperator for Imputer {
    fn outputs(&self, inputs: &[Fact]) -> Result<Vec<Fact>, MlError> {
        let (datatype, dimensions) = features::fact(inputs, &[Datatype::F32, Datatype::I64])?;
        let (name, count) = match datatype {
            Datatype::I64 => ("imputed_value_int64s", self.ints.len()),
            _ => ("imputed_value_floats", self.floats.len()),
        };
        expect_per_feature(name, count, dimensions.width)?;
        Ok(same_shape(inputs, datatype))
    }

    fn run(&self, inputs: &[View<'_>]) -> Result<Vec<Tensor>, MlError> {
        let (values, dimensions) = features::view(inputs)?;
        let values = match values {
            Slice::F32(numbers) => {
                expect_per_feature("imputed_value_floats", self.floats.len(), dimensions.width)?;
                let missing = self.missing_float;
                let is_missing = |x: f32| x == missing || (x.is_nan() && missing.is_nan());
                Values::F32(imputed(numbers, dimensions.width, &self.floats, is_missing))
            }
            Slice::I64(numbers) => {
                expect_per_feature("imputed_value_int64s", self.ints.len(), dimensions.width)?;
                let is_missing = |x| x == self.missing_int;
                Values::I64(imputed(numbers, dimensions.width, &self.ints, is_missing))
            }
            _ => return Err(refused("expected FP32 or INT64".to_owned())),
        };
        shaped(inputs, values)
    }
}

fn imputed<T: Copy>(numbers: &[T], width: usize, values: &[T], is_missing: impl Fn(T) -> bool) -> Vec<T> {
    let rows = numbers.chunks_exact(width);
    let imputed = rows.flat_map(|row| row.iter().zip(values.iter().cycle()));
    imputed
        .map(|(&x, &value)| if is_missing(x) { value } else { x })
        .collect()
}

/// Makes sure that an attribute has one value for all features, or one for each.
fn expect_per_feature(name: &'static str, count: usize, width: usize) -> Result<(), MlError> {
    if count == 1 || count == width {
        return Ok(());
    }
    let problem = format!("expected 1 value or {width}, one for each feature, found {count}");
    Err(MlError::Attribute { name, problem })
}

fn same_shape(inputs: &[Fact], datatype: Datatype) -> Vec<Fact> {
    let shape = inputs.first().map(|input| input.shape.clone());
    shape.map(|shape| Fact { datatype, shape }).into_iter().collect()
}

/// `values` in the shape of the only input.
fn shaped(inputs: &[View<'_>], values: Values) -> Result<Vec<Tensor>, MlError> {
    tensor(features::only(inputs)?.shape.to_vec(), values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(operator: &impl MlOperator, shape: &[usize], values: Slice<'_>) -> Values {
        let mut outputs = operator.run(&[View { shape, values }]).unwrap();
        assert_eq!(outputs.len(), 1);
        outputs.remove(0).into_values()
    }

    #[test]
    fn scaling_subtracts_the_offset_first() {
        let scaler = Scaler {
            offset: vec![1.0, 2.0],
            scale: vec![10.0],
        };
        let scaled = run(&scaler, &[2, 2], Slice::I64(&[1, 2, 3, 5]));
        assert_eq!(scaled, Values::F32(vec![0.0, 0.0, 20.0, 30.0]));
        let too_wide = [Fact {
            datatype: Datatype::F32,
            shape: vec![1, 3],
        }];
        assert!(scaler.outputs(&too_wide).is_err());
    }

    #[test]
    fn rows_are_divided_by_their_norm_and_zeros_stay() {
        let values = [3.0, -4.0, 0.0, 0.0];
        let normalised = |norm| run(&Normalizer(norm), &[2, 2], Slice::F32(&values));
        assert_eq!(normalised(Norm::L2), Values::F32(vec![0.6, -0.8, 0.0, 0.0]));
        assert_eq!(
            normalised(Norm::L1),
            Values::F32(vec![3.0 / 7.0, -4.0 / 7.0, 0.0, 0.0])
        );
        assert_eq!(
            normalised(Norm::Max),
            Values::F32(vec![1.0, -4.0 / 3.0, 0.0, 0.0])
        );
    }

    #[test]
    fn the_threshold_itself_is_not_above_it() {
        let binarizer = Binarizer { threshold: 1.0 };
        let found = run(&binarizer, &[3], Slice::F64(&[0.5, 1.0, 1.5]));
        assert_eq!(found, Values::F64(vec![0.0, 0.0, 1.0]));
    }

    #[test]
    fn what_is_not_a_number_can_be_imputed() {
        let imputer = Imputer {
            floats: vec![7.0, 8.0],
            missing_float: f32::NAN,
            ints: vec![5],
            missing_int: -1,
        };
        let found = run(&imputer, &[2, 2], Slice::F32(&[f32::NAN, 1.0, 2.0, f32::NAN]));
        assert_eq!(found, Values::F32(vec![7.0, 1.0, 2.0, 8.0]));
        let found = run(&imputer, &[1, 3], Slice::I64(&[-1, 0, -1]));
        assert_eq!(found, Values::I64(vec![5, 0, 5]));
    }
}
