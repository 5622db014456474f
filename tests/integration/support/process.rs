//! The real binary, with its log read line by line; killed when the test is over.

use std::net::SocketAddr;
use std::process::{ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
pub(crate) use tokio::process::Command;
use tokio::task::JoinHandle;

use super::wait::{in_time, until_some};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A `millrace` process.
pub(crate) struct Process {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: JoinHandle<()>,
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs a command to its end.
pub(crate) async fn run(arguments: &[&str]) -> Output {
    let output = in_time("a command", command(arguments).output()).await;
    output.expect("the binary runs")
}

/// What a command that did what it was asked to wrote to standard output.
pub(crate) fn said(output: &Output) -> String {
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a command that ended with this code wrote to standard error.
pub(crate) fn refused(output: &Output, code: i32) -> String {
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{told}");
    told
}

/// The path of a data file that comes with the project.
pub(crate) fn data(name: &str) -> String {
    format!("{ROOT}/data/{name}")
}

/// The path of the models that come with the project.
pub(crate) fn shipped_models() -> String {
    format!("{ROOT}/models")
}

/// Sends a signal, by its name, to some process.
pub(crate) async fn signal(pid: u32, name: &str) {
    let kill = format!("kill -s {name} {pid}");
    let sent = Command::new("sh").args(["-c", &kill]).status().await;
    assert!(sent.expect("a shell runs").success(), "{kill}");
}

/// Whether a process runs; one that has ended and waits for its parent to notice does not.
pub(crate) fn is_running(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    status.is_ok_and(|status| !status.contains(") Z "))
}

impl Process {
    /// Starts a command and leaves it running.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_as(arguments, |_| {})
    }

    /// The same, with something changed about the way it is run.
    pub(crate) fn start_as(arguments: &[&str], change: impl FnOnce(&mut Command)) -> Self {
        let mut command = command(arguments);
        change(&mut command);
        Self::spawn(command)
    }

    /// The same, by this command, which ends up as `millrace`.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let log = Arc::new(Mutex::new(Vec::new()));
        let stderr = child.stderr.take().expect("standard error is a pipe");
        let lines = log.clone();
        let reader = tokio::spawn(async move {
            let mut reader = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = reader.next_line().await {
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Self { child, log, reader }
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a log line that contains `part`, after the first `skip` lines, and gives it.
    pub(crate) async fn line_after(&self, skip: usize, part: &str) -> String {
        let find = async || self.log().into_iter().skip(skip).find(|line| line.contains(part));
        until_some(&format!("the log says {part:?}"), find).await
    }

    pub(crate) async fn line(&self, part: &str) -> String {
        self.line_after(0, part).await
    }

    /// Waits until a gateway listens; where clients connect, and where operators do.
    pub(crate) async fn listening(&self) -> (SocketAddr, SocketAddr) {
        let line = self.line("the gateway listens").await;
        let address = |key: &str| {
            let value = field(&line, key).unwrap_or_else(|| panic!("{key} is not in {line:?}"));
            value.parse().expect("it logs its addresses")
        };
        (address("listen"), address("admin"))
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("the process runs")
    }

    /// Sends a signal by its name.
    pub(crate) async fn signal(&self, name: &str) {
        signal(self.pid(), name).await;
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("the system knows its children")
            .is_none()
    }

    /// Waits for its end, and for the end of its log.
    pub(crate) async fn end(&mut self) -> ExitStatus {
        let status = in_time("the end of the process", self.child.wait()).await;
        in_time("the end of the log", &mut self.reader)
            .await
            .expect("the log is read");
        status.expect("the system knows its children")
    }
}

/// One field of a log line, written as text or as JSON.
fn field(line: &str, key: &str) -> Option<String> {
    if let Ok(line) = serde_json::from_str::<serde_json::Value>(line) {
        return Some(line[key].as_str()?.to_owned());
    }
    let value = |word: &str| word.strip_prefix(key)?.strip_prefix('=').map(str::to_owned);
    line.split(' ').find_map(value)
}
