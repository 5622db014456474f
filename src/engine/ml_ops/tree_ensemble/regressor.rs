//! `TreeEnsembleRegressor` and `TreeEnsemble`: scores for targets.

use half::f16;

use super::super::features::{self, Dimensions, NUMBERS};
use super::super::post_transform::PostTransform;
use super::super::{Attributes, Fact, MlError, MlOperator, View};
use super::forest::{self, Forest};
use super::layout::Scalar;
use super::tally::{Aggregate, Tally};
use super::{Trees, base_values};
use crate::model::tensor::{Datatype, Slice, Tensor, Values};

/// What happens to the scores of a forest, whichever operator it belongs to.
#[derive(Debug)]
struct Regression {
    trees: Trees,
    aggregate: Aggregate,
    /// One for each target, or none.
    base_values: Vec<f64>,
    post_transform: PostTransform,
}

impl Regression {
    fn scores(&self, values: Slice<'_>, dimensions: Dimensions) -> Result<Values, MlError> {
        self.trees.check(dimensions)?;
        let width = dimensions.width;
        if let Slice::F64(rows) = values {
            features::check_count(rows.len(), dimensions)?;
            let tally = self.trees.double.tally(rows, width, self.aggregate);
            return Ok(Values::F64(self.finish(&tally)));
        }
        let rows = features::as_singles(values, dimensions)?;
        let tally = self.trees.single().tally(&rows, width, self.aggregate);
        Ok(Values::F32(self.finish(&tally)))
    }

    fn finish<X: Scalar>(&self, tally: &Tally<X>) -> Vec<X> {
        let targets = self.trees.targets();
        let mut finished = Vec::new();
        let mut row = vec![0.0_f32; targets];
        for (scores, seen) in tally.rows() {
            let score = |target: usize| self.score(scores[target], seen[target], target);
            if self.post_transform == PostTransform::None {
                finished.extend((0..targets).map(score));
                continue;
            }
            // The transforms are of single precision in ONNX Runtime as well, for every type of input.
            row.iter_mut()
                .enumerate()
                .for_each(|(target, value)| *value = score(target).to_f64() as f32);
            match row.as_mut_slice() {
                [only] => *only = self.post_transform.apply_to_only(*only),
                several => self.post_transform.apply(several),
            }
            finished.extend(row.iter().map(|&value| X::nearest(f64::from(value))));
        }
        finished
    }

    /// A target that got no weight has no score either, not even its base value: so does ONNX Runtime.
    fn score<X: Scalar>(&self, score: X, seen: bool, target: usize) -> X {
        let targets = self.trees.targets();
        let base = self.base_values.get(target).copied().unwrap_or(0.0);
        if !seen {
            return X::nearest(if targets == 1 { base } else { 0.0 });
        }
        let score = match self.aggregate {
            Aggregate::Average => X::nearest(score.to_f64() / self.trees.count() as f64),
            _ => score,
        };
        X::nearest(score.to_f64() + base)
    }

    fn shape(&self, dimensions: Dimensions) -> Vec<usize> {
        vec![dimensions.rows, self.trees.targets()]
    }
}

/// `TreeEnsembleRegressor`, versions 1 and 3.
#[derive(Debug)]
pub(crate) struct TreeEnsembleRegressor(Regression);

impl TreeEnsembleRegressor {
    /// Reads the attributes of a node.
    pub(crate) fn from_node(attributes: Attributes<'_>) -> Result<Self, MlError> {
        let targets = forest::target_count(attributes)?;
        let forest = Forest::with_ids(attributes, forest::TARGETS, targets)?;
        let base_values = base_values(attributes, &[0, targets])?;
        Ok(Self(Regression {
            trees: Trees::of(&forest, targets)?,
            aggregate: Aggregate::read(attributes)?,
            base_values,
            post_transform: PostTransform::read(attributes)?,
        }))
    }
}

impl MlOperator for TreeEnsembleRegressor {
    fn outputs(&self, inputs: &[Fact]) -> Result<Vec<Fact>, MlError> {
        let (datatype, dimensions) = features::fact(inputs, &NUMBERS)?;
        self.0.trees.prepare(datatype, dimensions)?;
        let shape = self.0.shape(dimensions);
        let datatype = Datatype::F32;
        Ok(vec![Fact { datatype, shape }])
    }

    fn run(&self, inputs: &[View<'_>]) -> Result<Vec<Tensor>, MlError> {
        let (values, dimensions) = features::view(inputs)?;
        let scores = match self.0.scores(values, dimensions)? {
            Values::F64(scores) => Values::F32(scores.into_iter().map(|score| score as f32).collect()),
            scores => scores,
        };
        Ok(vec![super::super::scored(self.0.shape(dimensions), scores)])
    }
}

/// `TreeEnsemble`, version 5.
#[derive(Debug)]
pub(crate) struct TreeEnsemble(Regression);

impl TreeEnsemble {
    /// Reads the attributes of a node.
    pub(crate) fn from_node(attributes: Attributes<'_>) -> Result<Self, MlError> {
        let targets = forest::target_count(attributes)?;
        let forest = Forest::with_positions(attributes, targets)?;
        Ok(Self(Regression {
            trees: Trees::of(&forest, targets)?,
            aggregate: Aggregate::read_number(attributes)?,
            base_values: Vec::new(),
            post_transform: PostTransform::read_number(attributes)?,
        }))
    }
}

impl MlOperator for TreeEnsemble {
    fn outputs(&self, inputs: &[Fact]) -> Result<Vec<Fact>, MlError> {
        let floats = [Datatype::F32, Datatype::F64, Datatype::F16];
        let (datatype, dimensions) = features::fact(inputs, &floats)?;
        self.0.trees.prepare(datatype, dimensions)?;
        let shape = self.0.shape(dimensions);
        Ok(vec![Fact { datatype, shape }])
    }

    fn run(&self, inputs: &[View<'_>]) -> Result<Vec<Tensor>, MlError> {
        let (values, dimensions) = features::view(inputs)?;
        let scores = match (values, self.0.scores(values, dimensions)?) {
            (Slice::F16(_), Values::F32(scores)) => {
                Values::F16(scores.into_iter().map(f16::from_f32).collect())
            }
            (_, scores) => scores,
        };
        Ok(vec![super::super::scored(self.0.shape(dimensions), scores)])
    }
}
