//! From what people have to the tensors that a graph takes: what `model.toml` and the files beside the graph declare of it.

pub mod text;
