//! `TreeEnsembleClassifier`: scores for classes, and the best of them.

use super::super::class_labels::ClassLabels;
use super::super::features::{self, Dimensions, NUMBERS};
use super::super::post_transform::PostTransform;
use super::super::{Attributes, Fact, MlError, MlOperator, View};
use super::forest::{self, Forest};
use super::layout::Scalar;
use super::tally::{Aggregate, Tally};
use super::{Trees, base_values, numbers};
use crate::model::tensor::{Datatype, Slice, Tensor, Values};

/// `TreeEnsembleClassifier`, versions 1 and 3.
///
/// The definition is silent on two classes, which converters write in several ways. What is done here is what ONNX
/// Runtime does, the odd cases included.
#[derive(Debug)]
pub(crate) struct TreeEnsembleClassifier {
    trees: Trees,
    /// The labels that a decision picks from; see [`decided_labels`].
    labels: ClassLabels,
    base_values: Vec<f64>,
    post_transform: PostTransform,
    two_classes: TwoClasses,
}

/// How two classes are told apart, and how a missing second score is made up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TwoClasses {
    /// All weights are for one class and none is negative: its score is a probability.
    Probability,
    /// All weights are for one class, and some are negative: the sign of its score decides.
    Margin,
    /// There are weights for both.
    Both,
}

impl TwoClasses {
    fn of(attributes: Attributes<'_>, classes: usize) -> Result<Self, MlError> {
        let targets = attributes.ints("class_ids")?;
        let of_one_class = targets.windows(2).all(|pair| pair[0] == pair[1]);
        if classes != 2 || targets.is_empty() || !of_one_class {
            return Ok(Self::Both);
        }
        let weights = numbers::list_or_tensor(attributes, "class_weights", "class_weights_as_tensor")?;
        let any_negative = weights.iter().any(|&weight| weight < 0.0);
        Ok(if any_negative {
            Self::Margin
        } else {
            Self::Probability
        })
    }

    /// Position of the class that `score`, that of the positive class, decides for.
    fn decide(self, score: f64) -> usize {
        let threshold = if self == Self::Probability { 0.5 } else { 0.0 };
        usize::from(score > threshold)
    }
}

/// The labels that decisions pick from. ONNX Runtime forgets labels that are whole numbers where the sign of a score
/// decides and they are not two, or both classes have weights; it then answers 0 or 1.
fn decided_labels(labels: ClassLabels, two_classes: TwoClasses) -> ClassLabels {
    match labels {
        ClassLabels::Ints(labels) if labels.len() == 1 => ClassLabels::Ints(vec![0, 1]),
        ClassLabels::Ints(labels) if labels.len() == 2 && two_classes == TwoClasses::Both => {
            ClassLabels::Ints(vec![0, 1])
        }
        ClassLabels::Texts(labels) if labels.len() == 1 => {
            ClassLabels::Texts([labels.as_slice(), labels.as_slice()].concat())
        }
        labels => labels,
    }
}

impl TreeEnsembleClassifier {
    /// Reads the attributes of a node.
    pub(crate) fn from_node(attributes: Attributes<'_>) -> Result<Self, MlError> {
        let labels = ClassLabels::read(attributes, "classlabels_int64s")?;
        let classes = labels.len();
        let forest = Forest::with_ids(attributes, forest::CLASSES, classes)?;
        let two_classes = TwoClasses::of(attributes, classes)?;
        let base_value_counts: &[usize] = if classes == 2 { &[0, 1, 2] } else { &[0, classes] };
        Ok(Self {
            trees: Trees::of(&forest, classes)?,
            labels: decided_labels(labels, two_classes),
            base_values: base_values(attributes, base_value_counts)?,
            post_transform: PostTransform::read(attributes)?,
            two_classes,
        })
    }

    fn finish<X: Scalar>(&self, tally: &Tally<X>) -> (Values, Vec<f32>) {
        let mut classes = Vec::new();
        let mut scores = Vec::new();
        for (row, seen) in tally.rows() {
            let start = scores.len();
            scores.resize(start + row.len(), 0.0);
            let scores = &mut scores[start..];
            let class = match (row, seen) {
                (&[score], &[seen]) => self.finish_one(seen.then_some(score), scores),
                (&[first, second], &[has_first, has_second]) => {
                    self.finish_two([has_first.then_some(first), has_second.then_some(second)], scores)
                }
                _ => self.finish_several(row, seen, scores),
            };
            classes.push(class);
        }
        (self.labels.of_classes(&classes), scores)
    }

    fn base<X: Scalar>(&self, class: usize) -> X {
        X::nearest(self.base_values.get(class).copied().unwrap_or(0.0))
    }

