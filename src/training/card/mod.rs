//! The card of a training run: what people should know of the model before they use it, as `card.md` with pictures.
//!
//! What it says was computed from the data and from what the written file predicts on the rows held out; it asks the
//! model, and knows nothing of how any algorithm works ([`explain`]). The same seed gives the same bytes. The sections are
//! those of model cards (Mitchell et al. 2019, <https://doi.org/10.1145/3287560.3287596>).

mod explain;
mod grid;
mod interval;
mod markdown;
mod pictures;
mod sample;

use ndarray::{Array2, ArrayView2};

use self::explain::{Explanation, Importance, explanation, importance};
use super::artifact::Draft;
use super::dataset::{Dataset, Roles};
use super::evaluation::likeliest;
use super::onnx::Port;
use super::report::Report;
use super::{Request, TrainingError};
use crate::model::card::{CARD_FILE, picture_path};

/// Everything that a card is made of.
pub(super) struct Subject<'a> {
    /// What was asked for.
    pub(super) request: &'a Request,
    /// Which column is what.
    pub(super) roles: &'a Roles,
    /// What came of it.
    pub(super) report: &'a Report,
    /// What the graph takes.
    pub(super) inputs: &'a [Port],
    /// The rows that were learnt from.
    pub(super) training: &'a Dataset,
    /// The rows that were held out.
    pub(super) held_out: &'a Dataset,
    /// What the file predicts for them: n × 1 numbers, n × steps or n × classes.
    pub(super) predictions: ArrayView2<'a, f64>,
    /// What the file predicts for other rows, in the same shape.
    pub(super) predict: &'a dyn Fn(&Dataset) -> Result<Array2<f64>, TrainingError>,
    /// Bytes of the graph: what it costs to ask.
    pub(super) graph_size: usize,
}

/// What was found by asking the model.
#[derive(Default)]
struct Findings {
    importance: Importance,
    explanation: Option<Explanation>,
    /// What could not be found, and why.
    failures: Vec<String>,
}

/// Writes the card and its pictures into the version's folder.
pub(super) fn write(subject: &Subject<'_>, draft: &Draft) -> Result<(), TrainingError> {
    let findings = findings(subject);
    let pictures = pictures::pictures(subject, &findings)?;
    for picture in &pictures {
        draft.write(&picture_path(picture.file), picture.svg.as_bytes())?;
    }
    let card = markdown::card(subject, &pictures, &findings);
    draft.write(CARD_FILE, card.as_bytes())
}

/// A model that cannot be explained is still a model: what fails here is told on the card.
fn findings(subject: &Subject<'_>) -> Findings {
    let mut findings = Findings::default();
    match importance(subject) {
        Ok(found) => findings.importance = found,
        Err(error) => findings
            .failures
            .push(format!("The importance of features was not found: {error}.")),
    }
    match explanation(subject) {
        Ok(found) => findings.explanation = found,
        Err(error) => findings
            .failures
            .push(format!("No example was explained: {error}.")),
    }
    findings
}

#[cfg(test)]
mod tests;
