//! The second engine: ONNX Runtime, from a library file that the configuration names.
//!
//! Nothing of it is linked. Where no library is configured nothing is loaded and no thread is started.
//!
//! A session belongs to one engine and so to one thread, as the `ort` crate asks for. Its weights are therefore there
//! once for each instance; one session already uses several cores where `threads` says so.

mod convert;
mod library;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::{Outlet, ValueType};
use prost::Message;

pub use self::library::{LibraryError, load_library};
use super::inspect::inspect;
use super::maps::{Dissolved, dissolve};
use super::probe::{self, Found};
use super::rows::{Padding, run_rows, try_out};
use super::{Engine, EngineError, Extent, Graph, file};
use crate::model::dictionary::Dictionary;
use crate::model::engine_choice::RuntimeLibrary;
use crate::model::signature::{Signature, TensorSpec};
use crate::model::tensor::{Datatype, Tensor, Values};

/// Where a session finds weights that lie beside a graph which it was given as bytes.
const WEIGHTS_FOLDER: &str = "session.model_external_initializers_file_folder_path";

/// Loads the graph at `path`.
pub(super) fn load(path: &Path, library: &RuntimeLibrary) -> Result<Arc<dyn Graph>, EngineError> {
    load_library(library)?;
    let (session, dissolved) = open(path, library.threads)?;
    let inputs = specs(session.inputs())?;
    let outputs = specs(session.outputs())?;
    let session = Mutex::new(session);
    let analyse = |shapes: &[&[usize]]| {
        let mut session = session.lock().unwrap_or_else(PoisonError::into_inner);
        found_outputs(&mut session, &inputs, &outputs, shapes)
    };
    let signature = probe::signature(inputs.clone(), outputs.clone(), analyse)?.signature;
    Ok(Arc::new(RuntimeGraph {
        threads: library.threads,
        dissolved,
        path: path.to_owned(),
        signature,
        spare: Mutex::new(session.into_inner().ok()),
    }))
}

/// A session for the graph at `path` without its maps, and what these told.
fn open(path: &Path, threads: usize) -> Result<(Session, Dissolved), EngineError> {
    let path = path.canonicalize()?;
    let folder = path.parent().unwrap_or(&path);
    let mut file = file::read(&path)?;
    let mut model = file::decode(&file)?;
    inspect(&model, folder)?;
    let dissolved = dissolve(&mut model, &file)?;
    if dissolved.is_changed {
        file = model.encode_to_vec();
    }
    drop(model);
    let session =
        session(&file, folder, threads).map_err(|error| EngineError::Unprepared(error.to_string()))?;
    Ok((session, dissolved))
}

fn session(file: &[u8], folder: &Path, threads: usize) -> ort::Result<Session> {
    let mut builder = Session::builder()?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(threads)?
        .with_inter_threads(1)?
        // Threads that spin while they wait would take the cores from other models.
        .with_intra_op_spinning(false)?
        .with_config_entry(WEIGHTS_FOLDER, folder.to_string_lossy())?;
    builder.commit_from_memory(file)
}

/// A graph that ONNX Runtime has read.
struct RuntimeGraph {
    threads: usize,
    path: PathBuf,
    dissolved: Dissolved,
    signature: Signature,
    /// The session that was made to look at the graph; the first engine takes it.
    spare: Mutex<Option<Session>>,
}

