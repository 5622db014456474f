//! A table of numbers with a target column, read from CSV and checked.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Display;
use std::io::Read;
use std::path::Path;

use csv::StringRecord;
use ndarray::{Array1, Array2, Axis};

/// What the target column holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// A number a row.
    Numbers(Array1<f64>),
    /// A class a row.
    Classes {
        /// Names of the classes: in numeric order where all are numbers, else in the order of their letters.
        names: Vec<String>,
        /// For each row, the place of its class in `names`.
        labels: Vec<usize>,
    },
}

/// Which [`Target`] is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// Regression: every value is a number.
    Numbers,
    /// Classification: every value is the name of a class.
    Classes,
}

/// Rows of features, and what is to be predicted from each.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Names of the columns of `rows`, in the order of the file.
    pub features: Vec<String>,
    /// n × F, finite.
    pub rows: Array2<f64>,
    /// n values.
    pub target: Target,
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
    #[error("there is no column {target} to predict; the columns are {}", columns.join(", "))]
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
    #[error("line {line}, column {column}: the value is missing")]
    Missing {
        /// Where.
        line: u64,
        /// Where.
        column: String,
    },
    /// A value is text.
    #[error("line {line}, column {column}: expected a number, found {found:?}")]
    NotANumber {
        /// Where.
        line: u64,
        /// Where.
        column: String,
        /// What stands there.
        found: String,
    },
    /// A value is infinite, or "not a number".
    #[error("line {line}, column {column}: expected a finite number, found {found}")]
    NotFinite {
        /// Where.
        line: u64,
        /// Where.
        column: String,
        /// What stands there.
        found: String,
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

/// The fewest rows: below this a split has no meaning.
pub const MIN_ROWS: usize = 5;

impl Dataset {
    /// Reads the file at `path`: CSV in UTF-8 with a header; every column but `target` is a feature.
    pub fn read_csv(path: &Path, target: &str, kind: TargetKind) -> Result<Self, DatasetError> {
        let file = std::fs::File::open(path).map_err(|error| unreadable(path, &error))?;
        let table = Table::parse(file).map_err(|error| match error {
            DatasetError::Unreadable { cause, .. } => unreadable(path, &cause),
            other => other,
        })?;
        table.into_dataset(target, kind)
    }

    /// The rows with the numbers in `chosen`, in that order.
    #[must_use]
    pub fn select(&self, chosen: &[usize]) -> Self {
        let target = match &self.target {
            Target::Numbers(values) => Target::Numbers(values.select(Axis(0), chosen)),
            Target::Classes { names, labels } => Target::Classes {
                names: names.clone(),
                labels: chosen.iter().map(|&row| labels[row]).collect(),
            },
        };
        Self {
            features: self.features.clone(),
            rows: self.rows.select(Axis(0), chosen),
            target,
        }
    }

    /// For each row the group that a split keeps in proportion: its class, or one group for all.
    #[must_use]
    pub fn strata(&self) -> Vec<usize> {
        match &self.target {
            Target::Numbers(values) => vec![0; values.len()],
            Target::Classes { labels, .. } => labels.clone(),
        }
    }
}

fn unreadable(path: &Path, cause: &dyn Display) -> DatasetError {
    DatasetError::Unreadable {
        file: path.display().to_string(),
        cause: cause.to_string(),
    }
}

/// The text of a file, as long as it is rectangular.
struct Table {
    columns: Vec<String>,
    /// Line number and values.
    records: Vec<(u64, StringRecord)>,
}

impl Table {
    fn parse(source: impl Read) -> Result<Self, DatasetError> {
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

    fn into_dataset(mut self, target: &str, kind: TargetKind) -> Result<Dataset, DatasetError> {
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

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let missing = Dataset::read_csv(Path::new("no/such.csv"), "t", TargetKind::Numbers).unwrap_err();
        assert!(
            missing.to_string().starts_with("cannot read no/such.csv: "),
            "{missing}"
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latin1.csv");
        std::fs::write(&path, b"a,t\n\xe4,1\n").unwrap();
        let binary = Dataset::read_csv(&path, "t", TargetKind::Numbers)
            .unwrap_err()
            .to_string();
        assert!(
            binary.contains("latin1.csv") && binary.contains("UTF-8"),
            "{binary}"
        );
    }

    #[test]
    fn selected_rows_keep_their_targets() {
        let dataset = numbers("a,t\n1,10\n2,20\n3,30\n4,40\n5,50\n")
            .unwrap()
            .select(&[3, 0]);
        assert_eq!(dataset.rows, array![[4.0], [1.0]]);
        assert_eq!(dataset.target, Target::Numbers(array![40.0, 10.0]));
    }
}
