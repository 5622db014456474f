//! Predictions for every row of a file, in order, as CSV; for a series, forecasts.

use std::io::Write;

use super::answers::Answers;
use super::forecast::{Series, is_series};
use super::model::ROWS_AT_ONCE;
use super::rows::Rows;
use super::series::Windows;
use super::sheet::{Sheet, own, written};
use super::{OfflineError, OfflineModel};
use crate::training::dataset::Table;

/// What is to be written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// The column that a model of texts or pictures takes, or that holds the series of a forecast.
    pub column: Option<&'a str>,
    /// The row's own columns before what is predicted.
    pub keep: bool,
    /// Of a series, the forecast from each row on instead of that after its end.
    pub rolling: bool,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Predicted {
    /// Rows at the start of a series at which no window ends, so that there is no forecast.
    pub without_window: usize,
}

/// Writes a CSV line for each row of `table` to `output`, whose name is `file`: the prediction and, for classes, the probability
/// of each. Of a model that forecasts, the table may hold the series instead of windows: then there is a line for each step
/// after its end, or for each row. `progress` is told how many rows are done.
pub fn predict(
    model: &mut OfflineModel,
    table: &Table,
    wanted: &Wanted<'_>,
    output: (&mut dyn Write, &str),
    progress: &mut dyn FnMut(usize),
) -> Result<Predicted, OfflineError> {
    let mut sheet = Sheet::new(output);
    let predicted = match Windows::of(model) {
        Ok(Some(windows)) if is_series(model, &windows, table, wanted) => {
            let series = Series::of(model, &windows, table, wanted)?;
            if wanted.rolling {
                series.rolling(model, wanted.keep, &mut sheet, progress)?
            } else {
                series.after_the_end(model, &mut sheet)?
            }
        }
        Err(error) if wanted.rolling => return Err(error),
        Ok(None) if wanted.rolling => {
            return Err(OfflineError::RollingWithoutSeries {
                model: model.name.clone(),
                task: model.schema.task(),
            });
        }
        _ => rows(model, table, wanted, &mut sheet, progress)?,
    };
    sheet.finish()?;
    Ok(predicted)
}

fn rows(
    model: &mut OfflineModel,
    table: &Table,
    wanted: &Wanted<'_>,
    sheet: &mut Sheet<'_, '_>,
    progress: &mut dyn FnMut(usize),
) -> Result<Predicted, OfflineError> {
    let rows = Rows::of(model, table, &model.trained_on(), wanted.column)?;
    for start in (0..table.rows()).step_by(ROWS_AT_ONCE) {
        let chunk = start..table.rows().min(start + ROWS_AT_ONCE);
        let answers = Answers::to(model, table, &rows, chunk.clone())?;
        if start == 0 {
            let mut header = if wanted.keep {
                table.columns().to_vec()
            } else {
                Vec::new()
            };
            header.extend(names(model, &answers));
            sheet.line(&header)?;
        }
        for (offset, row) in chunk.clone().enumerate() {
            let mut line = if wanted.keep { own(table, row) } else { Vec::new() };
            line.extend(values(&answers, offset));
            sheet.line(&line)?;
        }
        progress(chunk.end);
    }
    Ok(Predicted::default())
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
    match answers {
        Answers::Classes {
            labels,
            probabilities,
        } => {
            let probabilities = probabilities.row(row);
            std::iter::once(labels[row].clone())
                .chain(probabilities.iter().copied().map(written))
                .collect()
        }
        Answers::Numbers(numbers) => numbers.row(row).iter().copied().map(written).collect(),
        Answers::Texts(rows) => rows[row].clone(),
    }
}
