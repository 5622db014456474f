//! One model version that answers: from its files to a queue with engines behind it.

use std::io;
use std::path::{Path, PathBuf};
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
    /// Where its files lie.
    pub(crate) place: Place,
    /// Where requests wait and run.
    pub(crate) batcher: Batcher,
}

/// Where the files of a version lie.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The repository, which nothing may lead out of.
    pub(crate) root: PathBuf,
    /// The version's own folder.
    pub(crate) folder: PathBuf,
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
    pub(crate) graph: Arc<dyn Graph>,
    pub(crate) schema: Schema,
    pub(crate) metadata: Metadata,
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
        let prepared = Prepared::read(&graph_path, artifact.metadata, &options)?;
        contain_panics(|| prepared.graph.warm_up())?;
        Ok(prepared)
    }
}

impl Prepared {
    /// Loads the graph at this path and understands it by this metadata.
    pub(crate) fn read(graph: &Path, metadata: Metadata, options: &LoadOptions) -> Result<Self, LoadError> {
        let graph = engine::load(graph, options)?;
        let schema = Schema::new(graph.signature().clone(), &metadata)?
            .or_classes(graph.classes())
            .with_dictionaries(graph.dictionaries())?;
        Ok(Self {
            graph,
            schema,
            metadata,
        })
    }

    /// Starts its engines: from now on it can answer.
    pub(super) fn start(
        self,
        model: &Arc<str>,
        number: u64,
        config: &BatchingConfig,
        metrics: &WorkerMetrics,
        load: Arc<ModelLoad>,
        place: Place,
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
            place,
            batcher,
        })
    }
}
