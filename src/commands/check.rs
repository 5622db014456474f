//! `millrace check`: reads a configuration as a start would.

use super::Failure;
use super::start::{layers, load};
use crate::cli::CheckArgs;
use crate::config::DiscoveryConfig;

#[expect(clippy::print_stdout, reason = "the answer of the command")]
pub(super) fn run(arguments: &CheckArgs) -> Result<(), Failure> {
    let config = load(&layers(), Some(&arguments.config))?;
    let (gateway, worker) = (&config.gateway, &config.worker);
    println!("{} is valid", arguments.config.display());
    println!(
        "  gateway  {} ({} over {} workers{})",
        gateway.listen,
        gateway.policy,
        gateway.workers.len(),
        found_by(&gateway.discovery)
    );
    println!(
        "  worker   {} (models from {})",
        worker.listen,
        worker.models.display()
    );
    Ok(())
}

/// Where more workers come from, as the line about the gateway goes on.
fn found_by(sources: &[DiscoveryConfig]) -> String {
    let names: Vec<_> = sources.iter().map(ToString::to_string).collect();
    if names.is_empty() {
        return String::new();
    }
    format!(", and those of {}", names.join(", "))
}
