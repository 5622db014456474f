//! The native prediction request and its answer.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer, Error, Visitor};
use serde::ser::{SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::error::Category;

use super::datum::{BorrowedText, Datum, shortened_to};
use super::error::{ApiError, ErrorCode};
use crate::model::tensor::Slice;

/// Characters of a parser's message that a client gets.
pub(super) const MAX_QUOTED: usize = 300;

/// The body of `POST /predict` and of the same with the model in the path.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with the member `inputs`")]
pub struct PredictRequest<'a> {
    /// The model, where neither the path nor the configuration says it.
    #[serde(borrow, default, deserialize_with = "optional_text")]
    pub model: Option<Cow<'a, str>>,
    /// The version as text; as JSON it may be a number too. None: the newest that is ready.
    #[serde(borrow, default, deserialize_with = "optional_version")]
    pub version: Option<Cow<'a, str>>,
    /// The rows.
    #[serde(borrow)]
    pub inputs: Vec<Datum<'a>>,
}

impl<'a> PredictRequest<'a> {
    /// Reads a body.
    pub fn parse(body: &'a [u8]) -> Result<Self, ApiError> {
        if body.iter().all(u8::is_ascii_whitespace) {
            let message = "the body is empty; expected a JSON object with the member `inputs`";
            return Err(ApiError::new(ErrorCode::InvalidJson, message));
        }
        // Serde would read the members from a list, in the order in which they are declared here.
        if body.trim_ascii_start().starts_with(b"[") {
            let message = "the body is a list; expected a JSON object with the member `inputs`";
            return Err(ApiError::invalid_input(message));
        }
        serde_json::from_slice(body).map_err(|error| parse_error(&error))
    }
}

/// What a client is told of a body that serde could not read.
pub(super) fn parse_error(error: &serde_json::Error) -> ApiError {
    let message = error.to_string();
    // Such a number is well-formed; only nothing can hold it. serde_json counts it as syntax.
    let is_out_of_range = message.starts_with("number out of range");
    let code = match error.classify() {
        Category::Data => ErrorCode::InvalidInput,
        _ if is_out_of_range => ErrorCode::InvalidInput,
        _ => ErrorCode::InvalidJson,
    };
    // It quotes what came, and that can be as long as the body.
    ApiError::new(code, shortened_to(MAX_QUOTED, &message).into_owned())
}

fn optional_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cow<'de, str>>, D::Error> {
    let text = Option::<BorrowedText<'de>>::deserialize(deserializer)?;
    Ok(text.map(|BorrowedText(text)| text))
}

fn optional_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cow<'de, str>>, D::Error> {
    struct VersionVisitor;

    impl<'de> Visitor<'de> for VersionVisitor {
        type Value = Option<Cow<'de, str>>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a version: a positive integer, as number or text")
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
            Ok(Some(value.to_string().into()))
        }

        fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Self::Value, E> {
            Ok(Some(value.into()))
        }

        fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
            Ok(Some(value.to_owned().into()))
        }
    }

    deserializer.deserialize_any(VersionVisitor)
}

/// The answer to a prediction, written from borrowed values.
#[derive(Debug, Serialize)]
pub struct PredictResponse<'a> {
    /// Which model answered.
    pub model: &'a str,
    /// Which version of it.
    pub version: &'a str,
    /// One value a row: a number, or the name of a class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predictions: Option<Nested<'a>>,
    /// For each row the probability of each class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probabilities: Option<Nested<'a>>,
    /// The classes, in the order of the probabilities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<&'a [String]>,
    /// Every output by its name, where the model is neither a regression nor a classification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Outputs<'a>>,
}

/// A tensor that is written as nested lists.
#[derive(Clone, Copy, Debug)]
pub struct Nested<'a> {
    /// Its size along each axis; without axes it is written as a single value.
    pub shape: &'a [usize],
    /// Its values in row-major order, as many as the shape asks for.
    pub values: Listed<'a>,
    /// For each row the part of its first axis that is written; none: all of it. Where a row does not have so many, all of it
    /// is as well.
    pub places: Option<&'a [Range<usize>]>,
}

