//! The values of one input of a request, as they gather row by row.

use half::{bf16, f16};

use super::Validation;
use super::dictionary::push_members;
use super::refusal::{Place, no_object, ragged};
use crate::api::datum::Datum;
use crate::api::error::ApiError;
use crate::model::dictionary::Dictionary;
use crate::model::preprocessing::image::{Budget, ImageRows, MAX_PIXELS, Raster};
use crate::model::schema::{Layout, Names, Schema};
use crate::model::signature::TensorSpec;
use crate::model::tensor::{Datatype, Tensor, Values, with_values};

/// The values of one input, as they gather row by row.
pub(super) struct Column<'a> {
    /// The shape of a row; free sizes are settled by the first row.
    row_shape: Vec<Option<usize>>,
    spec: &'a TensorSpec,
    /// How rows of it are written as objects, where they may be.
    dictionary: Option<&'a Dictionary>,
    /// Whether a null stands for a missing value.
    may_miss: bool,
    /// What its images may still cost.
    image_budget: Budget,
    values: Values,
}

impl<'a> Column<'a> {
    /// No values yet, for an input of a request with so many rows.
    pub(super) fn new(schema: &'a Schema, input: usize, rows: usize) -> Self {
        let spec = &schema.signature.inputs[input];
        let row_shape = schema.signature.row_shape(spec).to_vec();
        let row_len: usize = row_shape.iter().map(|size| size.unwrap_or(1)).product();
        // The room is only a guess: a few bytes of request must not reserve a whole picture for each row.
        let room = row_len.min(1024) * rows.min(64);
        Self {
            row_shape,
            spec,
            dictionary: schema.dictionary(input),
            may_miss: schema.missing_values,
            image_budget: match &schema.layout {
                Layout::Image(rows) => rows.budget(),
                _ => Budget::new(MAX_PIXELS),
            },
            values: Values::with_capacity(spec.datatype, room),
        }
    }

    /// How many values there are so far.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Holds a row to the size that the rows before it have along an axis of any size.
    pub(super) fn settle(&mut self, axis: usize, found: usize, place: Place<'_>) -> Result<(), ApiError> {
        let Some(size) = self.row_shape.get_mut(axis) else {
            return Ok(());
        };
        let expected = *size.get_or_insert(found);
        if found == expected {
            return Ok(());
        }
        Err(ragged(place, found, expected))
    }

    /// Adds what stands for a value that is not there: a zero, or this text.
    pub(super) fn push_absent(&mut self, text: &str) {
        match &mut self.values {
            Values::Text(values) => values.push(text.to_owned()),
            values => with_values!(values, values => values.push(Default::default())),
        }
    }

    pub(super) fn image_budget(&mut self) -> &mut Budget {
        &mut self.image_budget
    }

    /// Adds an image as a row, if it has the size of the rows before it.
    pub(super) fn push_image(
        &mut self,
        rows: &ImageRows,
        image: &Raster,
        place: Place<'_>,
    ) -> Result<(), ApiError> {
        let shape = rows.shape(image);
        let is_alike = |(size, found): (&mut Option<usize>, &usize)| size.get_or_insert(*found) == found;
        if !self.row_shape.iter_mut().zip(&shape).all(is_alike) {
            let (width, height) = (image.width, image.height);
            return Err(ApiError::invalid_input(format!(
                "{place} is an image of {width} x {height} pixels, and the row before it has another size: rows of \
                 one request have one shape"
            )));
        }
        rows.append(image, &mut self.values);
        Ok(())
    }

    pub(super) fn tensor(self, rows: usize) -> Result<Tensor, ApiError> {
        // The first row has settled every axis.
        let sizes = self.row_shape.into_iter().map(|size| size.unwrap_or(0));
        let shape = std::iter::once(rows).chain(sizes).collect();
        Tensor::new(shape, self.values).map_err(|error| ApiError::invalid_input(error.to_string()))
    }
}

impl Validation<'_> {
    /// Nested lists along the axes of a row from `axis` on, or an object where a row may be one.
    pub(super) fn nested(
        &self,
        datum: &Datum<'_>,
        place: Place<'_>,
        axis: usize,
        column: &mut Column<'_>,
    ) -> Result<(), ApiError> {
        let Some(&size) = column.row_shape.get(axis) else {
            return push(datum, place, None, column);
        };
        let is_last = axis + 1 == column.row_shape.len();
        let stands_alone = match datum {
            Datum::Null => size == Some(1),
            other => is_scalar(other) && size.is_none_or(|size| size == 1),
        };
        if is_last && stands_alone {
            // A single value may stand without its list; so do texts.
            column.row_shape[axis] = Some(1);
            return push(datum, place, None, column);
        }
        if let (Datum::Object(members), Some(dictionary)) = (datum, column.dictionary) {
            return push_members(dictionary, members, place, column);
        }
        let Datum::List(items) = datum else {
            return Err(match column.dictionary {
                Some(dictionary) if axis == 0 => no_object(place, datum, dictionary),
                _ => self.no_list(place, datum, size),
            });
        };
        if let Some(expected) = self.schema.signature.row_shape(column.spec)[axis] {
            if items.len() != expected {
                return Err(self.wrong_length(place, items.len(), expected, &Names::default()));
            }
        } else if items.is_empty() {
            return Err(ApiError::invalid_input(format!(
                "{place} is an empty list; expected 1 value or more"
            )));
        }
        column.settle(axis, items.len(), place)?;
        for (position, item) in items.iter().enumerate() {
            self.nested(item, Place::Item(&place, position), axis + 1, column)?;
        }
        Ok(())
    }
}

