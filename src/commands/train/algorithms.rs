//! From the arguments of an algorithm to the algorithm.

use crate::cli::{
    self, CellChoice, DataArgs, NetworkTask, RecurrentNetworkArgs, ScheduleArgs, TransformChoice,
};
use crate::training::algorithm::Algorithm;
use crate::training::dataset::TargetKind;
use crate::training::linear_regression::LinearRegression;
use crate::training::logistic_regression::LogisticRegression;
use crate::training::network::Schedule;
use crate::training::neural_network::NeuralNetwork;
use crate::training::recurrent_network::{Cell, RecurrentNetwork, Transform};

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
        cli::Algorithm::RecurrentNetwork(it) => (&it.data, Box::new(recurrent_network(it))),
    }
}

fn recurrent_network(arguments: &RecurrentNetworkArgs) -> RecurrentNetwork {
    RecurrentNetwork {
        cell: match arguments.cell {
            CellChoice::Lstm => Cell::Lstm,
            CellChoice::Gru => Cell::Gru,
        },
        window: arguments.window,
        horizon: arguments.horizon,
        season: arguments.season,
        units: arguments.units,
        layers: arguments.layers,
        transform: match arguments.transform {
            TransformChoice::None => Transform::None,
            TransformChoice::Sqrt => Transform::Sqrt,
            TransformChoice::Log => Transform::Log,
        },
        linear_part: arguments.linear_part,
        schedule: schedule(&arguments.schedule),
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
