//! CSV text → numbers and classes, with the place of each fault.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;

use csv::StringRecord;
use ndarray::{Array1, Array2};

use super::{Dataset, DatasetError, MIN_ROWS, Target, TargetKind};

/// The text of a file, as long as it is rectangular.
pub(super) struct Table {
    columns: Vec<String>,
    /// Line number and values.
    records: Vec<(u64, StringRecord)>,
}

impl Table {
    pub(super) fn parse(source: impl Read) -> Result<Self, DatasetError> {
        let parse_error = |error: csv::Error| DatasetError::Unreadable {
            file: String::new(),
            cause: error.to_string(),
        };
        let mut reader = csv::ReaderBuilder::new()
            .flexible(true)
            .trim(csv::Trim::All)
            .from_reader(source);
        let columns: Vec<String> = reader
            .headers()
            .map_err(parse_error)?
            .iter()
            .map(str::to_owned)
            .collect();
        check_header(&columns)?;
        let mut records = Vec::new();
        for record in reader.records() {
            let record = record.map_err(parse_error)?;
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
        match records.len() {
            0 => Err(DatasetError::Empty),
            found if found < MIN_ROWS => Err(DatasetError::TooFewRows { found }),
            _ => Ok(Self { columns, records }),
        }
    }

    pub(super) fn into_dataset(mut self, target: &str, kind: TargetKind) -> Result<Dataset, DatasetError> {
        let Some(place) = self.columns.iter().position(|column| column == target) else {
            return Err(DatasetError::UnknownTarget {
                target: target.to_owned(),
                columns: self.columns,
            });
        };
        if self.columns.len() == 1 {
            return Err(DatasetError::NoFeatures {
                target: target.to_owned(),
            });
        }
        let feature_places: Vec<usize> = (0..self.columns.len())
            .filter(|&column| column != place)
            .collect();
        let mut values = Vec::with_capacity(self.records.len() * feature_places.len());
        for record in &self.records {
            for &column in &feature_places {
                values.push(self.number(record, column)?);
            }
        }
        let rows = Array2::from_shape_vec((self.records.len(), feature_places.len()), values)
            .expect("one value was pushed for each row and feature");
        let target = match kind {
            TargetKind::Numbers => self.numbers(place)?,
            TargetKind::Classes => self.classes(place)?,
        };
        self.columns.remove(place);
        Ok(Dataset {
            features: self.columns,
            rows,
            target,
        })
    }

    fn text<'a>(
        &self,
        (line, record): &'a (u64, StringRecord),
        column: usize,
    ) -> Result<&'a str, DatasetError> {
        match &record[column] {
            "" => Err(DatasetError::Missing {
                line: *line,
                column: self.columns[column].clone(),
            }),
            text => Ok(text),
        }
    }

    fn number(&self, record: &(u64, StringRecord), column: usize) -> Result<f64, DatasetError> {
        let text = self.text(record, column)?;
        let place = || (record.0, self.columns[column].clone(), text.to_owned());
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            Ok(_) => {
                let (line, column, found) = place();
                Err(DatasetError::NotFinite { line, column, found })
            }
            Err(_) => {
                let (line, column, found) = place();
                Err(DatasetError::NotANumber { line, column, found })
            }
        }
    }

    fn numbers(&self, column: usize) -> Result<Target, DatasetError> {
        let values: Result<Array1<f64>, _> = self
            .records
            .iter()
            .map(|record| self.number(record, column))
            .collect();
        Ok(Target::Numbers(values?))
    }

    fn classes(&self, column: usize) -> Result<Target, DatasetError> {
        let texts: Vec<&str> = self
            .records
            .iter()
            .map(|record| self.text(record, column))
            .collect::<Result<_, _>>()?;
        let mut sizes = BTreeMap::<&str, usize>::new();
        for text in &texts {
            *sizes.entry(text).or_default() += 1;
        }
        let target = self.columns[column].clone();
        if sizes.len() == 1 {
            return Err(DatasetError::OneClass {
                target,
                class: texts[0].to_owned(),
            });
        }
        if let Some((class, _)) = sizes.iter().find(|&(_, &size)| size == 1) {
            return Err(DatasetError::LoneClass {
                target,
                class: (*class).to_owned(),
            });
        }
        let mut names: Vec<&str> = sizes.into_keys().collect();
        if names.iter().all(|name| name.parse::<f64>().is_ok()) {
            names.sort_by(|one, other| {
                let number = |name: &str| name.parse::<f64>().unwrap_or(f64::NAN);
                number(one).total_cmp(&number(other))
            });
        }
        let places: BTreeMap<&str, usize> = names
            .iter()
            .enumerate()
            .map(|(place, &name)| (name, place))
            .collect();
        let labels = texts.iter().map(|text| places[text]).collect();
        Ok(Target::Classes {
            names: names.into_iter().map(str::to_owned).collect(),
            labels,
        })
    }
}

