//! A file from elsewhere is tried before it is loaded: in a process of its own, which may use so much memory and time
//! and no more.
//!
//! A graph of a few hundred bytes can ask for terabytes, run for ever or overflow the stack, and no look at the file
//! tells: what an engine makes of it shows only when it makes it. Whatever happens to the trial, the worker goes on.
//!
//! Starting a process takes longer than trying a small file. So one process tries file after file, as long as they pass, and
//! what is said against a file is always said by a process that tried nothing else.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use super::served;
use crate::config::LoadingConfig;
use crate::engine::{Extent, LoadOptions};

/// The exit code of a trial whose time is over.
pub const OUT_OF_TIME: u8 = 3;
/// The stack of threads that try, in bytes: less than that of any thread that loads or runs what has passed.
pub const STACK_BYTES: usize = 1792 << 10;
/// The signal that a process gets for having used too much of the processor.
const SIGXCPU: i32 = 24;
/// The longest reason that is taken over from a trial.
const MAX_REASON: usize = 1000;
/// What is kept of the last words of a trial, in bytes.
const MAX_SAID: usize = 16 << 10;
/// The longest answer that is read, in bytes: a reason as JSON.
const MAX_ANSWER: u64 = 64 << 10;
/// Ends each part of an attempt on its way to the process that makes it: the one byte that no path has.
const END: u8 = 0;

/// Says how versions are tried.
#[derive(Clone, Debug)]
pub struct Trial {
    /// This program: it knows the command `trial`.
    program: PathBuf,
    limits: LoadingConfig,
}

/// What is tried: the version in `folder` with its graph at `graph`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its graph.
    pub graph: PathBuf,
    /// Where its other files lie.
    pub folder: PathBuf,
    /// What is done with it.
    pub task: Task,
}

/// What is done with a version that is tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// How it is loaded.
    pub options: LoadOptions,
    /// How much of what it needs is prepared then.
    pub extent: Extent,
}

/// Why a version did not pass its trial.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// No process could be started for it, or none could be told what to try.
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
}

impl Attempt {
    /// Writes it to the process that makes it.
    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let task = serde_json::to_vec(&self.task)?;
        for part in [
            self.graph.as_os_str().as_bytes(),
            self.folder.as_os_str().as_bytes(),
            &task,
        ] {
            to.write_all(part)?;
            to.write_all(&[END])?;
        }
        to.flush()
    }

    /// Reads what [`write`](Self::write) wrote; none at the end.
    pub fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let Some(graph) = read_part(from)? else {
            return Ok(None);
        };
        let (Some(folder), Some(task)) = (read_part(from)?, read_part(from)?) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        Ok(Some(Self {
            graph: path(graph),
            folder: path(folder),
            task: serde_json::from_slice(&task)?,
        }))
    }
}

fn read_part(from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut part = Vec::new();
    from.read_until(END, &mut part)?;
    Ok((part.pop() == Some(END)).then_some(part))
}

fn path(bytes: Vec<u8>) -> PathBuf {
    std::ffi::OsString::from_vec(bytes).into()
}

/// Tries one version after the other.
pub(super) struct Trials {
    trial: Trial,
    /// What tried the last ones, which all passed.
    process: Option<Process>,
}

impl Trials {
    pub(super) const fn new(trial: Trial) -> Self {
        let process = None;
        Self { trial, process }
    }

    /// Makes this attempt, in another process.
    pub(super) fn pass(&mut self, attempt: &Attempt) -> Result<(), TrialError> {
        let is_used = self.process.is_some();
        match self.pass_once(attempt) {
            // What the files before it left in the process is nothing that speaks against this one.
            Err(error) if is_used && !matches!(error, TrialError::OutOfTime(_)) => self.pass_once(attempt),
            verdict => verdict,
        }
    }

    fn pass_once(&mut self, attempt: &Attempt) -> Result<(), TrialError> {
        let mut process = match self.process.take() {
            Some(process) => process,
            None => Process::start(&self.trial)?,
        };
        process.pass(attempt, &self.trial.limits)?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends the process until there is something to try again.
    pub(super) fn rest(&mut self) {
        self.process = None;
    }
}

/// A process that tries what it is told.
struct Process {
    child: Child,
    attempts: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// What it says on standard error: to the end, so that it never waits for somebody to read it.
    said: Option<JoinHandle<String>>,
}

impl Process {
    fn start(trial: &Trial) -> io::Result<Self> {
        let mut child = Command::new(&trial.program)
            .arg("trial")
            // Nobody reads where in an engine an error came up, and finding that out takes longer than all the rest.
            .env("RUST_LIB_BACKTRACE", "0")
            .args(["--max-memory", &trial.limits.max_memory.to_string()])
            .args(["--timeout-ms", &trial.limits.timeout.as_millis().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(attempts), Some(answers), Some(errors)) = pipes else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let mut process = Self {
            child,
            attempts,
            answers: BufReader::new(answers),
            said: None,
        };
        let listener = thread::Builder::new().name("trial".to_owned());
        process.said = Some(listener.spawn(move || last_words(errors))?);
        Ok(process)
    }

    fn pass(&mut self, attempt: &Attempt, limits: &LoadingConfig) -> Result<(), TrialError> {
        let mut answer = Vec::new();
        // Where it can be told nothing, it is no more: its end says why.
        if attempt.write(&mut self.attempts).is_ok() {
            self.answers
                .by_ref()
                .take(MAX_ANSWER)
                .read_until(b'\n', &mut answer)?;
        }
        match serde_json::from_slice::<Result<(), String>>(&answer) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(refused(&reason, limits)),
            Err(_) => Err(self.end(limits)?),
        }
    }

