//! The figures of a model on new data.

use ndarray::Array2;

use super::judge::{self, Judged, Unfit};
use super::model::ROWS_AT_ONCE;
use super::rows::Rows;
use super::said::Said;
use super::series::Windows;
use super::truth::Truth;
use super::{OfflineError, OfflineModel};
use crate::model::schema::Answer;
use crate::model::tensor::Tensor;
use crate::training::dataset::{DatasetError, Place, Table, Target};
use crate::training::evaluation::Evaluation;

/// What is to be compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Question<'a> {
    /// The columns with the truth; none for the one that the model was trained on.
    pub targets: &'a [String],
    /// The output that is compared, where the model has several.
    pub output: Option<&'a str>,
    /// The column that a model of texts or pictures takes.
    pub column: Option<&'a str>,
}

/// What came of it.
pub struct Evaluated {
    /// Rows that there were; of a series its windows.
    pub rows: usize,
    /// The figures beside each target.
    pub judged: Vec<Judged>,
}

/// Compares what the model says of every row of `table` with the columns that are asked for. `progress` is told how many rows
/// are done.
pub fn evaluate(
    model: &mut OfflineModel,
    table: &Table,
    question: &Question<'_>,
    progress: &mut dyn FnMut(usize),
) -> Result<Evaluated, OfflineError> {
    if table.rows() == 0 {
        return Err(DatasetError::Empty.into());
    }
    let compared = Compared::of(model, question.output)?;
    if let Some(windows) = Windows::of(model)? {
        return forecasts(model, table, &windows, question, progress);
    }
    let targets = targets(model, question)?;
    let truths: Vec<Truth<'_>> = targets
        .iter()
        .map(|target| Truth::of(table, target))
        .collect::<Result<_, _>>()?;
    let rows = Rows::of(model, table, &targets, question.column)?;
    let mut parts = Vec::new();
    for start in (0..table.rows()).step_by(ROWS_AT_ONCE) {
        let chunk = start..table.rows().min(start + ROWS_AT_ONCE);
        parts.push(compared.pick(rows.run(model, table, chunk.clone())?));
        progress(chunk.end);
    }
    let judged = compared.judge(model.class_names(), &parts, &truths);
    Ok(Evaluated {
        rows: table.rows(),
        judged: judged.map_err(|unfit| compared.error(model, unfit))?,
    })
}

fn targets(model: &OfflineModel, question: &Question<'_>) -> Result<Vec<String>, OfflineError> {
    let targets = match question.targets {
        [] => model.trained_on(),
        asked => asked.to_vec(),
    };
    if targets.is_empty() {
        return Err(OfflineError::NoTarget {
            model: model.name.clone(),
        });
    }
    Ok(targets)
}

/// The outputs that are compared with the target, by their positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compared {
    /// The probabilities of classes, and the label where the graph has one.
    Classes {
        probabilities: usize,
        label: Option<usize>,
    },
    /// One output, whatever it holds.
    Alone(usize),
}

impl Compared {
    /// The output that is asked for, or what the model's answer is.
    fn of(model: &OfflineModel, asked: Option<&str>) -> Result<Self, OfflineError> {
        let outputs = &model.schema.signature.outputs;
        let Some(asked) = asked else {
            return match model.schema.answer {
                Answer::Classification {
                    probabilities, label, ..
                } => Ok(Self::Classes { probabilities, label }),
                Answer::Regression { output } | Answer::Forecast { output } => Ok(Self::Alone(output)),
                Answer::Generic if outputs.len() == 1 => Ok(Self::Alone(0)),
                Answer::Generic => Err(OfflineError::SeveralOutputs {
                    model: model.name.clone(),
                    outputs: model.outputs(),
                }),
            };
        };
        let position = outputs.iter().position(|output| output.name == asked);
        position
            .map(Self::Alone)
            .ok_or_else(|| OfflineError::UnknownOutput {
                model: model.name.clone(),
                output: asked.to_owned(),
                outputs: model.outputs(),
            })
    }

    /// Those of all outputs that are compared, the probabilities before the label.
    fn pick(self, outputs: Vec<Tensor>) -> (Option<Tensor>, Option<Tensor>) {
        let (first, second) = match self {
            Self::Classes { probabilities, label } => (probabilities, label),
            Self::Alone(output) => (output, None),
        };
        let mut outputs: Vec<Option<Tensor>> = outputs.into_iter().map(Some).collect();
        let mut take = |position: usize| outputs.get_mut(position).and_then(Option::take);
        (take(first), second.and_then(take))
    }

