//! Whole files through a model of the repository, without a server: `millrace evaluate` and `millrace predict`.
//!
//! A file is a [`Table`](crate::training::dataset::Table), as in training. Its rows become the rows of a request
//! ([`rows`]), are checked and encoded by the worker's own code, and run in order on the engine that would serve them
//! ([`model`]). What comes out is read as the model's schema says ([`answers`]).

mod answers;
mod error;
mod evaluate;
mod model;
mod predict;
mod rows;

pub use self::error::OfflineError;
pub use self::evaluate::{Evaluated, evaluate};
pub use self::model::OfflineModel;
pub use self::predict::predict;
