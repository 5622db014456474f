//! The sources of a configuration, the later over the earlier: file, environment, flags.

use std::collections::HashMap;
use std::path::Path;

use config::{Environment, File, FileFormat};
use toml::{Table, Value};

use super::section::{ConfigError, ConfigErrors};

/// Environment variables that belong to the configuration start so: `MILLRACE_GATEWAY__POLICY`.
const PREFIX: &str = "MILLRACE";
/// Stands in a variable's name between a section and its key.
const SEPARATOR: &str = "__";

/// The sources of one configuration. They are kept, so that a reload of the file still has the same environment and
/// flags over it.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    text: Option<String>,
    environment: HashMap<String, String>,
    flags: Vec<(&'static str, Value)>,
}

impl Layers {
    /// No source at all: every default holds.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With the text of a file below everything else.
    #[must_use]
    pub fn with_text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// With the contents of `path`, where one is given.
    pub fn with_file(self, path: Option<&Path>) -> Result<Self, ConfigErrors> {
        let Some(path) = path else { return Ok(self) };
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(self.with_text(text)),
            Err(error) => Err(one(format!("{} cannot be read: {error}", path.display()))),
        }
    }

    /// With those of `variables` that name a section and a key.
    ///
    /// A variable without the separator is not ours, whatever its prefix: Kubernetes sets `MILLRACE_PORT` and the
    /// like in every container beside a service of that name.
    #[must_use]
    pub fn with_environment(mut self, variables: impl Iterator<Item = (String, String)>) -> Self {
        let is_ours = |name: &str| name.starts_with(PREFIX) && name.contains(SEPARATOR);
        self.environment = variables.filter(|(name, _)| is_ours(name)).collect();
        self
    }

    /// With the flag for `key` (its dotted path) over everything else, where it was given.
    #[must_use]
    pub fn with_flag(mut self, key: &'static str, value: Option<impl Into<Value>>) -> Self {
        self.flags.extend(value.map(|value| (key, value.into())));
        self
    }

    /// All sources merged into one raw table.
    pub(super) fn merge(&self) -> Result<Table, ConfigErrors> {
        let text = self.text.as_deref().unwrap_or_default();
        // Parsed here as well, because this error shows the line.
        text.parse::<Table>()
            .map_err(|error| one(format!("not TOML: {}", error.to_string().trim_end())))?;
        let environment = Environment::with_prefix(PREFIX)
            .prefix_separator("_")
            .separator(SEPARATOR)
            .try_parsing(true)
            .source(Some(self.environment.clone()));
        let mut table = config::Config::builder()
            .add_source(File::from_str(text, FileFormat::Toml))
            .add_source(environment)
            .build()
            .and_then(config::Config::try_deserialize::<Table>)
            .map_err(|error| one(error.to_string()))?;
        for (key, value) in &self.flags {
            set(&mut table, key, value.clone());
        }
        Ok(table)
    }
}

/// An error about the file as a whole.
pub(super) fn one(problem: String) -> ConfigErrors {
    ConfigErrors(vec![ConfigError {
        key: String::new(),
        problem,
    }])
}

/// Puts `value` at a dotted path, over whatever was on the way.
fn set(table: &mut Table, path: &str, value: Value) {
    let Some((section, rest)) = path.split_once('.') else {
        table.insert(path.to_owned(), value);
        return;
    };
    let entry = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if !entry.is_table() {
        *entry = Value::Table(Table::new());
    }
    if let Value::Table(inner) = entry {
        set(inner, rest, value);
    }
}
