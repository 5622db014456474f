//! The `millrace` binary: parse, dispatch, exit code; nothing else.

use std::process::ExitCode;

use clap::Parser;
use millrace::cli::Cli;

/// Models come and go, each loaded on one thread and freed on another: under glibc the process grew with every reload
/// (docs/adr/0010).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    millrace::commands::run(Cli::parse())
}
