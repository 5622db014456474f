//! Predictions for every row of a file, in order, as CSV.

use std::io::Write;

use super::answers::Answers;
use super::model::ROWS_AT_ONCE;
use super::rows::Rows;
use super::{OfflineError, OfflineModel};
use crate::training::dataset::{Cell, Table};

/// Writes a CSV line for each row of `table` to `output`, whose name is `file`: the row's own columns where `keep` says so,
/// then the prediction and, for classes, the probability of each. `progress` is told how many rows are done.
pub fn predict(
    model: &mut OfflineModel,
    table: &Table,
    column: Option<&str>,
    keep: bool,
    (output, file): (&mut dyn Write, &str),
    progress: &mut dyn FnMut(usize),
) -> Result<(), OfflineError> {
    let rows = Rows::of(model, table, &model.trained_on(), column)?;
    let mut writer = csv::Writer::from_writer(output);
    let write_error = |error: csv::Error| OfflineError::Write {
        file: file.to_owned(),
        source: error.into(),
    };
    for start in (0..table.rows()).step_by(ROWS_AT_ONCE) {
        let chunk = start..table.rows().min(start + ROWS_AT_ONCE);
        let answers = Answers::to(model, table, &rows, chunk.clone())?;
        if start == 0 {
            let mut header = if keep {
                table.columns().to_vec()
            } else {
                Vec::new()
            };
            header.extend(names(model, &answers));
            writer.write_record(&header).map_err(write_error)?;
        }
        for (offset, row) in chunk.clone().enumerate() {
            let mut record = if keep { own(table, row) } else { Vec::new() };
            record.extend(values(&answers, offset));
            writer.write_record(&record).map_err(write_error)?;
        }
        progress(chunk.end);
    }
    writer.flush().map_err(|source| OfflineError::Write {
        file: file.to_owned(),
        source,
    })
}

/// The names of the columns that predictions fill.
fn names(model: &OfflineModel, answers: &Answers) -> Vec<String> {
    let numbered = |count: usize| match count {
        1 => vec!["prediction".to_owned()],
        _ => (1..=count).map(|number| format!("prediction_{number}")).collect(),
    };
    match answers {
        Answers::Classes { probabilities, .. } => {
            let classes = model.schema.classes();
            let name = |class: usize| classes.get(class).cloned().unwrap_or_else(|| class.to_string());
            let of_classes = (0..probabilities.ncols()).map(|class| format!("probability_{}", name(class)));
            std::iter::once("prediction".to_owned())
                .chain(of_classes)
                .collect()
        }
        Answers::Numbers(numbers) => numbered(numbers.ncols()),
        Answers::Texts(rows) => numbered(rows.first().map_or(0, Vec::len)),
    }
}

fn values(answers: &Answers, row: usize) -> Vec<String> {
    // Models compute in 32 bits; more digits would only be noise.
    let written = |number: &f64| (*number as f32).to_string();
    match answers {
        Answers::Classes {
            labels,
            probabilities,
        } => {
            let probabilities = probabilities.row(row);
            std::iter::once(labels[row].clone())
                .chain(probabilities.iter().map(written))
                .collect()
        }
        Answers::Numbers(numbers) => numbers.row(row).iter().map(written).collect(),
        Answers::Texts(rows) => rows[row].clone(),
    }
}

fn own(table: &Table, row: usize) -> Vec<String> {
    let text = |column| match table.cell(row, column) {
        Cell::Missing => String::new(),
        Cell::Text(text) => text.to_owned(),
        Cell::Number(number) => number.to_string(),
    };
    (0..table.columns().len()).map(text).collect()
}
