//! What a client is told of a row that does not fit: where, what came, and what was expected.

use std::fmt::{self, Write};

use super::Validation;
use crate::api::datum::{Datum, shortened};
use crate::api::error::ApiError;
use crate::model::dictionary::{Dictionary, Keys};
use crate::model::schema::Names;

/// Names that an error lists before it says how many more there are.
const LISTED_NAMES: usize = 8;
/// How alike an unknown feature must be to one that exists to be taken for a misspelling of it.
const MISSPELLING: f64 = 0.8;

/// Where in a request a value stands. Written only when something is wrong with it.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    Row(usize),
    Item(&'a Place<'a>, usize),
    Member(&'a Place<'a>, &'a str),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row(row) => write!(formatter, "inputs[{row}]"),
            Self::Item(parent, position) => write!(formatter, "{parent}[{position}]"),
            Self::Member(parent, name) => write!(formatter, "{parent}.{name}"),
        }
    }
}

impl Validation<'_> {
    pub(super) fn wrong_length(
        &self,
        place: Place<'_>,
        found: usize,
        expected: usize,
        names: &Names,
    ) -> ApiError {
        let takes = self.takes(expected, names);
        ApiError::invalid_input(format!("{place} has {}; {takes}", values(found)))
    }

    pub(super) fn wrong_kind(
        &self,
        place: Place<'_>,
        found: &Datum<'_>,
        expected: usize,
        names: &Names,
    ) -> ApiError {
        let takes = self.takes(expected, names);
        let form = if names.ordered().is_empty() {
            "a row is a list"
        } else {
            "a row is a list of them, or an object by their names"
        };
        ApiError::invalid_input(format!("{place} is {}; {takes}; {form}", found.describe()))
    }

    pub(super) fn unknown_feature(&self, place: Place<'_>, name: &str, names: &Names) -> ApiError {
        let hint = nearest(name, names.ordered()).map_or_else(
            || self.takes(names.ordered().len(), names),
            |near| format!("did you mean {near}?"),
        );
        let name = shortened(name);
        ApiError::invalid_input(format!("{place} has the unknown feature {name:?}; {hint}"))
    }

    pub(super) fn missing_features(&self, place: Place<'_>, missing: &[String], names: &Names) -> ApiError {
        let takes = self.takes(names.ordered().len(), names);
        ApiError::invalid_input(format!("{place} lacks {}; {takes}", listed(missing)))
    }

    pub(super) fn no_list(&self, place: Place<'_>, found: &Datum<'_>, expected: Option<usize>) -> ApiError {
        let expected = expected.map_or_else(
            || "a list".to_owned(),
            |count| format!("a list of {}", values(count)),
        );
        ApiError::invalid_input(format!(
            "{place} is {}; model {} takes {expected} there",
            found.describe(),
            self.model
        ))
    }

    fn takes(&self, count: usize, names: &Names) -> String {
        let mut text = format!("model {} takes {count}", self.model);
        if !names.ordered().is_empty() {
            // A text takes every character.
            let _ = write!(text, ": {}", listed(names.ordered()));
        }
        text
    }
}

/// A row that is neither an object nor a list, where it could be both.
pub(super) fn no_object(place: Place<'_>, found: &Datum<'_>, dictionary: &Dictionary) -> ApiError {
    let keys = match dictionary.keys {
        Keys::Texts(_) => "keys",
        _ => "whole numbers",
    };
    let found = found.describe();
    ApiError::invalid_input(format!(
        "{place} is {found}; expected an object from {keys} to values"
    ))
}

/// Lists of one request whose lengths are free, and differ.
pub(super) fn ragged(place: Place<'_>, found: usize, before: usize) -> ApiError {
    ApiError::invalid_input(format!(
        "{place} has {}; the list before it has {before}: rows of one request have one shape",
        values(found)
    ))
}

fn values(count: usize) -> String {
    if count == 1 {
        "1 value".to_owned()
    } else {
        format!("{count} values")
    }
}

fn listed(names: &[String]) -> String {
    let shown = names.iter().take(LISTED_NAMES).map(String::as_str);
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if names.len() > LISTED_NAMES {
        let _ = write!(text, ", … ({} more)", names.len() - LISTED_NAMES);
    }
    text
}

fn nearest<'n>(name: &str, names: &'n [String]) -> Option<&'n String> {
    // Comparing takes the product of both lengths, and this name is the client's.
    if name.len() > 256 {
        return None;
    }
    let similarity = |known: &&String| strsim::jaro_winkler(name, known);
    let best = names
        .iter()
        .max_by(|a, b| similarity(a).total_cmp(&similarity(b)))?;
    (similarity(&best) > MISSPELLING).then_some(best)
}
