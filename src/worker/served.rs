//! One model version that answers: from its files to a queue with engines behind it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::config::{BatchingConfig, ModelConfig};
use crate::engine::{self, EngineError, Graph, LoadOptions, contain_panics};
use crate::model::artifact::{Artifact, ArtifactError, Metadata};
use crate::model::schema::{Schema, SchemaError};
use crate::telemetry::worker_metrics::WorkerMetrics;

use super::batching::Batcher;
use super::load::ModelLoad;
use super::trial::{Trial, TrialError};

/// A version that answers predictions.
pub(crate) struct Served {
    /// The model's name.
    pub(crate) model: Arc<str>,
    /// The version's number, as text.
    pub(crate) version: String,
    /// How rows and answers are understood.
    pub(crate) schema: Schema,
    /// The engine that runs it.
    pub(crate) engine: &'static str,
    /// What `model.toml` says.
    pub(crate) metadata: Metadata,
    /// Where requests wait and run.
    pub(crate) batcher: Batcher,
}

/// Why a version does not answer. The text is shown in `GET /models`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error("model.onnx is a link that leads out of the repository")]
    Outside,
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Trial(#[from] TrialError),
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error("its files changed while they were read")]
    Changed,
    #[error("its engine threads could not be started: {0}")]
    Threads(io::Error),
}

/// A version that is read, understood and warmed up, and does not answer yet.
pub(crate) struct Prepared {
    graph: Arc<dyn Graph>,
    schema: Schema,
    metadata: Metadata,
}

impl Served {
    /// Reads, understands and warms up the version in `folder` of the repository at `root`.
    pub(super) fn prepare(
        root: &Path,
        folder: &Path,
        config: &ModelConfig,
        trial: &Trial,
    ) -> Result<Prepared, LoadError> {
        let artifact = Artifact::read(folder)?;
        let graph_path = artifact.graph_path.canonicalize().map_err(EngineError::from)?;
        if !graph_path.starts_with(root) {
            return Err(LoadError::Outside);
        }
        let options = LoadOptions {
            max_batch_size: config.batching.max_batch_size,
            engine: config.engine.clone(),
        };
        trial.pass(&graph_path, &options)?;
        let graph = engine::load(&graph_path, &options)?;
        let schema = Schema::new(graph.signature().clone(), &artifact.metadata)?
            .or_classes(graph.classes())
            .with_max_image_pixels(config.max_image_pixels)
            .with_dictionaries(graph.dictionaries())?;
        contain_panics(|| graph.warm_up())?;
        Ok(Prepared {
            graph,
            schema,
            metadata: artifact.metadata,
        })
    }
}

impl Prepared {
    /// Starts its engines: from now on it can answer.
    pub(super) fn start(
        self,
        model: &Arc<str>,
        number: u64,
        config: &BatchingConfig,
        metrics: &WorkerMetrics,
        load: Arc<ModelLoad>,
    ) -> Result<Served, LoadError> {
        let version = number.to_string();
        let batch_metrics = metrics.of_version(model, &version);
        let label = format!("{model}/{version}");
        let batcher =
            Batcher::start(&label, &self.graph, config, &batch_metrics, load).map_err(LoadError::Threads)?;
        Ok(Served {
            model: Arc::clone(model),
            version,
            schema: self.schema,
            engine: self.graph.engine_name(),
            metadata: self.metadata,
            batcher,
        })
    }
}
