//! A multi-layer perceptron, fitted by back-propagation.
//!
//! ReLU between dense layers; AdamW (Loshchilov and Hutter 2019, <https://arxiv.org/abs/1711.05101>) on mini-batches in a
//! new order each epoch; early stopping on a validation part of the training rows, after which the weights of the
//! best epoch are put back. Gradients come from candle, on the CPU, in 32-bit floats.

mod network;
mod samples;

use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use ndarray::Axis;

use self::network::Network;
use self::samples::{Goal, Samples};
use super::TrainingError;
use super::dataset::Dataset;
use super::feed_forward::FeedForward;
use super::random::Generator;
use super::split::{Split, split};
use super::standardise::Standardiser;

/// More parameters than this are a slip of the finger: fitting takes about 32 bytes for each.
const MAX_PARAMETERS: usize = 1 << 25;

/// How a network is built and fitted.
#[derive(Clone, Debug, PartialEq)]
pub struct NeuralNetwork {
    /// Units of the hidden layers, from the input on.
    pub hidden: Vec<usize>,
    /// At most so many passes over the training rows.
    pub epochs: usize,
    /// Rows of one gradient step.
    pub batch_size: usize,
    /// Step size of AdamW.
    pub learning_rate: f64,
    /// Decoupled weight decay of AdamW.
    pub weight_decay: f64,
    /// The share of the training part that decides when to stop.
    pub validation_fraction: f64,
    /// Stop after so many epochs without a lower validation loss.
    pub patience: usize,
}

/// What an epoch came to, for whoever watches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epoch {
    /// Counted from 1.
    pub number: usize,
    /// The most there can be.
    pub of: usize,
    /// Mean loss over the epoch's batches.
    pub training_loss: f64,
    /// Loss on the validation part after the epoch.
    pub validation_loss: f64,
    /// The epoch with the lowest validation loss so far.
    pub best: usize,
}

impl NeuralNetwork {
    /// Checks the options.
    pub fn check(&self) -> Result<(), TrainingError> {
        let check = TrainingError::check;
        let hidden = self
            .hidden
            .iter()
            .map(usize::to_string)
            .collect::<Vec<_>>()
            .join(",");
        let has_units = !self.hidden.is_empty() && self.hidden.iter().all(|&units| units > 0);
        check(
            has_units,
            "--hidden",
            "one or more layers of at least 1 unit, such as 128,64",
            &hidden,
        )?;
        check(self.epochs > 0, "--epochs", "at least 1", &self.epochs)?;
        check(
            self.batch_size > 0,
            "--batch-size",
            "at least 1",
            &self.batch_size,
        )?;
        let rate = self.learning_rate;
        check(
            rate.is_finite() && rate > 0.0,
            "--learning-rate",
            "a finite number above 0",
            &rate,
        )?;
        let decay = self.weight_decay;
        check(
            decay.is_finite() && decay >= 0.0,
            "--weight-decay",
            "a finite number, 0 or above",
            &decay,
        )?;
        let fraction = self.validation_fraction;
        check(
            fraction > 0.0 && fraction < 1.0,
            "--validation-fraction",
            "a share between 0 and 1, both excluded",
            &fraction,
        )?;
        check(self.patience > 0, "--patience", "at least 1", &self.patience)
    }

    fn check_size(&self, inputs: usize, outputs: usize) -> Result<(), TrainingError> {
        let mut parameters = 0_usize;
        let mut fan_in = inputs;
        for &fan_out in self.hidden.iter().chain([&outputs]) {
            parameters = parameters.saturating_add(fan_in.saturating_add(1).saturating_mul(fan_out));
            fan_in = fan_out;
        }
        let found = format!("{parameters}");
        let expected = "so small that the network has at most 33554432 parameters";
        TrainingError::check(parameters <= MAX_PARAMETERS, "--hidden", expected, &found)
    }

