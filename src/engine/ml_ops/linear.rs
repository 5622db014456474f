//! `LinearRegressor` and `LinearClassifier`: a weighted sum of the features for each target.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2};

use super::class_labels::ClassLabels;
use super::features::{self, Dimensions, NUMBERS};
use super::post_transform::PostTransform;
use super::{Attributes, Fact, MlError, MlOperator, View, scored};
use crate::model::tensor::{Datatype, Tensor, Values};

/// The products of each row of `left` with each row of `right`, both of `width` columns: a row for each of `left`.
pub(super) fn products(left: &[f32], right: &[f32], width: usize) -> Vec<f32> {
    /// Rows from which on it pays to rearrange `right` for a product of matrices.
    const MANY: usize = 4;
    if left.len() < MANY * width {
        let with_all = |row| right.chunks_exact(width).map(move |other| product(row, other));
        return left.chunks_exact(width).flat_map(with_all).collect();
    }
    let matrix = |values| {
        let shape = (<[f32]>::len(values) / width, width);
        ArrayView2::from_shape(shape, values).expect("callers pass whole rows")
    };
    let (left, right) = (matrix(left), matrix(right));
    // What `dot` returns may stand in columns.
    let mut products = Array2::zeros((left.nrows(), right.nrows()));
    general_mat_mul(1.0, &left, &right.t(), 0.0, &mut products);
    products.into_raw_vec_and_offset().0
}

/// The sum of the products of `left` and `right`.
pub(super) fn product(left: &[f32], right: &[f32]) -> f32 {
    sum_of_pairs(left, right, |a, b| a * b)
}

/// The sum of `of` over all pairs, in several sums at once, which the machine adds side by side.
pub(super) fn sum_of_pairs(left: &[f32], right: &[f32], of: impl Fn(f32, f32) -> f32) -> f32 {
    const LANES: usize = 8;
    let (left_chunks, left_rest) = left.as_chunks::<LANES>();
    let (right_chunks, right_rest) = right.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for (a, b) in left_chunks.iter().zip(right_chunks) {
        for lane in 0..LANES {
            sums[lane] += of(a[lane], b[lane]);
        }
    }
    let rest: f32 = left_rest.iter().zip(right_rest).map(|(&a, &b)| of(a, b)).sum();
    sums.iter().sum::<f32>() + rest
}

/// Sums over all features, one for each target.
#[derive(Debug)]
struct Linear {
    /// A row of features for each target.
    coefficients: Vec<f32>,
    /// One for each target, or none.
    intercepts: Vec<f32>,
}

impl Linear {
    fn read(attributes: Attributes<'_>) -> Result<Self, MlError> {
        let coefficients = attributes.floats("coefficients")?.to_vec();
        if coefficients.is_empty() {
            return Err(MlError::MissingAttribute("coefficients"));
        }
        let intercepts = attributes.floats("intercepts")?.to_vec();
        Ok(Self {
            coefficients,
            intercepts,
        })
    }

    /// Features that rows must have for `targets` targets.
    fn width(&self, targets: usize) -> Result<usize, MlError> {
        let count = self.coefficients.len();
        if targets != 0 && count.is_multiple_of(targets) {
            return Ok(count / targets);
        }
        let problem = format!("expected the same number for each of {targets} targets, found {count}");
        let name = "coefficients";
        Err(MlError::Attribute { name, problem })
    }

    fn check_intercepts(&self, targets: usize) -> Result<(), MlError> {
        let found = self.intercepts.len();
        if found == 0 || found == targets {
            return Ok(());
        }
        let problem = format!("expected {targets} of them, found {found}");
        let name = "intercepts";
        Err(MlError::Attribute { name, problem })
    }

    /// The sums of each row of `width` features, row by row.
    fn scores(&self, rows: &[f32], width: usize) -> Vec<f32> {
        let mut scores = products(rows, &self.coefficients, width);
        if self.intercepts.is_empty() {
            return scores;
        }
        for scores in scores.chunks_exact_mut(self.intercepts.len()) {
            scores
                .iter_mut()
                .zip(&self.intercepts)
                .for_each(|(score, intercept)| *score += intercept);
        }
        scores
    }
}

/// Puts the scores of several rows through `transform`, in rows of `targets`.
fn apply(transform: PostTransform, scores: &mut [f32], targets: usize) {
    if targets == 1 {
        scores
            .iter_mut()
            .for_each(|score| *score = transform.apply_to_only(*score));
    } else {
        scores
            .chunks_exact_mut(targets)
            .for_each(|row| transform.apply(row));
    }
}

/// `LinearRegressor`. ONNX Runtime takes single precision only; the definition has three types more.
#[derive(Debug)]
pub(crate) struct LinearRegressor {
    linear: Linear,
    targets: usize,
    width: usize,
    post_transform: PostTransform,
}

