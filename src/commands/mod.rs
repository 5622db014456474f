//! Wiring only: configuration → parts → bind → serve → drain.

mod check;
mod evaluate;
mod figures;
mod file_model;
mod gateway;
mod health;
mod predict;
mod serve;
mod simulate;
mod start;
mod train;
mod trial;
mod worker;

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::system::{Pages, use_pages};

/// How a command ended that did not do what was asked. The text is for people, on standard error.
#[derive(Debug)]
pub enum Failure {
    /// It failed while running: exit code 1.
    Failed(String),
    /// It was used or configured wrongly and started nothing: exit code 2.
    Usage(String),
}

impl Failure {
    /// It failed while running, because of `cause`.
    pub fn failed(cause: impl Display) -> Self {
        Self::Failed(cause.to_string())
    }

    /// It was used or configured wrongly; `cause` says what was expected.
    pub fn usage(cause: impl Display) -> Self {
        Self::Usage(cause.to_string())
    }
}

/// Runs what the command line asked for.
#[expect(clippy::print_stderr, reason = "the last word of a command that failed")]
pub fn run(cli: Cli) -> ExitCode {
    if matches!(
        cli.command,
        Command::Train(_) | Command::Evaluate(_) | Command::Predict(_)
    ) {
        // They compute with whole columns and matrices, for as long as they run.
        use_pages(Pages::Large);
    }
    let outcome = match cli.command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Gateway(arguments) => gateway::run(&arguments),
        Command::Worker(arguments) => worker::run(&arguments),
        Command::Train(arguments) => train::run(&arguments),
        Command::Evaluate(arguments) => evaluate::run(&arguments),
        Command::Predict(arguments) => predict::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Simulate(arguments) => simulate::run(&arguments),
        Command::Health(arguments) => health::run(&arguments),
        Command::Trial(arguments) => trial::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Failed(message)) => {
            eprintln!("millrace: {message}");
            ExitCode::FAILURE
        }
        Err(Failure::Usage(message)) => {
            eprintln!("millrace: {message}");
            ExitCode::from(2)
        }
    }
}

/// Writes to standard output; whoever reads may have gone (`| head`), and that is told, not a panic.
fn print(text: &str) -> Result<(), Failure> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| Failure::failed(format!("cannot write to standard output: {error}")))
}

/// Says something on standard error: it is for whoever watches, and not part of the output.
#[expect(clippy::print_stderr, reason = "standard error is where it belongs")]
fn say(line: &str) {
    eprintln!("{line}");
}
