//! One value of a request's rows: JSON as it came, with integers and floats told apart, texts borrowed from the body,
//! and repeated members kept, so that a client that sends a feature twice can be told.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Datum<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number without fraction and exponent that fits 64 bits.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A text.
    Text(Cow<'a, str>),
    /// A list.
    List(Vec<Datum<'a>>),
    /// An object's members, in the order in which they came.
    Object(Vec<(Cow<'a, str>, Datum<'a>)>),
}

impl Datum<'_> {
    /// What it is, as a person would say it.
    #[must_use]
    pub fn describe(&self) -> Cow<'static, str> {
        match self {
            Self::Null => "null".into(),
            Self::Bool(value) => value.to_string().into(),
            Self::Int(value) => format!("the number {value}").into(),
            Self::Float(value) => format!("the number {value}").into(),
            Self::Text(text) => format!("the text {:?}", shortened(text)).into(),
            Self::List(items) if items.len() == 1 => "a list of 1 value".into(),
            Self::List(items) => format!("a list of {} values", items.len()).into(),
            Self::Object(_) => "an object".into(),
        }
    }
}

/// The beginning of a text that a client sent, short enough to be quoted in an error.
#[must_use]
pub fn shortened(text: &str) -> Cow<'_, str> {
    shortened_to(40, text)
}

/// The first `limit` characters of a text, and a sign if there were more.
pub(super) fn shortened_to(limit: usize, text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Datum<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DatumVisitor)
    }
}

struct DatumVisitor;

impl<'de> Visitor<'de> for DatumVisitor {
    type Value = Datum<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Datum::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Datum::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Datum::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).map_or(Datum::Float(value as f64), Datum::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Datum::Float(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Datum::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Datum::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Datum::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((BorrowedText(name), value)) = map.next_entry()? {
            members.push((name, value));
        }
        Ok(Datum::Object(members))
    }
}

/// A text, borrowed from the body where it has no escapes. (Serde's own `Cow` is always owned.)
#[derive(Debug)]
pub(super) struct BorrowedText<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for BorrowedText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = BorrowedText<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a text")
            }

            fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Self::Value, E> {
                Ok(BorrowedText(Cow::Borrowed(value)))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
                Ok(BorrowedText(Cow::Owned(value.to_owned())))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Datum<'_> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn integers_and_floats_are_told_apart() {
        assert_eq!(read("1"), Datum::Int(1));
        assert_eq!(read("-9223372036854775808"), Datum::Int(i64::MIN));
        assert_eq!(read("1.0"), Datum::Float(1.0));
        assert_eq!(
            read("9223372036854775808"),
            Datum::Float(9_223_372_036_854_775_808.0)
        );
        assert_eq!(read("1e3"), Datum::Float(1000.0));
    }

    #[test]
    fn repeated_members_are_kept() {
        let Datum::Object(members) = read(r#"{"a": 1, "a": null}"#) else {
            panic!()
        };
        assert_eq!(members, [("a".into(), Datum::Int(1)), ("a".into(), Datum::Null)]);
    }

    #[test]
    fn texts_are_borrowed_unless_escaped() {
        assert!(matches!(read(r#""plain""#), Datum::Text(Cow::Borrowed("plain"))));
        assert!(matches!(read(r#""a\nb""#), Datum::Text(Cow::Owned(text)) if text == "a\nb"));
    }

    #[test]
    fn long_texts_are_quoted_in_part() {
        let text = "ä".repeat(100);
        assert_eq!(
            Datum::Text(text.into())
                .describe()
                .chars()
                .filter(|&c| c == 'ä')
                .count(),
            40
        );
    }
}
