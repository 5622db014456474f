//! The net while it learns.

use candle_core::{Device, Result, Tensor, Var};

use super::super::algorithm::Context;
use super::super::dataset::ImageShape;
use super::super::network::{Net, he_uniform, zeros};
use super::super::neural_network::Perceptron;
use super::super::random::Generator;
use super::ConvolutionalNetwork;
use super::fitted::Convolution;
use super::patches::{KERNEL, PLACES, patches};
use super::pooling::max_pool;
use super::shift::shifted;

/// Convolutions, and dense layers behind them.
pub(super) struct ImageNet {
    shape: ImageShape,
    shift: usize,
    dropout: f64,
    /// Kernels (channels out × channels in · 9) and biases (channels out).
    convolutions: Vec<(Var, Var)>,
    pub(super) dense: Perceptron,
}

impl ImageNet {
    /// Weights as they begin.
    pub(super) fn new(
        options: &ConvolutionalNetwork,
        classes: usize,
        generator: &mut Generator,
    ) -> Result<Self> {
        let mut convolutions = Vec::with_capacity(options.channels.len());
        let mut channels = options.shape.channels;
        for &more in &options.channels {
            let fan_in = channels * PLACES;
            convolutions.push((he_uniform(&[more, fan_in], fan_in, generator)?, zeros(&[more])?));
            channels = more;
        }
        Ok(Self {
            shape: options.shape,
            shift: options.shift,
            dropout: options.dropout,
            convolutions,
            dense: Perceptron::new(options.features(), &options.hidden, classes, generator)?,
        })
    }

    /// A copy of the present kernels.
    pub(super) fn convolutions(&self) -> Result<Vec<Convolution>> {
        let copied = self.convolutions.iter().map(|(kernels, bias)| {
            let (channels, fan_in) = kernels.dims2()?;
            Ok(Convolution {
                shape: [channels, fan_in / PLACES, KERNEL, KERNEL],
                kernels: kernels.flatten_all()?.to_vec1()?,
                bias: bias.to_vec1()?,
            })
        });
        copied.collect()
    }

    /// What the dense layers see of standardised images.
    fn features(&self, rows: &Tensor) -> Result<Tensor> {
        let ImageShape {
            channels,
            height,
            width,
        } = self.shape;
        let images = rows.reshape(((), channels, height, width))?;
        let mut values = images.transpose(0, 1)?.contiguous()?;
        for (kernels, bias) in &self.convolutions {
            let (_, images, height, width) = values.dims4()?;
            let channels = bias.dim(0)?;
            let seen = kernels.matmul(&patches(&values)?)?;
            // The largest of sums with one bias, and of what ReLU leaves of them, is that of the largest: less work.
            let pooled = max_pool(&seen.reshape((channels, images, height, width))?)?;
            let bias = bias.reshape((channels, 1, 1, 1))?;
            values = pooled.broadcast_add(&bias)?.relu()?;
        }
        values.transpose(0, 1)?.flatten_from(1)
    }
}

impl Net for ImageNet {
    fn variables(&self) -> Vec<Var> {
        let convolutions = self.convolutions.iter();
        convolutions
            .flat_map(|(kernels, bias)| [kernels.clone(), bias.clone()])
            .chain(self.dense.variables())
            .collect()
    }

    fn forward(&self, inputs: &[Tensor], learning: Option<&mut Context<'_>>) -> Result<Tensor> {
        let Some(context) = learning else {
            return self.dense.forward(&[self.features(&inputs[0])?], None);
        };
        let rows = match self.shift {
            0 => inputs[0].clone(),
            most => shifted(&inputs[0], self.shape, most, context.generator)?,
        };
        let features = dropped(&self.features(&rows)?, self.dropout, context.generator)?;
        self.dense.forward(&[features], Some(context))
    }
}

/// Each value is 0 with this probability, and the others grow so that the expected sum stays (Srivastava et al. 2014,
/// <https://jmlr.org/papers/v15/srivastava14a.html>).
fn dropped(values: &Tensor, probability: f64, generator: &mut Generator) -> Result<Tensor> {
    if probability == 0.0 {
        return Ok(values.clone());
    }
    let kept = (1.0 / (1.0 - probability)) as f32;
    let is_kept = |generator: &mut Generator| generator.uniform(0.5) + 0.5 >= probability;
    let mask: Vec<f32> = (0..values.elem_count())
        .map(|_| if is_kept(generator) { kept } else { 0.0 })
        .collect();
    values.mul(&Tensor::from_vec(mask, values.shape(), &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use super::super::testing::random;
    use super::*;

    #[test]
    fn dropout_keeps_the_share_and_the_sum() {
        let values = Tensor::ones((100, 200), candle_core::DType::F32, &Device::Cpu).unwrap();
        let mut generator = Generator::new(1);
        let dropped = dropped(&values, 0.25, &mut generator).unwrap();
        let dropped = dropped.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let zeros = dropped.iter().filter(|&&value| value == 0.0).count();
        assert!((4_800..5_200).contains(&zeros), "{zeros} of 20000");
        assert!(dropped.iter().all(|&value| value == 0.0 || value == 4.0 / 3.0));
    }

    #[test]
    fn without_dropout_nothing_is_drawn() {
        let values = random(&[3, 4], 8);
        let (mut one, mut other) = (Generator::new(1), Generator::new(1));
        dropped(&values, 0.0, &mut one).unwrap();
        assert_eq!(one.uniform(1.0), other.uniform(1.0));
    }
}
