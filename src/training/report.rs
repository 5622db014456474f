//! Everything about one fit, exactly, for other programs: `--report FILE.json`.

use serde::Serialize;

use super::algorithm::Baseline;
use super::evaluation::Evaluation;
use super::network::Epoch;

/// One training run. Numbers are 64-bit and written so that they read back as they were.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The algorithm, as on the command line.
    pub algorithm: &'static str,
    /// Its options.
    pub options: toml::Table,
    /// The seed of every random choice.
    pub seed: u64,
    /// Names of the columns.
    pub features: Vec<String>,
    /// Names of the classes; empty for regression.
    pub classes: Vec<String>,
    /// Rows of the file, counted from 0 without the header.
    pub train_rows: Vec<usize>,
    /// The rows that were held out.
    pub test_rows: Vec<usize>,
    /// As the model tells them: for the algorithms here mean and scale of each column, and layers on the standardised
    /// columns (weights as inputs × outputs).
    pub parameters: serde_json::Value,
    /// The figures on the rows held out.
    pub metrics: Evaluation,
    /// What simpler models come to on the same rows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub baselines: Vec<Baseline>,
    /// What came of cross-validation, a candidate each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidate>,
    /// How the fit went on, where it went by epochs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub epochs: Vec<Epoch>,
}

/// What one set of options came to in cross-validation on the training part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// The options.
    pub options: toml::Table,
    /// Which figure was compared; higher is better.
    pub figure: &'static str,
    /// Its mean over the parts.
    pub mean: f64,
    /// Its standard deviation over the parts.
    pub deviation: f64,
    /// The figure on each part.
    pub scores: Vec<f64>,
}