    fn finish_one<X: Scalar>(&self, score: Option<X>, scores: &mut [f32]) -> usize {
        let score = plus(score.unwrap_or(X::ZERO), self.base(0)).to_f64();
        scores[0] = self.post_transform.apply_to_only(score as f32);
        TwoClasses::Both.decide(score)
    }

    fn finish_two<X: Scalar>(&self, found: [Option<X>; 2], scores: &mut [f32]) -> usize {
        let [first, second] = self.with_base_values(found);
        let first_score = first.map_or(0.0, Scalar::to_f64);
        let decisive = second.map_or(first_score, Scalar::to_f64);
        let class = self.two_classes.decide(decisive);
        if second.is_none() && self.base_values.len() < 2 {
            self.fill_from_first(first_score as f32, scores);
        } else {
            scores[0] = first_score as f32;
            scores[1] = second.map_or(0.0, Scalar::to_f64) as f32;
            self.post_transform.apply(scores);
        }
        class
    }

    /// Adds the base values. Where there are two of them and the second class has a score, ONNX Runtime takes the
    /// *first* class's score for both, with opposite signs.
    fn with_base_values<X: Scalar>(&self, [first, second]: [Option<X>; 2]) -> [Option<X>; 2] {
        if self.base_values.len() < 2 || second.is_none() {
            // A class without a score gets none from a base value either.
            return [first.map(|score| plus(score, self.base(0))), second];
        }
        let margin = plus(self.base(1), first.unwrap_or(X::ZERO));
        [first.map(|_| margin.flip(true)), Some(margin)]
    }

    /// Both scores of two classes, of which only the first got weights; it stands for the second then.
    fn fill_from_first(&self, score: f32, scores: &mut [f32]) {
        let pair = match (self.post_transform, self.two_classes) {
            (transform @ PostTransform::Probit, _) => transform.pair(score),
            // ONNX Runtime leaves the second place as it finds it.
            (_, TwoClasses::Both) if self.base_values.len() == 1 => [score, 0.0],
            (transform @ PostTransform::Logistic, _) | (transform, TwoClasses::Probability) => {
                transform.pair(score)
            }
            _ => [-score, score],
        };
        scores.copy_from_slice(&pair);
    }

    fn finish_several<X: Scalar>(&self, row: &[X], seen: &[bool], scores: &mut [f32]) -> usize {
        let mut best: Option<(usize, f64)> = None;
        for (class, score) in scores.iter_mut().enumerate() {
            let own = if seen[class] { row[class] } else { X::ZERO };
            let sum = plus(own, self.base(class)).to_f64();
            *score = sum as f32;
            let counts = seen[class] || !self.base_values.is_empty();
            if counts && best.is_none_or(|(_, largest)| sum > largest) {
                best = Some((class, sum));
            }
        }
        self.post_transform.apply(scores);
        best.map_or(0, |(class, _)| class)
    }

    fn run_on(&self, values: Slice<'_>, dimensions: Dimensions) -> Result<(Values, Vec<f32>), MlError> {
        self.trees.check(dimensions)?;
        let width = dimensions.width;
        if let Slice::F64(rows) = values {
            features::check_count(rows.len(), dimensions)?;
            return Ok(self.finish(&self.trees.double.tally(rows, width, Aggregate::Sum)));
        }
        let rows = features::as_singles(values, dimensions)?;
        Ok(self.finish(&self.trees.single().tally(&rows, width, Aggregate::Sum)))
    }
}

/// The sum in the precision of the terms.
fn plus<X: Scalar>(mut left: X, right: X) -> X {
    left += right;
    left
}

impl MlOperator for TreeEnsembleClassifier {
    fn outputs(&self, inputs: &[Fact]) -> Result<Vec<Fact>, MlError> {
        let (datatype, dimensions) = features::fact(inputs, &NUMBERS)?;
        self.trees.prepare(datatype, dimensions)?;
        let labels = Fact {
            datatype: self.labels.datatype(),
            shape: vec![dimensions.rows],
        };
        let scores = Fact {
            datatype: Datatype::F32,
            shape: vec![dimensions.rows, self.trees.targets()],
        };
        Ok(vec![labels, scores])
    }

    fn run(&self, inputs: &[View<'_>]) -> Result<Vec<Tensor>, MlError> {
        let (values, dimensions) = features::view(inputs)?;
        let (labels, scores) = self.run_on(values, dimensions)?;
        let shape = vec![dimensions.rows, self.trees.targets()];
        let labels = super::super::scored(vec![dimensions.rows], labels);
        Ok(vec![labels, super::super::scored(shape, Values::F32(scores))])
    }
}