impl LinearRegressor {
    /// Reads the attributes of a node.
    pub(crate) fn from_node(attributes: Attributes<'_>) -> Result<Self, MlError> {
        let linear = Linear::read(attributes)?;
        let targets = usize::try_from(attributes.int("targets")?.unwrap_or(1)).unwrap_or(0);
        linear.check_intercepts(targets)?;
        Ok(Self {
            width: linear.width(targets)?,
            linear,
            targets,
            post_transform: PostTransform::read(attributes)?,
        })
    }
}

impl MlOperator for LinearRegressor {
    fn outputs(&self, inputs: &[Fact]) -> Result<Vec<Fact>, MlError> {
        let (_, dimensions) = features::fact(inputs, &NUMBERS)?;
        let Dimensions { rows, .. } = dimensions.expect_width(self.width)?;
        Ok(vec![Fact {
            datatype: Datatype::F32,
            shape: vec![rows, self.targets],
        }])
    }

    fn run(&self, inputs: &[View<'_>]) -> Result<Vec<Tensor>, MlError> {
        let (values, dimensions) = features::singles(inputs)?;
        let Dimensions { rows, width } = dimensions.expect_width(self.width)?;
        let mut scores = self.linear.scores(&values, width);
        apply(self.post_transform, &mut scores, self.targets);
        Ok(vec![scored(vec![rows, self.targets], Values::F32(scores))])
    }
}

/// `LinearClassifier`. Its attribute `multi_class` says how the model was fitted and changes no answer.
#[derive(Debug)]
pub(crate) struct LinearClassifier {
    linear: Linear,
    labels: ClassLabels,
    post_transform: PostTransform,
}

impl LinearClassifier {
    /// Reads the attributes of a node.
    pub(crate) fn from_node(attributes: Attributes<'_>) -> Result<Self, MlError> {
        let linear = Linear::read(attributes)?;
        let labels = ClassLabels::read(attributes, "classlabels_ints")?;
        let classifier = Self {
            linear,
            labels,
            post_transform: PostTransform::read(attributes)?,
        };
        classifier.check_targets()?;
        Ok(classifier)
    }

    /// One score for each class, or a single one for two classes; also a single one for a single class.
    fn check_targets(&self) -> Result<(), MlError> {
        let (targets, labels) = (self.linear.intercepts.len(), self.labels.len());
        if targets == 0 {
            // ONNX Runtime refuses this; the definition does not.
            return self.linear.width(1).map(drop);
        }
        if targets != labels && (targets, labels) != (1, 2) {
            let problem = format!("expected one for each of {labels} labels, found {targets}");
            let name = "intercepts";
            return Err(MlError::Attribute { name, problem });
        }
        self.linear.width(targets).map(drop)
    }

    /// How many scores are computed for rows of `width` features.
    fn targets(&self, dimensions: Dimensions) -> Result<usize, MlError> {
        let count = self.linear.coefficients.len();
        let expected = match (self.linear.intercepts.len(), self.labels.len()) {
            (0, labels) if dimensions.width.checked_mul(labels) == Some(count) => labels,
            (0, labels) => {
                if labels <= 2 {
                    1
                } else {
                    labels
                }
            }
            (targets, _) => targets,
        };
        dimensions.expect_width(self.linear.width(expected)?)?;
        Ok(expected)
    }

    /// Positions of the classes with the largest scores, the first of equals.
    fn best(&self, scores: &[f32], targets: usize) -> Values {
        if targets > 1 {
            let classes: Vec<usize> = scores.chunks_exact(targets).map(largest).collect();
            return self.labels.of_classes(&classes);
        }
        let classes: Vec<usize> = scores.iter().map(|&score| usize::from(score > 0.0)).collect();
        match &self.labels {
            ClassLabels::Ints(labels) if labels.len() < 2 => {
                ClassLabels::Ints(vec![0, 1]).of_classes(&classes)
            }
            ClassLabels::Texts(labels) if labels.len() < 2 => {
                ClassLabels::Texts(vec!["0".to_owned(), "1".to_owned()]).of_classes(&classes)
            }
            labels => labels.of_classes(&classes),
        }
    }
}

/// Position of the largest score, the first of equals.
pub(super) fn largest(scores: &[f32]) -> usize {
    let mut best = 0;
    for (position, &score) in scores.iter().enumerate() {
        if score > scores[best] {
            best = position;
        }
    }
    best
}

impl MlOperator for LinearClassifier {
    fn outputs(&self, inputs: &[Fact]) -> Result<Vec<Fact>, MlError> {
        let (_, dimensions) = features::fact(inputs, &NUMBERS)?;
        self.targets(dimensions)?;
        let labels = Fact {
            datatype: self.labels.datatype(),
            shape: vec![dimensions.rows],
        };
        let scores = Fact {
            datatype: Datatype::F32,
            shape: vec![dimensions.rows, self.labels.len()],
        };
        Ok(vec![labels, scores])
    }

