//! Columns of numbers, categories and texts as the numbers that an algorithm is fitted on, and the same as nodes of a graph.
//!
//! An encoding is fitted on the training part. In the graph it stands before the model, so that whoever runs the file
//! sends the columns as they are in the data: clients of a server do, and so does any other ONNX runtime.

mod category;
mod graph;
mod number;
mod words;

use ndarray::{Array2, ArrayViewMut2, s};

use self::category::Categories;
use self::number::Filling;
use self::words::Words;
use super::TrainingError;
use super::dataset::{Column, Dataset, Missing, Values};

/// What becomes of a category that the training part did not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// Such a row is refused.
    #[default]
    Refuse,
    /// It is none of the categories: all of their columns are 0.
    Zero,
}

/// How columns become numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoding {
    columns: Vec<Coding>,
}

/// How one column becomes numbers.
#[derive(Clone, Debug, PartialEq)]
struct Coding {
    name: String,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Number(Filling),
    Category(Categories),
    Words(Words),
}

impl Encoding {
    /// Fits on the training part.
    pub fn fit(data: &Dataset, missing: Missing, unknown: Unknown) -> Result<Self, TrainingError> {
        let coding = |column: &Column| -> Result<Coding, TrainingError> {
            let kind = match &column.values {
                Values::Numbers(values) => Kind::Number(Filling::fit(&column.name, values, missing)?),
                Values::Categories(values) => Kind::Category(Categories::fit(values, unknown)),
                Values::Texts(values) => Kind::Words(Words::fit(&column.name, values)?),
            };
            Ok(Coding {
                name: column.name.clone(),
                kind,
            })
        };
        Ok(Self {
            columns: data.columns.iter().map(coding).collect::<Result<_, _>>()?,
        })
    }

    /// Numbers that a row becomes.
    #[must_use]
    pub fn width(&self) -> usize {
        self.columns.iter().map(Coding::width).sum()
    }

    /// What each of these numbers is: the column, or a column and its category or word.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.columns.iter().flat_map(Coding::names).collect()
    }

    /// The columns of `data`, which are those of the fit, as n × width numbers.
    pub fn apply(&self, data: &Dataset) -> Result<Array2<f64>, TrainingError> {
        let mut matrix = Array2::zeros((data.rows(), self.width()));
        let mut start = 0;
        for (coding, column) in self.columns.iter().zip(&data.columns) {
            let end = start + coding.width();
            coding.write(column, matrix.slice_mut(s![.., start..end]))?;
            start = end;
        }
        Ok(matrix)
    }
}

impl Coding {
    fn width(&self) -> usize {
        match &self.kind {
            Kind::Number(_) => 1,
            Kind::Category(categories) => categories.names.len(),
            Kind::Words(words) => words.vocabulary.len(),
        }
    }

    fn names(&self) -> Vec<String> {
        match &self.kind {
            Kind::Number(_) => vec![self.name.clone()],
            Kind::Category(categories) => {
                let named = categories
                    .names
                    .iter()
                    .map(|name| format!("{}={name}", self.name));
                named.collect()
            }
            Kind::Words(words) => {
                let named = words
                    .vocabulary
                    .iter()
                    .map(|word| format!("{}:{word}", self.name));
                named.collect()
            }
        }
    }

    fn write(&self, column: &Column, mut place: ArrayViewMut2<'_, f64>) -> Result<(), TrainingError> {
        match (&self.kind, &column.values) {
            (Kind::Number(filling), Values::Numbers(values)) => {
                for (row, &value) in values.iter().enumerate() {
                    place[[row, 0]] = filling.apply(&self.name, value)?;
                }
                Ok(())
            }
            (Kind::Category(categories), Values::Categories(values)) => {
                for (row, value) in values.iter().enumerate() {
                    if let Some(position) = categories.position(&self.name, value)? {
                        place[[row, position]] = 1.0;
                    }
                }
                Ok(())
            }
            (Kind::Words(words), Values::Texts(values)) => words.write(values, place),
            _ => Err(TrainingError::Fit(format!(
                "column {} has another type than in the fit",
                self.name
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;
    use proptest::prelude::*;

    use super::super::dataset::Target;
    use super::*;

    fn penguins(body: &[f64], island: &[&str]) -> Dataset {
        let column = |name: &str, values| Column {
            name: name.into(),
            values,
        };
        let target = Target::Numbers(ndarray::Array1::zeros(body.len()));
        let island = island.iter().map(|&name| name.to_owned()).collect();
        let columns = vec![
            column("body", Values::Numbers(body.to_vec())),
            column("island", Values::Categories(island)),
        ];
        Dataset::new(columns, target)
    }

    #[test]
    fn categories_are_one_column_each_and_numbers_stay() {
        let data = penguins(&[1.0, 2.0, 4.0], &["Dream", "Biscoe", "Dream"]);
        let encoding = Encoding::fit(&data, Missing::Refuse, Unknown::Refuse).unwrap();
        assert_eq!(encoding.names(), ["body", "island=Biscoe", "island=Dream"]);
        let expected = array![[1.0, 0.0, 1.0], [2.0, 1.0, 0.0], [4.0, 0.0, 1.0]];
        assert_eq!(encoding.apply(&data).unwrap(), expected);
    }

    #[test]
    fn an_unknown_category_is_refused_or_nothing_by_choice() {
        let data = penguins(&[1.0, 2.0], &["Dream", "Biscoe"]);
        let strange = penguins(&[1.0], &["Torgersen"]);
        let refusing = Encoding::fit(&data, Missing::Refuse, Unknown::Refuse).unwrap();
        let error = refusing.apply(&strange).unwrap_err().to_string();
        assert!(error.contains("island") && error.contains("Torgersen"), "{error}");
        let lenient = Encoding::fit(&data, Missing::Refuse, Unknown::Zero).unwrap();
        assert_eq!(lenient.apply(&strange).unwrap(), array![[1.0, 0.0, 0.0]]);
    }

    #[test]
    fn missing_values_become_what_was_chosen() {
        let data = penguins(&[1.0, f64::NAN, 2.0, 9.0], &["Dream", "", "Biscoe", "Dream"]);
        for (missing, filled) in [(Missing::Mean, 4.0), (Missing::Median, 2.0)] {
            let encoding = Encoding::fit(&data, missing, Unknown::Refuse).unwrap();
            assert_eq!(
                encoding.names(),
                ["body", "island=", "island=Biscoe", "island=Dream"]
            );
            let row = encoding.apply(&data).unwrap().row(1).to_owned();
            assert_eq!(row, array![filled, 1.0, 0.0, 0.0]);
        }
    }

    #[test]
    fn a_column_without_a_single_value_cannot_be_filled() {
        let data = penguins(&[f64::NAN, f64::NAN], &["a", "b"]);
        let error = Encoding::fit(&data, Missing::Mean, Unknown::Refuse).unwrap_err();
        assert!(error.to_string().contains("body"), "{error}");
    }

    proptest! {
        #[test]
        fn a_row_is_in_exactly_one_category(places in prop::collection::vec(0_usize..4, 1..40)) {
            let names: Vec<&str> = places.iter().map(|&place| ["a", "b", "c", "d"][place]).collect();
            let data = penguins(&vec![0.0; names.len()], &names);
            let encoding = Encoding::fit(&data, Missing::Refuse, Unknown::Refuse).unwrap();
            for row in encoding.apply(&data).unwrap().rows() {
                prop_assert_eq!(row.sum(), 1.0);
            }
        }
    }
}
