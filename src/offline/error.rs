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
    /// Nobody says which column is the truth.
    #[error("model.toml of model {model} does not say which column it predicts; give --target")]
    NoTarget {
        /// The model.
        model: String,
    },
    /// A forecast is of one series.
    #[error("model {model} forecasts one series, and {columns} targets are named; expected one")]
    SeveralSeries {
        /// The model.
        model: String,
        /// Columns that are named.
        columns: usize,
    },
    /// The model does not forecast a series that is given to it as it is.
    #[error("model {model} takes no series: {reason}")]
    NotASeries {
        /// The model.
        model: String,
        /// Why.
        reason: &'static str,
    },
    /// The series is in no column.
    #[error(
        "the data has no column{column} with the series that model {model} forecasts; name it with --column; the columns are {columns}"
    )]
    UnknownSeries {
        /// The model.
        model: String,
        /// The column that should hold it, behind a space; empty where nobody says.
        column: String,
        /// What there is.
        columns: String,
    },
    /// The series is too short.
    #[error("{what} takes {needed} values with model {model}, and the series has {found}")]
    ShortSeries {
        /// The model.
        model: String,
        /// Values that are needed.
        needed: usize,
        /// What for.
        what: &'static str,
        /// Values that there are.
        found: usize,
    },
    /// What comes after the end of a series has no columns.
    #[error("--keep goes with --rolling: what comes after the end of the file has no columns of its own")]
    KeepWithoutRolling,
    /// A rolling forecast is one of a series.
    #[error("--rolling is for models that forecast a series, and the task of model {model} is {task}")]
    RollingWithoutSeries {
        /// The model.
        model: String,
        /// What it does.
        task: &'static str,
    },
    /// It has no output of that name.
    #[error("model {model} has no output {output}; its outputs are {}", .outputs.join(", "))]
    UnknownOutput {
        /// The model.
        model: String,
        /// What was asked for.
        output: String,
        /// What there is, with types and shapes.
        outputs: Vec<String>,
    },
    /// It has several outputs, and nobody says which is meant.
    #[error("model {model} has several outputs: {}; say with --output which one is to be compared", .outputs.join(", "))]
    SeveralOutputs {
        /// The model.
        model: String,
        /// What there is, with types and shapes.
        outputs: Vec<String>,
    },
    /// An output holds what cannot be compared with the target.
    #[error("output {output} of model {model} cannot be compared: {problem}")]
    Unfit {
        /// The model.
        model: String,
        /// The output.
        output: String,
        /// What was expected and what came.
        problem: String,
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
