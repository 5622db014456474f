//! One model version that answers: from its files to a queue with engines behind it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::config::BatchingConfig;
use crate::engine::{self, EngineError, LoadOptions, contain_panics};
use crate::model::artifact::{Artifact, ArtifactError, Metadata};
use crate::model::schema::{Schema, SchemaError};
use crate::telemetry::worker_metrics::WorkerMetrics;

use super::batching::Batcher;

/// A version that answers predictions.
pub(crate) struct Served {
    /// The model's name.
    pub(crate) model: Arc<str>,
    /// The version's number, as text.
    pub(crate) version: String,
    /// How rows and answers are understood.
    pub(crate) schema: Schema,
    /// What `model.toml` says.
    pub(crate) metadata: Metadata,
    /// Where requests wait and run.
    pub(crate) batcher: Batcher,
}

/// Why a version does not answer. The text is shown in `GET /models`.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error("model.onnx is a link that leads out of the repository")]
    Outside,
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error("its engine threads could not be started: {0}")]
    Threads(io::Error),
}

impl Served {
    /// Reads, understands and warms up the version in `folder` of the repository at `root`.
    pub(super) fn load(
        root: &Path,
        folder: &Path,
        model: &Arc<str>,
        number: u64,
        config: &BatchingConfig,
        metrics: &WorkerMetrics,
    ) -> Result<Self, LoadError> {
        let artifact = Artifact::read(folder)?;
        let graph_path = artifact.graph_path.canonicalize().map_err(EngineError::from)?;
        if !graph_path.starts_with(root) {
            return Err(LoadError::Outside);
        }
        let options = LoadOptions {
            max_batch_size: config.max_batch_size,
        };
        let graph = engine::load(&graph_path, options)?;
        let schema = Schema::new(graph.signature().clone(), &artifact.metadata)?.or_classes(graph.classes());
        contain_panics(|| graph.warm_up())?;
        let version = number.to_string();
        let batch_metrics = metrics.of_version(model, &version);
        let label = format!("{model}/{version}");
        let batcher = Batcher::start(&label, &graph, config, &batch_metrics).map_err(LoadError::Threads)?;
        Ok(Self {
            model: Arc::clone(model),
            version,
            schema,
            metadata: artifact.metadata,
            batcher,
        })
    }
}
