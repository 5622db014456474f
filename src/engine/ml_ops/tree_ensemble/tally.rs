//! Adds up what the leaves say.

use super::super::{Attributes, MlError};
use super::layout::{Layout, Leaves, Scalar};

/// How the weights for one target become its score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aggregate {
    /// Their sum over the number of trees.
    Average,
    /// Their sum.
    Sum,
    /// The least of them.
    Min,
    /// The greatest of them.
    Max,
}

const NAME: &str = "aggregate_function";

impl Aggregate {
    /// Reads the attribute where it is a text.
    pub(super) fn read(attributes: Attributes<'_>) -> Result<Self, MlError> {
        match attributes.text(NAME)?.unwrap_or("SUM") {
            "AVERAGE" => Ok(Self::Average),
            "SUM" => Ok(Self::Sum),
            "MIN" => Ok(Self::Min),
            "MAX" => Ok(Self::Max),
            other => Err(unknown(other)),
        }
    }

    /// Reads the attribute where it is a number, as in `TreeEnsemble`.
    pub(super) fn read_number(attributes: Attributes<'_>) -> Result<Self, MlError> {
        match attributes.int(NAME)?.unwrap_or(1) {
            0 => Ok(Self::Average),
            1 => Ok(Self::Sum),
            2 => Ok(Self::Min),
            3 => Ok(Self::Max),
            other => Err(unknown(&other.to_string())),
        }
    }

    /// What a score is before the first weight.
    fn start<X: Scalar>(self) -> X {
        match self {
            Self::Sum | Self::Average => X::ZERO,
            Self::Min => X::nearest(f64::INFINITY),
            Self::Max => X::nearest(f64::NEG_INFINITY),
        }
    }
}

fn unknown(found: &str) -> MlError {
    MlError::Attribute {
        name: NAME,
        problem: format!("expected AVERAGE, SUM, MIN or MAX (0 to 3), found {found}"),
    }
}

/// The scores of some rows, a row of targets for each.
#[derive(Debug, PartialEq)]
pub(super) struct Tally<X> {
    scores: Vec<X>,
    /// Which targets got any weight: for all rows alike, or for each row.
    seen: Vec<bool>,
    targets: usize,
}

impl<X: Scalar> Tally<X> {
    /// The score of each target, row by row, and whether it got any weight; the score means nothing if not.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&[X], &[bool])> {
        let rows = self.scores.chunks_exact(self.targets);
        rows.zip(self.seen.chunks_exact(self.targets).cycle())
    }
}

impl<X: Scalar> Layout<X> {
    /// Sends `rows` of `width` values through all trees. `width` is at least [`Layout::min_width`].
    pub(super) fn tally(&self, rows: &[X], width: usize, aggregate: Aggregate) -> Tally<X> {
        match aggregate {
            Aggregate::Sum | Aggregate::Average => {
                self.fold(rows, width, aggregate, |score, weight| *score += weight)
            }
            Aggregate::Min => self.fold(rows, width, aggregate, |score, weight| {
                if weight < *score {
                    *score = weight;
                }
            }),
            Aggregate::Max => self.fold(rows, width, aggregate, |score, weight| {
                if weight > *score {
                    *score = weight;
                }
            }),
        }
    }

    fn fold(&self, rows: &[X], width: usize, aggregate: Aggregate, add: impl Fn(&mut X, X)) -> Tally<X> {
        let targets = self.targets;
        let count = rows.len() / width * targets;
        let mut scores = vec![aggregate.start(); count];
        let seen = match &self.leaves {
            Leaves::Single(target) => {
                self.walk(rows, width, |row, leaf| {
                    add(&mut scores[row * targets + target], leaf.threshold);
                });
                (0..targets).map(|position| position == *target).collect()
            }
            Leaves::Dense(weights) => {
                self.walk(rows, width, |row, leaf| {
                    let scores = &mut scores[row * targets..][..targets];
                    let weights = &weights[leaf.number() * targets..][..targets];
                    for (score, &weight) in scores.iter_mut().zip(weights) {
                        add(score, weight);
                    }
                });
                vec![true; targets]
            }
            Leaves::Sparse { starts, weights } => {
                let mut seen = vec![false; count];
                self.walk(rows, width, |row, leaf| {
                    let number = leaf.number();
                    let range = starts[number] as usize..starts[number + 1] as usize;
                    for &(target, weight) in &weights[range] {
                        let position = row * targets + target as usize;
                        add(&mut scores[position], weight);
                        seen[position] = true;
                    }
                });
                seen
            }
        };
        Tally {
            scores,
            seen,
            targets,
        }
    }
}
