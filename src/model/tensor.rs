//! Tensors as they travel between requests and engines: a shape, and values in row-major order.

use std::fmt;

use half::{bf16, f16};

/// The element type of a tensor, in the words of the Open Inference Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Datatype {
    /// `BOOL`
    Bool,
    /// `UINT8`
    U8,
    /// `UINT16`
    U16,
    /// `UINT32`
    U32,
    /// `UINT64`
    U64,
    /// `INT8`
    I8,
    /// `INT16`
    I16,
    /// `INT32`
    I32,
    /// `INT64`
    I64,
    /// `FP16`
    F16,
    /// `BF16`
    BF16,
    /// `FP32`
    F32,
    /// `FP64`
    F64,
    /// `BYTES`: texts
    Text,
}

impl Datatype {
    /// Every datatype there is.
    pub const ALL: [Self; 14] = [
        Self::Bool,
        Self::U8,
        Self::U16,
        Self::U32,
        Self::U64,
        Self::I8,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::F16,
        Self::BF16,
        Self::F32,
        Self::F64,
        Self::Text,
    ];

    /// The datatype of this name in the Open Inference Protocol.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|datatype| datatype.as_str() == name)
    }

    /// Its name in the Open Inference Protocol.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::U8 => "UINT8",
            Self::U16 => "UINT16",
            Self::U32 => "UINT32",
            Self::U64 => "UINT64",
            Self::I8 => "INT8",
            Self::I16 => "INT16",
            Self::I32 => "INT32",
            Self::I64 => "INT64",
            Self::F16 => "FP16",
            Self::BF16 => "BF16",
            Self::F32 => "FP32",
            Self::F64 => "FP64",
            Self::Text => "BYTES",
        }
    }

    /// What a value of it is, for people.
    #[must_use]
    pub const fn value_in_words(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::U8 => "a whole number from 0 to 255",
            Self::U16 => "a whole number from 0 to 65535",
            Self::U32 => "a whole number from 0 to 4294967295",
            Self::U64 => "a whole number from 0 to 18446744073709551615",
            Self::I8 => "a whole number from -128 to 127",
            Self::I16 => "a whole number from -32768 to 32767",
            Self::I32 => "a whole number of 32 bits",
            Self::I64 => "a whole number of 64 bits",
            Self::F16 => "a number in the range of 16-bit floats",
            Self::BF16 => "a number in the range of bfloat16",
            Self::F32 => "a number in the range of 32-bit floats",
            Self::F64 => "a number",
            Self::Text => "a text",
        }
    }

    /// Whether it is a floating-point type.
    #[must_use]
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::BF16 | Self::F32 | Self::F64)
    }
}

