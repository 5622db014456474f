//! `--grid`: every combination of some values of an algorithm's options.
//!
//! A combination is the same command line with these options added at its end, read anew, so that a value in a grid means
//! what it means elsewhere, and is refused in the same words.

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches};

use crate::cli::{Cli, Command, TrainArgs};
use crate::commands::Failure;

/// More candidates than this are a slip of the finger.
const MAX_CANDIDATES: usize = 1_000;

/// The arguments of every candidate: `line` is the command line, the program's name included, and `grid` holds its
/// `OPTION=VALUE,…`.
pub(super) fn candidates(line: &[OsString], grid: &[String]) -> Result<Vec<TrainArgs>, Failure> {
    let mut combinations: Vec<Vec<OsString>> = vec![Vec::new()];
    for entry in grid {
        let Some((option, values)) = entry.split_once('=') else {
            return Err(wrong(entry, "it has no `=`"));
        };
        let option = option.trim_start_matches("--");
        if is_of_data(option) || option == THREADS {
            return Err(wrong(entry, "the option is not one of the algorithm"));
        }
        let values: Vec<&str> = values.split(',').collect();
        if combinations.len().saturating_mul(values.len()) > MAX_CANDIDATES {
            return Err(wrong(entry, "it comes to more than 1000 combinations"));
        }
        let extended = combinations.iter().flat_map(|combination| {
            values.iter().map(move |value| {
                let mut longer = combination.clone();
                longer.push(format!("--{option}={}", value.replace(SEPARATOR, ",")).into());
                longer
            })
        });
        combinations = extended.collect();
    }
    combinations
        .iter()
        .map(|combination| read(line, combination))
        .collect()
}

/// An option of nets that says nothing of the fit.
const THREADS: &str = "threads";

/// Stands for the comma within a value that is a list, as in `hidden=64,128/64`.
const SEPARATOR: char = '/';

fn read(line: &[OsString], options: &[OsString]) -> Result<TrainArgs, Failure> {
    let all = line.iter().chain(options).cloned();
    let command = Cli::command().mut_subcommand("train", |train| {
        train.mut_subcommands(|algorithm| algorithm.args_override_self(true))
    });
    let matches = command
        .try_get_matches_from(all)
        .map_err(|error| refused(&error))?;
    match Cli::from_arg_matches(&matches)
        .map_err(|error| refused(&error))?
        .command
    {
        Command::Train(arguments) => Ok(*arguments),
        _ => Err(Failure::usage("--grid belongs to `millrace train`")),
    }
}

/// Whether every algorithm has the option, so that it says nothing of the fit.
fn is_of_data(option: &str) -> bool {
    let command = Cli::command();
    let Some(train) = command.find_subcommand("train") else {
        return false;
    };
    train.get_subcommands().all(|algorithm| {
        algorithm
            .get_arguments()
            .any(|argument| argument.get_long() == Some(option))
    })
}

fn wrong(entry: &str, problem: &str) -> Failure {
    Failure::usage(format!(
        "--grid must be OPTION=VALUE,… with an option of the algorithm, such as l2=0.1,1,10, not {entry:?}: {problem}"
    ))
}

fn refused(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    Failure::usage(format!("--grid: {}", first.trim_start_matches("error: ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Algorithm;

    fn line(more: &[&str]) -> Vec<OsString> {
        let start = "millrace train logistic-regression --data d.csv --target t --model m --l2 7";
        start
            .split(' ')
            .chain(more.iter().copied())
            .map(OsString::from)
            .collect()
    }

    fn penalties(grid: &[&str]) -> Result<Vec<(f64, u64)>, Failure> {
        let grid: Vec<String> = grid.iter().map(|&entry| entry.to_owned()).collect();
        let candidates = candidates(&line(&[]), &grid)?;
        let options = candidates.iter().map(|candidate| match &candidate.algorithm {
            Algorithm::LogisticRegression(it) => (it.l2, it.max_iterations),
            other => panic!("{other:?}"),
        });
        Ok(options.collect())
    }

    #[test]
    fn every_combination_is_tried_and_the_line_says_the_rest() {
        assert_eq!(penalties(&[]).unwrap(), [(7.0, 1000)]);
        assert_eq!(penalties(&["l2=0.5,2"]).unwrap(), [(0.5, 1000), (2.0, 1000)]);
        let both = penalties(&["l2=0.5,2", "max-iterations=10,20"]).unwrap();
        assert_eq!(both, [(0.5, 10), (0.5, 20), (2.0, 10), (2.0, 20)]);
    }

    #[test]
    fn what_cannot_be_tried_is_told() {
        for (grid, expected) in [
            ("l2", "has no `=`"),
            ("seed=1,2", "not one of the algorithm"),
            ("threads=1,2", "not one of the algorithm"),
            ("l2=x", "invalid value 'x'"),
            ("nothing=1", "unexpected argument '--nothing'"),
        ] {
            let error = penalties(&[grid]).unwrap_err();
            assert!(
                matches!(&error, Failure::Usage(text) if text.contains(expected)),
                "{grid}: {error:?}"
            );
        }
    }
}
