//! How one value of the configuration is read: durations, sizes, addresses, names.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::uri::Authority;
use bytesize::ByteSize;
use serde::Serializer;
use toml::Value;

/// A duration as a configuration writes it.
pub(super) fn duration_text<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*duration))
}

/// A worker's address as a configuration writes it.
pub(super) fn authority_text<S: Serializer>(authority: &Authority, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("http://{authority}"))
}

/// A type that a configuration value can have.
pub(super) trait Setting: Sized {
    /// What a person should have written.
    fn expected() -> String;
    /// The value, or none where it is something else.
    fn read(value: &Value) -> Option<Self>;
}

/// A value as it is quoted in an error.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Table(_) => "a table".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        other => other.to_string(),
    }
}

impl Setting for String {
    fn expected() -> String {
        "a text".into()
    }
    fn read(value: &Value) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }
}

impl Setting for bool {
    fn expected() -> String {
        "true or false".into()
    }
    fn read(value: &Value) -> Option<Self> {
        value.as_bool()
    }
}

impl Setting for PathBuf {
    fn expected() -> String {
        "a path".into()
    }
    fn read(value: &Value) -> Option<Self> {
        value.as_str().filter(|path| !path.is_empty()).map(Self::from)
    }
}

impl Setting for usize {
    fn expected() -> String {
        "a whole number, 0 or more".into()
    }
    fn read(value: &Value) -> Option<Self> {
        value.as_integer()?.try_into().ok()
    }
}

impl Setting for u32 {
    fn expected() -> String {
        "a whole number, 0 or more".into()
    }
    fn read(value: &Value) -> Option<Self> {
        value.as_integer()?.try_into().ok()
    }
}

impl Setting for f64 {
    fn expected() -> String {
        "a number".into()
    }
    fn read(value: &Value) -> Option<Self> {
        let integer = || value.as_integer().map(|integer| integer as f64);
        value
            .as_float()
            .or_else(integer)
            .filter(|number: &f64| number.is_finite())
    }
}

/// The longest duration. Clocks cannot hold the longest that can be written: adding it to now would panic.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Setting for Duration {
    fn expected() -> String {
        "a duration such as \"250ms\" or \"10s\", at most \"365d\"".into()
    }
    fn read(value: &Value) -> Option<Self> {
        let duration = humantime::parse_duration(value.as_str()?).ok()?;
        (duration <= LONGEST).then_some(duration)
    }
}

/// A size in bytes, written as a number or with a unit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes(pub(super) usize);

impl Setting for Bytes {
    fn expected() -> String {
        "a size such as \"4MiB\"".into()
    }
    fn read(value: &Value) -> Option<Self> {
        let size = match value {
            Value::Integer(bytes) => u64::try_from(*bytes).ok()?,
            Value::String(text) => text.parse::<ByteSize>().ok()?.as_u64(),
            _ => return None,
        };
        Some(Self(size.try_into().ok()?))
    }
}

impl Setting for SocketAddr {
    fn expected() -> String {
        "an address such as \"127.0.0.1:8080\"".into()
    }
    fn read(value: &Value) -> Option<Self> {
        value.as_str()?.parse().ok()
    }
}
