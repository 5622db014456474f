//! The worker: hosts models behind REST endpoints.
//!
//! The way of a request: `router` → `predict`, which has it decoded by its `dialect` (the native one: `validation` makes
//! tensors of its rows, on one of the `readers` where they are images) → the queue of its model version → `batching` puts it beside others and runs the batch on an
//! engine's own thread → the rows come back in order → the dialect writes them (the native one: `answer`).
//! What it met on its way and what it took is noted in `load`, which the answer tells.

mod admin;
mod answer;
mod batching;
mod card;
mod dialect;
mod handlers;
pub mod load;
mod native;
mod predict;
mod readers;
mod registry;
pub mod reload;
mod router;
pub(crate) mod served;
mod statistics;
pub mod trial;
mod v2;
pub mod validation;

use std::io;
use std::sync::{Arc, OnceLock};

use tokio::net::TcpListener;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use self::readers::Readers;
use self::registry::Registry;
pub use self::registry::{ControlError, IndexEntry, IndexState, Upload, UploadError};
use self::trial::Trial;
use crate::api::error::ApiError;
use crate::config::WorkerConfig;
use crate::engine::{LibraryError, load_library};
use crate::http::drain::{Drain, Phase};
use crate::http::local::LocalName;
use crate::http::observe::AccessLog;
use crate::http::server::{self, Doors};
use crate::http::threads::Threads;
use crate::http::upload::UploadRoom;
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
    /// Under which name gateways on this machine find it.
    local: OnceLock<LocalName>,
    uploads: UploadRoom,
    readers: Readers,
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
            local: OnceLock::new(),
            uploads: UploadRoom::default(),
            readers: Readers::default(),
        }))
    }

    /// Begins to load all models and to follow the repository, on threads of its own.
    pub fn load(&self) -> io::Result<()> {
        self.registry.load(&self.config)
    }

    /// Waits until every model that lay there at the start is loaded or has failed.
    pub async fn settled(&self) {
        self.registry.settled().await;
    }

    /// Loads a model, or loads it again, and waits until that is done; what serves meanwhile serves on. From then on the
    /// model is followed in the repository; with an upload, what was uploaded serves in its place until the next call.
    /// Gives what came of each version.
    pub async fn load_model(
        &self,
        model: &str,
        upload: Option<Upload>,
    ) -> Result<Vec<IndexEntry>, ControlError> {
        self.registry.load_model(model, upload).await
    }

    /// Takes every version of a model down, and waits until their work is done. It stays down, whatever changes in the
    /// repository, until it is loaded by [`load_model`](Self::load_model).
    pub async fn unload_model(&self, model: &str) -> Result<(), ControlError> {
        self.registry.unload_model(model).await
    }

    /// Serves operators on `listener` until `drain` closes.
    pub async fn serve_admin(self: Arc<Self>, listener: TcpListener, access_log: AccessLog, drain: Drain) {
        let router = router::admin(Arc::clone(&self), access_log);
        let grace = self.config.shutdown.grace;
        server::serve(
            listener.into(),
            router,
            &self.config.http,
            &Threads::here(),
            &drain,
            grace,
        )
        .await;
    }

    /// Points a label of a model at a version that is there; none takes the label away.
    pub fn set_label(&self, model: &str, label: &str, version: Option<u64>) -> Result<(), ApiError> {
        self.registry.set_label(model, label, version)
    }

    /// Takes over what of a changed configuration takes effect while requests run: versions, labels, and how the
    /// repository is followed. What batching a model has changes when it is loaded again.
    pub fn take_over(&self, before: &WorkerConfig, after: &Arc<WorkerConfig>) {
        self.registry.take_over(before, after);
    }

    /// Every version of every model, and what became of it.
    #[must_use]
    pub fn index(&self) -> Vec<IndexEntry> {
        self.registry.index()
    }

    /// Serves on `listener`, on these threads, until the drain closes, then finishes what was accepted. Gives back how many connections
    /// were cut off because the grace period was over.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        threads: &Threads,
        access_log: AccessLog,
    ) -> usize {
        let router = router::router(Arc::clone(&self), access_log);
        let grace = self.config.shutdown.grace;
        let doors = self.doors(listener);
        let serving = server::serve(doors, router, &self.config.http, threads, &self.drain, grace);
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

    /// What listens on the network, and beside it what listens within the machine.
    fn doors(&self, network: TcpListener) -> Doors {
        let beside = network.local_addr().ok().and_then(LocalName::listen);
        let local = beside.map(|(name, listener)| {
            let _ = self.local.set(name);
            listener
        });
        Doors { network, local }
    }
}
