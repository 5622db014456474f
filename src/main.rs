//! The `millrace` binary: parse, dispatch, exit code; nothing else.

use std::process::ExitCode;

use clap::Parser;
use millrace::cli::Cli;

fn main() -> ExitCode {
    millrace::commands::run(Cli::parse())
}