    fn judge(
        self,
        names: &[String],
        parts: &[(Option<Tensor>, Option<Tensor>)],
        truths: &[Truth<'_>],
    ) -> Result<Vec<Judged>, Unfit> {
        let first = Said::of(parts.iter().filter_map(|(first, _)| first.as_ref())).map_err(Unfit::Output)?;
        if let Said::Numbers(numbers) = &first {
            check_finite(numbers, truths)?;
        }
        let (Self::Classes { label, .. }, Said::Numbers(probabilities)) = (self, &first) else {
            return judge::output(first, names, truths);
        };
        let label = label
            .map(|_| Said::of(parts.iter().filter_map(|(_, label)| label.as_ref())))
            .transpose()
            .map_err(Unfit::Output)?;
        match truths {
            [truth] => Ok(vec![judge::classes(probabilities, label, names, truth)?]),
            _ => Err(Unfit::Output(format!(
                "it holds the probabilities of one row's classes, and {} targets are named; expected one",
                truths.len()
            ))),
        }
    }

    fn error(self, model: &OfflineModel, unfit: Unfit) -> OfflineError {
        let (Self::Classes {
            probabilities: output,
            ..
        }
        | Self::Alone(output)) = self;
        match unfit {
            Unfit::Data(error) => error,
            Unfit::Output(problem) => OfflineError::Unfit {
                model: model.name.clone(),
                output: model.schema.signature.outputs[output].name.clone(),
                problem,
            },
        }
    }
}

fn check_finite(numbers: &Array2<f64>, truths: &[Truth<'_>]) -> Result<(), Unfit> {
    let infinite = numbers.indexed_iter().find(|(_, value)| !value.is_finite());
    match (infinite, truths) {
        (Some(((row, _), value)), [truth, ..]) => Err(Unfit::Data(OfflineError::Row {
            place: truth.place(row),
            problem: format!("the model answers {value}; expected finite numbers"),
        })),
        _ => Ok(()),
    }
}

/// Compares every forecast of a series with what came: the column holds the series, in the order of time.
fn forecasts(
    model: &mut OfflineModel,
    table: &Table,
    windows: &Windows,
    question: &Question<'_>,
    progress: &mut dyn FnMut(usize),
) -> Result<Evaluated, OfflineError> {
    let asked = match question.targets {
        [] => question.column,
        [target] => Some(target.as_str()),
        several => {
            return Err(OfflineError::SeveralSeries {
                model: model.name.clone(),
                columns: several.len(),
            });
        }
    };
    let column = Windows::column(model, table, asked)?;
    let series: Vec<f64> = (0..table.rows())
        .map(|row| table.number(row, column))
        .collect::<Result<_, _>>()?;
    let Windows { window, horizon, .. } = *windows;
    let cuts: Vec<&[f64]> = series.windows(window + horizon).collect();
    if cuts.is_empty() {
        return Err(OfflineError::ShortSeries {
            model: model.name.clone(),
            needed: window + horizon,
            what: "a window and what comes after it",
            found: series.len(),
        });
    }
    let mut said = Vec::new();
    for (chunk, cuts) in cuts.chunks(ROWS_AT_ONCE).enumerate() {
        let first = chunk * ROWS_AT_ONCE;
        let seen: Vec<&[f64]> = cuts.iter().map(|cut| &cut[..window]).collect();
        let ends = first + window - 1..;
        let places: Vec<Place> = ends.take(cuts.len()).map(|row| table.place(row)).collect();
        said.extend(windows.forecast(model, &seen, &places)?);
        progress(first + cuts.len());
    }
    let shape = (cuts.len(), horizon);
    let came = Array2::from_shape_fn(shape, |(row, step)| cuts[row][window + step]);
    let said = Array2::from_shape_fn(shape, |(row, step)| said[row * horizon + step]);
    Ok(Evaluated {
        rows: cuts.len(),
        judged: vec![Judged {
            target: table.columns()[column].clone(),
            evaluation: Evaluation::of(said.view(), &Target::Steps(came)),
            classes: Vec::new(),
            note: None,
        }],
    })
}
