//! What a request is to stay with.

use std::borrow::Cow;
use std::fmt;

use axum::http::HeaderMap;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::balance::hash;
use crate::config::HashKey;
use crate::http::origin::Client;

/// The key of a request, hashed; none where it has no such header or field.
#[must_use]
pub fn key_of(key: &HashKey, headers: &HeaderMap, client: &Client, body: &[u8]) -> Option<u64> {
    match key {
        HashKey::Client => Some(hash(client.ip.as_bytes())),
        HashKey::Header(name) => headers.get(name).map(|value| hash(value.as_bytes())),
        HashKey::Field(path) => field(body, path).map(|value| hash(value.as_bytes())),
    }
}

/// The key of a request whose header or field holds this value, or that comes from this address: hashed as [`key_of`] hashes
/// it, a field as it is written in JSON, the others as they are.
#[must_use]
pub fn key_of_value(key: &HashKey, value: &Value) -> u64 {
    match (key, value) {
        (HashKey::Client | HashKey::Header(_), Value::String(text)) => hash(text.as_bytes()),
        _ => hash(value.to_string().as_bytes()),
    }
}

/// The value at `path` of a JSON object, as it is written. Nothing else of the body is built, and what comes after the object,
/// such as binary tensors, is not looked at.
fn field<'a>(body: &'a [u8], path: &[String]) -> Option<&'a str> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let found = Field(path).deserialize(&mut reader).ok()??;
    Some(found.get())
}

/// Looks for a value along a path of names.
struct Field<'p>(&'p [String]);

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        if self.0.is_empty() {
            return serde::Deserialize::deserialize(reader).map(Some);
        }
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            match self.0.split_first() {
                Some((first, rest)) if *first == name => found = map.next_value_seed(Field(rest))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(body: &str, path: &[&str]) -> Option<String> {
        let path: Vec<String> = path.iter().map(ToString::to_string).collect();
        field(body.as_bytes(), &path).map(str::to_owned)
    }

    #[test]
    fn a_field_is_found_at_any_depth() {
        let body = r#"{"inputs": [[1, 2]], "parameters": {"deep": {"user": "ann"}, "x": 1}, "id": 7}"#;
        assert_eq!(of(body, &["id"]).unwrap(), "7");
        assert_eq!(of(body, &["inputs"]).unwrap(), "[[1, 2]]");
        assert_eq!(of(body, &["parameters", "deep", "user"]).unwrap(), r#""ann""#);
        for path in [&["user"][..], &["id", "user"], &["parameters", "user"]] {
            assert_eq!(of(body, path), None, "{path:?}");
        }
    }

    #[test]
    fn binary_tensors_may_follow() {
        let mut body = br#"{"id": "a"}"#.to_vec();
        body.extend([0xff, 0, 0x7b]);
        assert_eq!(field(&body, &["id".to_owned()]), Some(r#""a""#));
    }

    proptest! {
        #[test]
        fn no_body_breaks_it(body in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = field(&body, &["id".to_owned()]);
        }
    }
}
