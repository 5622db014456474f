//! A table with a target column, read from a file and checked.

mod columns;
mod csv_file;
mod error;
mod image_shape;
pub mod images;
mod parquet_file;
mod table;
mod target;

use std::fmt::Display;
use std::path::Path;

use ndarray::{Array1, Array2};

pub use self::columns::{ColumnKind, Missing, Roles};
pub use self::error::{DatasetError, few};
pub use self::image_shape::ImageShape;
pub use self::table::{Cell, Place, Table};
pub use self::target::{Target, TargetKind, sort_class_names};

/// The fewest rows: below this a split has no meaning.
pub const MIN_ROWS: usize = 5;

/// The values of one column, one a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Numbers; not-a-number where one is missing.
    Numbers(Vec<f64>),
    /// Names of categories; empty where one is missing.
    Categories(Vec<String>),
    /// Texts; empty where one is missing.
    Texts(Vec<String>),
}

/// One feature of every row.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its values.
    pub values: Values,
}

/// Rows of features, and what is to be predicted from each.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// In the order of the file, each with n values.
    pub columns: Vec<Column>,
    /// n values.
    pub target: Target,
    /// How much each row counts in a fit: n values above 0, 1 unless classes are weighted.
    pub weights: Array1<f64>,
}

impl Dataset {
    /// Reads the file at `path`.
    pub fn read(path: &Path, roles: &Roles, kind: TargetKind) -> Result<Self, DatasetError> {
        Self::of_table(&Table::read(path)?, roles, kind)
    }

    /// Understands a table by these roles.
    pub fn of_table(table: &Table, roles: &Roles, kind: TargetKind) -> Result<Self, DatasetError> {
        table.check_rows()?;
        roles.check(table)?;
        let columns = roles.features(table)?;
        let target = Target::read(table, &roles.target, kind)?;
        Ok(Self::new(columns, target))
    }

    /// Columns and a target of as many rows, each of which counts once.
    #[must_use]
    pub fn new(columns: Vec<Column>, target: Target) -> Self {
        let weights = Array1::ones(target.rows());
        Self {
            columns,
            target,
            weights,
        }
    }

    /// Rows of numbers (n × F) as columns with these names.
    #[must_use]
    pub fn of_numbers(names: &[String], rows: &Array2<f64>, target: Target) -> Self {
        let columns = names.iter().zip(rows.columns()).map(|(name, column)| Column {
            name: name.clone(),
            values: Values::Numbers(column.to_vec()),
        });
        Self::new(columns.collect(), target)
    }

    /// The rows with the numbers in `chosen`, in that order.
    #[must_use]
    pub fn select(&self, chosen: &[usize]) -> Self {
        let columns = self.columns.iter().map(|column| Column {
            name: column.name.clone(),
            values: column.values.select(chosen),
        });
        Self {
            columns: columns.collect(),
            target: self.target.select(chosen),
            weights: chosen.iter().map(|&row| self.weights[row]).collect(),
        }
    }

    /// The names of the columns.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.columns.iter().map(|column| column.name.clone()).collect()
    }

    /// Rows that there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.target.rows()
    }

    /// The columns as one matrix (n × F), where all are numbers.
    pub fn matrix(&self) -> Result<Array2<f64>, DatasetError> {
        let mut matrix = Array2::zeros((self.rows(), self.columns.len()));
        for (position, column) in self.columns.iter().enumerate() {
            let Values::Numbers(values) = &column.values else {
                return Err(DatasetError::NumbersOnly {
                    column: column.name.clone(),
                });
            };
            matrix.column_mut(position).assign(&Array1::from(values.clone()));
        }
        Ok(matrix)
    }

    /// Gives every class the same weight as a whole: a row counts n / (classes · rows of its class). Does nothing where there
    /// are no classes.
    pub fn balance_classes(&mut self) {
        let Target::Classes { names, labels } = &self.target else {
            return;
        };
        let mut sizes = vec![0_usize; names.len()];
        for &label in labels {
            sizes[label] += 1;
        }
        let present = sizes.iter().filter(|&&size| size > 0).count();
        let weight = |label: usize| labels.len() as f64 / (present * sizes[label]) as f64;
        self.weights = labels.iter().map(|&label| weight(label)).collect();
    }
}