fn check_header(columns: &[String]) -> Result<(), DatasetError> {
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

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    fn read(text: &str, kind: TargetKind) -> Result<Dataset, DatasetError> {
        Table::parse(text.as_bytes())?.into_dataset("t", kind)
    }

    fn numbers(text: &str) -> Result<Dataset, DatasetError> {
        read(text, TargetKind::Numbers)
    }

    #[test]
    fn the_target_may_stand_anywhere_and_is_no_feature() {
        let dataset = numbers("a,t,b\n1,10,2\n3,20,4\n5,30,6\n 7 , 4e1 ,8\n-9,50,.5\n").unwrap();
        assert_eq!(dataset.features, ["a", "b"]);
        assert_eq!(
            dataset.rows,
            array![[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0], [-9.0, 0.5]]
        );
        assert_eq!(
            dataset.target,
            Target::Numbers(array![10.0, 20.0, 30.0, 40.0, 50.0])
        );
    }

    #[test]
    fn numeric_classes_are_ordered_as_numbers() {
        let dataset = read("a,t\n1,10\n2,9\n3,10\n4,9\n5,100\n6,100\n", TargetKind::Classes).unwrap();
        let Target::Classes { names, labels } = dataset.target else {
            panic!("classes were asked for")
        };
        assert_eq!(names, ["9", "10", "100"]);
        assert_eq!(labels, [1, 0, 1, 0, 2, 2]);
    }

    #[test]
    fn a_byte_order_mark_and_windows_line_ends_are_taken() {
        let dataset = numbers("\u{feff}a,t\r\n1,1\r\n2,2\r\n3,3\r\n4,4\r\n5,5\r\n").unwrap();
        assert_eq!(dataset.features, ["a"]);
    }

    #[test]
    fn every_fault_names_its_place() {
        let rest = "1,1\n2,2\n3,3\n4,4\n";
        for (text, expected) in [
            (
                format!("a,t\n{rest},5\n"),
                "line 6, column a: the value is missing",
            ),
            (
                format!("a,t\n{rest}5,\n"),
                "line 6, column t: the value is missing",
            ),
            (
                format!("a,t\nx,0\n{rest}"),
                "line 2, column a: expected a number, found \"x\"",
            ),
            (
                format!("a,t\n1,?\n{rest}"),
                "line 2, column t: expected a number, found \"?\"",
            ),
            (
                format!("a,t\n{rest}NaN,5\n"),
                "line 6, column a: expected a finite number, found NaN",
            ),
            (
                format!("a,t\n{rest}1e999,5\n"),
                "line 6, column a: expected a finite number, found 1e999",
            ),
            (
                format!("a,t\n{rest}5\n"),
                "line 6 has 1 values; the header names 2 columns",
            ),
            (
                format!("a,t\n{rest}5,5,5\n"),
                "line 6 has 3 values; the header names 2 columns",
            ),
            (format!("a,a,t\n{rest}"), "column a is named twice in the header"),
            (
                format!("a,,t\n{rest}"),
                "column number 2 has no name in the header",
            ),
            (
                format!("a,b\n{rest}5,5\n"),
                "there is no column t to predict; the columns are a, b",
            ),
            (
                "t\n1\n2\n3\n4\n5\n".into(),
                "the data has no column besides the target t",
            ),
            (
                format!("a,t\n{rest}"),
                "the data has 4 rows; at least 5 are needed",
            ),
            (
                "a,t\n".into(),
                "the data has no rows; a header line and at least 5 rows are needed",
            ),
            (
                String::new(),
                "the data has no rows; a header line and at least 5 rows are needed",
            ),
        ] {
            assert_eq!(numbers(&text).unwrap_err().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn classes_that_cannot_be_split_are_named() {
        let lone = read("a,t\n1,x\n2,x\n3,y\n4,x\n5,x\n", TargetKind::Classes).unwrap_err();
        assert_eq!(
            lone,
            DatasetError::LoneClass {
                target: "t".into(),
                class: "y".into()
            }
        );
        let one = read("a,t\n1,x\n2,x\n3,x\n4,x\n5,x\n", TargetKind::Classes).unwrap_err();
        assert_eq!(
            one,
            DatasetError::OneClass {
                target: "t".into(),
                class: "x".into()
            }
        );
    }
}
