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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parquet::basic::Compression;
    use parquet::column::writer::ColumnWriter;
    use parquet::data_type::ByteArray;
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    /// Three rows with a gap in each column but the last.
    fn file(schema: &str, compression: Compression) -> File {
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
        let file = tempfile::tempfile().unwrap();
        let mut writer = SerializedFileWriter::new(file.try_clone().unwrap(), schema, properties).unwrap();
        let mut rows = writer.next_row_group().unwrap();
        while let Some(mut column) = rows.next_column().unwrap() {
            let there = Some([1, 0, 1].as_slice());
            match column.untyped() {
                ColumnWriter::DoubleColumnWriter(writer) => writer.write_batch(&[0.5, -3.0], there, None),
                ColumnWriter::ByteArrayColumnWriter(writer) => {
                    writer.write_batch(&[ByteArray::from("red"), ByteArray::from(" blue ")], there, None)
                }
                ColumnWriter::Int32ColumnWriter(writer) => writer.write_batch(&[7, 18_000], there, None),
                ColumnWriter::BoolColumnWriter(writer) => {
                    writer.write_batch(&[true, false, true], None, None)
                }
                _ => panic!("a column of another type"),
            }
            .unwrap();
            column.close().unwrap();
        }
        rows.close().unwrap();
        writer.close().unwrap();
        file
    }

    #[test]
    fn columns_keep_their_types_and_gaps_in_every_compression() {
        let schema =
            "message m { OPTIONAL DOUBLE size; OPTIONAL BYTE_ARRAY colour (UTF8); REQUIRED BOOLEAN ripe; }";
        for compression in [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::ZSTD(Default::default()),
            Compression::GZIP(Default::default()),
        ] {
            let table = parse(file(schema, compression)).unwrap();
            assert_eq!(table.columns(), ["size", "colour", "ripe"]);
            let row = |row| [0, 1, 2].map(|column| table.cell(row, column));
            assert_eq!(row(0), [Cell::Number(0.5), Cell::Text("red"), Cell::Number(1.0)]);
            assert_eq!(row(1), [Cell::Missing, Cell::Missing, Cell::Number(0.0)]);
            assert_eq!(
                row(2),
                [Cell::Number(-3.0), Cell::Text("blue"), Cell::Number(1.0)]
            );
            assert_eq!(table.place(2).to_string(), "row 3");
        }
    }

    #[test]
    fn a_type_that_has_no_place_is_told() {
        let dates = parse(file(
            "message m { OPTIONAL INT32 day (DATE); }",
            Compression::SNAPPY,
        ));
        assert_eq!(
            dates.err().unwrap().to_string(),
            "row 1, column day: expected a number, a boolean or a text, found a date"
        );
    }
}
