//! Which engine a model is to run on, as a configuration asks for it and an engine is told.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// ONNX Runtime, as a file to load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeLibrary {
    /// Where `libonnxruntime.so` lies.
    pub path: PathBuf,
    /// Threads of each engine; 1 computes on the engine's own thread.
    pub threads: usize,
}

/// What runs a graph. A choice in hand can be met: there is no ONNX Runtime without its library.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EngineChoice {
    /// The default engine, in pure Rust.
    #[default]
    Tract,
    /// ONNX Runtime.
    OnnxRuntime(RuntimeLibrary),
    /// tract; where it cannot, ONNX Runtime, if that is there.
    Auto(Option<RuntimeLibrary>),
}
