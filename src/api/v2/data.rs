//! The JSON of one tensor: a flat list of all values in row-major order, or lists nested as the shape is. It is read
//! straight into a typed vector, which never holds more than the text does and the shape asks for.

use std::fmt;

use half::{bf16, f16};
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

use crate::model::tensor::{Datatype, Values};

/// The largest whole number up to which every whole 64-bit float is the number that was written.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Reads the `data` of a tensor of `shape`, which asks for `count` values.
pub fn read(
    datatype: Datatype,
    shape: &[usize],
    count: usize,
    json: &str,
) -> Result<Values, serde_json::Error> {
    Ok(match datatype {
        Datatype::Bool => Values::Bool(values(shape, count, json)?),
        Datatype::U8 => Values::U8(values(shape, count, json)?),
        Datatype::U16 => Values::U16(values(shape, count, json)?),
        Datatype::U32 => Values::U32(values(shape, count, json)?),
        Datatype::U64 => Values::U64(values(shape, count, json)?),
        Datatype::I8 => Values::I8(values(shape, count, json)?),
        Datatype::I16 => Values::I16(values(shape, count, json)?),
        Datatype::I32 => Values::I32(values(shape, count, json)?),
        Datatype::I64 => Values::I64(values(shape, count, json)?),
        Datatype::F16 => Values::F16(values(shape, count, json)?),
        Datatype::BF16 => Values::BF16(values(shape, count, json)?),
        Datatype::F32 => Values::F32(values(shape, count, json)?),
        Datatype::F64 => Values::F64(values(shape, count, json)?),
        Datatype::Text => Values::Text(values(shape, count, json)?),
    })
}

fn values<T: Element>(shape: &[usize], count: usize, json: &str) -> Result<Vec<T>, serde_json::Error> {
    // A value is two bytes at least, with its comma, so that no shape makes room for more than came.
    let mut values = Vec::with_capacity(count.min(json.len() / 2 + 1));
    let mut form = if shape.len() == 1 { Form::Flat } else { Form::Open };
    let node = Node {
        shape,
        count,
        depth: 0,
        form: &mut form,
        values: &mut values,
    };
    let mut deserializer = serde_json::Deserializer::from_str(json);
    node.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(values)
}

/// A value of a tensor, from the JSON that stands for it; none where it is out of range.
trait Element: Sized {
    const DATATYPE: Datatype;
    fn of_bool(_: bool) -> Option<Self> {
        None
    }
    fn of_u64(_: u64) -> Option<Self> {
        None
    }
    fn of_i64(_: i64) -> Option<Self> {
        None
    }
    fn of_f64(_: f64) -> Option<Self> {
        None
    }
    fn of_text(_: &str) -> Option<Self> {
        None
    }
}

impl Element for bool {
    const DATATYPE: Datatype = Datatype::Bool;
    fn of_bool(value: bool) -> Option<Self> {
        Some(value)
    }
}

impl Element for String {
    const DATATYPE: Datatype = Datatype::Text;
    fn of_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

macro_rules! whole {
    ($($type:ty: $datatype:ident),+) => {$(
        impl Element for $type {
            const DATATYPE: Datatype = Datatype::$datatype;
            fn of_u64(value: u64) -> Option<Self> {
                Self::try_from(value).ok()
            }
            fn of_i64(value: i64) -> Option<Self> {
                Self::try_from(value).ok()
            }
            fn of_f64(value: f64) -> Option<Self> {
                let is_exact = value.fract() == 0.0 && value.abs() <= EXACT;
                is_exact.then_some(value as i64).and_then(Self::of_i64)
            }
        }
    )+};
}

whole!(u8: U8, u16: U16, u32: U32, u64: U64, i8: I8, i16: I16, i32: I32, i64: I64);

macro_rules! float {
    ($($type:ty: $datatype:ident, $of:expr);+) => {$(
        impl Element for $type {
            const DATATYPE: Datatype = Datatype::$datatype;
            fn of_u64(value: u64) -> Option<Self> {
                Self::of_f64(value as f64)
            }
            fn of_i64(value: i64) -> Option<Self> {
                Self::of_f64(value as f64)
            }
            fn of_f64(value: f64) -> Option<Self> {
                let value: Self = $of(value);
                value.is_finite().then_some(value)
            }
        }
    )+};
}

float!(
    f16: F16, f16::from_f64;
    bf16: BF16, bf16::from_f64;
    f32: F32, |value| value as f32;
    f64: F64, std::convert::identity
);

/// Which of its two forms the data has, as soon as that is seen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Open,
    Flat,
    Nested,
}

/// A value, or a list of them, `depth` lists down.
struct Node<'a, T> {
    shape: &'a [usize],
    count: usize,
    depth: usize,
    form: &'a mut Form,
    values: &'a mut Vec<T>,
}

impl<T: Element> Node<'_, T> {
    fn take<E: Error>(self, value: Option<T>, found: impl FnOnce() -> String) -> Result<(), E> {
        if self.depth == 1 && *self.form == Form::Open {
            *self.form = Form::Flat;
        }
        let depth = if *self.form == Form::Flat {
            1
        } else {
            self.shape.len()
        };
        if self.depth != depth {
            return Err(E::custom(format!(
                "its nesting does not follow its shape {:?}: a single value stands {} lists deep",
                self.shape, self.depth
            )));
        }
        if self.values.len() == self.count {
            return Err(E::custom(format!(
                "it has more than the {} values of its shape {:?}",
                self.count, self.shape
            )));
        }
        let Some(value) = value else {
            let position = self.values.len();
            return Err(E::custom(format!(
                "value {position} is {}; expected {}",
                found(),
                T::DATATYPE.value_in_words()
            )));
        };
        self.values.push(value);
        Ok(())
    }
}