    /// Why it has ended.
    fn end(&mut self, limits: &LoadingConfig) -> io::Result<TrialError> {
        let status = self.child.wait()?;
        let said = self.said.take().and_then(|said| said.join().ok());
        Ok(breakdown(status, &said.unwrap_or_default(), limits))
    }
}

impl Drop for Process {
    /// It may be at work on something that nobody waits for any more.
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The end of what is said.
fn last_words(mut from: impl Read) -> String {
    let mut said = Vec::new();
    let mut piece = [0; 4 << 10];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        said.extend_from_slice(&piece[..count]);
        said.drain(..said.len().saturating_sub(MAX_SAID));
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// What a trial does, in the process that was started for it. Fails with the reason as text.
pub fn try_here(attempt: &Attempt) -> Result<(), String> {
    served::try_out(&attempt.graph, &attempt.folder, &attempt.task).map_err(|error| error.to_string())
}

/// What an answer says against a version.
fn refused(reason: &str, limits: &LoadingConfig) -> TrialError {
    if is_out_of_memory(reason) {
        return out_of_memory(reason, limits);
    }
    TrialError::Refused(reason.chars().take(MAX_REASON).collect())
}

/// What the end of a trial without an answer and its last words say.
fn breakdown(status: ExitStatus, said: &str, limits: &LoadingConfig) -> TrialError {
    if status.signal() == Some(SIGXCPU) || status.code() == Some(i32::from(OUT_OF_TIME)) {
        return TrialError::OutOfTime(limits.timeout);
    }
    if let Some(what) = said.lines().find(|line| is_out_of_memory(line)) {
        return out_of_memory(what, limits);
    }
    let last = said.lines().rev().find(|line| !line.trim().is_empty());
    let reason: String = last.unwrap_or_default().chars().take(MAX_REASON).collect();
    TrialError::BrokeDown(match reason.as_str() {
        "" => status.to_string(),
        reason => format!("{status}: {reason}"),
    })
}

fn out_of_memory(what: &str, limits: &LoadingConfig) -> TrialError {
    TrialError::OutOfMemory {
        limit: ByteSize(limits.max_memory as u64),
        what: what.chars().take(MAX_REASON).collect(),
    }
}

/// How Rust's allocator says that there is no more, and how tract does.
fn is_out_of_memory(line: &str) -> bool {
    line.starts_with("memory allocation of") || line.contains("failed to allocate")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::engine_choice::EngineChoice;

    fn of(raw: i32, said: &str) -> String {
        breakdown(ExitStatus::from_raw(raw), said, &LoadingConfig::default()).to_string()
    }

    #[test]
    fn the_end_of_a_trial_is_understood() {
        const ABORTED: i32 = 6;
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

    #[test]
    fn an_answer_says_what_is_wrong() {
        let limits = LoadingConfig::default();
        let said = |reason: &str| refused(reason, &limits).to_string();
        assert_eq!(said("no graph"), "no graph");
        assert!(said("tract failed to allocate 7 bytes").contains("max_memory"));
        assert_eq!(said(&"x".repeat(MAX_REASON + 1)).len(), MAX_REASON);
    }

    #[test]
    fn whoever_says_much_is_heard_out_and_the_end_is_kept() {
        let said = "noise\n".repeat(MAX_SAID) + "the end";
        let kept = last_words(said.as_bytes());
        assert!(kept.len() == MAX_SAID && kept.ends_with("noise\nthe end"));
    }

    #[test]
    fn attempts_arrive_as_they_were_written_whatever_their_paths_are() {
        let attempt = |folder: &[u8]| Attempt {
            graph: path([folder, b"/model.onnx"].concat()),
            folder: path(folder.to_vec()),
            task: Task {
                options: LoadOptions {
                    max_batch_size: 32,
                    engine: EngineChoice::Tract,
                },
                extent: Extent::Ends,
            },
        };
        let attempts = [attempt(b"/models/a b\n\"c/1"), attempt(b"/\xff/1")];
        let mut written = Vec::new();
        attempts.iter().for_each(|one| one.write(&mut written).unwrap());
        let mut from = written.as_slice();
        for one in attempts {
            assert_eq!(Attempt::read(&mut from).unwrap(), Some(one));
        }
        assert_eq!(Attempt::read(&mut from).unwrap(), None);
        let mut cut_off = &written[..written.len() / 3];
        assert!(Attempt::read(&mut cut_off).is_err());
    }
}
