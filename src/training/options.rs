//! Options as `model.toml` keeps them.

/// A table of these entries.
pub(super) fn table<const N: usize>(entries: [(&str, toml::Value); N]) -> toml::Table {
    entries
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// TOML's integers are signed; what does not fit was refused by the checks or is beyond any memory.
pub(super) fn integer(number: u64) -> toml::Value {
    toml::Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

/// A list of integers.
pub(super) fn integers(numbers: &[usize]) -> toml::Value {
    toml::Value::Array(numbers.iter().map(|&number| integer(number as u64)).collect())
}
