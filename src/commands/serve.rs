//! `millrace serve`: a gateway and worker processes on this machine.

use std::thread::available_parallelism;

use super::Failure;
use super::gateway::Front;
use super::start::{layers, load, raise_descriptor_limit, runtime, with_front_flags};
use crate::cli::ServeArgs;
use crate::config::Config;
use crate::gateway::reload::Membership;
use crate::http::drain::{Drain, Phase};
use crate::http::signal::Termination;
use crate::supervisor::{self, WorkerCommand};
use crate::telemetry::{logging, metrics};

pub(super) fn run(arguments: &ServeArgs) -> Result<(), Failure> {
    let layers = with_front_flags(layers(), &arguments.front)
        .with_flag(
            "serve.workers",
            arguments
                .workers
                .map(|count| i64::try_from(count).unwrap_or(i64::MAX)),
        )
        .with_flag(
            "worker.models",
            arguments.models.as_ref().map(|path| path.display().to_string()),
        );
    let mut config = load(&layers, arguments.config.as_deref())?;
    if !config.worker.models.is_dir() {
        return Err(Failure::usage(format!(
            "worker.models: {} is not a folder; expected a model repository (--models DIR)",
            config.worker.models.display()
        )));
    }
    if let Some(onnxruntime) = &config.worker.onnxruntime
        && !onnxruntime.path.is_file()
    {
        return Err(Failure::usage(format!(
            "worker.onnxruntime_library: {} is not a file; expected libonnxruntime.so",
            onnxruntime.path.display()
        )));
    }
    logging::start(&config.telemetry, Some("gateway".to_owned()));
    metrics::start(&config.telemetry);
    raise_descriptor_limit(config.gateway.http.max_connections);
    let named = std::mem::take(&mut config.gateway.workers);
    let sources = std::mem::take(&mut config.gateway.discovery);
    if !named.is_empty() || !sources.is_empty() {
        tracing::warn!(
            "serve starts workers of its own; [[gateway.workers]] and [[gateway.discovery]] of the configuration are not used"
        );
    }
    let command = worker_command(arguments, &config)?;
    runtime()?.block_on(async {
        let mut termination = Termination::listen().map_err(Failure::failed)?;
        let front = Front::start(
            &config,
            layers,
            arguments.config.as_deref(),
            Membership::Supervised,
        )
        .await?;
        let workers_drain = Drain::new();
        let workers = tokio::spawn({
            let gateway = front.gateway.clone();
            let count = config.serve.workers.unwrap_or_else(one_per_core);
            supervisor::run(command, count, workers_drain.clone(), move |members| {
                gateway.set_members(members);
            })
        });
        let signal = termination.received().await;
        tracing::info!(signal, "shutting down");
        termination.insist();
        front.gateway.drain.begin(&config.gateway.shutdown).await;
        let ended = front.end().await;
        // Only now: every accepted request still needed its worker.
        workers_drain.advance(Phase::Closing);
        workers.await.map_err(Failure::failed)?;
        ended
    })
}

fn one_per_core() -> usize {
    available_parallelism().map_or(2, |cores| cores.get().max(2))
}

fn worker_command(arguments: &ServeArgs, config: &Config) -> Result<WorkerCommand, Failure> {
    let program = std::env::current_exe().map_err(Failure::failed)?;
    let mut command = vec!["worker".to_owned()];
    if let Some(file) = &arguments.config {
        command.extend(["--config".to_owned(), file.display().to_string()]);
    }
    command.extend(["--models".to_owned(), config.worker.models.display().to_string()]);
    let shutdown = &config.worker.shutdown;
    Ok(WorkerCommand {
        program,
        arguments: command,
        grace: shutdown.delay + shutdown.grace,
    })
}
