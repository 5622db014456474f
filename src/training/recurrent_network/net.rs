//! The net that is fitted: recurrent layers over the window, and a dense one from their last state to the steps.

use candle_core::{Result, Tensor, Var};
use ndarray::{Array1, Array2};

use super::super::algorithm::Context;
use super::super::feed_forward::Dense;
use super::super::network::{Net, matrix as tensor, uniform, zeros};
use super::super::random::Generator;
use super::RecurrentNetwork;
use super::cell::Layer;
use super::forecaster::Recurrence;

/// The weights that are being fitted.
pub(super) struct RecurrentNet {
    layers: Vec<Layer>,
    /// Units × steps.
    weights: Var,
    /// Steps.
    bias: Var,
    /// What the net only adds to; weights (T × steps) and biases (1 × steps), which are not fitted any more.
    linear: Option<(Tensor, Tensor)>,
}

impl RecurrentNet {
    /// A net beside `linear`, where there is that, begins by adding nothing to it.
    pub(super) fn new(
        options: &RecurrentNetwork,
        linear: Option<&Dense>,
        generator: &mut Generator,
    ) -> Result<Self> {
        let units = options.units;
        let mut layers = Vec::with_capacity(options.layers);
        for place in 0..options.layers {
            let inputs = if place == 0 { 1 } else { units };
            layers.push(Layer::new(options.cell, inputs, units, generator)?);
        }
        let limit = 1.0 / (units as f64).sqrt();
        let mut begin = |shape: &[usize]| match linear {
            None => uniform(shape, limit, generator),
            Some(_) => zeros(shape),
        };
        let constant = |linear: &Dense| -> Result<(Tensor, Tensor)> {
            let bias = linear.bias.view().insert_axis(ndarray::Axis(0)).to_owned();
            Ok((tensor(&linear.weights)?, tensor(&bias)?))
        };
        Ok(Self {
            layers,
            weights: begin(&[units, options.horizon])?,
            bias: begin(&[options.horizon])?,
            linear: linear.map(constant).transpose()?,
        })
    }

    /// A copy of the present weights of the recurrent layers.
    pub(super) fn recurrences(&self) -> Result<Vec<Recurrence>> {
        let copy = |layer: &Layer| {
            Ok(Recurrence {
                input: matrix(&layer.input)?,
                recurrent: matrix(&layer.recurrent)?,
                bias: vector(&layer.bias)?,
                state_bias: vector(&layer.state_bias)?,
            })
        };
        self.layers.iter().map(copy).collect()
    }

    /// A copy of the present dense layer.
    pub(super) fn head(&self) -> Result<Dense> {
        Ok(Dense {
            weights: matrix(&self.weights)?,
            bias: vector(&self.bias)?,
        })
    }
}

impl Net for RecurrentNet {
    fn variables(&self) -> Vec<Var> {
        let mut variables: Vec<Var> = self.layers.iter().flat_map(Layer::variables).collect();
        variables.extend([self.weights.clone(), self.bias.clone()]);
        variables
    }

    /// The one input holds n × T standardised values.
    fn forward(&self, inputs: &[Tensor], _: Option<&mut Context<'_>>) -> Result<Tensor> {
        let window = &inputs[0];
        let mut values = (0..window.dim(1)?)
            .map(|place| window.narrow(1, place, 1)?.contiguous())
            .collect::<Result<Vec<Tensor>>>()?;
        for layer in &self.layers {
            values = layer.run(&values)?;
        }
        // A window has at least one value.
        let steps = values[values.len() - 1]
            .matmul(&self.weights)?
            .broadcast_add(&self.bias)?;
        match &self.linear {
            None => Ok(steps),
            Some((weights, bias)) => steps + window.matmul(weights)?.broadcast_add(bias)?,
        }
    }
}

fn matrix(weights: &Var) -> Result<Array2<f64>> {
    let shape = weights.dims2()?;
    let values = weights.flatten_all()?.to_vec1::<f32>()?;
    let values = values.into_iter().map(f64::from).collect();
    Ok(Array2::from_shape_vec(shape, values).expect("a tensor holds as many values as its shape says"))
}

fn vector(weights: &Var) -> Result<Array1<f64>> {
    Ok(weights.to_vec1::<f32>()?.into_iter().map(f64::from).collect())
}
