//! The two cells that carry a state through a window, one value at a time.
//!
//! Gates stand in the order of ONNX's operators, so that weights go into the graph as they are.

use candle_core::{D, Result, Tensor, Var};
use candle_nn::ops::sigmoid;

use super::super::network::uniform;
use super::super::random::Generator;

/// What carries the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Long short-term memory (Hochreiter and Schmidhuber 1997, <https://doi.org/10.1162/neco.1997.9.8.1735>).
    Lstm,
    /// The gated recurrent unit (Cho et al. 2014, <https://arxiv.org/abs/1406.1078>), its reset gate after the product with
    /// the state, as PyTorch and cuDNN have it.
    Gru,
}

impl Cell {
    /// The word for it on the command line and in `model.toml`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lstm => "lstm",
            Self::Gru => "gru",
        }
    }

    /// Parts of a layer's weights: input, output and forget gate and candidate; or update and reset gate and candidate.
    pub(super) const fn gates(self) -> usize {
        match self {
            Self::Lstm => 4,
            Self::Gru => 3,
        }
    }
}

/// The weights of one layer that are being fitted; G gates of U units each.
pub(super) struct Layer {
    cell: Cell,
    /// Inputs × G·U.
    pub(super) input: Var,
    /// U × G·U.
    pub(super) recurrent: Var,
    /// G·U, added to what comes from the value.
    pub(super) bias: Var,
    /// G·U, added to what comes from the state. Only a GRU's candidate needs this second one; of the other gates the sum of the two
    /// counts. PyTorch has both, and each takes steps of its own: with both here, the same weights learn the same there.
    pub(super) state_bias: Var,
}

impl Layer {
    /// Weights and biases evenly spread within ±1/√U, as PyTorch begins.
    pub(super) fn new(cell: Cell, inputs: usize, units: usize, generator: &mut Generator) -> Result<Self> {
        let limit = 1.0 / (units as f64).sqrt();
        let width = cell.gates() * units;
        let mut weights = |shape: &[usize]| uniform(shape, limit, generator);
        Ok(Self {
            cell,
            input: weights(&[inputs, width])?,
            recurrent: weights(&[units, width])?,
            bias: weights(&[width])?,
            state_bias: weights(&[width])?,
        })
    }

    pub(super) fn variables(&self) -> [Var; 4] {
        [&self.input, &self.recurrent, &self.bias, &self.state_bias].map(Var::clone)
    }

    /// The state (n × U) after each of the values (n × inputs each).
    pub(super) fn run(&self, values: &[Tensor]) -> Result<Vec<Tensor>> {
        let rows = values.first().map_or(Ok(0), |value| value.dim(0))?;
        let units = self.recurrent.dim(0)?;
        let mut state = Tensor::zeros((rows, units), self.bias.dtype(), self.bias.device())?;
        let mut memory = state.clone();
        let mut states = Vec::with_capacity(values.len());
        for value in values {
            let from_value = value.matmul(&self.input)?.broadcast_add(&self.bias)?;
            let from_state = state.matmul(&self.recurrent)?.broadcast_add(&self.state_bias)?;
            state = match self.cell {
                Cell::Lstm => lstm(&(from_value + from_state)?, &mut memory)?,
                Cell::Gru => gru(&from_value, &from_state, &state)?,
            };
            states.push(state.clone());
        }
        Ok(states)
    }
}

fn lstm(gates: &Tensor, memory: &mut Tensor) -> Result<Tensor> {
    let units = memory.dim(D::Minus1)?;
    let open = sigmoid(&gates.narrow(1, 0, 3 * units)?)?;
    let part = |place: usize| open.narrow(1, place * units, units);
    let candidate = gates.narrow(1, 3 * units, units)?.tanh()?;
    *memory = ((part(2)? * &*memory)? + (part(0)? * candidate)?)?;
    part(1)? * memory.tanh()?
}

fn gru(from_value: &Tensor, from_state: &Tensor, state: &Tensor) -> Result<Tensor> {
    let units = state.dim(D::Minus1)?;
    let open = (from_value.narrow(1, 0, 2 * units)? + from_state.narrow(1, 0, 2 * units)?)?;
    let open = sigmoid(&open)?;
    let (update, reset) = (open.narrow(1, 0, units)?, open.narrow(1, units, units)?);
    let remembered = from_state.narrow(1, 2 * units, units)?;
    let candidate = (from_value.narrow(1, 2 * units, units)? + (reset * remembered)?)?.tanh()?;
    &candidate + (update * (state - &candidate)?)?
}
