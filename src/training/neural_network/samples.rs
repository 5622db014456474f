//! The rows and the goal of a fit, in the tensors of candle.

use candle_core::{Device, Tensor};
use candle_nn::loss;
use ndarray::{Array2, Axis};

use super::super::TrainingError;
use super::super::dataset::{Dataset, Target};
use super::super::feed_forward::{Dense, Head};
use super::super::standardise::Standardiser;

/// What the network is to learn.
pub(super) enum Goal {
    /// Class probabilities, by cross-entropy.
    Classes(usize),
    /// A number, by squared error on the standardised target, so that the step size means the same in any unit.
    Number { mean: f64, scale: f64 },
}

impl Goal {
    pub(super) fn of(target: &Target) -> Self {
        match target {
            Target::Classes { names, .. } => Self::Classes(names.len()),
            Target::Numbers(values) => {
                let column = values.view().insert_axis(Axis(1));
                let Standardiser { mean, scale } = Standardiser::fit(column);
                Self::Number {
                    mean: mean[0],
                    scale: scale[0],
                }
            }
        }
    }

    pub(super) fn outputs(&self) -> usize {
        match self {
            Self::Classes(count) => *count,
            Self::Number { .. } => 1,
        }
    }

    pub(super) fn head(&self) -> Head {
        match self {
            Self::Classes(_) => Head::Softmax,
            Self::Number { .. } => Head::Identity,
        }
    }

    pub(super) fn loss(&self, outputs: &Tensor, targets: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::Classes(_) => loss::cross_entropy(outputs, targets),
            Self::Number { .. } => loss::mse(outputs, targets),
        }
    }

    pub(super) fn encode(&self, target: &Target) -> Result<Tensor, TrainingError> {
        match (self, target) {
            (Self::Number { mean, scale }, Target::Numbers(values)) => {
                let standardised: Vec<f32> = values
                    .iter()
                    .map(|value| ((value - mean) / scale) as f32)
                    .collect();
                Ok(Tensor::from_vec(standardised, (values.len(), 1), &Device::Cpu)?)
            }
            (Self::Classes(_), Target::Classes { labels, .. }) => {
                // A class has two rows or more, and rows are counted in 32 bits.
                let labels: Vec<u32> = labels.iter().map(|&label| label as u32).collect();
                Ok(Tensor::new(labels, &Device::Cpu)?)
            }
            _ => Err(TrainingError::Fit("the target does not fit the goal".to_owned())),
        }
    }

    /// Makes the last layer answer in the target's unit.
    pub(super) fn finish(&self, layers: &mut [Dense]) {
        if let (Self::Number { mean, scale }, Some(last)) = (self, layers.last_mut()) {
            last.weights *= *scale;
            last.bias = &last.bias * *scale + *mean;
        }
    }
}

/// Standardised inputs (n × F) and encoded targets (n).
pub(super) struct Samples {
    pub(super) inputs: Tensor,
    pub(super) targets: Tensor,
}

impl Samples {
    pub(super) fn new(
        data: &Dataset,
        standardiser: &Standardiser,
        goal: &Goal,
    ) -> Result<Self, TrainingError> {
        let inputs = standardiser.apply(data.rows.view());
        Ok(Self {
            inputs: tensor(&inputs)?,
            targets: goal.encode(&data.target)?,
        })
    }

    pub(super) fn pick(&self, rows: &[u32]) -> candle_core::Result<Self> {
        let rows = Tensor::new(rows, &Device::Cpu)?;
        Ok(Self {
            inputs: self.inputs.index_select(&rows, 0)?,
            targets: self.targets.index_select(&rows, 0)?,
        })
    }
}

pub(super) fn tensor(matrix: &Array2<f64>) -> candle_core::Result<Tensor> {
    let values: Vec<f32> = matrix.iter().map(|&value| value as f32).collect();
    Tensor::from_vec(values, matrix.dim(), &Device::Cpu)
}