pub(super) fn is_scalar(datum: &Datum<'_>) -> bool {
    matches!(
        datum,
        Datum::Bool(_) | Datum::Int(_) | Datum::Float(_) | Datum::Text(_)
    )
}

/// Adds one value to a column, if it is of the column's type and in its range.
pub(super) fn push(
    datum: &Datum<'_>,
    place: Place<'_>,
    feature: Option<&String>,
    column: &mut Column<'_>,
) -> Result<(), ApiError> {
    let may_miss = column.may_miss;
    let taken = match (&mut column.values, datum) {
        (values, Datum::Null) => may_miss && push_missing(values),
        (Values::F16(values), number) => push_half(number, values, f16::from_f64, f16::is_finite),
        (Values::BF16(values), number) => push_half(number, values, bf16::from_f64, bf16::is_finite),
        (Values::F32(values), &Datum::Float(number)) => {
            let single = number as f32;
            values.push(single);
            single.is_finite()
        }
        // Every 64-bit integer is in the range of both larger floating-point types.
        (Values::F32(values), &Datum::Int(number)) => {
            values.push(number as f32);
            true
        }
        (Values::F64(values), &Datum::Float(number)) => {
            values.push(number);
            true
        }
        (Values::F64(values), &Datum::Int(number)) => {
            values.push(number as f64);
            true
        }
        (Values::I64(values), number) => push_integer(number, values),
        (Values::I32(values), number) => push_integer(number, values),
        (Values::I16(values), number) => push_integer(number, values),
        (Values::I8(values), number) => push_integer(number, values),
        // What does not fit a signed integer comes as a float, and would have lost its last digits.
        (Values::U64(values), number) => push_integer(number, values),
        (Values::U32(values), number) => push_integer(number, values),
        (Values::U16(values), number) => push_integer(number, values),
        (Values::U8(values), number) => push_integer(number, values),
        (Values::Bool(values), &Datum::Bool(value)) => {
            values.push(value);
            true
        }
        (Values::Text(values), Datum::Text(text)) => {
            values.push(text.clone().into_owned());
            true
        }
        _ => false,
    };
    if taken {
        return Ok(());
    }
    let feature = feature.map(|name| format!(" ({name})")).unwrap_or_default();
    let expected = expected(column.values.datatype());
    Err(ApiError::invalid_input(match datum {
        Datum::Null if may_miss => {
            format!(
                "{place}{feature} is missing; expected {expected}, and only floats and texts may be missing"
            )
        }
        Datum::Null => format!(
            "{place}{feature} is null; expected {expected}, and none may be missing (missing_values in model.toml)"
        ),
        found => format!("{place}{feature} is {}; expected {expected}", found.describe()),
    }))
}

/// Adds what stands for a missing value, if the type has something that does; says whether it has.
fn push_missing(values: &mut Values) -> bool {
    match values {
        Values::F16(values) => values.push(f16::NAN),
        Values::BF16(values) => values.push(bf16::NAN),
        Values::F32(values) => values.push(f32::NAN),
        Values::F64(values) => values.push(f64::NAN),
        Values::Text(values) => values.push(String::new()),
        _ => return false,
    }
    true
}

/// Adds a number that is in the range of a half float; says whether it was.
fn push_half<T: Copy>(
    datum: &Datum<'_>,
    values: &mut Vec<T>,
    half_of: fn(f64) -> T,
    is_finite: fn(T) -> bool,
) -> bool {
    let number = match *datum {
        Datum::Float(number) => number,
        Datum::Int(number) => number as f64,
        _ => return false,
    };
    let half = half_of(number);
    values.push(half);
    is_finite(half)
}

/// Adds a number that is whole and in range; says whether it was.
fn push_integer<T: TryFrom<i64>>(datum: &Datum<'_>, values: &mut Vec<T>) -> bool {
    let whole = match *datum {
        Datum::Int(number) => Some(number),
        Datum::Float(number) => whole(number),
        _ => None,
    };
    let Some(value) = whole.and_then(|number| T::try_from(number).ok()) else {
        return false;
    };
    values.push(value);
    true
}

/// `number` as an integer, where it is one. The bounds are the powers of two between which every whole float fits.
fn whole(number: f64) -> Option<i64> {
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    let is_whole = number.fract() == 0.0 && (-BOUND..BOUND).contains(&number);
    is_whole.then_some(number as i64)
}

const fn expected(datatype: Datatype) -> &'static str {
    match datatype {
        // Larger ones come as floats.
        Datatype::U64 => "a whole number from 0 to 9223372036854775807",
        _ => datatype.value_in_words(),
    }
}