impl<'de, T: Element> DeserializeSeed<'de> for Node<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Element> Visitor<'de> for Node<'_, T> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, in lists", T::DATATYPE.value_in_words())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.take(T::of_bool(value), || value.to_string())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.take(T::of_u64(value), || value.to_string())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.take(T::of_i64(value), || value.to_string())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.take(T::of_f64(value), || value.to_string())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.take(T::of_text(text), || "a text".to_owned())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        let Self {
            shape,
            count,
            depth,
            form,
            values,
        } = self;
        if depth > 0 {
            if *form == Form::Flat || depth >= shape.len() {
                let message = format!(
                    "its nesting does not follow its shape {shape:?}: a list stands {depth} lists deep"
                );
                return Err(A::Error::custom(message));
            }
            *form = Form::Nested;
        }
        let before = values.len();
        let mut length = 0;
        while let Some(()) = sequence.next_element_seed(Node {
            shape,
            count,
            depth: depth + 1,
            form: &mut *form,
            values: &mut *values,
        })? {
            length += 1;
        }
        let (expected, found) = match form {
            Form::Nested => (shape[depth], length),
            Form::Flat | Form::Open => (count, values.len() - before),
        };
        if found == expected {
            return Ok(());
        }
        Err(A::Error::custom(format!(
            "a list {depth} lists deep has {found} values; its shape {shape:?} asks for {expected}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(datatype: Datatype, shape: &[usize], json: &str) -> Result<Values, String> {
        let count = shape.iter().product();
        super::read(datatype, shape, count, json).map_err(|error| error.to_string())
    }

    #[test]
    fn nested_and_flat_data_are_the_same() {
        let expected = Values::I32(vec![1, 2, 3, 4, 5, 6]);
        for json in ["[1, 2, 3, 4, 5, 6]", "[[1, 2, 3], [4, 5, 6]]"] {
            assert_eq!(read(Datatype::I32, &[2, 3], json), Ok(expected.clone()), "{json}");
        }
        assert_eq!(read(Datatype::I32, &[], "7"), Ok(Values::I32(vec![7])));
        assert_eq!(read(Datatype::I32, &[], "[7]"), Ok(Values::I32(vec![7])));
        for json in ["[]", "[[], []]"] {
            assert_eq!(
                read(Datatype::F32, &[2, 0], json),
                Ok(Values::F32(vec![])),
                "{json}"
            );
        }
    }

    #[test]
    fn what_does_not_follow_the_shape_is_refused() {
        for json in [
            "7",
            "[1, 2, 3]",
            "[1, 2, 3, 4, 5]",
            "[[1, 2, 3], [4]]",
            "[[1, 2, 3, 4]]",
            "[[1], [2], [3], [4]]",
            "[[1, 2], 3, 4]",
            "[1, 2, [3, 4]]",
            "[[[1, 2]], [[3, 4]]]",
            "[[1, 2], [3, 4], []]",
            "[[], [1, 2], [3, 4]]",
            "{}",
            "null",
            "[[1, 2], [3, null]]",
        ] {
            assert!(read(Datatype::I32, &[2, 2], json).is_err(), "{json}");
        }
        for json in ["[[]]", "[[[]]]", "[0]"] {
            assert!(read(Datatype::I32, &[2, 0], json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_shape_makes_no_room_for_more_than_came() {
        let error = super::read(Datatype::F64, &[1 << 40], 1 << 40, "[1]").unwrap_err();
        assert!(error.to_string().contains("asks for 1099511627776"), "{error}");
    }

    #[test]
    fn every_datatype_takes_its_range_exactly_and_nothing_beyond() {
        for (datatype, good, bad) in [
            (Datatype::U8, "[0, 255.0]", "[0, 256]"),
            (Datatype::U16, "[0, 65535]", "[0, -1]"),
            (Datatype::U32, "[0, 4294967295]", "[0, 4294967296]"),
            (
                Datatype::U64,
                "[0, 18446744073709551615]",
                "[0, 18446744073709551616]",
            ),
            (Datatype::I8, "[-128, 127]", "[0, 128]"),
            (Datatype::I16, "[-32768, 32767]", "[0, 0.5]"),
            (Datatype::I32, "[-2147483648, 2147483647]", "[0, true]"),
            (
                Datatype::I64,
                "[-9223372036854775808, 9223372036854775807]",
                "[0, 9223372036854775808]",
            ),
            (Datatype::F16, "[0.5, 65504]", "[0, 65536]"),
            (Datatype::BF16, "[0.5, 3.3e38]", "[0, 3.4e38]"),
            (Datatype::F32, "[0.5, 1e38]", "[0, 1e39]"),
            (Datatype::F64, "[0.5, -1e308]", "[0, \"1\"]"),
            (Datatype::Bool, "[true, false]", "[0, 1]"),
            (Datatype::Text, "[\"a\\n\", \"\"]", "[\"a\", 1]"),
        ] {
            assert_eq!(read(datatype, &[2], good).unwrap().len(), 2, "{datatype}");
            let message = read(datatype, &[2], bad).unwrap_err();
            assert!(message.contains("expected"), "{datatype}: {message}");
        }
        let exact = read(Datatype::U64, &[1], "[18446744073709551615]").unwrap();
        assert_eq!(exact, Values::U64(vec![u64::MAX]));
    }
}