/// What stands in a tensor that is written.
#[derive(Clone, Copy, Debug)]
pub enum Listed<'a> {
    /// The values of a tensor.
    Values(Slice<'a>),
    /// The names of classes.
    Names(&'a [&'a str]),
}

impl Serialize for Nested<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let values = match self.values {
            Listed::Names(names) => return self.nest(names).serialize(serializer),
            Listed::Values(values) => values,
        };
        match values {
            Slice::Bool(values) => self.nest(values).serialize(serializer),
            Slice::U8(values) => self.nest(values).serialize(serializer),
            Slice::U16(values) => self.nest(values).serialize(serializer),
            Slice::U32(values) => self.nest(values).serialize(serializer),
            Slice::U64(values) => self.nest(values).serialize(serializer),
            Slice::I8(values) => self.nest(values).serialize(serializer),
            Slice::I16(values) => self.nest(values).serialize(serializer),
            Slice::I32(values) => self.nest(values).serialize(serializer),
            Slice::I64(values) => self.nest(values).serialize(serializer),
            Slice::F32(values) => self.nest(values).serialize(serializer),
            Slice::F64(values) => self.nest(values).serialize(serializer),
            Slice::Text(values) => self.nest(values).serialize(serializer),
            Slice::F16(values) => self.nest(&singles(values)).serialize(serializer),
            Slice::BF16(values) => self.nest(&singles(values)).serialize(serializer),
        }
    }
}

impl<'a> Nested<'a> {
    const fn nest<'v, T>(&self, values: &'v [T]) -> Nest<'v, T>
    where
        'a: 'v,
    {
        Nest {
            shape: self.shape,
            values,
            places: self.places,
        }
    }
}

/// Half floats are written as the single ones that they are.
fn singles<T: Copy + Into<f32>>(halves: &[T]) -> Vec<f32> {
    halves.iter().copied().map(Into::into).collect()
}

struct Nest<'a, T> {
    shape: &'a [usize],
    values: &'a [T],
    places: Option<&'a [Range<usize>]>,
}

const fn nest<'a, T>(shape: &'a [usize], values: &'a [T]) -> Nest<'a, T> {
    Nest {
        shape,
        values,
        places: None,
    }
}

/// The part of a row that is written: its shape, and its values.
fn part_of<'v, T>(shape: &[usize], values: &'v [T], place: &Range<usize>) -> (Vec<usize>, &'v [T]) {
    let mut shape = shape.to_vec();
    let Some(length) = shape.first_mut().filter(|length| place.end <= **length) else {
        return (shape, values);
    };
    let width = values.len().checked_div(*length).unwrap_or(0);
    *length = place.len();
    (shape, &values[place.start * width..place.end * width])
}

impl<T: Serialize> Serialize for Nest<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.shape {
            [] => self.values.first().serialize(serializer),
            [_] => self.values.serialize(serializer),
            [count, inner @ ..] => {
                let length = self.values.len().checked_div(*count).unwrap_or(0);
                let mut list = serializer.serialize_seq(Some(*count))?;
                for position in 0..*count {
                    let values = &self.values[position * length..(position + 1) * length];
                    match self.places.and_then(|places| places.get(position)) {
                        None => list.serialize_element(&nest(inner, values))?,
                        Some(place) => {
                            let (shape, values) = part_of(inner, values, place);
                            list.serialize_element(&nest(&shape, values))?;
                        }
                    }
                }
                list.end()
            }
        }
    }
}

/// Outputs by their names, in the graph's order.
#[derive(Debug)]
pub struct Outputs<'a>(pub Vec<(&'a str, Nested<'a>)>);

