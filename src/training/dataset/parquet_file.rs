//! Parquet (<https://parquet.apache.org/docs/file-format/>): flat columns of numbers, booleans and texts.

use std::fs::File;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

use super::DatasetError;
use super::table::{Cell, Cells, Place, Table, check_header};

enum Values {
    /// Not-a-number stands for what is missing.
    Numbers(Vec<f64>),
    /// Empty stands for what is missing.
    Texts(Vec<String>),
}

struct Columns {
    rows: usize,
    columns: Vec<Values>,
}

impl Cells for Columns {
    fn rows(&self) -> usize {
        self.rows
    }

    fn place(&self, row: usize) -> Place {
        Place::Row(row as u64 + 1)
    }

    fn cell(&self, row: usize, column: usize) -> Cell<'_> {
        match &self.columns[column] {
            Values::Numbers(values) if values[row].is_nan() => Cell::Missing,
            Values::Numbers(values) => Cell::Number(values[row]),
            Values::Texts(values) if values[row].is_empty() => Cell::Missing,
            Values::Texts(values) => Cell::Text(&values[row]),
        }
    }
}

pub(super) fn parse(file: File) -> Result<Table, DatasetError> {
    let reader = SerializedFileReader::new(file).map_err(|error| parse_error(&error))?;
    let schema = reader.metadata().file_metadata().schema_descr().root_schema();
    let names: Vec<String> = schema
        .get_fields()
        .iter()
        .map(|field| field.name().to_owned())
        .collect();
    check_header(&names)?;
    let mut columns: Vec<Option<Values>> = names.iter().map(|_| None).collect();
    let mut rows = 0;
    for row in reader.get_row_iter(None).map_err(|error| parse_error(&error))? {
        let row = row.map_err(|error| parse_error(&error))?;
        for (((name, field), column), position) in row.get_column_iter().zip(&mut columns).zip(0..) {
            debug_assert_eq!(*name, names[position]);
            push(column, field, rows).map_err(|found| DatasetError::UnsupportedType {
                place: Place::Row(rows as u64 + 1),
                column: name.clone(),
                found,
            })?;
        }
        rows += 1;
    }
    let columns = columns
        .into_iter()
        .map(|column| column.unwrap_or_else(|| Values::Numbers(vec![f64::NAN; rows])))
        .collect();
    Ok(Table::new(names, Box::new(Columns { rows, columns })))
}

/// Adds the value of row `row` to its column, whose type the first value that is there decides; says what it is where it
/// cannot be taken.
fn push(column: &mut Option<Values>, field: &Field, row: usize) -> Result<(), String> {
    let number = |value: f64| Ok::<_, String>(Some(value));
    let value = match *field {
        Field::Null => Ok(None),
        Field::Bool(value) => number(f64::from(u8::from(value))),
        Field::Byte(value) => number(value.into()),
        Field::Short(value) => number(value.into()),
        Field::Int(value) => number(value.into()),
        Field::Long(value) => number(value as f64),
        Field::UByte(value) => number(value.into()),
        Field::UShort(value) => number(value.into()),
        Field::UInt(value) => number(value.into()),
        Field::ULong(value) => number(value as f64),
        Field::Float16(value) => number(value.into()),
        Field::Float(value) => number(value.into()),
        Field::Double(value) => number(value),
        Field::Str(ref text) => {
            let texts = column.get_or_insert_with(|| Values::Texts(vec![String::new(); row]));
            let Values::Texts(texts) = texts else {
                return Err("a text among numbers".to_owned());
            };
            texts.push(text.trim().to_owned());
            return Ok(());
        }
        ref other => Err(type_in_words(other).to_owned()),
    }?;
    match (column, value) {
        (None, None) => Ok(()),
        (column @ None, Some(value)) => {
            let mut numbers = vec![f64::NAN; row];
            numbers.push(value);
            *column = Some(Values::Numbers(numbers));
            Ok(())
        }
        (Some(Values::Numbers(numbers)), value) => {
            numbers.push(value.unwrap_or(f64::NAN));
            Ok(())
        }
        (Some(Values::Texts(texts)), None) => {
            texts.push(String::new());
            Ok(())
        }
        (Some(Values::Texts(_)), Some(_)) => Err("a number among texts".to_owned()),
    }
}

const fn type_in_words(field: &Field) -> &'static str {
    match field {
        Field::Date(_) | Field::TimestampMillis(_) | Field::TimestampMicros(_) => "a date",
        Field::TimeMillis(_) | Field::TimeMicros(_) => "a time",
        Field::Decimal(_) => "a decimal number",
        Field::Bytes(_) => "bytes",
        Field::Group(_) | Field::ListInternal(_) | Field::MapInternal(_) => "a nested value",
        _ => "a value of another type",
    }
}

fn parse_error(error: &ParquetError) -> DatasetError {
    DatasetError::Unreadable {
        file: String::new(),
        cause: error.to_string(),
    }
}
