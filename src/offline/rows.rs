//! From the rows of a table to the rows of a request.

use std::ops::Range;

use super::{OfflineError, OfflineModel};
use crate::api::datum::Datum;
use crate::model::schema::Layout;
use crate::model::signature::TensorSpec;
use crate::model::tensor::{Datatype, Tensor};
use crate::training::dataset::{Cell, DatasetError, Place, Table};

/// Which columns of a table make a row, and how.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rows {
    /// The columns, in the order in which the model takes them, each with whether it holds texts.
    columns: Vec<(usize, bool)>,
    form: Form,
    /// Whether the model takes rows with gaps.
    takes_missing: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Form {
    /// A list of the columns.
    List,
    /// The only column alone.
    Alone,
    /// Lists within lists, of these sizes.
    Nested(Vec<usize>),
}

impl Rows {
    /// Finds the columns that the model takes: by their names where it names its features, else all but `targets`, in their
    /// order. `column` is the one column that a model of texts or pictures takes.
    pub(super) fn of(
        model: &OfflineModel,
        table: &Table,
        targets: &[String],
        column: Option<&str>,
    ) -> Result<Self, OfflineError> {
        let find = Find {
            model,
            table,
            targets,
        };
        let inputs = &model.schema.signature.inputs;
        let takes_missing = model.schema.missing_values;
        if model.schema.text.is_some() {
            return find.alone(column);
        }
        match &model.schema.layout {
            Layout::Features { count, names } => {
                let is_text = is_text(&inputs[0]);
                let places = if names.ordered().is_empty() {
                    find.all(*count)?
                } else {
                    find.named(names.ordered())?
                };
                Ok(Self {
                    columns: places.into_iter().map(|place| (place, is_text)).collect(),
                    form: Form::List,
                    takes_missing,
                })
            }
            Layout::Inputs(names) => {
                let places = find.named(names.ordered())?;
                let are_texts = inputs.iter().map(is_text);
                Ok(Self {
                    columns: places.into_iter().zip(are_texts).collect(),
                    form: Form::List,
                    takes_missing,
                })
            }
            Layout::Single | Layout::Image(_) => find.single(&inputs[0], column),
        }
    }

    /// What the model puts out for these rows of a table.
    pub(super) fn run(
        &self,
        model: &mut OfflineModel,
        table: &Table,
        chunk: Range<usize>,
    ) -> Result<Vec<Tensor>, OfflineError> {
        let data: Result<Vec<Datum<'_>>, _> = chunk.clone().map(|row| self.row(table, row)).collect();
        let places: Vec<Place> = chunk.map(|row| table.place(row)).collect();
        model.run(&data?, &places)
    }

    /// One row of the table as a row of a request.
    fn row<'t>(&self, table: &'t Table, row: usize) -> Result<Datum<'t>, DatasetError> {
        let mut values = Vec::with_capacity(self.columns.len());
        for &(column, is_text) in &self.columns {
            values.push(self.datum(table, row, column, is_text)?);
        }
        Ok(match &self.form {
            Form::List => Datum::List(values),
            Form::Alone => values.pop().unwrap_or(Datum::Null),
            Form::Nested(sizes) => nest(values, sizes),
        })
    }
}

impl Rows {
    fn datum<'t>(
        &self,
        table: &'t Table,
        row: usize,
        column: usize,
        is_text: bool,
    ) -> Result<Datum<'t>, DatasetError> {
        match table.cell(row, column) {
            Cell::Missing if self.takes_missing => Ok(Datum::Null),
            Cell::Text("NaN" | "nan") if self.takes_missing && !is_text => Ok(Datum::Null),
            Cell::Text(text) if is_text => Ok(Datum::Text(text.into())),
            _ if is_text => Ok(Datum::Text(table.text(row, column)?.into())),
            _ => Ok(Datum::Float(table.number(row, column)?)),
        }
    }
}

/// What is looked through for columns.
struct Find<'a> {
    model: &'a OfflineModel,
    table: &'a Table,
    targets: &'a [String],
}

