//! A multi-layer perceptron, fitted by back-propagation: ReLU between dense layers.

use candle_core::{Tensor, Var};
use ndarray::{Array1, Array2};

use super::TrainingError;
use super::algorithm::{Algorithm, Columns, Context, Fitted, fit_columns};
use super::dataset::{Dataset, TargetKind};
use super::feed_forward::{Dense, FeedForward};
use super::network::{Goal, Net, Samples, Schedule, check_size, he_uniform, matrix, train, zeros};
use super::options::integers;
use super::random::Generator;
use super::split::{Split, split};
use super::standardise::Standardiser;

/// How a network is built and fitted.
#[derive(Clone, Debug, PartialEq)]
pub struct NeuralNetwork {
    /// Classes by softmax and cross-entropy, or a number by squared error.
    pub task: TargetKind,
    /// Units of the hidden layers, from the input on.
    pub hidden: Vec<usize>,
    /// How long and how fast it learns.
    pub schedule: Schedule,
}

impl Algorithm for NeuralNetwork {
    fn name(&self) -> &'static str {
        "neural-network"
    }

    fn options(&self) -> toml::Table {
        let mut options = self.schedule.options();
        options.insert("hidden".to_owned(), integers(&self.hidden));
        options
    }

    fn target_kind(&self) -> TargetKind {
        self.task
    }

    fn check(&self) -> Result<(), TrainingError> {
        let hidden = self
            .hidden
            .iter()
            .map(usize::to_string)
            .collect::<Vec<_>>()
            .join(",");
        let has_units = !self.hidden.is_empty() && self.hidden.iter().all(|&units| units > 0);
        TrainingError::check(
            has_units,
            "--hidden",
            "one or more layers of at least 1 unit, such as 128,64",
            &hidden,
        )?;
        self.schedule.check()
    }

    fn fit(&self, data: &Dataset, context: &mut Context<'_>) -> Result<Fitted, TrainingError> {
        fit_columns(data, context, |columns, context| self.fit_rows(columns, context))
    }
}

impl NeuralNetwork {
    fn fit_rows(
        &self,
        columns: &Columns<'_>,
        context: &mut Context<'_>,
    ) -> Result<FeedForward, TrainingError> {
        let Columns { rows, data, .. } = columns;
        let Split { train: learnt, test } = split(
            &data.target.strata(),
            self.schedule.validation_fraction,
            context.generator,
        );
        let rows_of = |part: &[usize]| rows.select(ndarray::Axis(0), part);
        let standardiser = Standardiser::fit(rows_of(&learnt).view());
        let goal = Goal::of(&data.target.select(&learnt));
        let samples = |part: &[usize]| {
            let inputs = standardiser.apply(rows_of(part).view());
            Samples::new(vec![matrix(&inputs)?], &data.select(part), &goal)
        };
        let (training, validation) = (samples(&learnt)?, samples(&test)?);
        check_size(self.parameters(rows.ncols(), goal.outputs()), "--hidden")?;
        let perceptron = Perceptron::new(rows.ncols(), &self.hidden, goal.outputs(), context.generator)?;
        train(
            &perceptron,
            (&training, &validation),
            &goal,
            &self.schedule,
            context,
        )?;
        let mut layers = perceptron.layers()?;
        restore_unit(&goal, &mut layers);
        Ok(FeedForward {
            standardiser,
            layers,
            head: goal.head(),
        })
    }

    fn parameters(&self, inputs: usize, outputs: usize) -> usize {
        let mut parameters = 0_usize;
        let mut fan_in = inputs;
        for &fan_out in self.hidden.iter().chain([&outputs]) {
            parameters = parameters.saturating_add(fan_in.saturating_add(1).saturating_mul(fan_out));
            fan_in = fan_out;
        }
        parameters
    }
}

/// Makes the last layer answer in the target's unit.
fn restore_unit(goal: &Goal, layers: &mut [Dense]) {
    if let (Goal::Numbers(unit), Some(last)) = (goal, layers.last_mut()) {
        last.weights = &last.weights * &unit.scale;
        last.bias = &last.bias * &unit.scale + &unit.mean;
    }
}

/// The weights (inputs × outputs) and biases that are being fitted.
pub(super) struct Perceptron {
    layers: Vec<(Var, Var)>,
}

impl Perceptron {
    /// Weights as they begin.
    pub(super) fn new(
        inputs: usize,
        hidden: &[usize],
        outputs: usize,
        generator: &mut Generator,
    ) -> candle_core::Result<Self> {
        let mut layers = Vec::with_capacity(hidden.len() + 1);
        let mut fan_in = inputs;
        for &fan_out in hidden.iter().chain([&outputs]) {
            layers.push((
                he_uniform(&[fan_in, fan_out], fan_in, generator)?,
                zeros(&[fan_out])?,
            ));
            fan_in = fan_out;
        }
        Ok(Self { layers })
    }

    /// A copy of the present parameters.
    pub(super) fn layers(&self) -> candle_core::Result<Vec<Dense>> {
        self.layers
            .iter()
            .map(|(weights, bias)| {
                let shape = weights.dims2()?;
                let flat = weights.flatten_all()?.to_vec1::<f32>()?;
                let weights = Array2::from_shape_vec(shape, flat.into_iter().map(f64::from).collect())
                    .expect("a tensor holds as many values as its shape says");
                let bias: Array1<f64> = bias.to_vec1::<f32>()?.into_iter().map(f64::from).collect();
                Ok(Dense { weights, bias })
            })
            .collect()
    }
}

impl Net for Perceptron {
    fn variables(&self) -> Vec<Var> {
        self.layers
            .iter()
            .flat_map(|(weights, bias)| [weights.clone(), bias.clone()])
            .collect()
    }

