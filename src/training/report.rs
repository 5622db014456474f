//! Everything about one fit, exactly, for other programs: `--report FILE.json`.

use serde::Serialize;

use super::evaluation::Evaluation;

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
}
