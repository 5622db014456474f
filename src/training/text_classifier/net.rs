//! The net: embeddings of tokens and places, blocks of masked self-attention, the mean over the tokens, a dense head.
//!
//! The blocks are those of Vaswani et al. 2017 (<https://arxiv.org/abs/1706.03762>) with the normalisation before each part
//! (Xiong et al. 2020, <https://arxiv.org/abs/2002.04745>), which needs no warm-up of the step size.

use candle_core::{D, Result, Tensor, Var};
use candle_nn::ops::softmax;

use super::super::algorithm::Context;
use super::super::network::{Dropout, Net, uniform, zeros};
use super::super::random::Generator;
use super::vocabulary::UNKNOWN_ID;

/// Added to the score of a place without a token: its share of the attention is then exactly 0 in 32 bits. Finite, so that a
/// row without any token gives numbers all the same.
pub(super) const MASKED: f32 = -1e9;
/// Keeps the normalisation of a constant row finite.
pub(super) const EPSILON: f64 = 1e-5;
/// Embeddings begin evenly spread up to this, so that what the first block adds is of about their size.
const EMBEDDING_LIMIT: f64 = 0.1;
/// Units between the two layers behind the attention, for each unit of the width.
pub(super) const EXPANSION: usize = 2;

/// The sizes of a net.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Tokens that there are.
    pub(super) tokens: usize,
    /// Tokens of the longest row.
    pub(super) length: usize,
    /// Values of a token's embedding, a multiple of the heads.
    pub(super) width: usize,
    /// Heads of the attention.
    pub(super) heads: usize,
    /// Blocks.
    pub(super) layers: usize,
    /// Classes.
    pub(super) classes: usize,
}

impl Sizes {
    /// Fitted numbers.
    pub(super) fn parameters(self) -> usize {
        let embeddings = self
            .tokens
            .saturating_add(self.length)
            .saturating_add(self.classes);
        let block = self
            .width
            .saturating_mul(self.width)
            .saturating_mul(4 + 2 * EXPANSION);
        embeddings
            .saturating_mul(self.width)
            .saturating_add(block.saturating_mul(self.layers))
    }
}

/// What is dropped by chance while the net learns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Dropped {
    /// The share of units.
    pub(super) units: f64,
    /// The share of whole tokens, which become unknown ones.
    pub(super) tokens: f64,
}

/// The affine map `x · weights + bias`.
pub(super) struct Dense {
    /// Inputs × outputs.
    pub(super) weights: Var,
    /// One value an output.
    pub(super) bias: Var,
}

impl Dense {
    fn new(inputs: usize, outputs: usize, generator: &mut Generator) -> Result<Self> {
        Ok(Self {
            weights: uniform(&[inputs, outputs], (1.0 / inputs as f64).sqrt(), generator)?,
            bias: zeros(&[outputs])?,
        })
    }

    /// Rows × inputs to rows × outputs.
    fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        rows.matmul(&self.weights)?.broadcast_add(&self.bias)
    }

    fn variables(&self) -> [Var; 2] {
        [self.weights.clone(), self.bias.clone()]
    }
}

/// Each row at mean 0 and deviation 1, and then in a unit of its own for each value (Ba et al. 2016,
/// <https://arxiv.org/abs/1607.06450>).
pub(super) struct Norm {
    /// The unit of each value.
    pub(super) scale: Var,
    /// What is added to each value.
    pub(super) shift: Var,
}

impl Norm {
    fn new(width: usize) -> Result<Self> {
        Ok(Self {
            scale: Var::from_tensor(&zeros(&[width])?.ones_like()?)?,
            shift: zeros(&[width])?,
        })
    }

    fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        let centred = rows.broadcast_sub(&rows.mean_keepdim(D::Minus1)?)?;
        let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
        centred
            .broadcast_div(&(variance + EPSILON)?.sqrt()?)?
            .broadcast_mul(&self.scale)?
            .broadcast_add(&self.shift)
    }

    fn variables(&self) -> [Var; 2] {
        [self.scale.clone(), self.shift.clone()]
    }
}

/// Self-attention, and behind it two dense layers with ReLU between them.
pub(super) struct Block {
    /// Before the attention.
    pub(super) attention_norm: Norm,
    /// What each token asks for.
    pub(super) query: Dense,
    /// What it is found by.
    pub(super) key: Dense,
    /// What it then tells.
    pub(super) value: Dense,
    /// From what all heads were told to the width.
    pub(super) mix: Dense,
    /// Before the dense layers.
    pub(super) dense_norm: Norm,
    /// To more units.
    pub(super) widen: Dense,
    /// And back.
    pub(super) narrow: Dense,
}

impl Block {
    fn new(width: usize, generator: &mut Generator) -> Result<Self> {
        let mut dense = |inputs, outputs| Dense::new(inputs, outputs, generator);
        Ok(Self {
            attention_norm: Norm::new(width)?,
            query: dense(width, width)?,
            key: dense(width, width)?,
            value: dense(width, width)?,
            mix: dense(width, width)?,
            dense_norm: Norm::new(width)?,
            widen: dense(width, EXPANSION * width)?,
            narrow: dense(EXPANSION * width, width)?,
        })
    }

