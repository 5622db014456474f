//! What a data file holds, before it is known what its columns mean.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use super::{DatasetError, MIN_ROWS, csv_file, parquet_file, unreadable};

/// One value of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    /// Nothing stands there.
    Missing,
    /// Text, trimmed and not empty; perhaps that of a number.
    Text(&'a str),
    /// A number of a file that has types.
    Number(f64),
}

/// Where a row stands, as people count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of a text file, counted from 1, the header included.
    Line(u64),
    /// A row of a file without lines, counted from 1.
    Row(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(formatter, "line {line}"),
            Self::Row(row) => write!(formatter, "row {row}"),
        }
    }
}

/// The values of a file that has rows and named columns.
pub(super) trait Cells {
    /// Rows that there are.
    fn rows(&self) -> usize;
    /// Where a row stands.
    fn place(&self, row: usize) -> Place;
    /// The value at a row and a column.
    fn cell(&self, row: usize, column: usize) -> Cell<'_>;
}

/// A rectangular data file: every column has a name, no two have the same, and every row has a value for each.
pub struct Table {
    columns: Vec<String>,
    cells: Box<dyn Cells>,
}

impl Table {
    /// Reads a regular file: Parquet where it begins or is named like that, otherwise CSV in UTF-8 with a header.
    pub fn read(path: &Path) -> Result<Self, DatasetError> {
        let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        // Reading a device or a pipe could go on for ever; the table is held in memory.
        if !metadata.is_file() {
            return Err(unreadable(path, &"it is not a regular file"));
        }
        let file = std::fs::File::open(path).map_err(|error| unreadable(path, &error))?;
        let is_named_parquet = path
            .extension()
            .is_some_and(|ending| ending.eq_ignore_ascii_case("parquet"));
        let table = if is_named_parquet {
            parquet_file::parse(file)
        } else {
            csv_file::parse(file)
        };
        table.map_err(|error| match error {
            DatasetError::Unreadable { cause, .. } => unreadable(path, &cause),
            other => other,
        })
    }

    /// Columns whose header was checked, and their cells.
    pub(super) fn new(columns: Vec<String>, cells: Box<dyn Cells>) -> Self {
        Self { columns, cells }
    }

    /// The names of the columns, in the order of the file.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Rows that there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.cells.rows()
    }

    /// The value at a row and a column.
    #[must_use]
    pub fn cell(&self, row: usize, column: usize) -> Cell<'_> {
        self.cells.cell(row, column)
    }

    /// Where a row stands.
    #[must_use]
    pub fn place(&self, row: usize) -> Place {
        self.cells.place(row)
    }

    /// The position of the column called `name`.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }

    /// The finite number at a row and a column.
    pub fn number(&self, row: usize, column: usize) -> Result<f64, DatasetError> {
        let (place, name) = self.at(row, column);
        match self.cell(row, column) {
            Cell::Missing => Err(DatasetError::Missing { place, column: name }),
            Cell::Number(number) if number.is_finite() => Ok(number),
            Cell::Number(number) => Err(DatasetError::NotFinite {
                place,
                column: name,
                found: number.to_string(),
            }),
            Cell::Text(text) => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(number),
                Ok(_) => Err(DatasetError::NotFinite {
                    place,
                    column: name,
                    found: text.to_owned(),
                }),
                Err(_) => Err(DatasetError::NotANumber {
                    place,
                    column: name,
                    found: text.to_owned(),
                }),
            },
        }
    }

    /// The text at a row and a column; a number of a typed file as it is usually written.
    pub fn text(&self, row: usize, column: usize) -> Result<String, DatasetError> {
        match self.cell(row, column) {
            Cell::Missing => {
                let (place, column) = self.at(row, column);
                Err(DatasetError::Missing { place, column })
            }
            Cell::Number(number) => Ok(number.to_string()),
            Cell::Text(text) => Ok(text.to_owned()),
        }
    }

    fn at(&self, row: usize, column: usize) -> (Place, String) {
        (self.place(row), self.columns[column].clone())
    }

    /// Refuses a table that is too small to fit on and to hold out.
    pub(super) fn check_rows(&self) -> Result<(), DatasetError> {
        match self.rows() {
            0 => Err(DatasetError::Empty),
            found if found < MIN_ROWS => Err(DatasetError::TooFewRows { found }),
            _ => Ok(()),
        }
    }
}

/// Makes sure that every column has a name of its own.
pub(super) fn check_header(columns: &[String]) -> Result<(), DatasetError> {
    if columns.is_empty() {
        return Err(DatasetError::Empty);
    }
    let mut seen = HashSet::new();
    for (place, column) in columns.iter().enumerate() {
        if column.is_empty() {
            return Err(DatasetError::UnnamedColumn { number: place + 1 });
        }
        if !seen.insert(column) {
            return Err(DatasetError::DuplicateColumn {
                column: column.clone(),
            });
        }
    }
    Ok(())
}