impl fmt::Display for Datatype {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The values of a tensor, in row-major order.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each is named after its datatype")]
pub enum Values {
    Bool(Vec<bool>),
    U8(Vec<u8>),
    U16(Vec<u16>),
    U32(Vec<u32>),
    U64(Vec<u64>),
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    F16(Vec<f16>),
    BF16(Vec<bf16>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Text(Vec<String>),
}

/// Does the same with the values of a tensor, whatever their type.
macro_rules! with_values {
    ($values:expr, $inner:ident => $body:expr) => {
        match $values {
            $crate::model::tensor::Values::Bool($inner) => $body,
            $crate::model::tensor::Values::U8($inner) => $body,
            $crate::model::tensor::Values::U16($inner) => $body,
            $crate::model::tensor::Values::U32($inner) => $body,
            $crate::model::tensor::Values::U64($inner) => $body,
            $crate::model::tensor::Values::I8($inner) => $body,
            $crate::model::tensor::Values::I16($inner) => $body,
            $crate::model::tensor::Values::I32($inner) => $body,
            $crate::model::tensor::Values::I64($inner) => $body,
            $crate::model::tensor::Values::F16($inner) => $body,
            $crate::model::tensor::Values::BF16($inner) => $body,
            $crate::model::tensor::Values::F32($inner) => $body,
            $crate::model::tensor::Values::F64($inner) => $body,
            $crate::model::tensor::Values::Text($inner) => $body,
        }
    };
}
pub(crate) use with_values;

/// Does the same with the values of two tensors of one type; `$otherwise` where their types differ.
macro_rules! with_both {
    ($left:expr, $right:expr, ($a:ident, $b:ident) => $body:expr, else $otherwise:expr) => {
        match ($left, $right) {
            (Values::Bool($a), Values::Bool($b)) => $body,
            (Values::U8($a), Values::U8($b)) => $body,
            (Values::U16($a), Values::U16($b)) => $body,
            (Values::U32($a), Values::U32($b)) => $body,
            (Values::U64($a), Values::U64($b)) => $body,
            (Values::I8($a), Values::I8($b)) => $body,
            (Values::I16($a), Values::I16($b)) => $body,
            (Values::I32($a), Values::I32($b)) => $body,
            (Values::I64($a), Values::I64($b)) => $body,
            (Values::F16($a), Values::F16($b)) => $body,
            (Values::BF16($a), Values::BF16($b)) => $body,
            (Values::F32($a), Values::F32($b)) => $body,
            (Values::F64($a), Values::F64($b)) => $body,
            (Values::Text($a), Values::Text($b)) => $body,
            _ => $otherwise,
        }
    };
}

impl Values {
    /// No values, with room for `capacity` of them.
    #[must_use]
    pub fn with_capacity(datatype: Datatype, capacity: usize) -> Self {
        match datatype {
            Datatype::Bool => Self::Bool(Vec::with_capacity(capacity)),
            Datatype::U8 => Self::U8(Vec::with_capacity(capacity)),
            Datatype::U16 => Self::U16(Vec::with_capacity(capacity)),
            Datatype::U32 => Self::U32(Vec::with_capacity(capacity)),
            Datatype::U64 => Self::U64(Vec::with_capacity(capacity)),
            Datatype::I8 => Self::I8(Vec::with_capacity(capacity)),
            Datatype::I16 => Self::I16(Vec::with_capacity(capacity)),
            Datatype::I32 => Self::I32(Vec::with_capacity(capacity)),
            Datatype::I64 => Self::I64(Vec::with_capacity(capacity)),
            Datatype::F16 => Self::F16(Vec::with_capacity(capacity)),
            Datatype::BF16 => Self::BF16(Vec::with_capacity(capacity)),
            Datatype::F32 => Self::F32(Vec::with_capacity(capacity)),
            Datatype::F64 => Self::F64(Vec::with_capacity(capacity)),
            Datatype::Text => Self::Text(Vec::with_capacity(capacity)),
        }
    }

    /// `count` values that stand for nothing: zeros, `false`, empty texts.
    #[must_use]
    pub fn zeros(datatype: Datatype, count: usize) -> Self {
        let mut values = Self::with_capacity(datatype, count);
        with_values!(&mut values, inner => inner.resize(count, Default::default()));
        values
    }

    /// `count` ones, or texts of a one.
    #[must_use]
    pub fn ones(datatype: Datatype, count: usize) -> Self {
        match datatype {
            Datatype::Bool => Self::Bool(vec![true; count]),
            Datatype::U8 => Self::U8(vec![1; count]),
            Datatype::U16 => Self::U16(vec![1; count]),
            Datatype::U32 => Self::U32(vec![1; count]),
            Datatype::U64 => Self::U64(vec![1; count]),
            Datatype::I8 => Self::I8(vec![1; count]),
            Datatype::I16 => Self::I16(vec![1; count]),
            Datatype::I32 => Self::I32(vec![1; count]),
            Datatype::I64 => Self::I64(vec![1; count]),
            Datatype::F16 => Self::F16(vec![f16::ONE; count]),
            Datatype::BF16 => Self::BF16(vec![bf16::ONE; count]),
            Datatype::F32 => Self::F32(vec![1.0; count]),
            Datatype::F64 => Self::F64(vec![1.0; count]),
            Datatype::Text => Self::Text(vec!["1".to_owned(); count]),
        }
    }