    /// `tokens` are (n · T) × width; `hidden` (n × 1 × 1 × T) is added to the scores, and hides places without a token.
    fn forward(
        &self,
        tokens: &Tensor,
        hidden: &Tensor,
        heads: usize,
        dropout: &mut Dropout<'_, '_>,
    ) -> Result<Tensor> {
        let told = self.attend(&self.attention_norm.forward(tokens)?, hidden, heads)?;
        let tokens = tokens.add(&dropout.units(&self.mix.forward(&told)?)?)?;
        let wide = self.widen.forward(&self.dense_norm.forward(&tokens)?)?.relu()?;
        tokens.add(&dropout.units(&self.narrow.forward(&wide)?)?)
    }

    fn attend(&self, tokens: &Tensor, hidden: &Tensor, heads: usize) -> Result<Tensor> {
        let (rows, _, _, length) = hidden.dims4()?;
        let width = tokens.dim(1)?;
        let by_head = |part: &Dense| {
            let values = part.forward(tokens)?;
            values
                .reshape((rows, length, heads, width / heads))?
                .transpose(1, 2)?
                .contiguous()
        };
        let [query, key, value] = [&self.query, &self.key, &self.value].map(by_head);
        let unit = ((width / heads) as f64).sqrt();
        let scores = (query?.matmul(&key?.t()?)? / unit)?.broadcast_add(hidden)?;
        let told = softmax(&scores, D::Minus1)?.matmul(&value?)?;
        told.transpose(1, 2)?.reshape((rows * length, width))
    }

    fn variables(&self) -> Vec<Var> {
        let dense = [
            &self.query,
            &self.key,
            &self.value,
            &self.mix,
            &self.widen,
            &self.narrow,
        ];
        let norms = [&self.attention_norm, &self.dense_norm];
        let dense = dense.into_iter().flat_map(Dense::variables);
        dense.chain(norms.into_iter().flat_map(Norm::variables)).collect()
    }
}

/// The net that is fitted.
pub(super) struct Transformer {
    pub(super) sizes: Sizes,
    dropped: Dropped,
    /// Tokens × width.
    pub(super) tokens: Var,
    /// Length × width.
    pub(super) places: Var,
    pub(super) blocks: Vec<Block>,
    pub(super) norm: Norm,
    pub(super) head: Dense,
}

impl Transformer {
    /// A net of these sizes that has learnt nothing.
    pub(super) fn new(sizes: Sizes, dropped: Dropped, generator: &mut Generator) -> Result<Self> {
        let Sizes { width, .. } = sizes;
        Ok(Self {
            sizes,
            dropped,
            tokens: uniform(&[sizes.tokens, width], EMBEDDING_LIMIT, generator)?,
            places: uniform(&[sizes.length, width], EMBEDDING_LIMIT, generator)?,
            blocks: (0..sizes.layers)
                .map(|_| Block::new(width, generator))
                .collect::<Result<_>>()?,
            norm: Norm::new(width)?,
            head: Dense::new(width, sizes.classes, generator)?,
        })
    }
}

impl Net for Transformer {
    fn variables(&self) -> Vec<Var> {
        let mut variables = vec![self.tokens.clone(), self.places.clone()];
        variables.extend(self.blocks.iter().flat_map(Block::variables));
        variables.extend(self.norm.variables());
        variables.extend(self.head.variables());
        variables
    }

    /// `inputs` are token numbers and a mask of ones and zeros, both n × length.
    fn forward(&self, inputs: &[Tensor], learning: Option<&mut Context<'_>>) -> Result<Tensor> {
        let (ids, mask) = up_to_longest(&inputs[0], &inputs[1])?;
        let (rows, length) = mask.dims2()?;
        let Sizes { width, heads, .. } = self.sizes;
        let mut dropout = Dropout::new(self.dropped.units, learning);
        let ids = dropout.tokens(&ids, self.dropped.tokens, UNKNOWN_ID)?;
        let embedded = self.tokens.index_select(&ids.flatten_all()?, 0)?;
        let places = self.places.narrow(0, 0, length)?;
        let embedded = embedded.reshape((rows, length, width))?.broadcast_add(&places)?;
        let mut tokens = dropout.units(&embedded.reshape((rows * length, width))?)?;
        let hidden = mask
            .affine(f64::from(-MASKED), f64::from(MASKED))?
            .reshape((rows, 1, 1, length))?;
        for block in &self.blocks {
            tokens = block.forward(&tokens, &hidden, heads, &mut dropout)?;
        }
        let tokens = self.norm.forward(&tokens)?.reshape((rows, length, width))?;
        let mean = mean(&tokens, &mask)?;
        self.head.forward(&dropout.units(&mean)?)
    }
}

/// What of the two has a token in some row: the rest is computed for nothing.
fn up_to_longest(ids: &Tensor, mask: &Tensor) -> Result<(Tensor, Tensor)> {
    let longest = mask.sum(1)?.max(0)?.to_scalar::<f32>()?.max(1.0) as usize;
    Ok((
        ids.narrow(1, 0, longest)?.contiguous()?,
        mask.narrow(1, 0, longest)?.contiguous()?,
    ))
}

/// Of n × T × width the mean over places with a token: n × width; zeros for a row without any.
fn mean(tokens: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let sum = tokens.broadcast_mul(&mask.unsqueeze(2)?)?.sum(1)?;
    sum.broadcast_div(&mask.sum_keepdim(1)?.maximum(1.0)?)
}