    fn run(&self, inputs: &[View<'_>]) -> Result<Vec<Tensor>, MlError> {
        let (values, dimensions) = features::singles(inputs)?;
        let targets = self.targets(dimensions)?;
        let Dimensions { rows, width } = dimensions;
        let mut scores = self.linear.scores(&values, width);
        let labels = self.best(&scores, targets);
        if targets < self.labels.len() {
            scores = scores
                .into_iter()
                .flat_map(|score| self.post_transform.pair(score))
                .collect();
        } else {
            apply(self.post_transform, &mut scores, targets);
        }
        let labels = scored(vec![rows], labels);
        Ok(vec![
            labels,
            scored(vec![rows, self.labels.len()], Values::F32(scores)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::super::node_fixture::NodeFixture;
    use super::*;
    use proptest::prelude::*;

    const REGRESSOR: &str = "LinearRegressor";
    const CLASSIFIER: &str = "LinearClassifier";

    fn two_targets() -> NodeFixture {
        NodeFixture::default()
            .floats("coefficients", &[1.0, 2.0, -1.0, 0.5])
            .floats("intercepts", &[0.5, 0.0])
            .int("targets", 2)
    }

    #[test]
    fn each_target_has_its_own_coefficients() {
        let scores = two_targets()
            .run(REGRESSOR, 2, Values::F32(vec![1.0, 1.0, 2.0, 0.0]))
            .unwrap();
        assert_eq!(scores, [Values::F32(vec![3.5, -0.5, 2.5, -2.0])]);
    }

    #[test]
    fn whole_numbers_and_doubles_are_taken_too() {
        for values in [
            Values::I64(vec![2, 0]),
            Values::I32(vec![2, 0]),
            Values::F64(vec![2.0, 0.0]),
        ] {
            let scores = two_targets().run(REGRESSOR, 2, values).unwrap();
            assert_eq!(scores, [Values::F32(vec![2.5, -2.0])]);
        }
    }

    #[test]
    fn attributes_that_do_not_fit_are_refused() {
        for broken in [
            two_targets().int("targets", 3),
            two_targets().int("targets", 0),
            two_targets().int("targets", -1),
            two_targets().floats("intercepts", &[1.0]),
            two_targets().without("coefficients"),
            two_targets().text("post_transform", "LOG"),
        ] {
            assert!(broken.make(REGRESSOR).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn rows_of_another_width_are_refused() {
        let error = two_targets()
            .run(REGRESSOR, 3, Values::F32(vec![0.0; 3]))
            .unwrap_err();
        assert_eq!(error.to_string(), "input 0: expected 2 features a row, found 3");
    }

    fn classifier(intercepts: &[f32]) -> NodeFixture {
        NodeFixture::default()
            .floats("coefficients", &[1.0, -1.0].repeat(intercepts.len()))
            .floats("intercepts", intercepts)
            .texts("classlabels_strings", &["no", "yes"])
    }

    #[test]
    fn one_score_decides_between_two_classes_by_its_sign() {
        let rows = Values::F32(vec![1.0, 0.25, 0.0, 1.0]);
        let found = classifier(&[0.0]).run(CLASSIFIER, 2, rows).unwrap();
        let labels = Values::Text(vec!["yes".to_owned(), "no".to_owned()]);
        assert_eq!(found, [labels, Values::F32(vec![0.25, 0.75, 2.0, -1.0])]);
    }

    #[test]
    fn the_first_of_equal_scores_wins() {
        let found = classifier(&[0.5, 0.5])
            .run(CLASSIFIER, 2, Values::F32(vec![1.0, 0.0]))
            .unwrap();
        assert_eq!(found[0], Values::Text(vec!["no".to_owned()]));
    }

    #[test]
    fn intercepts_may_be_left_out() {
        let classifier = classifier(&[0.0, 0.0]).without("intercepts");
        let found = classifier
            .run(CLASSIFIER, 2, Values::F32(vec![1.0, 0.0]))
            .unwrap();
        assert_eq!(found[1], Values::F32(vec![1.0, 1.0]));
    }

    #[test]
    fn a_classifier_without_labels_is_refused() {
        assert!(
            classifier(&[0.0])
                .without("classlabels_strings")
                .make(CLASSIFIER)
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn products_do_not_depend_on_how_many_rows_there_are(
            width in 1_usize..20,
            left in 1_usize..9,
            right in 1_usize..9,
            seed in proptest::collection::vec(-2.0_f32..2.0, 400),
        ) {
            let left = &seed[..left * width];
            let right = &seed[200..][..right * width];
            let together = products(left, right, width);
            let one_by_one: Vec<f32> =
                left.chunks_exact(width).flat_map(|row| products(row, right, width)).collect();
            for (a, b) in together.iter().zip(&one_by_one) {
                prop_assert!((a - b).abs() < 1e-4);
            }
            prop_assert_eq!(together.len(), one_by_one.len());
        }
    }
}
