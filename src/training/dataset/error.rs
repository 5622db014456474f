//! What can be wrong with a data file.

use super::MIN_ROWS;
use super::table::Place;

/// Names that a message holds at the most.
const MAX_NAMES: usize = 12;

/// Names one after the other; of very many the first ones, and how many there are.
#[must_use]
pub fn few(names: &[String]) -> String {
    match names.get(..MAX_NAMES) {
        Some(first) if names.len() > MAX_NAMES => format!("{}, … ({} in all)", first.join(", "), names.len()),
        _ => names.join(", "),
    }
}

/// What is wrong with a data file. Lines are counted from 1, the header included, as editors do.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DatasetError {
    /// The file could not be read, or is not CSV in UTF-8.
    #[error("cannot read {file}: {cause}")]
    Unreadable {
        /// The file as it was named.
        file: String,
        /// What the system or the parser said.
        cause: String,
    },
    /// There is nothing but perhaps a header.
    #[error("the data has no rows; a header line and at least {MIN_ROWS} rows are needed")]
    Empty,
    /// Two columns have one name.
    #[error("column {column} is named twice in the header")]
    DuplicateColumn {
        /// The name.
        column: String,
    },
    /// A column has no name.
    #[error("column number {number} has no name in the header")]
    UnnamedColumn {
        /// Its place, counted from 1.
        number: usize,
    },
    /// The target is not among the columns.
    #[error("there is no column {target} to predict; the columns are {}", few(columns))]
    UnknownTarget {
        /// What was asked for.
        target: String,
        /// What there is.
        columns: Vec<String>,
    },
    /// The target is the only column.
    #[error("the data has no column besides the target {target}")]
    NoFeatures {
        /// The target.
        target: String,
    },
    /// A row is longer or shorter than the header.
    #[error("line {line} has {found} values; the header names {expected} columns")]
    Ragged {
        /// Where.
        line: u64,
        /// Columns of the header.
        expected: usize,
        /// Values of the line.
        found: usize,
    },
    /// A value is empty.
    #[error("{place}, column {column}: the value is missing")]
    Missing {
        /// Where.
        place: Place,
        /// Where.
        column: String,
    },
    /// A value is text.
    #[error("{place}, column {column}: expected a number, found {found:?}")]
    NotANumber {
        /// Where.
        place: Place,
        /// Where.
        column: String,
        /// What stands there.
        found: String,
    },
    /// A value is infinite, or "not a number".
    #[error("{place}, column {column}: expected a finite number, found {found}")]
    NotFinite {
        /// Where.
        place: Place,
        /// Where.
        column: String,
        /// What stands there.
        found: String,
    },
    /// A value of a typed file is of a type that has no place here.
    #[error("{place}, column {column}: expected a number, a boolean or a text, found {found}")]
    UnsupportedType {
        /// Where.
        place: Place,
        /// Where.
        column: String,
        /// What stands there.
        found: String,
    },
    /// A column is named that there is not.
    #[error("there is no column {column}; the columns are {}", few(columns))]
    UnknownColumn {
        /// What was asked for.
        column: String,
        /// What there is.
        columns: Vec<String>,
    },
    /// A column is named for two things.
    #[error("column {column} is given two roles; a column is the target, categorical, text or ignored")]
    TwoRoles {
        /// The column.
        column: String,
    },
    /// The algorithm takes numbers.
    #[error("column {column} is categorical or text; this algorithm takes columns of numbers only")]
    NumbersOnly {
        /// The column.
        column: String,
    },
    /// There is too little to fit on and to hold out.
    #[error("the data has {found} rows; at least {MIN_ROWS} are needed")]
    TooFewRows {
        /// Rows of the file.
        found: usize,
    },
    /// Every row has one class.
    #[error("column {target} holds the single class {class:?}; at least two are needed")]
    OneClass {
        /// The target.
        target: String,
        /// The class.
        class: String,
    },
    /// A class cannot be on both sides of the split.
    #[error(
        "column {target}: class {class:?} has a single row; each class needs at least two, one to fit on and one to \
         hold out"
    )]
    LoneClass {
        /// The target.
        target: String,
        /// The class.
        class: String,
    },
}
