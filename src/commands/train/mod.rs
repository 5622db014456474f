//! `millrace train`: read the data, fit, write the artifact, print the held-out figures.

mod again;
mod algorithms;
mod grid;
mod interrupt;
mod progress;
mod summary;
mod threads;

use std::ffi::OsString;
use std::path::Path;

use tokio::time::Instant;

use self::again::again;
use self::algorithms::algorithm;
use self::interrupt::on_interrupt;
use self::progress::Display;
use self::summary::summary;
use super::{Failure, print};
use crate::cli::{ClassWeights, DataArgs, MissingChoice, TrainArgs, UnknownChoice};
use crate::training::artifact::Destination;
use crate::training::dataset::{ColumnKind, Missing, Roles, images};
use crate::training::encoding::Unknown;
use crate::training::report::Report;
use crate::training::{Request, TrainingError, run as fit_and_write};

/// Parts of a cross-validation that chooses from a grid, where nobody says how many.
const DEFAULT_FOLDS: usize = 5;

pub(super) fn run(arguments: &TrainArgs) -> Result<(), Failure> {
    match arguments.algorithm.schedule() {
        Some(schedule) => threads::with(schedule.threads, || train(arguments)),
        None => train(arguments),
    }
}

fn train(arguments: &TrainArgs) -> Result<(), Failure> {
    let (data, only) = algorithm(&arguments.algorithm);
    let mut request = request(data)?;
    let line: Vec<OsString> = std::env::args_os().collect();
    request.command = again(&line);
    if data.grid.is_empty() {
        request.candidates = vec![only];
    } else {
        let candidates = grid::candidates(&line, &data.grid)?;
        request.candidates = candidates
            .iter()
            .map(|candidate| algorithm(&candidate.algorithm).1)
            .collect();
        request.cross_validate.get_or_insert(DEFAULT_FOLDS);
    }
    let stop = on_interrupt()?;
    let started = Instant::now();
    let mut display = Display::default();
    let outcome = fit_and_write(&request, &mut |progress| display.show(progress), &stop);
    display.finish();
    let outcome = outcome.map_err(failure)?;
    if let Some(path) = &data.report {
        write_report(path, &outcome.report)?;
    }
    print(&summary(&request, &outcome, started.elapsed().as_secs_f64()))
}

fn request(data: &DataArgs) -> Result<Request, Failure> {
    Ok(Request {
        candidates: Vec::new(),
        data: data.data.clone(),
        roles: Roles {
            target: target(data)?,
            categorical: data.categorical.clone(),
            text: data.text.clone(),
            others: ColumnKind::default(),
            ignored: data.ignore.clone(),
            missing: match data.missing {
                MissingChoice::Refuse => Missing::Refuse,
                MissingChoice::Mean => Missing::Mean,
                MissingChoice::Median => Missing::Median,
            },
            is_target_alone: false,
        },
        unknown: match data.unknown_category {
            UnknownChoice::Refuse => Unknown::Refuse,
            UnknownChoice::Zero => Unknown::Zero,
        },
        balance_classes: data.class_weights == ClassWeights::Balanced,
        cross_validate: data.cross_validate,
        destination: Destination {
            repository: data.repository.clone(),
            model: data.model.clone(),
            version: data.as_version,
            force: data.force,
        },
        test_fraction: data.test_fraction,
        seed: data.seed,
        split_seed: data.split_seed,
        description: data.description.clone(),
        command: None,
    })
}

/// The column to predict. A folder of images has none.
fn target(data: &DataArgs) -> Result<String, Failure> {
    match (&data.target, data.data.is_dir()) {
        (Some(column), false) => Ok(column.clone()),
        (None, true) => Ok(images::TARGET.to_owned()),
        (None, false) => Err(Failure::usage("--target must name the column to predict")),
        (Some(_), true) => Err(Failure::usage(
            "--target is for tables; in a folder of images the folder of an image is its class",
        )),
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn target_of(line: &[&str]) -> Result<String, Failure> {
        let start = [
            "millrace",
            "train",
            "convolutional-network",
            "--shape",
            "8x8",
            "--model",
            "m",
        ];
        match Cli::try_parse_from(start.iter().chain(line)).unwrap().command {
            Command::Train(arguments) => target(algorithm(&arguments.algorithm).0),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_table_has_a_target_and_a_folder_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().to_str().unwrap();
        assert_eq!(target_of(&["--data", "d.csv", "--target", "t"]).unwrap(), "t");
        assert_eq!(target_of(&["--data", folder]).unwrap(), "folder");
        for (line, expected) in [
            (vec!["--data", "d.csv"], "--target must name the column"),
            (vec!["--data", folder, "--target", "t"], "--target is for tables"),
        ] {
            let told = target_of(&line).unwrap_err();
            assert!(
                matches!(&told, Failure::Usage(text) if text.starts_with(expected)),
                "{told:?}"
            );
        }
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
