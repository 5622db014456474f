//! From what people have to the tensors that a graph takes: pure functions of what `model.toml` and the files beside the graph
//! declare, and of what a request brings.

pub mod image;
pub mod text;
