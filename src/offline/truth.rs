//! A column of the data that answers are compared with.

use ndarray::Array1;

use super::OfflineError;
use crate::model::tensor::Datatype;
use crate::training::dataset::{DatasetError, Place, Table};

/// A column of the data that answers are compared with.
pub(super) struct Truth<'a> {
    table: &'a Table,
    column: usize,
}

impl<'a> Truth<'a> {
    /// The column called `name`.
    pub(super) fn of(table: &'a Table, name: &str) -> Result<Self, DatasetError> {
        let column = table.position(name);
        let column = column.ok_or_else(|| DatasetError::UnknownTarget {
            target: name.to_owned(),
            columns: table.columns().to_vec(),
        })?;
        Ok(Self { table, column })
    }

    /// Its name.
    pub(super) fn name(&self) -> &'a str {
        &self.table.columns()[self.column]
    }

    /// Where a row stands.
    pub(super) fn place(&self, row: usize) -> Place {
        self.table.place(row)
    }

    /// A finite number for each row.
    pub(super) fn numbers(&self) -> Result<Array1<f64>, DatasetError> {
        (0..self.table.rows())
            .map(|row| self.table.number(row, self.column))
            .collect()
    }

    /// The name of a class for each row, spelt as labels of this type are.
    pub(super) fn labels(&self, datatype: Datatype) -> Result<Vec<String>, DatasetError> {
        (0..self.table.rows())
            .map(|row| Ok(spelt(self.table.text(row, self.column)?, datatype)))
            .collect()
    }

    /// For each row the place of its class among those that the model knows.
    pub(super) fn classes(&self, classes: &[String]) -> Result<Vec<usize>, OfflineError> {
        let place = |row| {
            let name = self.table.text(row, self.column)?;
            let is_it = |class: &String| *class == name || *class == spelt(name.clone(), Datatype::I64);
            classes.iter().position(is_it).ok_or_else(|| OfflineError::Row {
                place: self.table.place(row),
                problem: format!(
                    "column {} is {name:?}, and the model knows the classes {}",
                    self.name(),
                    classes.join(", ")
                ),
            })
        };
        (0..self.table.rows()).map(place).collect()
    }
}

/// `text` as a label of this type is written: files write whole numbers as 1.0 as well, and booleans as True or 1.
fn spelt(text: String, datatype: Datatype) -> String {
    match datatype {
        Datatype::Text => text,
        Datatype::Bool => match text.to_ascii_lowercase().as_str() {
            "true" | "1" => "true".to_owned(),
            "false" | "0" => "false".to_owned(),
            _ => text,
        },
        _ => match text.parse::<f64>() {
            Ok(number) if is_whole(number) => format!("{number:.0}"),
            _ => text,
        },
    }
}

/// Whether it is a whole number that 64 bits hold exactly.
pub(super) fn is_whole(number: f64) -> bool {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    number.fract() == 0.0 && number.abs() < EXACT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truths_are_spelt_as_the_labels_are() {
        let spelt = |text: &str, datatype| spelt(text.to_owned(), datatype);
        assert_eq!(spelt("1.0", Datatype::I64), "1");
        assert_eq!(spelt("-0", Datatype::I32), "-0");
        assert_eq!(spelt("1.5", Datatype::I64), "1.5");
        assert_eq!(spelt("1.0", Datatype::Text), "1.0");
        assert_eq!(spelt("True", Datatype::Bool), "true");
        assert_eq!(spelt("0", Datatype::Bool), "false");
        assert_eq!(spelt("yes", Datatype::Bool), "yes");
    }
}
