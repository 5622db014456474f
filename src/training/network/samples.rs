//! The rows and the goal of a fit, in the tensors of candle.

use candle_core::{D, DType, Device, Tensor};
use candle_nn::{loss, ops};
use ndarray::{Array2, Axis};

use super::super::TrainingError;
use super::super::dataset::{Dataset, Target};
use super::super::feed_forward::Head;
use super::super::standardise::Standardiser;

/// What a net is to learn.
pub(in super::super) enum Goal {
    /// Class probabilities, by cross-entropy.
    Classes(usize),
    /// Numbers, by squared error on standardised targets, so that the step size means the same in any unit.
    Numbers(Standardiser),
}

impl Goal {
    /// What the target asks for; its unit is that of the training rows.
    pub(in super::super) fn of(target: &Target) -> Self {
        match target {
            Target::Classes { names, .. } => Self::Classes(names.len()),
            Target::Numbers(values) => Self::Numbers(Standardiser::fit(values.view().insert_axis(Axis(1)))),
            Target::Steps(values) => Self::Numbers(Standardiser::fit(values.view())),
        }
    }

    /// Values that the net puts out for a row.
    pub(in super::super) fn outputs(&self) -> usize {
        match self {
            Self::Classes(count) => *count,
            Self::Numbers(unit) => unit.mean.len(),
        }
    }

    /// What becomes of these values in the graph.
    pub(in super::super) fn head(&self) -> Head {
        match self {
            Self::Classes(_) => Head::Softmax,
            Self::Numbers(_) => Head::Identity,
        }
    }

    /// The mean loss of a row, each counted by its weight.
    pub(super) fn loss(&self, outputs: &Tensor, samples: &Samples) -> candle_core::Result<Tensor> {
        let Some(weights) = &samples.weights else {
            return match self {
                Self::Classes(_) => loss::cross_entropy(outputs, &samples.targets),
                Self::Numbers(_) => loss::mse(outputs, &samples.targets),
            };
        };
        let losses = match self {
            Self::Classes(_) => {
                let logarithms = ops::log_softmax(outputs, D::Minus1)?;
                let own = logarithms.gather(&samples.targets.unsqueeze(1)?, 1)?;
                own.squeeze(1)?.neg()?
            }
            Self::Numbers(_) => outputs.sub(&samples.targets)?.sqr()?.mean(D::Minus1)?,
        };
        losses.mul(weights)?.sum_all()?.div(&weights.sum_all()?)
    }

    /// Rows whose class is the likeliest; none where numbers are learnt.
    pub(super) fn found(&self, outputs: &Tensor, samples: &Samples) -> candle_core::Result<Option<f64>> {
        if let Self::Numbers(_) = self {
            return Ok(None);
        }
        let likeliest = outputs.argmax(D::Minus1)?;
        let found = likeliest.eq(&samples.targets)?.to_dtype(DType::F32)?;
        Ok(Some(f64::from(found.sum_all()?.to_scalar::<f32>()?)))
    }

    fn encode(&self, target: &Target) -> Result<Tensor, TrainingError> {
        let numbers = |unit: &Standardiser, values: Array2<f64>| {
            let standardised = unit.apply(values.view());
            Ok(matrix(&standardised)?)
        };
        match (self, target) {
            (Self::Numbers(unit), Target::Numbers(values)) => {
                numbers(unit, values.view().insert_axis(Axis(1)).to_owned())
            }
            (Self::Numbers(unit), Target::Steps(values)) => numbers(unit, values.clone()),
            (Self::Classes(_), Target::Classes { labels, .. }) => {
                // A class has two rows or more, and rows are counted in 32 bits.
                let labels: Vec<u32> = labels.iter().map(|&label| label as u32).collect();
                Ok(Tensor::new(labels, &Device::Cpu)?)
            }
            _ => Err(TrainingError::Fit("the target does not fit the goal".to_owned())),
        }
    }
}

/// Inputs, each with n rows, and encoded targets (n).
pub(in super::super) struct Samples {
    /// What the net takes.
    pub(in super::super) inputs: Vec<Tensor>,
    targets: Tensor,
    /// How much each row counts; none where all count the same.
    weights: Option<Tensor>,
}

impl Samples {
    /// `inputs` with the targets and weights of `data`, which has as many rows.
    pub(in super::super) fn new(
        inputs: Vec<Tensor>,
        data: &Dataset,
        goal: &Goal,
    ) -> Result<Self, TrainingError> {
        let is_weighted = data.weights.iter().any(|&weight| weight != 1.0);
        let weights: Vec<f32> = data.weights.iter().map(|&weight| weight as f32).collect();
        Ok(Self {
            inputs,
            targets: goal.encode(&data.target)?,
            weights: is_weighted
                .then(|| Tensor::new(weights, &Device::Cpu))
                .transpose()?,
        })
    }

    /// Rows that there are.
    pub(super) fn rows(&self) -> usize {
        self.targets.dim(0).unwrap_or(0)
    }

    pub(super) fn pick(&self, rows: &[u32]) -> candle_core::Result<Self> {
        let rows = Tensor::new(rows, &Device::Cpu)?;
        self.map(|tensor| tensor.index_select(&rows, 0))
    }

    pub(super) fn slice(&self, start: usize, count: usize) -> candle_core::Result<Self> {
        self.map(|tensor| tensor.narrow(0, start, count))
    }

    fn map(&self, part: impl Fn(&Tensor) -> candle_core::Result<Tensor>) -> candle_core::Result<Self> {
        Ok(Self {
            inputs: self.inputs.iter().map(&part).collect::<Result<_, _>>()?,
            targets: part(&self.targets)?,
            weights: self.weights.as_ref().map(&part).transpose()?,
        })
    }
}

/// A matrix in 32-bit floats.
pub(in super::super) fn matrix(values: &Array2<f64>) -> candle_core::Result<Tensor> {
    let single: Vec<f32> = values.iter().map(|&value| value as f32).collect();
    Tensor::from_vec(single, values.dim(), &Device::Cpu)
}
