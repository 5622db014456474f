//! Whole files through a model of the repository, without a server: `millrace evaluate` and `millrace predict`.
//!
//! A file is a [`Table`](crate::training::dataset::Table), as in training. Its rows become the rows of a request
//! ([`rows`]), are checked and encoded by the worker's own code, and run in order on the engine that would serve them
//! ([`model`]). What comes out is read as the model's schema says ([`answers`]), or for figures as what it is ([`said`]) and beside
//! a column of the table ([`truth`], [`judge`]). A series is a column that is cut into windows ([`series`], [`forecast`]).

mod answers;
mod error;
mod evaluate;
mod forecast;
mod judge;
mod model;
mod predict;
mod rows;
mod said;
mod series;
mod sheet;
mod truth;

pub use self::error::OfflineError;
pub use self::evaluate::{Evaluated, Question, evaluate};
pub use self::judge::Judged;
pub use self::model::OfflineModel;
pub use self::predict::{Predicted, Wanted, predict};
