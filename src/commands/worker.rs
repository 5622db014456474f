//! `millrace worker`: configuration → parts → bind → serve → drain.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::thread;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::Failure;
use super::start::{bind, layers, load, network_threads, raise_descriptor_limit, runtime};
use crate::cli::WorkerArgs;
use crate::config::{Config, Layers, ShutdownConfig, WorkerConfig};
use crate::http::drain::Drain;
use crate::http::observe::AccessLog;
use crate::http::signal::Termination;
use crate::telemetry::{logging, metrics};
use crate::worker::Worker;
use crate::worker::reload::follow;
use crate::worker::trial::Trial;

pub(super) fn run(arguments: &WorkerArgs) -> Result<(), Failure> {
    let layers = layers()
        .with_flag(
            "worker.listen",
            arguments.listen.map(|address| address.to_string()),
        )
        .with_flag(
            "worker.models",
            arguments.models.as_ref().map(|path| path.display().to_string()),
        );
    let config = load(&layers, arguments.config.as_deref())?;
    logging::start(&config.telemetry, arguments.supervised_as.clone());
    metrics::start(&config.telemetry);
    raise_descriptor_limit(config.worker.http.max_connections);
    let runtime = runtime()?;
    let outcome = runtime.block_on(serve(
        config,
        layers,
        arguments.config.as_deref(),
        arguments.supervised_as.is_some(),
    ));
    // A run of an engine that nobody waits for any more must not hold up the end.
    runtime.shutdown_background();
    outcome
}

async fn serve(
    config: Config,
    layers: Layers,
    file: Option<&Path>,
    is_supervised: bool,
) -> Result<(), Failure> {
    let termination = Termination::listen().map_err(Failure::failed)?;
    // Before a log line tells anybody that there is a process to signal.
    let hangup = file
        .map(|_| signal(SignalKind::hangup()))
        .transpose()
        .map_err(Failure::failed)?;
    let running = config.worker.clone();
    let drain = Drain::new();
    let shutdown = config.worker.shutdown.clone();
    let address = config.worker.listen;
    let access_log = AccessLog(config.telemetry.access_log);
    let program = std::env::current_exe().map_err(Failure::failed)?;
    let trial = Trial::new(program, config.worker.loading.clone());
    let threads = network_threads(config.worker.threads)?;
    let worker = Worker::new(config.worker, trial, drain.clone()).map_err(Failure::usage)?;

    // Bound before the models are loaded: whoever asks meanwhile learns that they are loading.
    let listener = bind("worker.listen", address).await?;
    let address = listener.local_addr().map_err(Failure::failed)?;
    let admin = admin_listener(&running, is_supervised).await?;
    tracing::info!(%address, "the worker listens");
    let mut supervisor = None;
    if is_supervised {
        announce(address).map_err(Failure::failed)?;
        supervisor = Some(end_of_input().map_err(Failure::failed)?);
    }
    worker.load().map_err(Failure::failed)?;
    tokio::spawn(drain_when_told(termination, supervisor, drain, shutdown));
    if let Some((file, hangup)) = file.zip(hangup) {
        tokio::spawn(follow(worker.clone(), file.to_owned(), layers, running, hangup));
    }
    // Operators can look on until the last request is answered; the end of the process ends this.
    if let Some(listener) = admin {
        tokio::spawn(worker.clone().serve_admin(listener, access_log, Drain::new()));
    }

    let cut_off = worker.serve(listener, &threads, access_log).await;
    if cut_off > 0 {
        let message = format!("the grace period was over; {cut_off} connections were cut off");
        return Err(Failure::failed(message));
    }
    tracing::info!("the worker has ended");
    Ok(())
}

/// Where operators connect, if they may. Workers of one supervisor read one configuration and cannot share its address.
async fn admin_listener(config: &WorkerConfig, is_supervised: bool) -> Result<Option<TcpListener>, Failure> {
    let Some(address) = config.admin else {
        return Ok(None);
    };
    if is_supervised {
        tracing::warn!("worker.admin is not used by workers that `serve` starts; move labels by the file");
        return Ok(None);
    }
    let listener = bind("worker.admin", address).await?;
    let address = listener.local_addr().map_err(Failure::failed)?;
    tracing::info!(%address, "operators can connect");
    Ok(Some(listener))
}

/// Tells the supervisor where this worker listens.
fn announce(address: SocketAddr) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "listening {address}")?;
    output.flush()
}

/// Resolves when standard input ends: the supervisor closed it, or is no more.
fn end_of_input() -> io::Result<oneshot::Receiver<()>> {
    let (ended, receiver) = oneshot::channel();
    // A thread of its own, because a read of standard input cannot be given up.
    thread::Builder::new()
        .name("supervisor".to_owned())
        .spawn(move || {
            // An error ends the input as well.
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            let _ = ended.send(());
        })?;
    Ok(receiver)
}

async fn drain_when_told(
    mut termination: Termination,
    supervisor: Option<oneshot::Receiver<()>>,
    drain: Drain,
    shutdown: ShutdownConfig,
) {
    let supervisor_ended = async {
        match supervisor {
            Some(ended) => drop(ended.await),
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        signal = termination.received() => {
            tracing::info!(cause = signal, "the worker is shutting down");
            termination.insist();
        }
        // Only signals are told apart as first and second: the one that a supervisor sends besides is no hurry.
        () = supervisor_ended => tracing::info!(cause = "end of input", "the worker is shutting down"),
    }
    drain.begin(&shutdown).await;
}
