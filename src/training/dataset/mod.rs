//! A table of numbers with a target column, read from CSV and checked.

mod error;
mod table;

use std::fmt::Display;
use std::fs::File;
use std::path::Path;

use ndarray::{Array1, Array2, Axis};

use self::table::Table;

pub use self::error::DatasetError;

/// The fewest rows: below this a split has no meaning.
pub const MIN_ROWS: usize = 5;

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

impl Dataset {
    /// Reads the file at `path`: CSV in UTF-8 with a header; every column but `target` is a feature.
    pub fn read_csv(path: &Path, target: &str, kind: TargetKind) -> Result<Self, DatasetError> {
        let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        // Reading a device or a pipe could go on for ever; the table is held in memory.
        if !metadata.is_file() {
            return Err(unreadable(path, &"it is not a regular file"));
        }
        let file = File::open(path).map_err(|error| unreadable(path, &error))?;
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

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let missing = Dataset::read_csv(Path::new("no/such.csv"), "t", TargetKind::Numbers).unwrap_err();
        assert!(
            missing.to_string().starts_with("cannot read no/such.csv: "),
            "{missing}"
        );
        let folder = tempfile::tempdir().unwrap();
        let of_folder = Dataset::read_csv(folder.path(), "t", TargetKind::Numbers).unwrap_err();
        assert!(
            of_folder.to_string().ends_with("it is not a regular file"),
            "{of_folder}"
        );
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
        let dataset = Dataset {
            features: vec!["a".into()],
            rows: array![[1.0], [2.0], [3.0], [4.0]],
            target: Target::Numbers(array![10.0, 20.0, 30.0, 40.0]),
        };
        let dataset = dataset.select(&[3, 0]);
        assert_eq!(dataset.rows, array![[4.0], [1.0]]);
        assert_eq!(dataset.target, Target::Numbers(array![40.0, 10.0]));
    }
}
