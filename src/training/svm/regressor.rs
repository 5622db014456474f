//! Numbers: one machine, within whose tube errors cost nothing.

use ndarray::{Array1, ArrayView2};

use super::super::TrainingError;
use super::super::algorithm::Context;
use super::super::standardise::Standardiser;
use super::kernel::{Gram, Samples};
use super::smo::{Multiplier, Solution, solve};

/// What is learnt from.
pub(super) struct Rows<'a> {
    /// n standardised rows.
    pub(super) samples: &'a Samples,
    /// n numbers.
    pub(super) target: &'a [f64],
    /// C of each row, n.
    pub(super) bounds: Vec<f64>,
}

/// A fitted machine for numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Regressor {
    pub(super) standardiser: Standardiser,
    /// The standardised rows that have a say.
    pub(super) vectors: Samples,
    /// Which rows of the training part they are.
    pub(super) places: Vec<usize>,
    /// One a vector.
    pub(super) coefficients: Array1<f64>,
    pub(super) bias: f64,
}

impl Regressor {
    pub(super) fn fit(
        rows: &Rows<'_>,
        standardiser: Standardiser,
        (epsilon, tolerance): (f64, f64),
        context: &Context<'_>,
    ) -> Result<Self, TrainingError> {
        let count = rows.target.len();
        // For each row one multiplier that pulls its prediction up to the target less ε, and one that pulls it down to the
        // target and ε.
        let side = |sign: f64| {
            (0..count).map(move |sample| Multiplier {
                sample,
                sign,
                linear: epsilon - sign * rows.target[sample],
                bound: rows.bounds[sample],
            })
        };
        let multipliers: Vec<Multiplier> = side(1.0).chain(side(-1.0)).collect();
        let Solution { alpha, bias } =
            solve(&multipliers, &mut Gram::new(rows.samples)?, tolerance, context)?;
        let (up, down) = alpha.split_at(count);
        let weights: Array1<f64> = up.iter().zip(down).map(|(up, down)| up - down).collect();
        let mut places: Vec<usize> = (0..count).filter(|&row| weights[row] != 0.0).collect();
        if places.is_empty() {
            // Where all targets are within one tube there is nothing to weigh, but the operator takes no empty list.
            places.push(0);
        }
        Ok(Self {
            standardiser,
            vectors: rows.samples.select(&places),
            coefficients: weights.select(ndarray::Axis(0), &places),
            places,
            bias,
        })
    }

    /// The numbers for rows (n × F) as they are in the data: n.
    #[must_use]
    pub fn scores(&self, rows: ArrayView2<'_, f64>) -> Array1<f64> {
        let score = |row| self.vectors.compare(row).dot(&self.coefficients) + self.bias;
        self.standardiser.apply(rows).outer_iter().map(score).collect()
    }
}