    /// Fits on `data`; `observe` is told of each epoch.
    pub fn fit(
        &self,
        data: &Dataset,
        generator: &mut Generator,
        observe: &mut dyn FnMut(Epoch),
    ) -> Result<FeedForward, TrainingError> {
        let Split {
            train,
            test: validation,
        } = split(&data.strata(), self.validation_fraction, generator);
        let standardiser = Standardiser::fit(data.rows.select(Axis(0), &train).view());
        let goal = Goal::of(&data.select(&train).target);
        let training = Samples::new(&data.select(&train), &standardiser, &goal)?;
        let validation = Samples::new(&data.select(&validation), &standardiser, &goal)?;

        self.check_size(data.rows.ncols(), goal.outputs())?;
        let network = Network::new(data.rows.ncols(), &self.hidden, goal.outputs(), generator)?;
        let parameters = ParamsAdamW {
            lr: self.learning_rate,
            weight_decay: self.weight_decay,
            ..ParamsAdamW::default()
        };
        let mut optimiser = AdamW::new(network.variables(), parameters)?;
        let mut order: Vec<u32> = (0..train.len())
            .map(|row| u32::try_from(row).map_err(|_| too_many_rows()))
            .collect::<Result<_, _>>()?;

        let (mut best, mut lowest, mut kept) = (0, f64::INFINITY, network.layers()?);
        for number in 1..=self.epochs {
            generator.shuffle(&mut order);
            let training_loss = self.pass(&network, &training, &goal, &order, &mut optimiser)?;
            let validation_loss = network.loss(&validation, &goal)?;
            for loss in [training_loss, validation_loss] {
                if !loss.is_finite() {
                    return Err(TrainingError::Diverged { epoch: number, loss });
                }
            }
            if validation_loss < lowest {
                (best, lowest, kept) = (number, validation_loss, network.layers()?);
            }
            observe(Epoch {
                number,
                of: self.epochs,
                training_loss,
                validation_loss,
                best,
            });
            if number - best >= self.patience {
                break;
            }
        }
        goal.finish(&mut kept);
        Ok(FeedForward {
            standardiser,
            layers: kept,
            head: goal.head(),
        })
    }

    /// One epoch; returns the mean loss a row.
    fn pass(
        &self,
        network: &Network,
        samples: &Samples,
        goal: &Goal,
        order: &[u32],
        optimiser: &mut AdamW,
    ) -> Result<f64, TrainingError> {
        let mut total = 0.0;
        for batch in order.chunks(self.batch_size) {
            let samples = samples.pick(batch)?;
            let loss = goal.loss(&network.forward(&samples.inputs)?, &samples.targets)?;
            optimiser.backward_step(&loss)?;
            total += f64::from(loss.to_scalar::<f32>()?) * batch.len() as f64;
        }
        Ok(total / order.len() as f64)
    }
}

fn too_many_rows() -> TrainingError {
    TrainingError::Fit("more than 2³² rows".to_owned())
}

