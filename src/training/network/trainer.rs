//! The loop over epochs.

use candle_core::{Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};

use super::super::TrainingError;
use super::super::algorithm::Context;
use super::{Goal, Samples, Schedule};

/// More parameters than this are a slip of the finger: fitting takes about 32 bytes for each.
const MAX_PARAMETERS: usize = 1 << 25;
/// Rows whose loss is computed at once where nothing is learnt, so that large data does not take large memory.
const ROWS_AT_ONCE: usize = 512;

/// What an epoch came to, for whoever watches.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Epoch {
    /// Counted from 1.
    pub number: usize,
    /// The most there can be.
    pub of: usize,
    /// Mean loss over the epoch's batches.
    pub training_loss: f64,
    /// Loss on the validation part after the epoch.
    pub validation_loss: f64,
    /// The share of the validation part whose class was found; none where numbers are learnt.
    pub validation_accuracy: Option<f64>,
    /// The epoch with the lowest validation loss so far.
    pub best: usize,
}

/// A net: weights, and what they make of inputs.
pub(in super::super) trait Net {
    /// The weights that are fitted.
    fn variables(&self) -> Vec<Var>;

    /// Logits (n × classes) or standardised numbers (n × outputs) for inputs of n rows. `learning` is given while the net
    /// learns: some layers then do more, such as dropping units by chance.
    fn forward(&self, inputs: &[Tensor], learning: Option<&mut Context<'_>>) -> candle_core::Result<Tensor>;
}

/// Refuses a net beyond any memory; `option` is what makes it so large.
pub(in super::super) fn check_size(parameters: usize, option: &'static str) -> Result<(), TrainingError> {
    let expected = "so small that the network has at most 33554432 parameters";
    TrainingError::check(parameters <= MAX_PARAMETERS, option, expected, &parameters)
}

/// Fits the weights of `net`, and leaves it with those of the best epoch.
pub(in super::super) fn train(
    net: &dyn Net,
    (training, validation): (&Samples, &Samples),
    goal: &Goal,
    schedule: &Schedule,
    context: &mut Context<'_>,
) -> Result<(), TrainingError> {
    let parameters = ParamsAdamW {
        lr: schedule.learning_rate,
        weight_decay: schedule.weight_decay,
        ..ParamsAdamW::default()
    };
    let mut optimiser = AdamW::new(net.variables(), parameters)?;
    let rows = u32::try_from(training.rows()).map_err(|_| too_many_rows())?;
    let mut order: Vec<u32> = (0..rows).collect();
    let (mut best, mut lowest, mut kept) = (0, f64::INFINITY, copy(net)?);
    for number in 1..=schedule.epochs {
        context.generator.shuffle(&mut order);
        let Some(training_loss) = pass(net, training, goal, (schedule, &order), &mut optimiser, context)?
        else {
            break;
        };
        let (validation_loss, validation_accuracy) = judge(net, validation, goal)?;
        for loss in [training_loss, validation_loss] {
            if !loss.is_finite() {
                return Err(TrainingError::Diverged { epoch: number, loss });
            }
        }
        if validation_loss < lowest {
            (best, lowest, kept) = (number, validation_loss, copy(net)?);
        }
        (context.observe)(Epoch {
            number,
            of: schedule.epochs,
            training_loss,
            validation_loss,
            validation_accuracy,
            best,
        });
        if number - best >= schedule.patience || context.is_stopped() {
            break;
        }
    }
    if best == 0 {
        // Stopped before anything was learnt.
        return Err(TrainingError::Interrupted);
    }
    for (variable, value) in net.variables().iter().zip(&kept) {
        variable.set(value)?;
    }
    Ok(())
}

/// One epoch; returns the mean loss a row, or none where it was stopped.
fn pass(
    net: &dyn Net,
    samples: &Samples,
    goal: &Goal,
    (schedule, order): (&Schedule, &[u32]),
    optimiser: &mut AdamW,
    context: &mut Context<'_>,
) -> Result<Option<f64>, TrainingError> {
    let mut total = 0.0;
    for batch in order.chunks(schedule.batch_size) {
        if context.is_stopped() {
            return Ok(None);
        }
        let samples = samples.pick(batch)?;
        let outputs = net.forward(&samples.inputs, Some(&mut *context))?;
        let loss = goal.loss(&outputs, &samples)?;
        optimiser.backward_step(&loss)?;
        total += f64::from(loss.to_scalar::<f32>()?) * batch.len() as f64;
    }
    Ok(Some(total / order.len() as f64))
}

/// Mean loss and the share of classes that are found.
fn judge(net: &dyn Net, samples: &Samples, goal: &Goal) -> Result<(f64, Option<f64>), TrainingError> {
    let rows = samples.rows();
    let (mut loss, mut found) = (0.0, Some(0.0));
    for start in (0..rows).step_by(ROWS_AT_ONCE) {
        let part = samples.slice(start, ROWS_AT_ONCE.min(rows - start))?;
        let outputs = net.forward(&part.inputs, None)?;
        loss += f64::from(goal.loss(&outputs, &part)?.to_scalar::<f32>()?) * part.rows() as f64;
        found = match (found, goal.found(&outputs, &part)?) {
            (Some(so_far), Some(here)) => Some(so_far + here),
            _ => None,
        };
    }
    Ok((loss / rows as f64, found.map(|found| found / rows as f64)))
}

fn copy(net: &dyn Net) -> candle_core::Result<Vec<Tensor>> {
    net.variables()
        .iter()
        .map(|variable| variable.as_tensor().copy())
        .collect()
}

fn too_many_rows() -> TrainingError {
    TrainingError::Fit("more than 2³² rows".to_owned())
}

impl From<candle_core::Error> for TrainingError {
    fn from(cause: candle_core::Error) -> Self {
        Self::Fit(cause.to_string())
    }
}
