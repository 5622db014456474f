//! From the cells of a table to columns of numbers, categories and texts.

use super::table::{Cell, Table};
use super::{Column, DatasetError, Values};

/// In a column of numbers these words say that a value is missing.
const MISSING_WORDS: [&str; 5] = ["NA", "N/A", "NaN", "nan", "null"];

/// What becomes of values that are not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    /// The data is refused, and so is such a row at prediction.
    #[default]
    Refuse,
    /// A number becomes the mean of its column; a missing category is a category of its own, a missing text is empty.
    Mean,
    /// The same, with the median.
    Median,
}

/// Which column is what. Those that are not named here hold numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// The column to predict.
    pub target: String,
    /// Columns of categories.
    pub categorical: Vec<String>,
    /// Columns of texts.
    pub text: Vec<String>,
    /// Columns that are left out.
    pub ignored: Vec<String>,
    /// What becomes of values that are not there.
    pub missing: Missing,
}

impl Roles {
    /// Makes sure that every column that is named is there, and named once.
    pub(super) fn check(&self, table: &Table) -> Result<(), DatasetError> {
        if table.position(&self.target).is_none() {
            return Err(DatasetError::UnknownTarget {
                target: self.target.clone(),
                columns: table.columns().to_vec(),
            });
        }
        let named = [&self.categorical, &self.text, &self.ignored];
        let named: Vec<&String> = named.into_iter().flatten().collect();
        for (position, column) in named.iter().enumerate() {
            if table.position(column).is_none() {
                return Err(DatasetError::UnknownColumn {
                    column: (*column).clone(),
                    columns: table.columns().to_vec(),
                });
            }
            if **column == self.target || named[..position].contains(column) {
                return Err(DatasetError::TwoRoles {
                    column: (*column).clone(),
                });
            }
        }
        Ok(())
    }

    /// Every column but the target and those left out.
    pub(super) fn features(&self, table: &Table) -> Result<Vec<Column>, DatasetError> {
        let is_feature = |name: &String| *name != self.target && !self.ignored.contains(name);
        let features: Result<Vec<Column>, _> = table
            .columns()
            .iter()
            .enumerate()
            .filter(|(_, name)| is_feature(name))
            .map(|(position, name)| self.column(table, position, name))
            .collect();
        match features {
            Ok(columns) if columns.is_empty() => Err(DatasetError::NoFeatures {
                target: self.target.clone(),
            }),
            outcome => outcome,
        }
    }

    fn column(&self, table: &Table, position: usize, name: &String) -> Result<Column, DatasetError> {
        let rows = 0..table.rows();
        let values = if self.categorical.contains(name) {
            Values::Categories(
                rows.map(|row| self.text(table, row, position))
                    .collect::<Result<_, _>>()?,
            )
        } else if self.text.contains(name) {
            Values::Texts(
                rows.map(|row| self.text(table, row, position))
                    .collect::<Result<_, _>>()?,
            )
        } else {
            Values::Numbers(
                rows.map(|row| self.number(table, row, position))
                    .collect::<Result<_, _>>()?,
            )
        };
        Ok(Column {
            name: name.clone(),
            values,
        })
    }

    fn number(&self, table: &Table, row: usize, column: usize) -> Result<f64, DatasetError> {
        match table.cell(row, column) {
            Cell::Missing if self.missing != Missing::Refuse => Ok(f64::NAN),
            Cell::Text(word) if self.missing != Missing::Refuse && MISSING_WORDS.contains(&word) => {
                Ok(f64::NAN)
            }
            _ => table.number(row, column),
        }
    }

    fn text(&self, table: &Table, row: usize, column: usize) -> Result<String, DatasetError> {
        match table.cell(row, column) {
            Cell::Missing if self.missing != Missing::Refuse => Ok(String::new()),
            _ => table.text(row, column),
        }
    }
}
