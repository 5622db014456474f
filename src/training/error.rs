//! Why a training run ended without a model.

use std::fmt::Display;
use std::io;

use super::dataset::DatasetError;
use crate::engine::EngineError;

/// Why a training run ended without a model.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    /// An option has a value that it cannot have; nothing was started.
    #[error("{option} must be {expected}, not {found}")]
    Option {
        /// The option as the user writes it.
        option: &'static str,
        /// What it takes.
        expected: &'static str,
        /// What came.
        found: String,
    },
    /// The data file is not what it should be.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// A feature is determined by others, so least squares has no single answer.
    #[error(
        "column {column} is a linear combination of the columns before it on the {rows} training rows, so its \
         coefficient is not determined; leave it out or set --ridge above 0"
    )]
    Dependent {
        /// The column.
        column: String,
        /// Rows of the training part.
        rows: usize,
    },
    /// The optimiser used up its steps.
    #[error("no convergence after {iterations} iterations; raise --max-iterations or --l2")]
    NotConverged {
        /// Steps taken.
        iterations: u64,
    },
    /// Coordinate descent did not come to its end.
    #[error("the coefficients are not settled after {rounds} rounds; raise --lasso or --ridge")]
    Undetermined {
        /// Rounds over all columns.
        rounds: u32,
    },
    /// A machine was not solved in the steps that it may take.
    #[error("not within the tolerance after {steps} steps; lower --c or raise --tolerance")]
    NotSolved {
        /// Steps taken.
        steps: u64,
    },
    /// A kernel value does not fit the 32-bit floats of the graph.
    #[error("kernel values are beyond the range of 32-bit floats; lower --degree, --gamma or --coef0")]
    KernelOverflow,
    /// The loss left the finite numbers.
    #[error("the loss became {loss} in epoch {epoch}: training diverged; lower --learning-rate")]
    Diverged {
        /// The epoch, counted from 1.
        epoch: usize,
        /// The loss: an infinity or not a number.
        loss: f64,
    },
    /// Nothing is to be fitted.
    #[error("no algorithm was asked for")]
    NoCandidate,
    /// Somebody ended it before there was anything to keep.
    #[error("interrupted before there was a model; nothing was written")]
    Interrupted,
    /// No word is in two texts of a column.
    #[error(
        "column {column}: no word is in two texts of the training part, so that they tell nothing of others"
    )]
    NoWords {
        /// The column.
        column: String,
    },
    /// Other columns than one of texts, where exactly that is learnt from.
    #[error(
        "this algorithm learns from one column of texts; the data has, beside the target, {}; --ignore leaves columns out",
        .columns.join(", ")
    )]
    OneText {
        /// The columns beside the target.
        columns: Vec<String>,
    },
    /// Texts that say nothing.
    #[error(
        "column {column}: {count} texts are empty, and a class cannot be learnt from nothing; leave these rows out"
    )]
    EmptyTexts {
        /// The column.
        column: String,
        /// How many there are.
        count: usize,
    },
    /// A column has no value that its gaps could be filled by.
    #[error("column {column} has missing values, and nothing to fill them with")]
    NoValues {
        /// The column.
        column: String,
    },
    /// A held-out row has a category that the training part did not have.
    #[error(
        "column {column}: category {category:?} is in a row held out and in none of the training part; \
         --unknown-category zero takes it for none of the categories"
    )]
    UnknownCategory {
        /// The column.
        column: String,
        /// The category.
        category: String,
    },
    /// A series is too short to be cut into windows on every side of its split.
    #[error(
        "the series is too short: after what is held out and what decides when to stop, no window of {window} values with \
         {horizon} more after it is left to learn from"
    )]
    ShortSeries {
        /// Values that a forecast is made from.
        window: usize,
        /// Values that are forecast.
        horizon: usize,
    },
    /// The engine does not take what was written.
    #[error("the fitted graph cannot be run: {0}")]
    Engine(#[from] EngineError),
    /// A parameter does not fit the 32-bit floats of the graph.
    #[error(
        "the fitted model has parameters beyond the range of 32-bit floats; rescale columns with huge values"
    )]
    OutOfRange,
    /// The version is there already.
    #[error("{model} version {version} exists already; --force replaces it")]
    Exists {
        /// The model.
        model: String,
        /// The version.
        version: u64,
    },
    /// A file or folder could not be written.
    #[error("{path}: {source}")]
    Write {
        /// What was to be written.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The library that computes said no.
    #[error("fitting failed: {0}")]
    Fit(String),
}

impl TrainingError {
    /// The option was used wrongly, as against a run that failed.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Option { .. })
    }

    /// The data was read with another kind of target than the algorithm takes, which is a mistake in this program.
    pub(super) fn wrong_target() -> Self {
        Self::Fit("the target is of another kind than the algorithm takes".to_owned())
    }

    /// Checks one option; `expected` completes "must be …".
    pub(super) fn check(
        holds: bool,
        option: &'static str,
        expected: &'static str,
        found: &dyn Display,
    ) -> Result<(), Self> {
        if holds {
            Ok(())
        } else {
            Err(Self::Option {
                option,
                expected,
                found: found.to_string(),
            })
        }
    }
}
