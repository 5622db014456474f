//! From the arguments of an algorithm to the algorithm.

use crate::cli::{
    self, CellChoice, DataArgs, GammaChoice, KernelChoice, NetworkTask, RecurrentNetworkArgs, ScheduleArgs,
    SvmArgs, SvmTask, TransformChoice,
};
use crate::training::algorithm::Algorithm;
use crate::training::convolutional_network::ConvolutionalNetwork;
use crate::training::dataset::{TargetKind, images};
use crate::training::linear_regression::LinearRegression;
use crate::training::logistic_regression::LogisticRegression;
use crate::training::network::Schedule;
use crate::training::neural_network::NeuralNetwork;
use crate::training::recurrent_network::{Cell, RecurrentNetwork, Transform};
use crate::training::svm::{Gamma, KernelType, SupportVectorMachine};
use crate::training::text_classifier::TextClassifier;

/// What every algorithm takes, and the algorithm with its own options.
pub(super) fn algorithm(arguments: &cli::Algorithm) -> (&DataArgs, Box<dyn Algorithm>) {
    match arguments {
        cli::Algorithm::LinearRegression(it) => {
            let options = LinearRegression {
                ridge: it.ridge,
                lasso: it.lasso,
            };
            (&it.data, Box::new(options))
        }
        cli::Algorithm::LogisticRegression(it) => {
            let options = LogisticRegression {
                l2: it.l2,
                max_iterations: it.max_iterations,
            };
            (&it.data, Box::new(options))
        }
        cli::Algorithm::Svm(it) => (&it.data, Box::new(svm(it))),
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
        cli::Algorithm::TextClassifier(it) => {
            let options = TextClassifier {
                vocabulary: it.vocabulary,
                max_length: it.max_length,
                width: it.width,
                heads: it.heads,
                layers: it.layers,
                dropout: it.dropout,
                token_dropout: it.token_dropout,
                schedule: schedule(&it.schedule),
            };
            (&it.data, Box::new(options))
        }
        cli::Algorithm::RecurrentNetwork(it) => (&it.data, Box::new(recurrent_network(it))),
    }
}

fn svm(arguments: &SvmArgs) -> SupportVectorMachine {
    SupportVectorMachine {
        task: match arguments.task {
            SvmTask::Classification => TargetKind::Classes,
            SvmTask::Regression => TargetKind::Numbers,
        },
        kernel: match arguments.kernel {
            KernelChoice::Linear => KernelType::Linear,
            KernelChoice::Rbf => KernelType::Rbf,
            KernelChoice::Polynomial => KernelType::Polynomial,
        },
        c: arguments.c,
        gamma: match arguments.gamma {
            GammaChoice::Scale => Gamma::Scale,
            GammaChoice::Number(gamma) => Gamma::Number(gamma),
        },
        degree: arguments.degree,
        coef0: arguments.coef0,
        epsilon: arguments.epsilon,
        tolerance: arguments.tolerance,
        probabilities: !arguments.no_probabilities,
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
