//! Engines run graphs.
//!
//! A [`Graph`] is a loaded model: shared, immutable, able to make [`Engine`]s. An engine lives on one thread and runs
//! batches there. Which library stands behind them is known only in [`load`].

mod class_names;
mod file;
mod inspect;
mod maps;
mod ml_ops;
mod onnxruntime;
mod probe;
mod rows;
mod tract;

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::onnxruntime::{LibraryError, load_library};
use crate::model::dictionary::Dictionary;
use crate::model::engine_choice::{EngineChoice, RuntimeLibrary};
use crate::model::signature::Signature;
use crate::model::tensor::{Datatype, Tensor, TensorError};

/// A loaded graph. Engines of one graph share what they can: its weights and its optimised plans.
pub trait Graph: Send + Sync {
    /// The name of the engine that runs it.
    fn engine_name(&self) -> &'static str;

    /// What it takes and puts out.
    fn signature(&self) -> &Signature;

    /// The names of the classes in the order of their probabilities, where the graph itself says them.
    fn classes(&self) -> &[String] {
        &[]
    }

    /// The inputs whose rows are objects from keys to values.
    fn dictionaries(&self) -> &[Dictionary] {
        &[]
    }

    /// Prepares for batches that will come, so that no request pays for it. `lengths` are those that the free axes of a
    /// row will have; without any, nothing is known of these. What of it is put off is not made by runs either: until it is
    /// prepared they make do with what there is.
    fn prepare(&self, lengths: &[usize], extent: Extent) -> Result<(), EngineError>;

    /// Whether something was put off that would make runs faster.
    fn is_put_off(&self) -> bool {
        false
    }

    /// Prepares for every batch that will come.
    fn warm_up(&self, lengths: &[usize]) -> Result<(), EngineError> {
        self.prepare(lengths, Extent::All)
    }

    /// An engine for one thread.
    fn engine(self: Arc<Self>) -> Box<dyn Engine>;
}

/// How much of what a graph needs is prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Extent {
    /// What it takes to answer: single rows. The rest is put off.
    Least,
    /// The smallest batch and the largest, between which lies what the others take. The rest is put off.
    Ends,
    /// Everything.
    All,
}

/// Runs a graph, on one thread.
pub trait Engine: Send {
    /// Runs the rows of `inputs` and gives one row of each output for each of them, in order.
    ///
    /// `inputs` are in the order of the signature, all with the same number of rows along axis 0, which is there
    /// even where the graph has no axis for it. Outputs have it as well.
    fn run(&mut self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, EngineError>;
}

/// How a graph is loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadOptions {
    /// The most rows that will ever run together.
    pub max_batch_size: usize,
    /// What runs it.
    pub engine: EngineChoice,
}

/// Why a graph could not be loaded or run. The texts are for operators; clients of a failed run get none of them.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The file cannot be read.
    #[error("model.onnx cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The file is no ONNX graph, or only a part of one.
    #[error("model.onnx is not a whole ONNX graph: {0}")]
    Malformed(String),
    /// The library of ONNX Runtime is not what it should be.
    #[error("worker.onnxruntime_library: {0}")]
    Library(#[from] LibraryError),
    /// No engine takes the graph.
    #[error("tract: {tract}; ONNX Runtime: {onnxruntime}")]
    Both {
        /// What the default engine said.
        tract: Box<EngineError>,
        /// What the second one said.
        onnxruntime: Box<EngineError>,
    },
    /// The graph needs operators that the engine does not know.
    #[error(
        "the graph uses operators that are not implemented: {}; ONNX Runtime may have them: set \
         worker.onnxruntime_library, and engine = \"onnxruntime\" or \"auto\" for this model",
        .0.join(", ")
    )]
    UnsupportedOperators(Vec<String>),
    /// A tensor that comes in or goes out has a type that cannot be served.
    #[error("tensor {tensor:?} has the element type {datatype}, which is not supported")]
    UnsupportedDatatype {
        /// Its name in the graph.
        tensor: String,
        /// Its type, as the graph names it.
        datatype: String,
    },
    /// The graph is well-formed, and the engine cannot make a plan of it.
    #[error("the graph cannot be prepared: {0}")]
    Unprepared(String),
    /// A run failed.
    #[error("the engine failed: {0}")]
    Failed(String),
    /// A run met values that an operator of the graph does not take, such as a category that it does not know.
    #[error("it does not take these values: {0}")]
    RefusedValues(String),
    /// A run gave a tensor with another number of rows than it was given.
    #[error("output {output} has {found} rows for {expected} rows of input")]
    RowCount {
        /// Position of the output.
        output: usize,
        /// Rows that went in.
        expected: usize,
        /// Rows that came out.
        found: usize,
    },
    /// A run was given a tensor of another type than the graph takes.
    #[error("input {input} is {found}; the graph takes {expected}")]
    WrongDatatype {
        /// Position of the input.
        input: usize,
        /// What the signature says.
        expected: Datatype,
        /// What came.
        found: Datatype,
    },
    /// Rows did not fit each other.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// The engine's code panicked, as some does on broken graphs.
    #[error("the engine broke down: {0}")]
    Panicked(String),
}

impl EngineError {
    /// Whether another engine may do better. What one engine calls malformed may only be unknown to it.
    const fn is_for_another_engine(&self) -> bool {
        !matches!(self, Self::Unreadable(_))
    }
}

/// Loads the graph at `path`.
pub fn load(path: &Path, options: &LoadOptions) -> Result<Arc<dyn Graph>, EngineError> {
    contain_panics(|| match &options.engine {
        EngineChoice::Tract | EngineChoice::Auto(None) => load_with_tract(path, options),
        EngineChoice::OnnxRuntime(library) => onnxruntime::load(path, library),
        EngineChoice::Auto(Some(library)) => load_with_any(path, options, library),
    })
}

fn load_with_tract(path: &Path, options: &LoadOptions) -> Result<Arc<dyn Graph>, EngineError> {
    Ok(Arc::new(tract::TractGraph::load(path, options)?))
}

/// With tract, or with ONNX Runtime where tract cannot, or where it cannot be made sure that tract can. Some graphs tract
/// refuses no sooner than it prepares them for concrete shapes.
fn load_with_any(
    path: &Path,
    options: &LoadOptions,
    library: &RuntimeLibrary,
) -> Result<Arc<dyn Graph>, EngineError> {
    let by_tract = contain_panics(|| {
        let mut graph = tract::TractGraph::load(path, options)?;
        if let Some(doubt) = graph.take_doubt() {
            return Err(doubt);
        }
        graph.prepare(&[], Extent::Ends)?;
        let graph: Arc<dyn Graph> = Arc::new(graph);
        Ok(graph)
    });
    match by_tract {
        Err(error) if error.is_for_another_engine() => {
            onnxruntime::load(path, library).map_err(|second| EngineError::Both {
                tract: Box::new(error),
                onnxruntime: Box::new(second),
            })
        }
        outcome => outcome,
    }
}

/// Runs code that may panic on what a file contains, and makes an error of its panic.
pub(crate) fn contain_panics<T>(run: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    // What the closure leaves half-done is thrown away by every caller.
    catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|payload| Err(EngineError::Panicked(panic_text(payload.as_ref()))))
}

fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without text".to_owned())
}
