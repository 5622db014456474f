//! The CSV file that answers are written to.

use std::io::Write;

use super::OfflineError;
use crate::training::dataset::{Cell, Table};

/// The CSV file that answers are written to.
pub(super) struct Sheet<'w, 'f> {
    writer: csv::Writer<&'w mut dyn Write>,
    file: &'f str,
}

impl<'w, 'f> Sheet<'w, 'f> {
    /// Lines go to `output`, whose name is `file`.
    pub(super) fn new((output, file): (&'w mut dyn Write, &'f str)) -> Self {
        Self {
            writer: csv::Writer::from_writer(output),
            file,
        }
    }

    /// Writes a line.
    pub(super) fn line(&mut self, values: &[String]) -> Result<(), OfflineError> {
        self.writer
            .write_record(values)
            .map_err(|error| OfflineError::Write {
                file: self.file.to_owned(),
                source: error.into(),
            })
    }

    /// Makes sure that all lines are written.
    pub(super) fn finish(mut self) -> Result<(), OfflineError> {
        self.writer.flush().map_err(|source| OfflineError::Write {
            file: self.file.to_owned(),
            source,
        })
    }
}

/// A number of an answer. Models compute in 32 bits; more digits would only be noise.
pub(super) fn written(number: f64) -> String {
    (number as f32).to_string()
}

/// The values of a row of the data.
pub(super) fn own(table: &Table, row: usize) -> Vec<String> {
    let text = |column| match table.cell(row, column) {
        Cell::Missing => String::new(),
        Cell::Text(text) => text.to_owned(),
        Cell::Number(number) => number.to_string(),
    };
    (0..table.columns().len()).map(text).collect()
}