    fn forward(&self, inputs: &[Tensor], _: Option<&mut Context<'_>>) -> candle_core::Result<Tensor> {
        let mut values = inputs[0].clone();
        for (place, (weights, bias)) in self.layers.iter().enumerate() {
            if place > 0 {
                values = values.relu()?;
            }
            values = values.matmul(weights)?.broadcast_add(bias)?;
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::super::dataset::{Missing, Target};
    use super::super::encoding::Unknown;
    use super::super::evaluation::Evaluation;
    use super::super::fitted::FittedModel;
    use super::super::network::Epoch;
    use super::*;

    fn options() -> NeuralNetwork {
        NeuralNetwork {
            task: TargetKind::Classes,
            hidden: vec![16],
            schedule: Schedule {
                epochs: 300,
                batch_size: 16,
                learning_rate: 0.02,
                weight_decay: 0.0,
                validation_fraction: 0.2,
                patience: 60,
            },
        }
    }

    fn with(change: impl FnOnce(&mut Schedule)) -> NeuralNetwork {
        let mut options = options();
        change(&mut options.schedule);
        options
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
        Dataset::of_numbers(&["x".to_owned(), "y".to_owned()], &rows, target)
    }

    /// A parabola in a unit far from 1.
    fn parabola() -> Dataset {
        let rows = Array2::from_shape_fn((120, 1), |(row, _)| row as f64 / 30.0 - 2.0);
        let target = Target::Numbers(rows.column(0).mapv(|x| 5000.0 + 1000.0 * x * x));
        Dataset::of_numbers(&["x".to_owned()], &rows, target)
    }

    fn fit(options: &NeuralNetwork, data: &Dataset, seed: u64) -> Result<FeedForward, TrainingError> {
        watched(options, data, seed, &mut |_| ())
    }

    fn watched(
        options: &NeuralNetwork,
        data: &Dataset,
        seed: u64,
        observe: &mut dyn FnMut(Epoch),
    ) -> Result<FeedForward, TrainingError> {
        let columns = Columns {
            rows: data.matrix()?,
            names: data.names(),
            data,
        };
        let mut context = Context {
            generator: &mut Generator::new(seed),
            observe,
            stop: &AtomicBool::new(false),
            missing: Missing::Refuse,
            unknown: Unknown::Refuse,
        };
        options.fit_rows(&columns, &mut context)
    }

    #[test]
    fn what_no_linear_model_can_learn_is_learnt() {
        let data = exclusive_or();
        let model = fit(&options(), &data, 1).unwrap();
        let evaluation = Evaluation::of(model.predict(data.matrix().unwrap().view()).view(), &data.target);
        let Evaluation::Classification { accuracy, .. } = evaluation else {
            panic!("classes")
        };
        assert!(accuracy > 0.95, "{accuracy}");
    }

    #[test]
    fn numbers_are_answered_in_their_own_unit() {
        let data = parabola();
        let model = fit(&options(), &data, 1).unwrap();
        let evaluation = Evaluation::of(model.predict(data.matrix().unwrap().view()).view(), &data.target);
        let Evaluation::Regression { r2, .. } = evaluation else {
            panic!("numbers")
        };
        assert!(r2 > 0.98, "{r2}");
    }

    #[test]
    fn a_seed_is_a_model() {
        let short = with(|schedule| schedule.epochs = 3);
        let data = exclusive_or();
        assert_eq!(fit(&short, &data, 9).unwrap(), fit(&short, &data, 9).unwrap());
        assert_ne!(fit(&short, &data, 9).unwrap(), fit(&short, &data, 10).unwrap());
    }

    #[test]
    fn the_best_epoch_is_kept_and_patience_ends_the_rest() {
        let data = exclusive_or();
        let mut epochs = Vec::new();
        let impatient = with(|schedule| (schedule.patience, schedule.learning_rate) = (2, 0.3));
        let model = watched(&impatient, &data, 3, &mut |epoch| epochs.push(epoch)).unwrap();
        let last = epochs.last().unwrap();
        let losses = epochs.iter().map(|epoch| epoch.validation_loss);
        assert_eq!(
            losses.clone().fold(f64::INFINITY, f64::min),
            epochs[last.best - 1].validation_loss
        );
        assert!(last.number < 300 && last.number - last.best == 2, "{last:?}");

        let mut until_best = impatient;
        until_best.schedule.epochs = last.best;
        assert_eq!(fit(&until_best, &data, 3).unwrap(), model);
    }

    #[test]
    fn divergence_is_told() {
        let wild = with(|schedule| schedule.learning_rate = 1e30);
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
            with(|schedule| schedule.epochs = 0),
            with(|schedule| schedule.batch_size = 0),
            with(|schedule| schedule.learning_rate = 0.0),
            with(|schedule| schedule.learning_rate = f64::NAN),
            with(|schedule| schedule.weight_decay = -1.0),
            with(|schedule| schedule.validation_fraction = 1.0),
            with(|schedule| schedule.patience = 0),
        ] {
            assert!(wrong.check().unwrap_err().is_usage(), "{wrong:?}");
        }
        options().check().unwrap();
    }

    #[test]
    fn a_network_beyond_any_memory_is_refused() {
        for hidden in [vec![60_000; 3], vec![usize::MAX; 2], vec![1 << 25]] {
            let error = fit(&NeuralNetwork { hidden, ..options() }, &parabola(), 1).unwrap_err();
            assert!(
                error.is_usage() && error.to_string().starts_with("--hidden"),
                "{error}"
            );
        }
    }
}
