//! What an output says beside what is true: as classes or as numbers, by what both hold.

use std::collections::BTreeSet;

use ndarray::{Array1, Array2, ArrayView2, Axis, s};
use serde::Serialize;

use super::OfflineError;
use super::said::Said;
use super::truth::{Truth, is_whole};
use crate::model::tensor::Datatype;
use crate::training::dataset::{Target, sort_class_names};
use crate::training::evaluation::{Evaluation, likeliest};

/// Of more classes there is no table to read, and whole numbers with more values are no classes.
const MAX_CLASSES: usize = 1_000;
/// By how much the probabilities of a row may miss 1: half floats and sums of many classes are not exact.
const TOLERANCE: f64 = 1e-2;

/// The figures beside one column.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// The column.
    pub target: String,
    /// Its figures.
    #[serde(flatten)]
    pub evaluation: Evaluation,
    /// The names of the classes; empty where numbers are predicted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// Which figures are not there, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Why answers and truth do not fit.
pub(super) enum Unfit {
    /// What the output holds is of no use.
    Output(String),
    /// The data is at fault.
    Data(OfflineError),
}

impl<E: Into<OfflineError>> From<E> for Unfit {
    fn from(error: E) -> Self {
        Self::Data(error.into())
    }
}

/// An output that holds one number a row, one label a row, or a number for each class or target. `names` are those of the
/// classes, where the model knows them.
pub(super) fn output(said: Said, names: &[String], truths: &[Truth<'_>]) -> Result<Vec<Judged>, Unfit> {
    match (said, truths) {
        (
            Said::Labels {
                datatype,
                names: said,
            },
            [truth],
        ) => Ok(vec![one_label(datatype, &said, names, truth)?]),
        (Said::Labels { .. }, _) => Err(Unfit::Output(format!(
            "it holds one label a row, and {} targets are named; expected one",
            truths.len()
        ))),
        (Said::Numbers(numbers), truths) if numbers.ncols() == truths.len() => {
            let columns = truths.iter().enumerate();
            columns
                .map(|(column, truth)| regression(numbers.slice(s![.., column..=column]), truth))
                .collect()
        }
        (Said::Numbers(numbers), [truth]) if numbers.ncols() > 1 => Ok(vec![scores(&numbers, names, truth)?]),
        (Said::Numbers(numbers), truths) => Err(Unfit::Output(format!(
            "it holds {} a row, and {} targets are named; name one for each",
            counted(numbers.ncols()),
            truths.len()
        ))),
    }
}

/// Probabilities of classes, perhaps with the label that the model itself gives each row.
pub(super) fn classes(
    probabilities: &Array2<f64>,
    label: Option<Said>,
    names: &[String],
    truth: &Truth<'_>,
) -> Result<Judged, Unfit> {
    let is_named = names.len() == probabilities.ncols();
    let names = names_or_numbers(names, probabilities.ncols());
    let Some(Said::Labels {
        datatype,
        names: said,
    }) = label
    else {
        return probable(probabilities, None, names, truth);
    };
    let predicted = said
        .iter()
        .map(|label| names.iter().position(|name| name == label));
    if let Some(predicted) = predicted.collect::<Option<Vec<usize>>>() {
        // Where nobody names the classes they are their numbers, if the model's own labels bear that out.
        let is_likeliest = || {
            probabilities
                .outer_iter()
                .map(likeliest)
                .eq(predicted.iter().copied())
        };
        if is_named || is_likeliest() {
            return probable(probabilities, Some(predicted), names, truth);
        }
    }
    let mut judged = one_label(datatype, &said, &[], truth)?;
    judged.note = Some(
        "log-loss and ROC AUC need to know whose the probabilities are, and neither the graph nor model.toml names the classes \
         in their order"
            .to_owned(),
    );
    Ok(judged)
}

/// Numbers for each class, of which nothing is known but how many they are.
fn scores(numbers: &Array2<f64>, names: &[String], truth: &Truth<'_>) -> Result<Judged, Unfit> {
    let count = numbers.ncols();
    if names.len() != count && !holds_positions(truth, count) {
        return Err(Unfit::Output(format!(
            "it holds {count} numbers a row, and column {} holds no classes from 0 to {}; name {count} columns with --target, or the \
             classes in model.toml",
            truth.name(),
            count - 1
        )));
    }
    probable(numbers, None, names_or_numbers(names, count), truth)
}

/// Whether every value is a whole number below `count`.
fn holds_positions(truth: &Truth<'_>, count: usize) -> bool {
    truth.numbers().is_ok_and(|values| {
        values
            .iter()
            .all(|&value| is_whole(value) && value >= 0.0 && value < count as f64)
    })
}

/// The classes are `predicted`, else the likeliest ones.
fn probable(
    numbers: &Array2<f64>,
    predicted: Option<Vec<usize>>,
    names: Vec<String>,
    truth: &Truth<'_>,
) -> Result<Judged, Unfit> {
    let labels = truth.classes(&names)?;
    let predicted = predicted.unwrap_or_else(|| numbers.outer_iter().map(likeliest).collect());
    let improbable = first_improbable(numbers.view());
    let probabilities = improbable.is_none().then(|| numbers.view());
    Ok(Judged {
        target: truth.name().to_owned(),
        evaluation: Evaluation::of_classes(&predicted, &labels, names.len(), probabilities),
        classes: names,
        note: improbable.map(|row| {
            format!(
                "log-loss and ROC AUC need probabilities, from 0 to 1 and 1 together; what it says of the first such row is {}",
                written(numbers.row(row).as_slice().unwrap_or_default())
            )
        }),
    })
}

/// The first row whose numbers are no probabilities.
fn first_improbable(numbers: ArrayView2<'_, f64>) -> Option<usize> {
    numbers.outer_iter().position(|row| {
        let is_share = |&number: &f64| (-TOLERANCE..=1.0 + TOLERANCE).contains(&number);
        !row.iter().all(is_share) || (row.sum() - 1.0).abs() > TOLERANCE
    })
}

/// One label a row.
fn one_label(
    datatype: Datatype,
    said: &[String],
    names: &[String],
    truth: &Truth<'_>,
) -> Result<Judged, Unfit> {
    let labels = truth.labels(datatype)?;
    match datatype {
        Datatype::Text => labelled(said, &labels, names, truth),
        Datatype::Bool => {
            let is_boolean = |label: &&String| matches!(label.as_str(), "true" | "false");
            match labels.iter().find(|label| !is_boolean(label)) {
                Some(label) => Err(Unfit::Output(format!(
                    "it holds true or false, and column {} holds {label:?}",
                    truth.name()
                ))),
                None => labelled(said, &labels, names, truth),
            }
        }
        _ => whole_numbers(said, &labels, names, truth),
    }
}

/// Whole numbers are classes, or their places among the names; but numbers where the truth is not made of whole ones, or of very
/// many.
fn whole_numbers(
    said: &[String],
    labels: &[String],
    names: &[String],
    truth: &Truth<'_>,
) -> Result<Judged, Unfit> {
    let name = |label: &String| names.get(label.parse::<usize>().ok()?).cloned();
    let named: Option<Vec<String>> = said.iter().map(name).collect();
    if let Some(named) = named
        && labels.iter().any(|label| names.contains(label))
        && !said.iter().all(|label| names.contains(label))
    {
        return labelled(&named, labels, names, truth);
    }
    let are_fractions = truth.numbers()?.iter().any(|&value| !is_whole(value));
    let distinct: BTreeSet<&String> = said.iter().chain(labels).collect();
    if !are_fractions && distinct.len() <= MAX_CLASSES {
        return labelled(said, labels, names, truth);
    }
    let number = |label: &String| label.parse().unwrap_or(f64::NAN);
    let numbers: Array1<f64> = said.iter().map(number).collect();
    regression(numbers.insert_axis(Axis(1)).view(), truth)
}

fn labelled(
    said: &[String],
    labels: &[String],
    names: &[String],
    truth: &Truth<'_>,
) -> Result<Judged, Unfit> {
    let is_named = !names.is_empty() && said.iter().all(|label| names.contains(label));
    let classes = if is_named {
        names.to_vec()
    } else {
        all_of(said, labels)
    };
    if classes.len() > MAX_CLASSES {
        return Err(Unfit::Output(format!(
            "it and column {} hold {} different labels; at most {MAX_CLASSES} classes are compared",
            truth.name(),
            classes.len()
        )));
    }
    let place = |label: &String| classes.iter().position(|class| class == label);
    let labels = if is_named {
        truth.classes(&classes)?
    } else {
        labels.iter().filter_map(place).collect()
    };
    let predicted: Vec<usize> = said.iter().filter_map(place).collect();
    Ok(Judged {
        target: truth.name().to_owned(),
        evaluation: Evaluation::of_classes(&predicted, &labels, classes.len(), None),
        classes,
        note: Some("log-loss and ROC AUC need probabilities, and this output holds labels only".to_owned()),
    })
}

/// All classes that are said or true, in their order.
fn all_of(said: &[String], labels: &[String]) -> Vec<String> {
    let distinct: BTreeSet<&str> = said.iter().chain(labels).map(String::as_str).collect();
    let mut distinct: Vec<&str> = distinct.into_iter().collect();
    sort_class_names(&mut distinct);
    distinct.into_iter().map(str::to_owned).collect()
}

fn regression(numbers: ArrayView2<'_, f64>, truth: &Truth<'_>) -> Result<Judged, Unfit> {
    Ok(Judged {
        target: truth.name().to_owned(),
        evaluation: Evaluation::of(numbers, &Target::Numbers(truth.numbers()?)),
        classes: Vec::new(),
        note: None,
    })
}

/// The names of the classes; their numbers where nobody named them.
fn names_or_numbers(names: &[String], count: usize) -> Vec<String> {
    if names.len() == count {
        return names.to_vec();
    }
    (0..count).map(|class| class.to_string()).collect()
}

fn counted(numbers: usize) -> String {
    match numbers {
        1 => "one number".to_owned(),
        several => format!("{several} numbers"),
    }
}

/// Numbers as a list; of many the first ones.
fn written(numbers: &[f64]) -> String {
    const SHOWN: usize = 6;
    let shown: Vec<String> = numbers
        .iter()
        .take(SHOWN)
        .map(|number| format!("{number:.4}"))
        .collect();
    let more = if numbers.len() > SHOWN { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}
