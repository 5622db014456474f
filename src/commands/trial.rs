//! `millrace trial`: loads one version within bounds of memory and time, and says whether it can be served. Workers start
//! it for every file before they load it themselves.

use std::process;
use std::thread;
use std::time::Duration;

use rlimit::Resource;

use super::Failure;
use crate::cli::TrialArgs;
use crate::worker::trial::{OUT_OF_TIME, try_here};

pub(super) fn run(arguments: &TrialArgs) -> Result<(), Failure> {
    let options = serde_json::from_str(&arguments.options).map_err(Failure::usage)?;
    let timeout = Duration::from_millis(arguments.timeout_ms);
    bound(arguments.max_memory, timeout).map_err(Failure::failed)?;
    try_here(&arguments.graph, &arguments.folder, &options).map_err(Failure::failed)
}

/// Bounds what this process can take from now on.
#[expect(
    clippy::disallowed_methods,
    reason = "this wait is the deadline of the process"
)]
fn bound(max_memory: u64, timeout: Duration) -> std::io::Result<()> {
    Resource::CORE.set(0, 0)?;
    let address_space = address_space()?.saturating_add(max_memory);
    Resource::AS.set(address_space, address_space)?;
    // Twice the time, because a graph may be prepared on more than one core; the clock below is the first to end it.
    let seconds = timeout.as_secs().saturating_mul(2).saturating_add(1);
    Resource::CPU.set(seconds, seconds)?;
    // Where the whole machine runs out of memory, this is the process to end. It need not be allowed.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    thread::Builder::new().name("clock".to_owned()).spawn(move || {
        thread::sleep(timeout);
        process::exit(i32::from(OUT_OF_TIME));
    })?;
    Ok(())
}

/// Bytes of address space that this process has before it begins: its allocator reserves some ahead.
fn address_space() -> std::io::Result<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let pages = pages
        .split(' ')
        .next()
        .and_then(|pages| pages.parse::<u64>().ok());
    Ok(pages
        .unwrap_or(0)
        .saturating_mul(rustix::param::page_size() as u64))
}
