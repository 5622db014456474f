//! One model version that answers: from its files to a queue with engines behind it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::{io, thread};

use crate::config::{BatchingConfig, ModelConfig};
use crate::engine::{self, EngineError, Extent, Graph, LoadOptions, contain_panics};
use crate::model::artifact::{Artifact, ArtifactError, GRAPH_FILE, Metadata, TOKENIZER_FILE};
use crate::model::preprocessing::text::{TextError, TextRows, Tokenizer, TokenizerError};
use crate::model::schema::{Schema, SchemaError};
use crate::model::signature::TensorSpec;
use crate::model::tensor::{Tensor, Values};
use crate::telemetry::worker_metrics::WorkerMetrics;

use super::batching::Batcher;
use super::load::ModelLoad;
use super::trial::{Attempt, STACK_BYTES, Task, TrialError, Trials};

/// A version that answers predictions.
pub(crate) struct Served {
    /// The model's name.
    pub(crate) model: Arc<str>,
    /// The version's number, as text.
    pub(crate) version: String,
    /// How rows and answers are understood.
    pub(crate) schema: Schema,
    /// For each output, whether a row of it has a value, or more, for each token of a text.
    token_axes: Vec<bool>,
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
    #[error("{0} is a link that leads out of the repository")]
    Outside(&'static str),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Trial(#[from] TrialError),
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Text(#[from] TextError),
    #[error("its files changed while they were read")]
    Changed,
    #[error("its engine threads could not be started: {0}")]
    Threads(io::Error),
}

/// A version that is read, understood and prepared, and does not answer yet.
pub(crate) struct Prepared {
    graph: Arc<dyn Graph>,
    schema: Schema,
    token_axes: Vec<bool>,
    metadata: Metadata,
    /// The lengths of texts that it is prepared for.
    lengths: Vec<usize>,
}

/// What can be done for a version once it answers, so that it answers faster. Gone where the version is.
pub(super) struct Rest {
    graph: Weak<dyn Graph>,
    lengths: Vec<usize>,
    attempt: Attempt,
}

impl Served {
    /// Whether a row of this output has a value, or more, for each token of a text.
    pub(crate) fn has_token_axis(&self, output: usize) -> bool {
        self.token_axes.get(output).copied().unwrap_or(false)
    }

    /// Reads and understands the version in `folder` of the repository at `root`, and prepares the least with which it can
    /// answer; gives what is left to be done after that as well.
    pub(super) fn prepare(
        root: &Path,
        folder: &Path,
        config: &ModelConfig,
        trials: &mut Trials,
    ) -> Result<(Prepared, Option<Rest>), LoadError> {
        let artifact = Artifact::read(folder)?;
        let tokenizer_path = artifact.tokenizer_path.as_deref();
        let tokenizer_path = tokenizer_path
            .map(|path| inside(root, path, TOKENIZER_FILE))
            .transpose()?;
        let attempt = Attempt {
            graph: inside(root, &artifact.graph_path, GRAPH_FILE)?,
            folder: folder.to_owned(),
            task: Task {
                options: LoadOptions {
                    max_batch_size: config.batching.max_batch_size,
                    engine: config.engine.clone(),
                },
                extent: Extent::Ends,
            },
        };
        trials.pass(&attempt)?;
        let read = Read {
            graph_path: &attempt.graph,
            tokenizer: tokenizer_path.as_deref().map(Tokenizer::read).transpose()?,
            metadata: artifact.metadata,
        };
        let mut understood = read.understand(&attempt.task.options)?;
        understood.schema = understood.schema.with_max_image_pixels(config.max_image_pixels);
        let prepared = understood.prepare(Extent::Least, <[usize]>::to_vec)?;
        let rest = prepared.rest(attempt);
        Ok((prepared, rest))
    }
}

impl Rest {
    /// Whether the version has been replaced, or is gone.
    pub(super) fn is_in_vain(&self) -> bool {
        self.graph.strong_count() == 0
    }

    /// Tries what is left to be done, in a process in which that does no harm.
    pub(super) fn pass(&self, trials: &mut Trials) -> Result<(), LoadError> {
        Ok(trials.pass(&self.attempt)?)
    }

    /// Does it, beside the requests.
    pub(super) fn finish(self) -> Result<(), LoadError> {
        let Some(graph) = self.graph.upgrade() else {
            return Ok(());
        };
        contain_panics(|| graph.warm_up(&self.lengths))?;
        Ok(())
    }
}

/// Where a file of a version really lies, if that is in the repository.
fn inside(root: &Path, path: &Path, file: &'static str) -> Result<PathBuf, LoadError> {
    let path = path.canonicalize().map_err(EngineError::from)?;
    if path.starts_with(root) {
        Ok(path)
    } else {
        Err(LoadError::Outside(file))
    }
}

/// Tries the version in `folder` with its graph at `graph_path`, in a process in which that does no harm.
pub(crate) fn try_out(graph_path: &Path, folder: &Path, task: &Task) -> Result<(), LoadError> {
    let artifact = Artifact::read(folder)?;
    let tokenizer = artifact.tokenizer_path.as_deref();
    let read = Read {
        graph_path,
        tokenizer: tokenizer.map(Tokenizer::read).transpose()?,
        metadata: artifact.metadata,
    };
    let understood = read.understand(&task.options)?;
    if task.extent == Extent::All {
        // Whoever tries everything has passed the rest before.
        return understood.prepare(Extent::All, <[usize]>::to_vec).map(|_| ());
    }
    let ends = |lengths: &[usize]| {
        let ends = lengths.iter().copied();
        ends.step_by(lengths.len().max(2) - 1).collect::<Vec<_>>()
    };
    if let Some(text) = &understood.schema.text {
        try_text(text, &understood.graph, &ends(text.lengths()), task.extent)?;
    }
    understood.prepare(task.extent, ends).map(|_| ())
}

/// Tries the tokens of texts and prepares the graph for their lengths, side by side: they take equally long.
fn try_text(
    text: &TextRows,
    graph: &Arc<dyn Graph>,
    lengths: &[usize],
    extent: Extent,
) -> Result<(), LoadError> {
    let (texts, prepared) = thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK_BYTES);
        let prepare = || contain_panics(|| graph.prepare(lengths, extent));
        let preparing = thread.spawn_scoped(scope, prepare).map_err(LoadError::Threads)?;
        Ok::<_, LoadError>((text.try_out(), preparing.join()))
    })?;
    texts?;
    prepared.unwrap_or_else(|payload| std::panic::resume_unwind(payload))?;
    Ok(())
}

