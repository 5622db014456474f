//! CSV in UTF-8 with a header line.

use std::io::Read;

use csv::StringRecord;

use super::DatasetError;
use super::table::{Cell, Cells, Place, Table, check_header};

struct Records(Vec<(u64, StringRecord)>);

impl Cells for Records {
    fn rows(&self) -> usize {
        self.0.len()
    }

    fn place(&self, row: usize) -> Place {
        Place::Line(self.0[row].0)
    }

    fn cell(&self, row: usize, column: usize) -> Cell<'_> {
        match &self.0[row].1[column] {
            "" => Cell::Missing,
            text => Cell::Text(text),
        }
    }
}

pub(super) fn parse(source: impl Read) -> Result<Table, DatasetError> {
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(source);
    let header = reader.headers().map_err(|error| parse_error(&error))?;
    let columns: Vec<String> = header.iter().map(str::to_owned).collect();
    check_header(&columns)?;
    let mut records = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| parse_error(&error))?;
        let line = record.position().map_or(0, csv::Position::line);
        if record.len() != columns.len() {
            return Err(DatasetError::Ragged {
                line,
                expected: columns.len(),
                found: record.len(),
            });
        }
        records.push((line, record));
    }
    Ok(Table::new(columns, Box::new(Records(records))))
}

fn parse_error(error: &csv::Error) -> DatasetError {
    DatasetError::Unreadable {
        file: String::new(),
        cause: error.to_string(),
    }
}
