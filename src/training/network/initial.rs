//! Where weights begin. candle's own generator cannot be seeded on the CPU.

use candle_core::{Device, Result, Tensor, Var};

use super::super::random::Generator;

/// Weights of this shape from He's uniform distribution for so many inputs of a unit, which keeps the variance through
/// ReLU (He et al. 2015, <https://arxiv.org/abs/1502.01852>).
pub(in super::super) fn he_uniform(shape: &[usize], fan_in: usize, generator: &mut Generator) -> Result<Var> {
    uniform(shape, (6.0 / fan_in as f64).sqrt(), generator)
}

/// Weights of this shape, evenly spread in `-limit..limit`.
pub(in super::super) fn uniform(shape: &[usize], limit: f64, generator: &mut Generator) -> Result<Var> {
    let count = shape.iter().product();
    let values: Vec<f32> = std::iter::repeat_with(|| generator.uniform(limit) as f32)
        .take(count)
        .collect();
    Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu)?)
}

/// Zeros of this shape, as biases begin.
pub(in super::super) fn zeros(shape: &[usize]) -> Result<Var> {
    let count = shape.iter().product();
    Var::from_tensor(&Tensor::from_vec(vec![0_f32; count], shape, &Device::Cpu)?)
}
