//! Progress on standard error: a bar where that is a terminal, plain lines otherwise.

use indicatif::{ProgressBar, ProgressStyle};

use crate::commands::say;
use crate::training::Progress;
use crate::training::network::Epoch;

/// Without a terminal every so many epochs are a line.
const EPOCHS_PER_LINE: usize = 10;

/// Shows how far a run is.
#[derive(Default)]
pub(super) struct Display {
    bar: Option<ProgressBar>,
}

impl Display {
    pub(super) fn show(&mut self, progress: Progress) {
        match progress {
            Progress::Epoch(epoch) => self.epoch(epoch),
            Progress::Fold {
                candidate,
                candidates,
                fold,
                folds,
            } => self.fold((candidate, candidates), (fold, folds)),
        }
    }

    fn fold(&mut self, (candidate, candidates): (usize, usize), (fold, folds): (usize, usize)) {
        self.finish();
        self.bar = None;
        let of_candidates = if candidates > 1 {
            format!("candidate {candidate} of {candidates}, ")
        } else {
            String::new()
        };
        say(&format!(
            "cross-validation: {of_candidates}part {fold} of {folds}"
        ));
    }

    fn epoch(&mut self, epoch: Epoch) {
        let Epoch {
            number,
            of,
            training_loss,
            validation_loss,
            validation_accuracy,
            best,
        } = epoch;
        let accuracy = validation_accuracy
            .map(|accuracy| format!(" (accuracy {accuracy:.4})"))
            .unwrap_or_default();
        let losses = format!(
            "loss {training_loss:.4}, validation {validation_loss:.4}{accuracy}, best in epoch {best}"
        );
        let bar = self.bar.get_or_insert_with(|| bar(of));
        if bar.is_hidden() {
            if number == 1 || number.is_multiple_of(EPOCHS_PER_LINE) || number == of {
                say(&format!("epoch {number} of {of}: {losses}"));
            }
            return;
        }
        bar.set_message(losses);
        bar.set_position(number as u64);
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}

fn bar(epochs: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("epoch {pos}/{len} {bar:30} {msg}, at most {eta} left")
        .expect("the template is well formed");
    ProgressBar::new(epochs as u64).with_style(style)
}
