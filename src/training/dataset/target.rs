//! What is to be predicted.

use std::collections::BTreeMap;

use ndarray::{Array1, Array2, Axis};

use super::DatasetError;
use super::table::Table;

/// What is to be predicted from each row.
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
    /// The next values of a series, n × steps.
    Steps(Array2<f64>),
}

/// Which [`Target`] a column is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// Regression: every value is a number.
    Numbers,
    /// Classification: every value is the name of a class.
    Classes,
}

/// Puts names of classes into their order: that of the numbers where all are numbers, else that of their letters.
pub fn sort_class_names(names: &mut [&str]) {
    names.sort_unstable();
    if names.iter().all(|name| name.parse::<f64>().is_ok()) {
        let number = |name: &str| name.parse::<f64>().unwrap_or(f64::NAN);
        names.sort_by(|one, other| number(one).total_cmp(&number(other)));
    }
}

impl Target {
    /// Reads the column `name`.
    pub(super) fn read(table: &Table, name: &str, kind: TargetKind) -> Result<Self, DatasetError> {
        let Some(column) = table.position(name) else {
            return Err(DatasetError::UnknownTarget {
                target: name.to_owned(),
                columns: table.columns().to_vec(),
            });
        };
        match kind {
            TargetKind::Numbers => {
                let values = (0..table.rows()).map(|row| table.number(row, column));
                Ok(Self::Numbers(values.collect::<Result<_, _>>()?))
            }
            TargetKind::Classes => {
                let values = (0..table.rows()).map(|row| table.text(row, column));
                Self::classes(&values.collect::<Result<Vec<_>, _>>()?, name)
            }
        }
    }

    /// Classes by their names, a name a row.
    pub(super) fn classes(texts: &[String], target: &str) -> Result<Self, DatasetError> {
        let mut sizes = BTreeMap::<&str, usize>::new();
        for text in texts {
            *sizes.entry(text).or_default() += 1;
        }
        if let [class] = sizes.keys().collect::<Vec<_>>().as_slice() {
            return Err(DatasetError::OneClass {
                target: target.to_owned(),
                class: (**class).to_owned(),
            });
        }
        if let Some((class, _)) = sizes.iter().find(|&(_, &size)| size == 1) {
            return Err(DatasetError::LoneClass {
                target: target.to_owned(),
                class: (*class).to_owned(),
            });
        }
        let mut names: Vec<&str> = sizes.into_keys().collect();
        sort_class_names(&mut names);
        let places: BTreeMap<&str, usize> = names
            .iter()
            .enumerate()
            .map(|(place, &name)| (name, place))
            .collect();
        let labels = texts.iter().map(|text| places[text.as_str()]).collect();
        Ok(Self::Classes {
            names: names.into_iter().map(str::to_owned).collect(),
            labels,
        })
    }

    /// The rows with the numbers in `chosen`, in that order.
    #[must_use]
    pub fn select(&self, chosen: &[usize]) -> Self {
        match self {
            Self::Numbers(values) => Self::Numbers(values.select(Axis(0), chosen)),
            Self::Steps(values) => Self::Steps(values.select(Axis(0), chosen)),
            Self::Classes { names, labels } => Self::Classes {
                names: names.clone(),
                labels: chosen.iter().map(|&row| labels[row]).collect(),
            },
        }
    }

    /// Rows that there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        match self {
            Self::Numbers(values) => values.len(),
            Self::Steps(values) => values.nrows(),
            Self::Classes { labels, .. } => labels.len(),
        }
    }

    /// For each row the group that a split keeps in proportion: its class, or one group for all.
    #[must_use]
    pub fn strata(&self) -> Vec<usize> {
        match self {
            Self::Classes { labels, .. } => labels.clone(),
            _ => vec![0; self.rows()],
        }
    }

    /// Names of the classes; empty where there are none.
    #[must_use]
    pub fn class_names(&self) -> &[String] {
        match self {
            Self::Classes { names, .. } => names,
            _ => &[],
        }
    }
}
