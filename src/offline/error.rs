//! Why a file could not be taken through a model.

use std::io;

use crate::training::dataset::{DatasetError, Place, few};

/// Why a file could not be taken through a model.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// There is no such model.
    #[error("there is no model {model} in {repository}; the models are {}", few(.models))]
    UnknownModel {
        /// What was asked for.
        model: String,
        /// Where.
        repository: String,
        /// What there is.
        models: Vec<String>,
    },
    /// There is no such version of it.
    #[error("model {model} has no version {version}; the versions are {}", few(.versions))]
    UnknownVersion {
        /// The model.
        model: String,
        /// What was asked for.
        version: u64,
        /// What there is.
        versions: Vec<String>,
    },
    /// The repository cannot be read.
    #[error(transparent)]
    Repository(#[from] crate::model::repository::RepositoryError),
    /// The version cannot be loaded.
    #[error("{model} version {version} cannot be loaded: {reason}")]
    Unloadable {
        /// The model.
        model: String,
        /// Its version.
        version: u64,
        /// Why.
        reason: String,
    },
    /// The data file is not what it should be.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The data lacks what the model takes.
    #[error("the data has no column {}, which model {model} takes; the columns are {}", few(.lacking), few(.columns))]
    LackingColumns {
        /// The model.
        model: String,
        /// Columns that are not there.
        lacking: Vec<String>,
        /// Columns that are.
        columns: Vec<String>,
    },
    /// The columns cannot be told apart without names.
    #[error("model {model} takes {expected}, and the data has {found} columns beside the target; {hint}")]
    UnclearColumns {
        /// The model.
        model: String,
        /// What it takes.
        expected: String,
        /// Columns that could be meant.
        found: usize,
        /// What to do.
        hint: &'static str,
    },
    /// A row does not fit the model.
    #[error("{place}: {problem}")]
    Row {
        /// Where.
        place: Place,
        /// What was expected and what came.
        problem: String,
    },
    /// The engine failed at rows that it was given.
    #[error("{place} and the rows after it: {problem}")]
    Engine {
        /// The first of the rows that ran together.
        place: Place,
        /// What it said.
        problem: String,
    },
    /// What comes out cannot be compared with a column.
    #[error("model {model} cannot be evaluated: {reason}")]
    NotComparable {
        /// The model.
        model: String,
        /// Why.
        reason: String,
    },
    /// The answers cannot be written.
    #[error("{file}: {source}")]
    Write {
        /// Where they should go.
        file: String,
        /// What the system said.
        source: io::Error,
    },
}