/// The files of a version that were read, all but its graph.
struct Read<'a> {
    graph_path: &'a Path,
    tokenizer: Option<Tokenizer>,
    metadata: Metadata,
}

impl Read<'_> {
    fn understand(self, options: &LoadOptions) -> Result<Understood, LoadError> {
        let Self {
            graph_path,
            tokenizer,
            metadata,
        } = self;
        let graph = engine::load(graph_path, options)?;
        let signature = graph.signature();
        let text = match (tokenizer, &metadata.text) {
            (None, Some(_)) => return Err(TextError::NoTokenizer.into()),
            (None, None) => None,
            (Some(tokenizer), said) => Some(TextRows::new(
                tokenizer,
                &said.clone().unwrap_or_default(),
                signature,
            )?),
        };
        let schema = Schema::new(signature.clone(), &metadata)?
            .or_classes(graph.classes())
            .with_dictionaries(graph.dictionaries())?
            .with_text(text);
        Ok(Understood {
            graph,
            schema,
            metadata,
        })
    }
}

/// A version that is read and understood, and not yet warmed up.
pub(crate) struct Understood {
    pub(crate) graph: Arc<dyn Graph>,
    pub(crate) schema: Schema,
    pub(crate) metadata: Metadata,
}

impl Understood {
    /// Reads the version in `folder`, which is trusted: it is not tried beforehand.
    pub(crate) fn read(folder: &Path, options: &LoadOptions) -> Result<Self, LoadError> {
        let artifact = Artifact::read(folder)?;
        let tokenizer = artifact.tokenizer_path.as_deref();
        let read = Read {
            graph_path: &artifact.graph_path,
            tokenizer: tokenizer.map(Tokenizer::read).transpose()?,
            metadata: artifact.metadata,
        };
        read.understand(options)
    }

    /// Makes ready what requests would wait for; `choose` says which of the lengths of texts are prepared for.
    fn prepare(self, extent: Extent, choose: impl Fn(&[usize]) -> Vec<usize>) -> Result<Prepared, LoadError> {
        let Self {
            graph,
            schema,
            metadata,
        } = self;
        let lengths = schema.text.as_ref().map_or(&[][..], |text| text.lengths());
        let lengths = choose(lengths);
        contain_panics(|| graph.prepare(&lengths, extent))?;
        Ok(Prepared {
            token_axes: token_axes(&graph, &lengths),
            graph,
            schema,
            metadata,
            lengths,
        })
    }
}

/// For each output, whether a row of it is as long as the texts are. What the graph declares does not always say so, and a
/// row of as many other numbers must not be taken for one: so it is tried with two lengths, the first of which texts have.
fn token_axes(graph: &Arc<dyn Graph>, lengths: &[usize]) -> Vec<bool> {
    let signature = graph.signature();
    let is_free = |spec: &TensorSpec| matches!(signature.row_shape(spec), [None, ..]);
    let Some(&length) = lengths.first() else {
        return Vec::new();
    };
    if !signature.inputs.iter().all(is_free) || !signature.outputs.iter().any(is_free) {
        return Vec::new();
    }
    let other = lengths.get(1).copied().unwrap_or(length + 1);
    let mut engine = Arc::clone(graph).engine();
    let mut sizes = |length: usize| {
        let ones = |spec: &TensorSpec| Tensor::new(vec![1, length], Values::ones(spec.datatype, length));
        let inputs = signature.inputs.iter().map(ones).collect::<Result<_, _>>()?;
        let outputs = contain_panics(|| engine.run(inputs))?;
        let size = |output: &Tensor| output.row_shape().first().copied();
        Ok::<_, EngineError>(outputs.iter().map(size).collect::<Vec<_>>())
    };
    let (Ok(first), Ok(second)) = (sizes(length), sizes(other)) else {
        return Vec::new();
    };
    let follows = |(first, second)| first == Some(length) && second == Some(other);
    first.into_iter().zip(second).map(follows).collect()
}

impl Prepared {
    /// What is left to be done of what was tried so far.
    fn rest(&self, tried: Attempt) -> Option<Rest> {
        let task = Task {
            extent: Extent::All,
            ..tried.task
        };
        self.graph.is_put_off().then(|| Rest {
            graph: Arc::downgrade(&self.graph),
            lengths: self.lengths.clone(),
            attempt: Attempt { task, ..tried },
        })
    }

    /// Starts its engines: from now on it can answer.
    pub(super) fn start(
        self,
        model: &Arc<str>,
        number: u64,
        config: &BatchingConfig,
        metrics: &WorkerMetrics,
        load: &Arc<ModelLoad>,
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
            token_axes: self.token_axes,
            engine: self.graph.engine_name(),
            metadata: self.metadata,
            place,
            batcher,
        })
    }
}
