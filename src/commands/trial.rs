//! `millrace trial`: loads one graph within bounds of memory and time, and says whether it can be served. Workers start
//! it for every file before they load it themselves.

use std::process;
use std::thread;
use std::time::Duration;

use rlimit::Resource;

use super::Failure;
use crate::cli::TrialArgs;
use crate::engine;
use crate::worker::trial::OUT_OF_TIME;

pub(super) fn run(arguments: &TrialArgs) -> Result<(), Failure> {
    let options = serde_json::from_str(&arguments.options).map_err(Failure::usage)?;
    let timeout = Duration::from_millis(arguments.timeout_ms);
    bound(arguments.max_memory, timeout).map_err(Failure::failed)?;
    let graph = engine::load(&arguments.graph, &options).map_err(Failure::failed)?;
    engine::contain_panics(|| graph.warm_up()).map_err(Failure::failed)
}

/// Bounds what this process can take from now on.
#[expect(
    clippy::disallowed_methods,
    reason = "this wait is the deadline of the process"
)]
fn bound(max_memory: u64, timeout: Duration) -> std::io::Result<()> {
    Resource::CORE.set(0, 0)?;
    Resource::AS.set(max_memory, max_memory)?;
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
