//! What servers and models say of themselves.

use serde::{Deserialize, Serialize};

use crate::api::models::TensorEntry;

/// The extensions of the protocol that both processes know.
pub const EXTENSIONS: &[&str] = &[
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "parameters",
    "schedule_policy",
    "statistics",
];

/// What the protocol calls an ONNX file.
pub const PLATFORM: &str = "onnx_onnxv1";

/// The answer to `GET /v2`.
#[derive(Debug, Serialize)]
pub struct ServerMetadata {
    /// The name of the program.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What it knows beside the protocol itself.
    pub extensions: &'static [&'static str],
}

/// This program.
pub const SERVER: ServerMetadata = ServerMetadata {
    name: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    extensions: EXTENSIONS,
};

/// The answer to `GET /v2/health/live`.
pub const LIVE: &str = r#"{"live":true}"#;

/// The answer to `GET /v2/health/ready`: the text of the specification has `live` here, clients read `ready`.
pub const READY: &str = r#"{"live":true,"ready":true}"#;

/// The answer to `GET /v2/models`, which the protocol lacks and the KServe SDK asks for.
#[derive(Debug, Serialize)]
pub struct ModelNames<'a> {
    /// In their order.
    pub models: Vec<&'a str>,
}

/// The answer to `GET /v2/models/{model}/ready` where it is.
#[derive(Debug, Serialize)]
pub struct ModelReady<'a> {
    /// The model.
    pub name: &'a str,
    /// Always true: one that is not ready is an error.
    pub ready: bool,
}

/// The answer to `GET /v2/models/{model}`.
#[derive(Debug, Serialize, Deserialize)]
pub struct ModelMetadata {
    /// The model.
    pub name: String,
    /// Its versions that answer, oldest first.
    pub versions: Vec<String>,
    /// [`PLATFORM`].
    pub platform: String,
    /// What it takes; -1 where a size is free, in front of all for the rows.
    pub inputs: Vec<TensorEntry>,
    /// What it puts out.
    pub outputs: Vec<TensorEntry>,
}

/// The answer to `GET /v2/models/{model}/config`: what of Triton's model configuration has a meaning here.
#[derive(Debug, Serialize, Deserialize)]
pub struct ModelConfig {
    /// The model.
    pub name: String,
    /// [`PLATFORM`].
    pub platform: String,
    /// What runs it.
    pub backend: String,
    /// Rows that run together at most; 0 where no axis counts rows.
    pub max_batch_size: usize,
    /// What it takes.
    pub input: Vec<TensorConfig>,
    /// What it puts out.
    pub output: Vec<TensorConfig>,
}

/// One tensor of a [`ModelConfig`].
#[derive(Debug, Serialize, Deserialize)]
pub struct TensorConfig {
    /// Its name in the graph.
    pub name: String,
    /// `TYPE_FP32`, …; `TYPE_STRING` for texts.
    pub data_type: String,
    /// The shape of one row; -1 where a size is free.
    pub dims: Vec<i64>,
}
