//! Fits models on data files and writes them as artifacts.
//!
//! # The way of one training run
//!
//! [`run`] reads the file ([`dataset`]), holds rows out ([`split`]), fits the asked algorithm on the rest, computes the
//! figures on the rows held out ([`evaluation`]), and writes the graph and its metadata ([`artifact`]). Every
//! random choice comes from one seeded generator ([`random`]), in this order, so the same seed gives the same bytes.
//!
//! # The map
//!
//! | module | what it holds |
//! |---|---|
//! | [`dataset`], [`split`], [`standardise`] | a checked table; who is held out; columns of mean 0 and deviation 1 |
//! | [`linear_regression`], [`logistic_regression`], [`neural_network`] | one file per algorithm: options and fit |
//! | [`lbfgs`] | the optimiser of the likelihood |
//! | [`fitted`] | what every algorithm hands back: something that predicts, and exports itself as a graph |
//! | [`feed_forward`] | a stack of dense layers, which all three algorithms end in |
//! | [`evaluation`] | R², RMSE; accuracy, log-loss, confusion matrix |
//! | [`onnx`], [`artifact`] | the graph as ONNX; a version's folder, written whole or not at all |
//! | [`report`] | exact parameters and figures as JSON |

pub mod artifact;
pub mod dataset;
mod error;
pub mod evaluation;
pub mod feed_forward;
pub mod fitted;
pub mod lbfgs;
pub mod linear_regression;
pub mod logistic_regression;
pub mod neural_network;
pub mod onnx;
pub mod random;
pub mod report;
mod run;
pub mod split;
pub mod standardise;

pub use error::TrainingError;
pub use run::{Algorithm, Outcome, Request, run};
