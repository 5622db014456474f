//! The parameters that are being fitted.

use candle_core::{Device, Tensor, Var};
use ndarray::{Array1, Array2};

use super::super::TrainingError;
use super::super::feed_forward::Dense;
use super::super::random::Generator;
use super::samples::{Goal, Samples, tensor};

/// The weights (inputs × outputs) and biases that are being fitted.
pub(super) struct Network {
    layers: Vec<(Var, Var)>,
}

impl Network {
    /// Weights from He's uniform distribution, which keeps the variance through ReLU (He et al. 2015,
    /// <https://arxiv.org/abs/1502.01852>), biases 0. candle's own generator cannot be seeded on the CPU.
    pub(super) fn new(
        inputs: usize,
        hidden: &[usize],
        outputs: usize,
        generator: &mut Generator,
    ) -> candle_core::Result<Self> {
        let mut layers = Vec::with_capacity(hidden.len() + 1);
        let mut fan_in = inputs;
        for &fan_out in hidden.iter().chain([&outputs]) {
            let limit = (6.0 / fan_in as f64).sqrt();
            let weights = Array2::from_shape_simple_fn((fan_in, fan_out), || generator.uniform(limit));
            let bias = Tensor::from_vec(vec![0_f32; fan_out], fan_out, &Device::Cpu)?;
            layers.push((Var::from_tensor(&tensor(&weights)?)?, Var::from_tensor(&bias)?));
            fan_in = fan_out;
        }
        Ok(Self { layers })
    }

    pub(super) fn variables(&self) -> Vec<Var> {
        self.layers
            .iter()
            .flat_map(|(weights, bias)| [weights.clone(), bias.clone()])
            .collect()
    }

    /// Logits or standardised numbers (n × outputs) for `inputs` (n × F).
    pub(super) fn forward(&self, inputs: &Tensor) -> candle_core::Result<Tensor> {
        let mut values = inputs.clone();
        for (place, (weights, bias)) in self.layers.iter().enumerate() {
            if place > 0 {
                values = values.relu()?;
            }
            values = values.matmul(weights)?.broadcast_add(bias)?;
        }
        Ok(values)
    }

    pub(super) fn loss(&self, samples: &Samples, goal: &Goal) -> Result<f64, TrainingError> {
        let loss = goal.loss(&self.forward(&samples.inputs)?, &samples.targets)?;
        Ok(f64::from(loss.to_scalar::<f32>()?))
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
