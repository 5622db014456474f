//! The figures of a model on new data.

use ndarray::{Array1, Array2, Axis, concatenate};

use super::answers::Answers;
use super::model::ROWS_AT_ONCE;
use super::rows::Rows;
use super::{OfflineError, OfflineModel};
use crate::api::datum::Datum;
use crate::model::schema::{Answer, Layout};
use crate::training::dataset::{DatasetError, Place, Table, Target};
use crate::training::evaluation::Evaluation;

/// What came of it.
pub struct Evaluated {
    /// The figures.
    pub evaluation: Evaluation,
    /// The names of the classes; empty where numbers are predicted.
    pub classes: Vec<String>,
    /// Rows that there were.
    pub rows: usize,
}

/// Compares what the model says of every row of `table` with the column `target`; without one, with the column that it was
/// trained on. `progress` is told how many rows are done.
pub fn evaluate(
    model: &mut OfflineModel,
    table: &Table,
    target: Option<&str>,
    column: Option<&str>,
    progress: &mut dyn FnMut(usize),
) -> Result<Evaluated, OfflineError> {
    let trained_on = model.metadata.source.as_ref().map(|source| source.target.clone());
    let Some(target) = target.map(str::to_owned).or(trained_on) else {
        return Err(incomparable(
            model,
            "model.toml does not say which column it predicts; give --target",
        ));
    };
    let Some(position) = table.position(&target) else {
        return Err(DatasetError::UnknownTarget {
            target,
            columns: table.columns().to_vec(),
        }
        .into());
    };
    if table.rows() == 0 {
        return Err(DatasetError::Empty.into());
    }
    if let Answer::Forecast { output } = model.schema.answer {
        return forecast(model, table, position, output, progress);
    }
    let rows = Rows::of(model, table, Some(&target), column)?;
    let mut predictions: Vec<Array2<f64>> = Vec::new();
    let mut classes = None;
    for start in (0..table.rows()).step_by(ROWS_AT_ONCE) {
        let chunk = start..table.rows().min(start + ROWS_AT_ONCE);
        match Answers::to(model, table, &rows, chunk.clone())? {
            Answers::Classes { probabilities, .. } => {
                classes = Some(class_names(model, probabilities.ncols()));
                predictions.push(probabilities);
            }
            Answers::Numbers(numbers) if numbers.ncols() == 1 => predictions.push(numbers),
            _ => {
                return Err(incomparable(
                    model,
                    "it predicts neither one class nor one number a row",
                ));
            }
        }
        progress(chunk.end);
    }
    let truth = match &classes {
        Some(classes) => labels(table, position, classes)?,
        None => numbers(table, position)?,
    };
    let parts: Vec<_> = predictions.iter().map(Array2::view).collect();
    let predictions = concatenate(Axis(0), &parts)
        .map_err(|_| incomparable(model, "it answers rows with different numbers of values"))?;
    Ok(Evaluated {
        evaluation: Evaluation::of(predictions.view(), &truth),
        classes: classes.unwrap_or_default(),
        rows: table.rows(),
    })
}

/// Compares every forecast of a series with what came: the column holds the series, in the order of time.
fn forecast(
    model: &mut OfflineModel,
    table: &Table,
    column: usize,
    output: usize,
    progress: &mut dyn FnMut(usize),
) -> Result<Evaluated, OfflineError> {
    let (Layout::Features { count: window, .. }, [Some(horizon)]) = (
        model.schema.layout.clone(),
        model
            .schema
            .signature
            .row_shape(&model.schema.signature.outputs[output]),
    ) else {
        return Err(incomparable(model, "its rows or forecasts have no fixed length"));
    };
    let horizon = *horizon;
    let series: Vec<f64> = (0..table.rows())
        .map(|row| table.number(row, column))
        .collect::<Result<_, _>>()?;
    let cuts: Vec<&[f64]> = series.windows(window + horizon).collect();
    if cuts.is_empty() {
        let reason = format!(
            "a window and its forecast are {} values, and the series has {}",
            window + horizon,
            series.len()
        );
        return Err(incomparable(model, &reason));
    }
    let mut forecasts = Vec::new();
    let mut truth = Vec::new();
    for (chunk, cuts) in cuts.chunks(ROWS_AT_ONCE).enumerate() {
        let row = |cut: &&[f64]| Datum::List(cut[..window].iter().copied().map(Datum::Float).collect());
        let data: Vec<Datum<'_>> = cuts.iter().map(row).collect();
        let first = chunk * ROWS_AT_ONCE;
        let places: Vec<Place> = (first..first + cuts.len()).map(|row| table.place(row)).collect();
        let outputs = model.run(&data, &places)?;
        if let Answers::Numbers(numbers) = Answers::of(model, &outputs) {
            forecasts.extend(numbers);
        }
        truth.extend(cuts.iter().flat_map(|cut| &cut[window..]).copied());
        progress(first + cuts.len());
    }
    let shape = (cuts.len(), horizon);
    let (Ok(forecasts), Ok(truth)) = (
        Array2::from_shape_vec(shape, forecasts),
        Array2::from_shape_vec(shape, truth),
    ) else {
        return Err(incomparable(
            model,
            "it answers with another number of values than it declares",
        ));
    };
    Ok(Evaluated {
        evaluation: Evaluation::of(forecasts.view(), &Target::Steps(truth)),
        classes: Vec::new(),
        rows: cuts.len(),
    })
}

/// The names of the classes; their numbers where nobody named them.
fn class_names(model: &OfflineModel, count: usize) -> Vec<String> {
    let named = model.schema.classes();
    if named.len() == count {
        return named.to_vec();
    }
    (0..count).map(|class| class.to_string()).collect()
}

fn labels(table: &Table, column: usize, classes: &[String]) -> Result<Target, OfflineError> {
    let label = |row| {
        let name = table.text(row, column)?;
        classes
            .iter()
            .position(|class| *class == name)
            .ok_or_else(|| OfflineError::Row {
                place: table.place(row),
                problem: format!(
                    "column {} is {name:?}, and the model knows the classes {}",
                    table.columns()[column],
                    classes.join(", ")
                ),
            })
    };
    Ok(Target::Classes {
        names: classes.to_vec(),
        labels: (0..table.rows()).map(label).collect::<Result<_, _>>()?,
    })
}

fn numbers(table: &Table, column: usize) -> Result<Target, OfflineError> {
    let values: Result<Array1<f64>, _> = (0..table.rows()).map(|row| table.number(row, column)).collect();
    Ok(Target::Numbers(values?))
}

fn incomparable(model: &OfflineModel, reason: &str) -> OfflineError {
    OfflineError::NotComparable {
        model: model.name.clone(),
        reason: reason.to_owned(),
    }
}
