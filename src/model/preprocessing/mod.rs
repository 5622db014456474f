//! From what people have to what graphs take: pure functions of what `model.toml` declares and what a request brings.

pub mod image;
