//! The Open Inference Protocol V2 over REST, with its extensions: classification, binary tensor data, the model
//! repository, model configuration, statistics. As the specification has them
//! (kserve/open-inference-protocol `specification/protocol/inference_rest.md`, triton-inference-server/server
//! `docs/protocol/`).
//!
//! A body of an inference request is JSON, and behind it may stand the raw bytes of tensors: [`request`] takes the two
//! apart, [`data`] reads the JSON of one tensor and [`binary`] its bytes. [`response`] is the way back.

mod base64;
pub mod binary;
pub mod data;
pub mod metadata;
pub mod repository;
pub mod request;
pub mod response;
pub mod statistics;

/// How many bytes of a body are JSON; what follows are the bytes of tensors. Absent: all of them are JSON.
pub const HEADER_LENGTH: &str = "inference-header-content-length";
