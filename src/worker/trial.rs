//! A file from elsewhere is tried before it is loaded: in a process of its own, which may use so much memory and time
//! and no more.
//!
//! A graph of a few hundred bytes can ask for terabytes, run for ever or overflow the stack, and no look at the file
//! tells: what an engine makes of it shows only when it makes it. Whatever happens to the trial, the worker goes on.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use bytesize::ByteSize;

use super::served;
use crate::config::LoadingConfig;
use crate::engine::LoadOptions;

/// The exit code of a trial whose time is over.
pub const OUT_OF_TIME: u8 = 3;
/// The signal that a process gets for having used too much of the processor.
const SIGXCPU: i32 = 24;
/// The longest reason that is taken over from a trial.
const MAX_REASON: usize = 1000;

/// Tries versions.
#[derive(Clone, Debug)]
pub struct Trial {
    /// This program: it knows the command `trial`.
    program: PathBuf,
    limits: LoadingConfig,
}

/// Why a version did not pass its trial.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// No process could be started for it.
    #[error("it could not be tried: {0}")]
    NotStarted(#[from] io::Error),
    /// It was read and found wanting.
    #[error("{0}")]
    Refused(String),
    /// It did not get ready in time.
    #[error("it is not ready after {} (worker.loading.timeout)", humantime::format_duration(*.0))]
    OutOfTime(std::time::Duration),
    /// It took more memory than it may.
    #[error("it takes more memory than {limit} (worker.loading.max_memory): {what}")]
    OutOfMemory {
        /// What it may take.
        limit: ByteSize,
        /// The last request for memory.
        what: String,
    },
    /// It killed the process that tried it.
    #[error("it broke the process that tried to load it ({0})")]
    BrokeDown(String),
}

impl Trial {
    /// Trials by `program`, this very one.
    #[must_use]
    pub const fn new(program: PathBuf, limits: LoadingConfig) -> Self {
        Self { program, limits }
    }

    /// Loads and warms up, in another process, the version in `folder` with its graph at `path`.
    pub fn pass(&self, path: &Path, folder: &Path, options: &LoadOptions) -> Result<(), TrialError> {
        let options = serde_json::to_string(options).map_err(io::Error::from)?;
        let tried = Command::new(&self.program)
            .arg("trial")
            .args(["--max-memory", &self.limits.max_memory.to_string()])
            .args(["--timeout-ms", &self.limits.timeout.as_millis().to_string()])
            .args(["--options", &options])
            .arg("--folder")
            .arg(folder)
            .arg("--")
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()?;
        verdict(
            tried.status,
            &String::from_utf8_lossy(&tried.stderr),
            &self.limits,
        )
    }
}

/// What a trial does: loads and warms up the version in `folder` with its graph at `path`. Fails with the reason as text.
pub fn try_here(path: &Path, folder: &Path, options: &LoadOptions) -> Result<(), String> {
    served::try_out(path, folder, options).map_err(|error| error.to_string())
}

/// What the end of a trial and its last words say.
fn verdict(status: ExitStatus, said: &str, limits: &LoadingConfig) -> Result<(), TrialError> {
    if status.success() {
        return Ok(());
    }
    if status.signal() == Some(SIGXCPU) || status.code() == Some(i32::from(OUT_OF_TIME)) {
        return Err(TrialError::OutOfTime(limits.timeout));
    }
    if let Some(what) = said.lines().find(|line| is_out_of_memory(line)) {
        return Err(TrialError::OutOfMemory {
            limit: ByteSize(limits.max_memory as u64),
            what: what.trim_start_matches("millrace: ").to_owned(),
        });
    }
    let last = said
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default();
    let reason: String = last.chars().take(MAX_REASON).collect();
    match reason.strip_prefix("millrace: ") {
        Some(reason) if status.code() == Some(1) => Err(TrialError::Refused(reason.to_owned())),
        _ if reason.is_empty() => Err(TrialError::BrokeDown(status.to_string())),
        _ => Err(TrialError::BrokeDown(format!("{status}: {reason}"))),
    }
}

/// How Rust's allocator says that there is no more, and how tract does.
fn is_out_of_memory(line: &str) -> bool {
    line.starts_with("memory allocation of") || line.contains("failed to allocate")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(raw: i32, said: &str) -> String {
        let limits = LoadingConfig::default();
        let verdict = verdict(ExitStatus::from_raw(raw), said, &limits);
        verdict.map_or_else(|error| error.to_string(), |()| "passed".to_owned())
    }

    #[test]
    fn the_end_of_a_trial_is_understood() {
        const ABORTED: i32 = 6;
        assert_eq!(of(0, ""), "passed");
        assert_eq!(of(1 << 8, "noise\nmillrace: no graph\n"), "no graph");
        assert!(of(3 << 8, "").contains("not ready after 2m"));
        assert!(of(SIGXCPU, "").contains("worker.loading.timeout"));
        let memory = of(ABORTED, "memory allocation of 4398046511104 bytes failed\n");
        assert!(
            memory.contains("max_memory") && memory.contains("4398046511104"),
            "{memory}"
        );
        let overflow = of(
            ABORTED,
            "\nthread 'main' has overflowed its stack\nfatal runtime error\n",
        );
        assert!(
            overflow.contains("broke") && overflow.contains("fatal runtime error"),
            "{overflow}"
        );
        assert!(of(9, "").contains("signal: 9"));
    }
}
