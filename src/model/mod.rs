//! What a model is, apart from any engine or server: its signature, its tensors, its files.

pub mod artifact;
pub mod card;
pub mod dictionary;
pub mod engine_choice;
pub mod name;
pub mod preprocessing;
pub mod repository;
pub mod schema;
pub mod signature;
pub mod tensor;
