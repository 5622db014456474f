//! One worker process.

use std::fmt;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use axum::http::uri::Authority;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::WorkerCommand;

/// How long a worker may take to bind its port. Models are loaded after that.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// What a worker says before its address.
const LISTENING: &str = "listening ";

/// Why a worker did not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    /// The system did not run it.
    #[error("it cannot be run: {0}")]
    NotRun(#[from] io::Error),
    /// It ended before it was listening.
    #[error("it ended before it was listening ({0})")]
    Ended(Exit),
    /// It said something else, or nothing.
    #[error("it did not say where it listens within {} s", START_TIMEOUT.as_secs())]
    Silent,
}

/// How a worker ended.
#[derive(Debug)]
pub(super) enum Exit {
    /// By itself, or as it was asked to.
    Status(ExitStatus),
    /// It did not end in time and was killed.
    Killed,
    /// The system could not tell.
    Unknown(io::Error),
}

impl fmt::Display for Exit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(formatter, "{status}"),
            Self::Killed => formatter.write_str("killed: it did not end within the grace period"),
            Self::Unknown(error) => write!(formatter, "unknown: {error}"),
        }
    }
}

/// A worker that listens.
#[derive(Debug)]
pub(super) struct WorkerProcess {
    child: Child,
    /// Open as long as the worker shall run.
    stdin: Option<ChildStdin>,
    /// Kept, so that what the worker might still print does not break it.
    _stdout: BufReader<ChildStdout>,
    /// Where it listens.
    pub(super) authority: Authority,
}

impl WorkerProcess {
    /// Starts a worker and waits until it listens.
    pub(super) async fn start(command: &WorkerCommand, id: &str) -> Result<Self, StartError> {
        let mut child = Command::new(&command.program)
            .args(&command.arguments)
            .args(["--listen", "127.0.0.1:0", "--supervised-as", id])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            // Ctrl-C goes to every process of the terminal's group; the workers must outlive the gateway's drain.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take();
        let Some(stdout) = child.stdout.take() else {
            return Err(StartError::Silent);
        };
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        match timeout(START_TIMEOUT, stdout.read_line(&mut line)).await {
            Err(_) => return Err(StartError::Silent),
            Ok(Err(error)) => return Err(error.into()),
            Ok(Ok(0)) => return Err(StartError::Ended(Exit::of(child.wait().await))),
            Ok(Ok(_)) => {}
        }
        let address = line
            .trim()
            .strip_prefix(LISTENING)
            .and_then(|address| address.parse().ok());
        let authority = address.ok_or(StartError::Silent)?;
        Ok(Self {
            child,
            stdin,
            _stdout: stdout,
            authority,
        })
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it ends by itself.
    pub(super) async fn ended(&mut self) -> Exit {
        Exit::of(self.child.wait().await)
    }

    /// Asks it to end by closing its standard input; kills it where it does not within `grace`.
    pub(super) async fn stop(&mut self, grace: Duration) -> Exit {
        drop(self.stdin.take());
        if let Ok(exit) = timeout(grace, self.child.wait()).await {
            return Exit::of(exit);
        }
        match self.child.kill().await {
            Ok(()) => Exit::Killed,
            Err(error) => Exit::Unknown(error),
        }
    }
}

impl Exit {
    fn of(waited: io::Result<ExitStatus>) -> Self {
        waited.map_or_else(Self::Unknown, Self::Status)
    }
}
