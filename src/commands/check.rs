//! `millrace check`: reads a configuration as a start would.

use super::Failure;
use super::start::{layers, load};
use crate::cli::CheckArgs;

#[expect(clippy::print_stdout, reason = "the answer of the command")]
pub(super) fn run(arguments: &CheckArgs) -> Result<(), Failure> {
    let config = load(&layers(), Some(&arguments.config))?;
    let (gateway, worker) = (&config.gateway, &config.worker);
    println!("{} is valid", arguments.config.display());
    println!(
        "  gateway  {} ({} over {} workers)",
        gateway.listen,
        gateway.policy,
        gateway.workers.len()
    );
    println!(
        "  worker   {} (models from {})",
        worker.listen,
        worker.models.display()
    );
    Ok(())
}
