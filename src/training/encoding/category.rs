//! One-hot columns of categories.

use std::collections::BTreeSet;

use super::super::TrainingError;
use super::Unknown;

/// The categories of a column, in the order of their letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Categories {
    pub(super) names: Vec<String>,
    pub(super) unknown: Unknown,
}

impl Categories {
    pub(super) fn fit(values: &[String], unknown: Unknown) -> Self {
        let names: BTreeSet<&String> = values.iter().collect();
        Self {
            names: names.into_iter().cloned().collect(),
            unknown,
        }
    }

    /// Where a category stands; none where it is unknown and that is taken.
    pub(super) fn position(&self, column: &str, value: &String) -> Result<Option<usize>, TrainingError> {
        match (self.names.binary_search(value), self.unknown) {
            (Ok(position), _) => Ok(Some(position)),
            (Err(_), Unknown::Zero) => Ok(None),
            (Err(_), Unknown::Refuse) => Err(TrainingError::UnknownCategory {
                column: column.to_owned(),
                category: value.clone(),
            }),
        }
    }
}
