//! The net while it learns.

use candle_core::{Result, Tensor, Var};

use super::super::algorithm::Context;
use super::super::dataset::ImageShape;
use super::super::network::{Dropout, Net, he_uniform, zeros};
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
        let features = self.features(&rows)?;
        let features = Dropout::new(self.dropout, Some(&mut *context)).units(&features)?;
        self.dense.forward(&[features], Some(context))
    }
}