impl Values {
    fn select(&self, chosen: &[usize]) -> Self {
        let texts = |values: &[String]| chosen.iter().map(|&row| values[row].clone()).collect();
        match self {
            Self::Numbers(values) => Self::Numbers(chosen.iter().map(|&row| values[row]).collect()),
            Self::Categories(values) => Self::Categories(texts(values)),
            Self::Texts(values) => Self::Texts(texts(values)),
        }
    }
}

fn unreadable(path: &Path, cause: &dyn Display) -> DatasetError {
    DatasetError::Unreadable {
        file: path.display().to_string(),
        cause: cause.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    fn read(text: &str, roles: &Roles, kind: TargetKind) -> Result<Dataset, DatasetError> {
        Dataset::of_table(&csv_file::parse(text.as_bytes())?, roles, kind)
    }

    fn target() -> Roles {
        Roles {
            target: "t".into(),
            ..Roles::default()
        }
    }

    fn numbers(text: &str) -> Result<Dataset, DatasetError> {
        read(text, &target(), TargetKind::Numbers)
    }

    fn classes(text: &str) -> Result<Dataset, DatasetError> {
        read(text, &target(), TargetKind::Classes)
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let read = |path: &Path| {
            Dataset::read(path, &target(), TargetKind::Numbers)
                .unwrap_err()
                .to_string()
        };
        let missing = read(Path::new("no/such.csv"));
        assert!(missing.starts_with("cannot read no/such.csv: "), "{missing}");
        let folder = tempfile::tempdir().unwrap();
        let of_folder = read(folder.path());
        assert!(of_folder.ends_with("it is not a regular file"), "{of_folder}");
        let path = folder.path().join("latin1.csv");
        std::fs::write(&path, b"a,t\n\xe4,1\n").unwrap();
        let binary = read(&path);
        assert!(
            binary.contains("latin1.csv") && binary.contains("UTF-8"),
            "{binary}"
        );
        let path = folder.path().join("text.parquet");
        std::fs::write(&path, "a,t\n1,1\n").unwrap();
        let text = read(&path);
        assert!(
            text.contains("text.parquet") && text.contains("Parquet"),
            "{text}"
        );
    }

    #[test]
    fn selected_rows_keep_their_targets() {
        let rows = array![[1.0], [2.0], [3.0], [4.0]];
        let target = Target::Numbers(array![10.0, 20.0, 30.0, 40.0]);
        let dataset = Dataset::of_numbers(&["a".to_owned()], &rows, target).select(&[3, 0]);
        assert_eq!(dataset.matrix().unwrap(), array![[4.0], [1.0]]);
        assert_eq!(dataset.target, Target::Numbers(array![40.0, 10.0]));
    }

    #[test]
    fn balanced_classes_count_the_same_as_a_whole() {
        let target = Target::Classes {
            names: vec!["a".into(), "b".into()],
            labels: vec![0, 0, 0, 1],
        };
        let mut dataset = Dataset::new(Vec::new(), target);
        dataset.balance_classes();
        let third = 4.0 / 6.0;
        assert_eq!(dataset.weights, array![third, third, third, 2.0]);
    }

    #[test]
    fn the_target_may_stand_anywhere_and_is_no_feature() {
        let dataset = numbers("a,t,b\n1,10,2\n3,20,4\n5,30,6\n 7 , 4e1 ,8\n-9,50,.5\n").unwrap();
        assert_eq!(dataset.names(), ["a", "b"]);
        assert_eq!(
            dataset.matrix().unwrap(),
            array![[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0], [-9.0, 0.5]]
        );
        assert_eq!(
            dataset.target,
            Target::Numbers(array![10.0, 20.0, 30.0, 40.0, 50.0])
        );
    }

    #[test]
    fn numeric_classes_are_ordered_as_numbers() {
        let dataset = classes("a,t\n1,10\n2,9\n3,10\n4,9\n5,100\n6,100\n").unwrap();
        let Target::Classes { names, labels } = dataset.target else {
            panic!("classes were asked for")
        };
        assert_eq!(names, ["9", "10", "100"]);
        assert_eq!(labels, [1, 0, 1, 0, 2, 2]);
    }

    #[test]
    fn a_byte_order_mark_and_windows_line_ends_are_taken() {
        let dataset = numbers("\u{feff}a,t\r\n1,1\r\n2,2\r\n3,3\r\n4,4\r\n5,5\r\n").unwrap();
        assert_eq!(dataset.names(), ["a"]);
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
        let lone = classes("a,t\n1,x\n2,x\n3,y\n4,x\n5,x\n").unwrap_err();
        assert_eq!(
            lone,
            DatasetError::LoneClass {
                target: "t".into(),
                class: "y".into()
            }
        );
        let one = classes("a,t\n1,x\n2,x\n3,x\n4,x\n5,x\n").unwrap_err();
        assert_eq!(
            one,
            DatasetError::OneClass {
                target: "t".into(),
                class: "x".into()
            }
        );
    }

    #[test]
    fn columns_have_the_role_that_they_are_given() {
        let text = "id,colour,size,t\nx1,red,1,1\nx2,blue,2,2\nx3,red,3,3\nx4,red,4,4\nx5,blue,5,5\n";
        let roles = Roles {
            categorical: vec!["colour".into()],
            ignored: vec!["id".into()],
            ..target()
        };
        let dataset = read(text, &roles, TargetKind::Numbers).unwrap();
        assert_eq!(dataset.names(), ["colour", "size"]);
        let colours = ["red", "blue", "red", "red", "blue"].map(str::to_owned);
        assert_eq!(dataset.columns[0].values, Values::Categories(colours.to_vec()));
        assert_eq!(
            dataset.matrix().unwrap_err().to_string(),
            "column colour is categorical or text; this algorithm takes columns of numbers only"
        );
        for (wrong, expected) in [
            (
                vec!["hue"],
                "there is no column hue; the columns are id, colour, size, t",
            ),
            (
                vec!["t"],
                "column t is given two roles; a column is the target, categorical, text or ignored",
            ),
        ] {
            let roles = Roles {
                categorical: wrong.into_iter().map(str::to_owned).collect(),
                ..target()
            };
            assert_eq!(
                read(text, &roles, TargetKind::Numbers).unwrap_err().to_string(),
                expected
            );
        }
    }

    #[test]
    fn gaps_are_kept_where_they_are_to_be_filled() {
        let text = "a,c,t\n1,x,1\n,x,2\nNA,,3\n4,y,4\n5,y,5\n";
        let roles = Roles {
            categorical: vec!["c".into()],
            missing: Missing::Mean,
            ..target()
        };
        let dataset = read(text, &roles, TargetKind::Numbers).unwrap();
        let Values::Numbers(values) = &dataset.columns[0].values else {
            panic!("numbers")
        };
        assert!(
            values[1].is_nan() && values[2].is_nan() && values[3] == 4.0,
            "{values:?}"
        );
        let Values::Categories(values) = &dataset.columns[1].values else {
            panic!("categories")
        };
        assert_eq!(values[2], "");
        // What is to be predicted is never filled.
        let gap = read(
            "a,t\n1,\n2,2\n3,3\n4,4\n5,5\n",
            &roles_of_numbers(),
            TargetKind::Numbers,
        );
        assert_eq!(
            gap.unwrap_err().to_string(),
            "line 2, column t: the value is missing"
        );
    }

    fn roles_of_numbers() -> Roles {
        Roles {
            missing: Missing::Median,
            ..target()
        }
    }
}
