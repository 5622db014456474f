//! How long and how fast a net learns.

use super::super::TrainingError;
use super::super::options::{integer, table};

/// How long and how fast a net learns.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// At most so many passes over the training rows.
    pub epochs: usize,
    /// Rows of one gradient step.
    pub batch_size: usize,
    /// Step size of AdamW.
    pub learning_rate: f64,
    /// Decoupled weight decay of AdamW.
    pub weight_decay: f64,
    /// The share of the training part that decides when to stop.
    pub validation_fraction: f64,
    /// Stop after so many epochs without a lower validation loss.
    pub patience: usize,
}

impl Schedule {
    /// Checks the options.
    pub fn check(&self) -> Result<(), TrainingError> {
        let check = TrainingError::check;
        check(self.epochs > 0, "--epochs", "at least 1", &self.epochs)?;
        check(
            self.batch_size > 0,
            "--batch-size",
            "at least 1",
            &self.batch_size,
        )?;
        let rate = self.learning_rate;
        check(
            rate.is_finite() && rate > 0.0,
            "--learning-rate",
            "a finite number above 0",
            &rate,
        )?;
        let decay = self.weight_decay;
        check(
            decay.is_finite() && decay >= 0.0,
            "--weight-decay",
            "a finite number, 0 or above",
            &decay,
        )?;
        let fraction = self.validation_fraction;
        check(
            fraction > 0.0 && fraction < 1.0,
            "--validation-fraction",
            "a share between 0 and 1, both excluded",
            &fraction,
        )?;
        check(self.patience > 0, "--patience", "at least 1", &self.patience)
    }

    /// The options, as `model.toml` keeps them.
    #[must_use]
    pub fn options(&self) -> toml::Table {
        table([
            ("epochs", integer(self.epochs as u64)),
            ("batch_size", integer(self.batch_size as u64)),
            ("learning_rate", self.learning_rate.into()),
            ("weight_decay", self.weight_decay.into()),
            ("validation_fraction", self.validation_fraction.into()),
            ("patience", integer(self.patience as u64)),
        ])
    }
}
