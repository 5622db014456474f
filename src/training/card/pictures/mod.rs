//! The pictures of a card: one file for each kind, and [`bars`] and [`heat_map`], which several draw by.

mod bars;
mod calibration;
mod coefficients;
mod confusion;
mod forecast;
mod heat_map;
mod importance;
mod loss;
mod regression;
mod roc;
mod saliency;
mod words;

use std::error::Error;

use super::super::TrainingError;
use super::super::dataset::Target;
use super::explain::{Effects, Explanation};
use super::{Findings, Subject};

/// The longest name that is written in full.
const LONGEST_NAME: usize = 18;

/// One picture of a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Picture {
    /// Its file name in the folder of pictures.
    pub(super) file: &'static str,
    /// What it shows.
    pub(super) title: &'static str,
    /// How it is read.
    pub(super) caption: String,
    /// The picture.
    pub(super) svg: String,
}

type Drawn = Result<String, Box<dyn Error>>;

/// Every picture that tells something of this run.
pub(super) fn pictures(subject: &Subject<'_>, findings: &Findings) -> Result<Vec<Picture>, TrainingError> {
    let all = [
        loss::picture(&subject.report.epochs),
        of_predictions(subject),
        coefficients::picture(subject),
        importance::picture(&findings.importance),
        findings.explanation.as_ref().map_or_else(none, of_explanation),
    ];
    let mut pictures = Vec::new();
    for some in all {
        let some = some.map_err(|error| TrainingError::Fit(format!("a picture of the card: {error}")))?;
        pictures.extend(some);
    }
    Ok(pictures)
}

/// A share beside an axis.
fn share(value: &f64) -> String {
    format!("{:.1}", value.abs())
}

type Pictures = Result<Vec<Picture>, Box<dyn Error>>;

fn none() -> Pictures {
    Ok(Vec::new())
}

fn of_predictions(subject: &Subject<'_>) -> Pictures {
    let predictions = subject.predictions;
    match &subject.held_out.target {
        Target::Numbers(truth) => regression::pictures(
            &subject.request.roles.target,
            &truth.to_vec(),
            &predictions.column(0).to_vec(),
        ),
        Target::Steps(truth) => forecast::pictures(
            &subject.request.roles.target,
            truth.view(),
            predictions,
            subject.report,
        ),
        Target::Classes { names, labels } => {
            let mut pictures = confusion::pictures(names, &subject.report.metrics)?;
            pictures.extend(roc::pictures(names, labels, predictions)?);
            pictures.extend(calibration::pictures(names, labels, predictions)?);
            Ok(pictures)
        }
    }
}

fn of_explanation(explanation: &Explanation) -> Pictures {
    match &explanation.effects {
        Effects::Columns(effects) => importance::of_example(explanation, effects),
        Effects::Picture(effects) => saliency::pictures(explanation, effects),
        Effects::Parts(parts) => words::pictures(explanation, parts),
    }
}
