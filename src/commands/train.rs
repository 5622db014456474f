//! `millrace train`: read the data, fit, write the artifact, print the held-out figures.

use super::Failure;
use crate::cli::TrainArgs;

pub(super) fn run(_arguments: &TrainArgs) -> Result<(), Failure> {
    Err(Failure::usage("training comes with a later commit"))
}
