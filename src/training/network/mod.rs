//! What all nets share: the loop over epochs, its options, what is to be learnt, what is dropped
//! by chance, and where weights begin.
//!
//! Gradients come from candle, on the CPU, in 32-bit floats. AdamW (Loshchilov and Hutter 2019,
//! <https://arxiv.org/abs/1711.05101>) on mini-batches in a new order each epoch; early stopping on a validation part of the
//! training rows, after which the weights of the best epoch are put back.

mod dropout;
mod initial;
mod samples;
mod schedule;
mod trainer;

pub(super) use self::dropout::Dropout;
pub(super) use self::initial::{he_uniform, uniform, zeros};
pub(super) use self::samples::{Goal, Samples, matrix};
pub use self::schedule::Schedule;
pub use self::trainer::Epoch;
pub(super) use self::trainer::{Net, check_size, train};
