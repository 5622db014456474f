//! Fits models on data files and writes them as artifacts.
//!
//! # The way of one training run
//!
//! [`run`] reads the file ([`dataset`]), holds rows out ([`split`]), fits the asked algorithm on the rest ([`algorithm`]),
//! writes the graph, lets the engine that serves it predict the rows held out ([`score`]), computes the figures
//! ([`evaluation`]), tells people of it (`card`), and puts the version into the repository ([`artifact`]). Every random choice comes from one seeded
//! generator ([`random`]), in this order, so the same seed gives the same bytes.
//!
//! # The map
//!
//! | module | what it holds |
//! |---|---|
//! | [`dataset`], [`split`], [`cross_validation`] | a checked table; who is held out, once or by turns |
//! | [`encoding`], [`standardise`] | columns as numbers, here and in the graph; columns of mean 0 and deviation 1 |
//! | [`algorithm`], [`options`] | what every algorithm has in common |
//! | [`linear_regression`], [`logistic_regression`], [`neural_network`] | one file per algorithm: options and fit |
//! | [`svm`] | machines of support vectors: kernels, the dual problem, probabilities |
//! | [`convolutional_network`] | the same for images: options and fit, the net, its convolutions and pooling, the graph |
//! | [`text_classifier`] | texts: tokens learnt on the data, self-attention |
//! | [`recurrent_network`] | the same for series: windows, LSTM and GRU, and the forecasts that they are held against |
//! | [`network`] | what all nets share: the loop over epochs, early stopping, the goal |
//! | [`lbfgs`] | the optimiser of the likelihood |
//! | [`fitted`], [`feed_forward`] | a model of encoded columns; a stack of dense layers |
//! | [`score`], [`evaluation`] | what the written file predicts; R², RMSE, accuracy, log-loss, ROC AUC, confusion matrix |
//! | [`onnx`], [`artifact`], `leftovers` | the graph as ONNX; a version's folder, written whole or not at all; what killed runs left |
//! | [`report`], `card` | exact parameters and figures as JSON; what people should know, with pictures |

pub mod algorithm;
pub mod artifact;
mod card;
pub mod convolutional_network;
pub mod cross_validation;
pub mod dataset;
pub mod encoding;
mod error;
pub mod evaluation;
pub mod feed_forward;
pub mod fitted;
pub mod lbfgs;
mod leftovers;
pub mod linear_regression;
pub mod logistic_regression;
pub mod network;
pub mod neural_network;
pub mod onnx;
mod options;
pub mod random;
pub mod recurrent_network;
pub mod report;
mod run;
mod score;
pub mod split;
pub mod standardise;
pub mod svm;
pub mod text_classifier;

pub use error::TrainingError;
pub use run::{Outcome, Progress, Request, run};
