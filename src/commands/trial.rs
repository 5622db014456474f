//! `millrace trial`: loads one version after the other within bounds of memory and time, and says of each whether it can be
//! served. Workers start it, and tell it on standard input what to try before they load it themselves.

use std::io::{self, Write};
use std::process;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use rlimit::Resource;

use super::Failure;
use crate::cli::TrialArgs;
use crate::worker::trial::{Attempt, OUT_OF_TIME, STACK_BYTES, try_here};

pub(super) fn run(arguments: &TrialArgs) -> Result<(), Failure> {
    let timeout = Duration::from_millis(arguments.timeout_ms);
    bound_memory(arguments.max_memory).map_err(Failure::failed)?;
    let trying = thread::Builder::new()
        .name("trial".to_owned())
        .stack_size(STACK_BYTES);
    let trying = trying.spawn(move || work_off(timeout)).map_err(Failure::failed)?;
    let outcome = trying.join();
    outcome
        .map_err(|_| Failure::failed("a trial panicked"))?
        .map_err(Failure::failed)
}

/// Tries what standard input says, until it ends.
fn work_off(timeout: Duration) -> io::Result<()> {
    let clock = Clock::start(timeout)?;
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    while let Some(attempt) = Attempt::read(&mut input)? {
        bound_processor(timeout)?;
        let verdict = clock.time(|| try_here(&attempt))?;
        serde_json::to_writer(&mut output, &verdict)?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
    Ok(())
}

/// Ends this process where an attempt takes too long.
struct Clock(Sender<()>);

impl Clock {
    fn start(timeout: Duration) -> io::Result<Self> {
        let (sender, marks) = mpsc::channel();
        thread::Builder::new().name("clock".to_owned()).spawn(move || {
            while marks.recv().is_ok() {
                if let Err(RecvTimeoutError::Timeout) = marks.recv_timeout(timeout) {
                    process::exit(i32::from(OUT_OF_TIME));
                }
            }
        })?;
        Ok(Self(sender))
    }

    fn time<T>(&self, attempt: impl FnOnce() -> T) -> io::Result<T> {
        let mark = || {
            self.0
                .send(())
                .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
        };
        mark()?;
        let outcome = attempt();
        mark()?;
        Ok(outcome)
    }
}

/// Bounds what this process can take from now on, all attempts together: what one frees serves the next.
fn bound_memory(max_memory: u64) -> io::Result<()> {
    Resource::CORE.set(0, 0)?;
    let address_space = address_space()?.saturating_add(max_memory);
    Resource::AS.set(address_space, address_space)?;
    // Where the whole machine runs out of memory, this is the process to end. It need not be allowed.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    Ok(())
}

/// Bounds how long this process computes from now on, should its clock not get to end it. Twice the time, because a graph
/// may be prepared on more than one core.
fn bound_processor(timeout: Duration) -> io::Result<()> {
    let more = timeout.as_secs().saturating_mul(2).saturating_add(1);
    let (_, hard) = Resource::CPU.get()?;
    Resource::CPU.set(processor_seconds()?.saturating_add(more).min(hard), hard)
}

/// Bytes of address space that this process has before it begins: its allocator reserves some ahead.
fn address_space() -> io::Result<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let pages = pages
        .split(' ')
        .next()
        .and_then(|pages| pages.parse::<u64>().ok());
    Ok(pages
        .unwrap_or(0)
        .saturating_mul(rustix::param::page_size() as u64))
}

/// Seconds that this process has computed, rounded up.
fn processor_seconds() -> io::Result<u64> {
    let told = std::fs::read_to_string("/proc/self/stat")?;
    // Its name may hold anything, blanks and brackets as well.
    let fields = told.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum();
    Ok(ticks.div_ceil(rustix::param::clock_ticks_per_second().max(1)))
}