    /// Adds those values of `table` that stand at these positions, all of them within it. A table of another type adds
    /// nothing.
    pub fn extend_from(&mut self, table: &Self, positions: impl Iterator<Item = usize>) {
        with_both!(self, table, (values, table) => extend_from(values, table, positions), else ());
    }

    /// Their type.
    #[must_use]
    pub const fn datatype(&self) -> Datatype {
        self.as_slice().datatype()
    }

    /// All of them, borrowed.
    #[must_use]
    pub const fn as_slice(&self) -> Slice<'_> {
        match self {
            Self::Bool(values) => Slice::Bool(values.as_slice()),
            Self::U8(values) => Slice::U8(values.as_slice()),
            Self::U16(values) => Slice::U16(values.as_slice()),
            Self::U32(values) => Slice::U32(values.as_slice()),
            Self::U64(values) => Slice::U64(values.as_slice()),
            Self::I8(values) => Slice::I8(values.as_slice()),
            Self::I16(values) => Slice::I16(values.as_slice()),
            Self::I32(values) => Slice::I32(values.as_slice()),
            Self::I64(values) => Slice::I64(values.as_slice()),
            Self::F16(values) => Slice::F16(values.as_slice()),
            Self::BF16(values) => Slice::BF16(values.as_slice()),
            Self::F32(values) => Slice::F32(values.as_slice()),
            Self::F64(values) => Slice::F64(values.as_slice()),
            Self::Text(values) => Slice::Text(values.as_slice()),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        with_values!(self, inner => inner.len())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The values of a tensor, borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "each is named after its datatype")]
pub enum Slice<'a> {
    Bool(&'a [bool]),
    U8(&'a [u8]),
    U16(&'a [u16]),
    U32(&'a [u32]),
    U64(&'a [u64]),
    I8(&'a [i8]),
    I16(&'a [i16]),
    I32(&'a [i32]),
    I64(&'a [i64]),
    F16(&'a [f16]),
    BF16(&'a [bf16]),
    F32(&'a [f32]),
    F64(&'a [f64]),
    Text(&'a [String]),
}

impl Slice<'_> {
    /// Their type.
    #[must_use]
    pub const fn datatype(self) -> Datatype {
        match self {
            Self::Bool(_) => Datatype::Bool,
            Self::U8(_) => Datatype::U8,
            Self::U16(_) => Datatype::U16,
            Self::U32(_) => Datatype::U32,
            Self::U64(_) => Datatype::U64,
            Self::I8(_) => Datatype::I8,
            Self::I16(_) => Datatype::I16,
            Self::I32(_) => Datatype::I32,
            Self::I64(_) => Datatype::I64,
            Self::F16(_) => Datatype::F16,
            Self::BF16(_) => Datatype::BF16,
            Self::F32(_) => Datatype::F32,
            Self::F64(_) => Datatype::F64,
            Self::Text(_) => Datatype::Text,
        }
    }
}

/// Tensors that do not fit each other, or a shape that does not fit its values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The shape asks for another number of values.
    #[error("shape {shape:?} does not hold {count} values")]
    Count {
        /// The shape.
        shape: Vec<usize>,
        /// How many values came.
        count: usize,
    },
    /// Rows of different shape or type cannot stand in one tensor.
    #[error("rows of {left} do not fit rows of {right}")]
    Rows {
        /// Type and shape of the one.
        left: String,
        /// Type and shape of the other.
        right: String,
    },
}

fn extend_from<T: Clone>(values: &mut Vec<T>, table: &[T], positions: impl Iterator<Item = usize>) {
    values.extend(positions.map(|position| table[position].clone()));
}

/// How many values a tensor of `shape` has; none if nothing could hold them.
#[must_use]
pub fn element_count(shape: &[usize]) -> Option<usize> {
    shape
        .iter()
        .try_fold(1_usize, |product, &size| product.checked_mul(size))
}

/// A shape, and as many values as it asks for. Axis 0 counts rows wherever a function speaks of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    values: Values,
}

impl Tensor {
    /// A tensor of `shape`.
    pub fn new(shape: Vec<usize>, values: Values) -> Result<Self, TensorError> {
        if element_count(&shape) == Some(values.len()) {
            return Ok(Self { shape, values });
        }
        let count = values.len();
        Err(TensorError::Count { shape, count })
    }

    /// Its size along each axis.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its values in row-major order.
    #[must_use]
    pub const fn values(&self) -> &Values {
        &self.values
    }

    /// Its values, without the shape.
    #[must_use]
    pub fn into_values(self) -> Values {
        self.values
    }

    /// Its element type.
    #[must_use]
    pub const fn datatype(&self) -> Datatype {
        self.values.datatype()
    }

    /// Its size along axis 0; a tensor without axes is one row.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// The shape of one of its rows.
    #[must_use]
    pub fn row_shape(&self) -> &[usize] {
        self.shape.get(1..).unwrap_or_default()
    }

    /// Values of one row.
    #[must_use]
    pub fn row_len(&self) -> usize {
        self.row_shape().iter().product()
    }

    /// Whether the rows of both can stand in one tensor.
    #[must_use]
    pub fn fits(&self, other: &Self) -> bool {
        self.datatype() == other.datatype()
            && self.row_shape() == other.row_shape()
            && self.shape.len() == other.shape.len()
    }

    /// A copy of `count` rows from `start` on. Rows past the end are left out.
    #[must_use]
    pub fn slice_rows(&self, start: usize, count: usize) -> Self {
        let end = (start + count).min(self.rows());
        let start = start.min(end);
        let (from, to) = (start * self.row_len(), end * self.row_len());
        let mut values = Values::with_capacity(self.datatype(), to - from);
        with_both!(&self.values, &mut values, (all, part) => part.extend_from_slice(&all[from..to]),
            else unreachable!("both have one datatype"));
        Self {
            shape: self.with_rows(end - start),
            values,
        }
    }

    /// Adds the rows of `other` below its own.
    pub fn append(&mut self, other: Self) -> Result<(), TensorError> {
        if !self.fits(&other) || self.shape.is_empty() {
            return Err(TensorError::Rows {
                left: self.describe(),
                right: other.describe(),
            });
        }
        self.shape[0] += other.rows();
        with_both!(&mut self.values, other.values, (own, more) => own.extend(more),
            else unreachable!("tensors that fit have one datatype"));
        Ok(())
    }

    /// The rows of all `parts` in one tensor, in order. There must be one part at least.
    pub fn stack(parts: &[&Self]) -> Result<Self, TensorError> {
        let rows: usize = parts.iter().map(|part| part.rows()).sum();
        let Some((first, others)) = parts.split_first() else {
            let (shape, count) = (Vec::new(), 0);
            return Err(TensorError::Count { shape, count });
        };
        let mut values = Values::with_capacity(first.datatype(), rows * first.row_len());
        for part in parts {
            with_both!(&part.values, &mut values, (rows, all) => all.extend_from_slice(rows), else ());
        }
        if let Some(other) = others.iter().find(|other| !first.fits(other)) {
            return Err(TensorError::Rows {
                left: first.describe(),
                right: other.describe(),
            });
        }
        Self::new(first.with_rows(rows), values)
    }

    /// Repeats the first row below the others until there are `rows` of them, or cuts off the last ones.
    pub fn resize_rows(&mut self, rows: usize) {
        if self.shape.is_empty() {
            return;
        }
        let row_len = self.row_len();
        let missing = rows.saturating_sub(self.rows());
        with_values!(&mut self.values, values => {
            values.truncate(rows * row_len);
            values.reserve(missing * row_len);
            for _ in 0..missing {
                values.extend_from_within(..row_len);
            }
        });
        self.shape[0] = rows;
    }

    /// The same values as one row of a tensor with one more axis.
    #[must_use]
    pub fn into_row(mut self) -> Self {
        self.shape.insert(0, 1);
        self
    }

    /// The only row of a tensor, without axis 0.
    #[must_use]
    pub fn into_single(mut self) -> Self {
        self.resize_rows(1);
        self.shape.remove(0);
        self
    }

    /// The first value that is not a finite number, by its row.
    #[must_use]
    pub fn first_non_finite_row(&self) -> Option<usize> {
        let position = match &self.values {
            Values::F16(values) => values.iter().position(|value| !value.is_finite()),
            Values::BF16(values) => values.iter().position(|value| !value.is_finite()),
            Values::F32(values) => values.iter().position(|value| !value.is_finite()),
            Values::F64(values) => values.iter().position(|value| !value.is_finite()),
            _ => None,
        };
        position.map(|position| position / self.row_len().max(1))
    }

    fn with_rows(&self, rows: usize) -> Vec<usize> {
        let mut shape = self.shape.clone();
        if let Some(first) = shape.first_mut() {
            *first = rows;
        }
        shape
    }

    fn describe(&self) -> String {
        format!("{} {:?}", self.datatype(), self.row_shape())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matrix(rows: usize, columns: usize) -> Tensor {
        let values = (0..rows * columns).map(|value| value as f32).collect();
        Tensor::new(vec![rows, columns], Values::F32(values)).unwrap()
    }

    #[test]
    fn a_shape_must_fit_its_values() {
        assert!(Tensor::new(vec![2, 2], Values::Bool(vec![true; 3])).is_err());
        assert!(Tensor::new(vec![usize::MAX, 2], Values::Bool(vec![])).is_err());
        assert!(Tensor::new(vec![], Values::I64(vec![7])).is_ok());
    }

    #[test]
    fn rows_of_another_kind_are_not_appended() {
        let mut left = matrix(1, 2);
        assert!(left.append(matrix(1, 3)).is_err());
        assert!(
            left.append(Tensor::new(vec![1, 2], Values::I64(vec![1, 2])).unwrap())
                .is_err()
        );
        assert_eq!(left, matrix(1, 2));
    }

    #[test]
    fn padding_repeats_the_first_row() {
        let mut tensor = matrix(2, 2);
        tensor.resize_rows(4);
        assert_eq!(
            tensor.values(),
            &Values::F32(vec![0., 1., 2., 3., 0., 1., 0., 1.])
        );
        assert_eq!(tensor.shape(), [4, 2]);
    }

    #[test]
    fn a_number_that_is_none_is_found_by_its_row() {
        let tensor = Tensor::new(vec![2, 2], Values::F32(vec![0., 1., 2., f32::NAN])).unwrap();
        assert_eq!(tensor.first_non_finite_row(), Some(1));
        assert_eq!(matrix(2, 2).first_non_finite_row(), None);
    }

    proptest! {
        #[test]
        fn slices_put_together_are_the_whole(rows in 1_usize..20, columns in 0_usize..4, cut in 0_usize..20) {
            let whole = matrix(rows, columns);
            let cut = cut.min(rows);
            let mut joined = whole.slice_rows(0, cut);
            joined.append(whole.slice_rows(cut, rows)).unwrap();
            prop_assert_eq!(&joined, &whole);
            let parts = [whole.slice_rows(0, cut), whole.slice_rows(cut, rows)];
            prop_assert_eq!(Tensor::stack(&[&parts[0], &parts[1]]).unwrap(), whole);
        }

        #[test]
        fn padding_is_undone_by_cutting_off(rows in 1_usize..20, more in 0_usize..20) {
            let mut padded = matrix(rows, 3);
            padded.resize_rows(rows + more);
            padded.resize_rows(rows);
            prop_assert_eq!(padded, matrix(rows, 3));
        }
    }
}