impl Find<'_> {
    fn named(&self, names: &[String]) -> Result<Vec<usize>, OfflineError> {
        let places: Option<Vec<usize>> = names.iter().map(|name| self.table.position(name)).collect();
        places.ok_or_else(|| {
            let is_lacking = |name: &&String| self.table.position(name).is_none();
            OfflineError::LackingColumns {
                model: self.model.name.clone(),
                lacking: names.iter().filter(is_lacking).cloned().collect(),
                columns: self.table.columns().to_vec(),
            }
        })
    }

    /// All columns but the targets, if they are as many as the model takes.
    fn all(&self, expected: usize) -> Result<Vec<usize>, OfflineError> {
        let others = self.others();
        if others.len() == expected {
            return Ok(others);
        }
        Err(self.unclear(
            format!("{expected} values a row without names"),
            others.len(),
            "leave the others out, or name the features in model.toml",
        ))
    }

    /// The values of a model with one input that is no flat list: a text or a picture, or numbers in a shape.
    fn single(&self, input: &TensorSpec, column: Option<&str>) -> Result<Rows, OfflineError> {
        let others = self.others();
        let sizes = self.model.schema.signature.row_shape(input);
        let fixed: Option<Vec<usize>> = sizes.iter().copied().collect();
        match fixed {
            Some(sizes)
                if column.is_none() && !is_text(input) && sizes.iter().product::<usize>() == others.len() =>
            {
                Ok(self.rows(others, false, Form::Nested(sizes)))
            }
            _ => self.alone(column),
        }
    }

    /// One column, which holds a text or a picture: the one that is named, or the only one.
    fn alone(&self, column: Option<&str>) -> Result<Rows, OfflineError> {
        if let Some(column) = column {
            let places = self.named(&[column.to_owned()])?;
            return Ok(self.rows(places, true, Form::Alone));
        }
        let others = self.others();
        if others.len() == 1 {
            return Ok(self.rows(others, true, Form::Alone));
        }
        Err(self.unclear(
            "one value a row".to_owned(),
            others.len(),
            "say with --column which one holds it",
        ))
    }

    fn rows(&self, places: Vec<usize>, are_texts: bool, form: Form) -> Rows {
        Rows {
            columns: places.into_iter().map(|place| (place, are_texts)).collect(),
            form,
            takes_missing: self.model.schema.missing_values,
        }
    }

    fn others(&self) -> Vec<usize> {
        let columns = self.table.columns().iter().enumerate();
        let others = columns.filter(|(_, name)| !self.targets.contains(name));
        others.map(|(place, _)| place).collect()
    }

    fn unclear(&self, expected: String, found: usize, hint: &'static str) -> OfflineError {
        OfflineError::UnclearColumns {
            model: self.model.name.clone(),
            expected,
            found,
            hint,
        }
    }
}

fn is_text(input: &TensorSpec) -> bool {
    input.datatype == Datatype::Text
}

/// Values in row-major order as lists within lists.
pub(super) fn nest<'a>(values: Vec<Datum<'a>>, sizes: &[usize]) -> Datum<'a> {
    let [_, inner @ ..] = sizes else {
        return values.into_iter().next().unwrap_or(Datum::Null);
    };
    if inner.is_empty() {
        return Datum::List(values);
    }
    let length = inner.iter().product::<usize>().max(1);
    let mut values = values.into_iter();
    let mut lists = Vec::new();
    loop {
        let part: Vec<Datum<'a>> = values.by_ref().take(length).collect();
        if part.is_empty() {
            return Datum::List(lists);
        }
        lists.push(nest(part, inner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_values_are_nested_in_their_order() {
        let values = (0..6).map(Datum::Int).collect();
        let list = |values: &[i64]| Datum::List(values.iter().copied().map(Datum::Int).collect());
        let expected = Datum::List(vec![Datum::List(vec![list(&[0, 1, 2]), list(&[3, 4, 5])])]);
        assert_eq!(nest(values, &[1, 2, 3]), expected);
    }
}