impl From<candle_core::Error> for TrainingError {
    fn from(cause: candle_core::Error) -> Self {
        Self::Fit(cause.to_string())
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::super::dataset::Target;
    use super::super::evaluation::Evaluation;
    use super::super::fitted::FittedModel;
    use super::*;

    fn options() -> NeuralNetwork {
        NeuralNetwork {
            hidden: vec![16],
            epochs: 300,
            batch_size: 16,
            learning_rate: 0.02,
            weight_decay: 0.0,
            validation_fraction: 0.2,
            patience: 60,
        }
    }

    /// 1 where the signs of two coordinates differ: no linear model does better than chance.
    fn exclusive_or() -> Dataset {
        let mut generator = Generator::new(5);
        let rows = Array2::from_shape_simple_fn((200, 2), || generator.uniform(1.0));
        let labels = rows
            .outer_iter()
            .map(|row| usize::from(row[0] * row[1] < 0.0))
            .collect();
        let target = Target::Classes {
            names: vec!["same".into(), "different".into()],
            labels,
        };
        Dataset {
            features: vec!["x".into(), "y".into()],
            rows,
            target,
        }
    }

    /// A parabola in a unit far from 1.
    fn parabola() -> Dataset {
        let rows = Array2::from_shape_fn((120, 1), |(row, _)| row as f64 / 30.0 - 2.0);
        let target = Target::Numbers(rows.column(0).mapv(|x| 5000.0 + 1000.0 * x * x));
        Dataset {
            features: vec!["x".into()],
            rows,
            target,
        }
    }

    fn fit(options: &NeuralNetwork, data: &Dataset, seed: u64) -> Result<FeedForward, TrainingError> {
        options.fit(data, &mut Generator::new(seed), &mut |_| ())
    }

    #[test]
    fn what_no_linear_model_can_learn_is_learnt() {
        let data = exclusive_or();
        let model = fit(&options(), &data, 1).unwrap();
        let evaluation = Evaluation::of(model.predict(data.rows.view()).view(), &data.target);
        let Evaluation::Classification { accuracy, .. } = evaluation else {
            panic!("classes")
        };
        assert!(accuracy > 0.95, "{accuracy}");
    }

    #[test]
    fn numbers_are_answered_in_their_own_unit() {
        let data = parabola();
        let model = fit(&options(), &data, 1).unwrap();
        let evaluation = Evaluation::of(model.predict(data.rows.view()).view(), &data.target);
        let Evaluation::Regression { r2, .. } = evaluation else {
            panic!("numbers")
        };
        assert!(r2 > 0.98, "{r2}");
    }

    #[test]
    fn a_seed_is_a_model() {
        let short = NeuralNetwork {
            epochs: 3,
            ..options()
        };
        let data = exclusive_or();
        assert_eq!(fit(&short, &data, 9).unwrap(), fit(&short, &data, 9).unwrap());
        assert_ne!(fit(&short, &data, 9).unwrap(), fit(&short, &data, 10).unwrap());
    }

    #[test]
    fn the_best_epoch_is_kept_and_patience_ends_the_rest() {
        let data = exclusive_or();
        let mut epochs = Vec::new();
        let impatient = NeuralNetwork {
            patience: 2,
            learning_rate: 0.3,
            ..options()
        };
        let model = impatient
            .fit(&data, &mut Generator::new(3), &mut |epoch| epochs.push(epoch))
            .unwrap();
        let last = epochs.last().unwrap();
        let losses = epochs.iter().map(|epoch| epoch.validation_loss);
        assert_eq!(
            losses.clone().fold(f64::INFINITY, f64::min),
            epochs[last.best - 1].validation_loss
        );
        assert!(last.number < 300 && last.number - last.best == 2, "{last:?}");

        let until_best = NeuralNetwork {
            epochs: last.best,
            ..impatient
        };
        assert_eq!(fit(&until_best, &data, 3).unwrap(), model);
    }

    #[test]
    fn divergence_is_told() {
        let wild = NeuralNetwork {
            learning_rate: 1e30,
            ..options()
        };
        let error = fit(&wild, &parabola(), 1).unwrap_err();
        assert!(matches!(error, TrainingError::Diverged { .. }), "{error}");
    }

    #[test]
    fn options_without_a_meaning_are_refused() {
        for wrong in [
            NeuralNetwork {
                hidden: vec![],
                ..options()
            },
            NeuralNetwork {
                hidden: vec![8, 0],
                ..options()
            },
            NeuralNetwork {
                epochs: 0,
                ..options()
            },
            NeuralNetwork {
                batch_size: 0,
                ..options()
            },
            NeuralNetwork {
                learning_rate: 0.0,
                ..options()
            },
            NeuralNetwork {
                learning_rate: f64::NAN,
                ..options()
            },
            NeuralNetwork {
                weight_decay: -1.0,
                ..options()
            },
            NeuralNetwork {
                validation_fraction: 1.0,
                ..options()
            },
            NeuralNetwork {
                patience: 0,
                ..options()
            },
        ] {
            assert!(wrong.check().unwrap_err().is_usage(), "{wrong:?}");
        }
        options().check().unwrap();
    }

    #[test]
    fn a_network_beyond_any_memory_is_refused() {
        for hidden in [vec![60_000; 3], vec![usize::MAX; 2], vec![MAX_PARAMETERS]] {
            let error = fit(&NeuralNetwork { hidden, ..options() }, &parabola(), 1).unwrap_err();
            assert!(
                error.is_usage() && error.to_string().starts_with("--hidden"),
                "{error}"
            );
        }
    }
}
