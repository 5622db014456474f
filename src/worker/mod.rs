//! The worker: hosts models behind REST endpoints.
//!
//! The way of a request: `router` → `predict`, which has it decoded by its `dialect` (the native one: `validation` makes
//! tensors of its rows) → the queue of its model version → `batching` puts it beside others and runs the batch on an
//! engine's own thread → the rows come back in order → the dialect writes them (the native one: `answer`).

mod answer;
mod batching;
mod dialect;
mod handlers;
mod native;
mod predict;
mod registry;
mod router;
mod served;
mod statistics;
pub mod trial;
mod v2;
pub mod validation;

use std::io;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use self::registry::Registry;
use self::trial::Trial;
use crate::config::WorkerConfig;
use crate::engine::{LibraryError, load_library};
use crate::http::drain::{Drain, Phase};
use crate::http::observe::AccessLog;
use crate::http::server;
use crate::model::repository::RepositoryError;
use crate::telemetry::worker_metrics::WorkerMetrics;

/// Why a worker cannot start. The texts begin with the key of the configuration that is to blame.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The model repository cannot be read.
    #[error("worker.models: {0}")]
    Repository(#[from] RepositoryError),
    /// The second engine cannot be loaded.
    #[error("worker.onnxruntime_library: {0}")]
    Library(#[from] LibraryError),
}

/// A worker process, or one of several in a test.
pub struct Worker {
    config: Arc<WorkerConfig>,
    registry: Arc<Registry>,
    metrics: WorkerMetrics,
    drain: Drain,
}

impl Worker {
    /// Looks which models there are, and loads ONNX Runtime where its library is configured. No model is loaded yet.
    pub fn new(config: WorkerConfig, trial: Trial, drain: Drain) -> Result<Arc<Self>, StartError> {
        let metrics = WorkerMetrics::new();
        config.onnxruntime.as_ref().map(load_library).transpose()?;
        let registry = Registry::scan(&config, trial, &metrics)?;
        Ok(Arc::new(Self {
            config: Arc::new(config),
            registry: Arc::new(registry),
            metrics,
            drain,
        }))
    }

    /// Begins to load all models, on threads of their own.
    pub fn load(&self) -> io::Result<()> {
        self.registry.load(&self.config)
    }

    /// Waits until every model is loaded or has failed.
    pub async fn settled(&self) {
        self.registry.settled().await;
    }

    /// Serves on `listener` until the drain closes, then finishes what was accepted. Gives back how many connections
    /// were cut off because the grace period was over.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, access_log: AccessLog) -> usize {
        let router = router::router(Arc::clone(&self), access_log);
        let grace = self.config.shutdown.grace;
        let serving = server::serve(listener, router, &self.config.http, &self.drain, grace);
        let watching = async {
            self.drain.reached(Phase::Announced).await;
            self.registry.show_unloading();
            self.drain.reached(Phase::Closing).await;
            Instant::now()
        };
        let (cut_off, closing_since) = tokio::join!(serving, watching);
        let registry = Arc::clone(&self.registry);
        // Every answer is out; a run that nobody waits for any more may take what is left of the grace period.
        let _ = timeout_at(closing_since + grace, spawn_blocking(move || registry.join())).await;
        cut_off
    }
}
