//! `millrace train`: read the data, fit, write the artifact, print the held-out figures.

use std::fmt::Write as _;
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use super::{Failure, print};
use crate::cli::{self, DataArgs, NetworkTask, TrainArgs};
use crate::training::artifact::Destination;
use crate::training::dataset::TargetKind;
use crate::training::evaluation::Evaluation;
use crate::training::linear_regression::LinearRegression;
use crate::training::logistic_regression::LogisticRegression;
use crate::training::neural_network::{Epoch, NeuralNetwork};
use crate::training::report::Report;
use crate::training::{Algorithm, Outcome, Request, TrainingError, run as fit_and_write};

/// Without a terminal every so many epochs are a line.
const EPOCHS_PER_LINE: usize = 10;

pub(super) fn run(arguments: &TrainArgs) -> Result<(), Failure> {
    let (data, algorithm) = algorithm(&arguments.algorithm);
    let request = request(data, algorithm);
    let started = Instant::now();
    let mut progress = Progress::default();
    let outcome = fit_and_write(&request, &mut |epoch| progress.show(epoch));
    progress.finish();
    let outcome = outcome.map_err(failure)?;
    if let Some(path) = &data.report {
        write_report(path, &outcome.report)?;
    }
    print(&summary(&request, &outcome, started.elapsed().as_secs_f64()))
}

fn algorithm(arguments: &cli::Algorithm) -> (&DataArgs, Algorithm) {
    match arguments {
        cli::Algorithm::LinearRegression(it) => (
            &it.data,
            Algorithm::LinearRegression(LinearRegression { ridge: it.ridge }),
        ),
        cli::Algorithm::LogisticRegression(it) => {
            let options = LogisticRegression {
                l2: it.l2,
                max_iterations: it.max_iterations,
            };
            (&it.data, Algorithm::LogisticRegression(options))
        }
        cli::Algorithm::NeuralNetwork(it) => {
            let options = NeuralNetwork {
                hidden: it.hidden.clone(),
                epochs: it.epochs,
                batch_size: it.batch_size,
                learning_rate: it.learning_rate,
                weight_decay: it.weight_decay,
                validation_fraction: it.validation_fraction,
                patience: it.patience,
            };
            let kind = match it.task {
                NetworkTask::Classification => TargetKind::Classes,
                NetworkTask::Regression => TargetKind::Numbers,
            };
            (&it.data, Algorithm::NeuralNetwork(options, kind))
        }
    }
}

fn request(data: &DataArgs, algorithm: Algorithm) -> Request {
    Request {
        algorithm,
        data: data.data.clone(),
        target: data.target.clone(),
        destination: Destination {
            repository: data.repository.clone(),
            model: data.model.clone(),
            version: data.as_version,
            force: data.force,
        },
        test_fraction: data.test_fraction,
        seed: data.seed,
        description: data.description.clone(),
    }
}

fn failure(error: TrainingError) -> Failure {
    if error.is_usage() {
        Failure::usage(error)
    } else {
        Failure::failed(error)
    }
}

fn write_report(path: &Path, report: &Report) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(report).map_err(Failure::failed)?;
    std::fs::write(path, text + "\n").map_err(|error| {
        let path = path.display();
        Failure::failed(format!(
            "the model was written, but not its report {path}: {error}"
        ))
    })
}

fn summary(request: &Request, outcome: &Outcome, seconds: f64) -> String {
    let Outcome {
        version,
        folder,
        report,
    } = outcome;
    let (train, test) = (report.train_rows.len(), report.test_rows.len());
    let figures = match &report.metrics {
        Evaluation::Regression { r2, rmse } => format!("R² {r2:.4}, RMSE {rmse:.4}"),
        Evaluation::Classification {
            accuracy,
            log_loss,
            confusion,
        } => format!(
            "accuracy {accuracy:.4}, log-loss {log_loss:.4}\n\n{}",
            confusion_table(&report.classes, confusion)
        ),
    };
    format!(
        "{model} version {version}: {algorithm} on {train} rows of {features} features, {seconds:.2} s\n\
         held out ({test} rows): {figures}\nwritten to {folder}\n",
        model = request.destination.model,
        algorithm = report.algorithm,
        features = report.features.len(),
        folder = folder.display(),
    )
}

/// A line for each true class, a column for each predicted one.
fn confusion_table(classes: &[String], confusion: &[Vec<u32>]) -> String {
    const CORNER: &str = "true \\ predicted";
    let width = |name: &String| name.chars().count();
    let first = classes.iter().map(width).max().unwrap_or(0).max(CORNER.len());
    let others: Vec<usize> = classes.iter().map(|name| width(name).max(4)).collect();
    let mut table = format!("{CORNER:<first$}");
    for (name, &width) in classes.iter().zip(&others) {
        let _ = write!(table, "  {name:>width$}");
    }
    table.push('\n');
    for (name, counts) in classes.iter().zip(confusion) {
        let _ = write!(table, "{name:<first$}");
        for (count, &width) in counts.iter().zip(&others) {
            let _ = write!(table, "  {count:>width$}");
        }
        table.push('\n');
    }
    table
}

/// Shows epochs on standard error: a bar where that is a terminal, plain lines otherwise.
#[derive(Default)]
struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    fn show(&mut self, epoch: Epoch) {
        let bar = self.bar.get_or_insert_with(|| bar(epoch.of));
        let Epoch {
            number,
            of,
            training_loss,
            validation_loss,
            best,
        } = epoch;
        let losses =
            format!("loss {training_loss:.4}, validation {validation_loss:.4}, best in epoch {best}");
        if bar.is_hidden() {
            if number == 1 || number.is_multiple_of(EPOCHS_PER_LINE) || number == of {
                say(&format!("epoch {number} of {of}: {losses}"));
            }
            return;
        }
        bar.set_message(losses);
        bar.set_position(number as u64);
    }

    fn finish(&self) {
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

#[expect(
    clippy::print_stderr,
    reason = "progress is for whoever watches, and not part of the output"
)]
fn say(line: &str) {
    eprintln!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_confusion_table_lines_up() {
        let classes = ["cat".to_owned(), "crocodile".to_owned()];
        let table = confusion_table(&classes, &[vec![10, 2], vec![0, 1234]]);
        let expected = "\
true \\ predicted   cat  crocodile
cat                 10          2
crocodile            0       1234
";
        assert_eq!(table, expected);
    }

    #[test]
    fn wrong_use_is_told_apart_from_failure() {
        let wrong = TrainingError::Option {
            option: "--ridge",
            expected: "0 or above",
            found: "-1".into(),
        };
        assert!(
            matches!(failure(wrong), Failure::Usage(text) if text == "--ridge must be 0 or above, not -1")
        );
        assert!(matches!(failure(TrainingError::OutOfRange), Failure::Failed(_)));
    }
}