impl RuntimeGraph {
    fn take_spare(&self) -> Option<Session> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Graph for RuntimeGraph {
    fn engine_name(&self) -> &'static str {
        "onnxruntime"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn classes(&self) -> &[String] {
        &self.dissolved.classes
    }

    fn dictionaries(&self) -> &[Dictionary] {
        &self.dissolved.dictionaries
    }

    fn prepare(&self, lengths: &[usize], _: Extent) -> Result<(), EngineError> {
        let Some(mut session) = self.take_spare() else {
            return Ok(());
        };
        // Sessions take any shape, so that one shows as much as all.
        let shape = (1, lengths.first().copied());
        try_out(&self.signature, shape, |inputs| {
            run(&mut session, &self.signature, inputs)
        })?;
        *self.spare.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
        Ok(())
    }

    fn engine(self: Arc<Self>) -> Box<dyn Engine> {
        // Made here, while the version loads. Where that fails, the first run says why.
        let session = self
            .take_spare()
            .or_else(|| open(&self.path, self.threads).ok().map(|(session, _)| session));
        Box::new(RuntimeEngine { graph: self, session })
    }
}

struct RuntimeEngine {
    graph: Arc<RuntimeGraph>,
    session: Option<Session>,
}

impl Engine for RuntimeEngine {
    fn run(&mut self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, EngineError> {
        let session = match &mut self.session {
            Some(session) => session,
            None => self.session.insert(open(&self.graph.path, self.graph.threads)?.0),
        };
        run(session, &self.graph.signature, inputs)
    }
}

/// Runs the rows of `inputs`. Sessions take any shape, so that nothing is padded.
fn run(
    session: &mut Session,
    signature: &Signature,
    inputs: Vec<Tensor>,
) -> Result<Vec<Tensor>, EngineError> {
    for (input, (spec, tensor)) in signature.inputs.iter().zip(&inputs).enumerate() {
        let (expected, found) = (spec.datatype, tensor.datatype());
        if found != expected {
            return Err(EngineError::WrongDatatype {
                input,
                expected,
                found,
            });
        }
    }
    run_rows(signature.batch, Padding::None, inputs, |inputs| {
        run_session(session, inputs)
    })
}

/// Runs tensors that have the graph's own shapes.
fn run_session(session: &mut Session, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, EngineError> {
    let values: Vec<SessionInputValue<'_>> = inputs
        .into_iter()
        .map(|input| Ok(convert::to_value(input).map_err(failed)?.into()))
        .collect::<Result<_, EngineError>>()?;
    let outputs = session.run(values.as_slice()).map_err(failed)?;
    outputs
        .values()
        .map(|output| convert::from_value(&output))
        .collect()
}

/// What becomes of the outputs for inputs of these shapes. Sizes may depend on what the inputs are filled with, so that
/// only the number of rows is taken from the run.
fn found_outputs(
    session: &mut Session,
    inputs: &[TensorSpec],
    outputs: &[TensorSpec],
    shapes: &[&[usize]],
) -> Result<Vec<Found>, EngineError> {
    let filled = |values: fn(Datatype, usize) -> Values| {
        let tensors = inputs.iter().zip(shapes).map(|(input, shape)| {
            let values = values(input.datatype, shape.iter().product());
            Tensor::new(shape.to_vec(), values)
        });
        tensors.collect::<Result<Vec<_>, _>>()
    };
    let tensors = run_session(session, filled(Values::zeros)?);
    let tensors = tensors.or_else(|_| run_session(session, filled(Values::ones)?))?;
    let found = |(spec, tensor): (&TensorSpec, &Tensor)| {
        let is_declared = spec.shape.len() == tensor.shape().len();
        let mut shape = if is_declared {
            spec.shape.clone()
        } else {
            vec![None; tensor.shape().len()]
        };
        if let Some(first) = shape.first_mut() {
            *first = Some(tensor.rows());
        }
        Found {
            datatype: tensor.datatype(),
            shape,
        }
    };
    Ok(outputs.iter().zip(&tensors).map(found).collect())
}

fn specs(outlets: &[Outlet]) -> Result<Vec<TensorSpec>, EngineError> {
    outlets.iter().map(spec).collect()
}

fn spec(outlet: &Outlet) -> Result<TensorSpec, EngineError> {
    let unsupported = || EngineError::UnsupportedDatatype {
        tensor: outlet.name().to_owned(),
        datatype: outlet.dtype().to_string(),
    };
    let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
        return Err(unsupported());
    };
    Ok(TensorSpec {
        name: outlet.name().to_owned(),
        datatype: convert::served_as(*ty).ok_or_else(unsupported)?,
        shape: shape.iter().map(|&size| usize::try_from(size).ok()).collect(),
    })
}

#[expect(clippy::needless_pass_by_value, reason = "stands in map_err")]
fn failed(error: ort::Error) -> EngineError {
    EngineError::Failed(error.to_string())
}
