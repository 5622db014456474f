//! Reads one table of the raw configuration key by key, and remembers everything that was wrong.

use std::cell::RefCell;
use std::fmt;

use toml::{Table, Value};

use super::setting::{Setting, describe};

/// One thing wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The key, with its path: `gateway.workers[1].url`.
    pub key: String,
    /// What was expected and what came.
    pub problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            return formatter.write_str(&self.problem);
        }
        write!(formatter, "{}: {}", self.key, self.problem)
    }
}

/// Everything wrong with the configuration, in the order of the schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => write!(formatter, "the configuration has 1 error:")?,
            count => write!(formatter, "the configuration has {count} errors:")?,
        }
        self.0
            .iter()
            .try_for_each(|error| write!(formatter, "\n  {error}"))
    }
}

impl ConfigErrors {
    /// All of them in one line.
    #[must_use]
    pub fn joined(&self, separator: &str) -> String {
        let errors: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        errors.join(separator)
    }
}

/// Collects errors while sections are read.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<ConfigError>>);

impl Problems {
    pub(super) fn report(&self, key: impl Into<String>, problem: impl Into<String>) {
        self.0.borrow_mut().push(ConfigError {
            key: key.into(),
            problem: problem.into(),
        });
    }

    pub(super) fn into_result<T>(self, value: T) -> Result<T, ConfigErrors> {
        let errors = self.0.into_inner();
        if errors.is_empty() {
            Ok(value)
        } else {
            Err(ConfigErrors(errors))
        }
    }
}

/// One table, from which each key is taken once; what is left at the end nobody knows.
///
/// Every reader names its key at one place, together with its default and its rule, so that the schema is what the
/// code reads and cannot drift from a list elsewhere.
pub(super) struct Section<'a> {
    path: String,
    table: Table,
    known: Vec<&'static str>,
    problems: &'a Problems,
}

impl<'a> Section<'a> {
    pub(super) fn root(table: Table, problems: &'a Problems) -> Self {
        Self {
            path: String::new(),
            table,
            known: Vec::new(),
            problems,
        }
    }

    fn child(&self, key: &str, table: Table) -> Section<'a> {
        Section {
            path: self.key(key),
            table,
            known: Vec::new(),
            problems: self.problems,
        }
    }

    /// The full path of one of this table's keys.
    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    pub(super) fn report(&self, key: &str, problem: impl Into<String>) {
        self.problems.report(self.key(key), problem);
    }

    /// Reports what is wrong with this table and not with one of its keys.
    pub(super) fn report_whole(&self, problem: impl Into<String>) {
        self.problems.report(self.path.clone(), problem);
    }

    /// Whether `key` is there and was not taken yet.
    pub(super) fn holds(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.table.remove(key)
    }

    /// The value at `key`, or none where the key is absent or wrong (which is reported).
    pub(super) fn optional<T: Setting>(&mut self, key: &'static str) -> Option<T> {
        let value = self.take(key)?;
        let setting = T::read(&value);
        if setting.is_none() {
            self.report(
                key,
                format!("expected {}; found {}", T::expected(), describe(&value)),
            );
        }
        setting
    }

    /// The value at `key`, or `default` where the key is absent.
    pub(super) fn value<T: Setting>(&mut self, key: &'static str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    /// Like [`value`](Self::value), with a rule that the type cannot express.
    pub(super) fn checked<T: Setting + Clone>(
        &mut self,
        key: &'static str,
        default: T,
        rule: impl FnOnce(&T) -> bool,
        expected: &str,
    ) -> T {
        let found = self.table.get(key).map(describe);
        let value = self.value(key, default.clone());
        if rule(&value) {
            return value;
        }
        self.report(
            key,
            format!("expected {expected}; found {}", found.unwrap_or_default()),
        );
        default
    }

    /// The value at `key`, which must be there.
    pub(super) fn required<T: Setting>(&mut self, key: &'static str) -> Option<T> {
        if !self.holds(key) {
            self.known.push(key);
            self.report(key, format!("is missing; expected {}", T::expected()));
            return None;
        }
        self.optional(key)
    }

    /// The table at `key`; an empty one where it is absent, so that every default holds.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'a> {
        let table = match self.take(key) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(other) => {
                self.report(
                    key,
                    format!("expected a table [{}]; found {}", self.key(key), describe(&other)),
                );
                Table::new()
            }
        };
        self.child(key, table)
    }

    /// The tables of a list `[[key]]`, each with its index in its path.
    pub(super) fn list(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let items = match self.take(key) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.report(
                    key,
                    format!(
                        "expected tables [[{}]]; found {}",
                        self.key(key),
                        describe(&other)
                    ),
                );
                return Vec::new();
            }
        };
        let mut sections = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let name = format!("{key}[{index}]");
            match item {
                Value::Table(table) => sections.push(self.child(&name, table)),
                other => self.report(&name, format!("expected a table; found {}", describe(&other))),
            }
        }
        sections
    }

    /// The sub-tables of this section under names that the user chose.
    pub(super) fn named(&mut self) -> Vec<(String, Section<'a>)> {
        let mut sections = Vec::new();
        for (name, item) in std::mem::take(&mut self.table) {
            match item {
                Value::Table(table) => {
                    let section = self.child(&name, table);
                    sections.push((name, section));
                }
                other => self.report(&name, format!("expected a table; found {}", describe(&other))),
            }
        }
        sections
    }

    /// The values of this section under names that the user chose, without those that are wrong (which is reported).
    pub(super) fn settings<T: Setting>(&mut self) -> Vec<(String, T)> {
        let mut settings = Vec::new();
        for (name, value) in std::mem::take(&mut self.table) {
            match T::read(&value) {
                Some(setting) => settings.push((name, setting)),
                None => self.report(
                    &name,
                    format!("expected {}; found {}", T::expected(), describe(&value)),
                ),
            }
        }
        settings
    }

    /// Ends the section: what was not taken is a key that nobody knows.
    pub(super) fn finish(self) {
        for key in self.table.keys() {
            let problem = match self.nearest(key) {
                Some(known) => format!("unknown key; did you mean {known}?"),
                None => format!("unknown key; known here: {}", self.known.join(", ")),
            };
            self.report(key, problem);
        }
    }

    fn nearest(&self, key: &str) -> Option<&'static str> {
        let similarity = |known: &&'static str| strsim::jaro_winkler(key, known);
        let best = self
            .known
            .iter()
            .copied()
            .max_by(|a, b| similarity(a).total_cmp(&similarity(b)))?;
        (similarity(&best) > 0.85).then_some(best)
    }
}