impl Serialize for Outputs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, values)| (name, values)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(body: &str) -> ErrorCode {
        PredictRequest::parse(body.as_bytes()).unwrap_err().code
    }

    #[test]
    fn a_version_is_a_text_or_a_number() {
        for body in [
            r#"{"version": "2", "inputs": []}"#,
            r#"{"version": 2, "inputs": []}"#,
        ] {
            let request = PredictRequest::parse(body.as_bytes()).unwrap();
            assert_eq!(request.version.as_deref(), Some("2"));
        }
        for version in ["1.5", "-1", "true", "[1]"] {
            let body = format!(r#"{{"version": {version}, "inputs": []}}"#);
            assert_eq!(code_of(&body), ErrorCode::InvalidInput, "{version}");
        }
    }

    #[test]
    fn null_is_as_good_as_absent() {
        let request = PredictRequest::parse(br#"{"model": null, "version": null, "inputs": [[1]]}"#).unwrap();
        assert_eq!((request.model, request.version), (None, None));
    }

    #[test]
    fn what_is_not_json_is_told_from_what_is_not_a_request() {
        for body in [
            "",
            "  ",
            "{",
            "not json",
            r#"{"inputs": [NaN]}"#,
            r#"{"inputs": []} x"#,
            "[[1",
        ] {
            let code = if body == "[[1" {
                ErrorCode::InvalidInput
            } else {
                ErrorCode::InvalidJson
            };
            assert_eq!(code_of(body), code, "{body}");
        }
        for body in [
            "[]",
            "7",
            "{}",
            r#"{"inputs": 1}"#,
            r#"{"inputs": [1e400]}"#,
            r#"{"inputs": [], "inputs": []}"#,
            r#"{"inputs": [], "model": 7}"#,
        ] {
            assert_eq!(code_of(body), ErrorCode::InvalidInput, "{body}");
        }
    }

    #[test]
    fn an_unknown_member_is_named() {
        let error = PredictRequest::parse(br#"{"instances": []}"#).unwrap_err();
        assert!(
            error.message.contains("instances") && error.message.contains("inputs"),
            "{error}"
        );
    }

    #[test]
    fn a_message_does_not_grow_with_the_body() {
        let body = format!(r#"{{"{}": 1}}"#, "x".repeat(100_000));
        let error = PredictRequest::parse(body.as_bytes()).unwrap_err();
        assert!(error.message.chars().count() <= MAX_QUOTED + 1);
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_stack_overflow() {
        let body = format!(r#"{{"inputs": {}"#, "[".repeat(10_000));
        assert_eq!(code_of(&body), ErrorCode::InvalidJson);
        let body = format!(r#"{{"inputs": {}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(code_of(&body), ErrorCode::InvalidJson);
    }

    #[test]
    fn rows_of_different_length_are_written_without_what_fills_them_up() {
        let write = |shape: &[usize], places: &[Range<usize>]| {
            let values: Vec<i64> = (0..shape.iter().product::<usize>() as i64).collect();
            let nested = Nested {
                shape,
                values: Listed::Values(Slice::I64(&values)),
                places: Some(places),
            };
            serde_json::to_string(&nested).unwrap()
        };
        assert_eq!(write(&[2, 3], &[0..2, 1..3]), "[[0,1],[4,5]]");
        assert_eq!(write(&[2, 2, 2], &[0..1, 0..2]), "[[[0,1]],[[4,5],[6,7]]]");
        assert_eq!(write(&[2, 2], &[0..3, 0..1]), "[[0,1],[2]]");
        assert_eq!(write(&[2], &[0..1, 0..1]), "[0,1]");
    }

    #[test]
    fn tensors_are_written_as_nested_lists() {
        let write = |shape: &[usize], values: &[f32]| {
            serde_json::to_string(&Nested {
                shape,
                values: Listed::Values(Slice::F32(values)),
                places: None,
            })
            .unwrap()
        };
        assert_eq!(write(&[], &[0.5]), "0.5");
        assert_eq!(write(&[3], &[0.1, 1.0, 1e30]), "[0.1,1.0,1e+30]");
        assert_eq!(
            write(&[2, 1, 2], &[1.0, 2.0, 3.0, 4.0]),
            "[[[1.0,2.0]],[[3.0,4.0]]]"
        );
        assert_eq!(write(&[2, 0], &[]), "[[],[]]");
        assert_eq!(write(&[0, 2], &[]), "[]");
        let halves = [0.5, -65504.0].map(half::f16::from_f32);
        let halves = Nested {
            shape: &[2],
            values: Listed::Values(Slice::F16(&halves)),
            places: None,
        };
        assert_eq!(serde_json::to_string(&halves).unwrap(), "[0.5,-65504.0]");
    }
}
