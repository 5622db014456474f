//! Runs the worker processes of `millrace serve`: starts them, watches them, and starts them again.
//!
//! Each worker binds a free port of its own and says which on its standard output; whenever one comes or goes, the
//! gateway is told who its members are. A worker's standard input is a pipe that nobody writes to: when this process
//! ends, however it ends, the pipe closes and the worker drains. So no worker is ever left behind.

mod backoff;
mod process;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use self::backoff::Backoff;
use self::process::{Exit, WorkerProcess};
use crate::config::EndpointConfig;
use crate::http::drain::{Drain, Phase};

/// How a worker process is started.
#[derive(Clone, Debug)]
pub struct WorkerCommand {
    /// The binary: this one.
    pub program: PathBuf,
    /// Its arguments, without those that supervision adds.
    pub arguments: Vec<String>,
    /// How long one may take to end before it is killed.
    pub grace: Duration,
}

/// A worker has a new address, or none.
type Change = (usize, Option<EndpointConfig>);

/// Keeps `count` workers running until `drain` closes, then ends them. Each time one comes or goes, `announce` gets
/// the list of those that are there.
pub async fn run(command: WorkerCommand, count: usize, drain: Drain, announce: impl Fn(&[EndpointConfig])) {
    let command = Arc::new(command);
    let (changed, mut changes) = mpsc::channel::<Change>(count.max(1));
    let mut keepers = JoinSet::new();
    for index in 0..count {
        keepers.spawn(keep(index, command.clone(), drain.clone(), changed.clone()));
    }
    drop(changed);
    let mut members: Vec<Option<EndpointConfig>> = vec![None; count];
    while let Some((index, member)) = changes.recv().await {
        members[index] = member;
        // A worker that ends because all do is no news: its requests are already finished.
        if !drain.is_closing() {
            announce(&members.iter().flatten().cloned().collect::<Vec<_>>());
        }
    }
    while keepers.join_next().await.is_some() {}
}

/// Keeps one worker running.
async fn keep(index: usize, command: Arc<WorkerCommand>, drain: Drain, changed: mpsc::Sender<Change>) {
    let id = format!("w{index}");
    let mut backoff = Backoff::default();
    while !drain.is_closing() {
        let started = Instant::now();
        let start = tokio::select! {
            start = WorkerProcess::start(&command, &id) => start,
            // Who is dropped while it starts is killed: it cannot have a request yet.
            () = drain.reached(Phase::Closing) => break,
        };
        match start {
            Err(error) => tracing::error!(worker = id, %error, "the worker could not be started"),
            Ok(mut worker) => {
                let member = EndpointConfig {
                    id: id.clone(),
                    authority: worker.authority.clone(),
                    weight: 1,
                };
                tracing::info!(worker = id, pid = worker.pid(), authority = %member.authority, "the worker runs");
                let _ = changed.send((index, Some(member))).await;
                let exit = tokio::select! {
                    exit = worker.ended() => exit,
                    () = drain.reached(Phase::Closing) => worker.stop(command.grace).await,
                };
                let _ = changed.send((index, None)).await;
                report(&id, &exit, drain.is_closing());
            }
        }
        let rest = backoff.after_run(started.elapsed());
        tokio::select! {
            () = sleep(rest) => {}
            () = drain.reached(Phase::Closing) => {}
        }
    }
}

fn report(id: &str, exit: &Exit, is_closing: bool) {
    if is_closing {
        tracing::info!(worker = id, %exit, "the worker has ended");
    } else {
        tracing::error!(worker = id, %exit, "the worker ended by itself; it is started again");
    }
}
