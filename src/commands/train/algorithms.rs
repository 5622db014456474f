//! From the arguments of an algorithm to the algorithm.

use crate::cli::{self, DataArgs, NetworkTask, ScheduleArgs};
use crate::training::algorithm::Algorithm;
use crate::training::convolutional_network::ConvolutionalNetwork;
use crate::training::dataset::{TargetKind, images};
use crate::training::linear_regression::LinearRegression;
use crate::training::logistic_regression::LogisticRegression;
use crate::training::network::Schedule;
use crate::training::neural_network::NeuralNetwork;

/// What every algorithm takes, and the algorithm with its own options.
pub(super) fn algorithm(arguments: &cli::Algorithm) -> (&DataArgs, Box<dyn Algorithm>) {
    match arguments {
        cli::Algorithm::LinearRegression(it) => (&it.data, Box::new(LinearRegression { ridge: it.ridge })),
        cli::Algorithm::LogisticRegression(it) => {
            let options = LogisticRegression {
                l2: it.l2,
                max_iterations: it.max_iterations,
            };
            (&it.data, Box::new(options))
        }
        cli::Algorithm::NeuralNetwork(it) => {
            let options = NeuralNetwork {
                task: match it.task {
                    NetworkTask::Classification => TargetKind::Classes,
                    NetworkTask::Regression => TargetKind::Numbers,
                },
                hidden: it.hidden.clone(),
                schedule: schedule(&it.schedule),
            };
            (&it.data, Box::new(options))
        }
        cli::Algorithm::ConvolutionalNetwork(it) => {
            let options = ConvolutionalNetwork {
                shape: it.shape,
                channels: it.channels.clone(),
                hidden: it.hidden.clone(),
                dropout: it.dropout,
                shift: it.shift,
                pixel_max: it
                    .pixel_max
                    .or_else(|| it.data.data.is_dir().then_some(images::LARGEST)),
                schedule: schedule(&it.schedule),
            };
            (&it.data, Box::new(options))
        }
    }
}

fn schedule(arguments: &ScheduleArgs) -> Schedule {
    Schedule {
        epochs: arguments.epochs,
        batch_size: arguments.batch_size,
        learning_rate: arguments.learning_rate,
        weight_decay: arguments.weight_decay,
        validation_fraction: arguments.validation_fraction,
        patience: arguments.patience,
    }
}
