//! The `millrace` binary: parse, dispatch, exit code; nothing else.

use std::process::ExitCode;

use clap::Parser;
use millrace::cli::Cli;
use millrace::system::{Pages, use_pages};

/// Models come and go, each loaded on one thread and freed on another: under glibc the process grew with every reload
/// (docs/adr/0010).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // First, for whatever is used before then is in large pages for good (docs/adr/0026).
    use_pages(Pages::Small);
    millrace::commands::run(Cli::parse())
}
