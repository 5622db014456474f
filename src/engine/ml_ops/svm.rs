//! `SVMRegressor` and `SVMClassifier`: support vector machines as libsvm and liblinear fit them.

use super::class_labels::ClassLabels;
use super::features::{self, Dimensions, NUMBERS};
use super::linear::{largest, product, products, sum_of_pairs};
use super::post_transform::{PostTransform, logistic};
use super::{Attributes, Fact, MlError, MlOperator, View, scored};
use crate::model::tensor::{Datatype, Tensor, Values};

/// Rows that are compared with all support vectors at once; more would take memory for nothing.
const BLOCK: usize = 32;

/// How alike a row and a support vector are.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kernel {
    /// `x·v`
    Linear,
    /// `(gamma x·v + coef0)^degree`
    Poly { gamma: f32, coef0: f32, degree: f32 },
    /// `exp(-gamma |x - v|²)`
    Rbf { gamma: f32 },
    /// `tanh(gamma x·v + coef0)`
    Sigmoid { gamma: f32, coef0: f32 },
}

impl Kernel {
    fn read(attributes: Attributes<'_>) -> Result<Self, MlError> {
        let [gamma, coef0, degree] = match attributes.floats("kernel_params")? {
            [] => [0.0; 3],
            &[gamma, coef0, degree, ..] => [gamma, coef0, degree],
            few => {
                let problem = format!("expected gamma, coef0 and degree, found {few:?}");
                return Err(MlError::attribute("kernel_params", problem));
            }
        };
        match attributes.text("kernel_type")?.unwrap_or("LINEAR") {
            "LINEAR" => Ok(Self::Linear),
            "POLY" => Ok(Self::Poly { gamma, coef0, degree }),
            "RBF" => Ok(Self::Rbf { gamma }),
            "SIGMOID" => Ok(Self::Sigmoid { gamma, coef0 }),
            other => {
                let problem = format!("expected LINEAR, POLY, RBF or SIGMOID, found {other:?}");
                Err(MlError::attribute("kernel_type", problem))
            }
        }
    }

    /// The kernel of each of `rows` with each of `vectors`, row by row; all have `width` values.
    fn of(self, rows: &[f32], vectors: &[f32], width: usize) -> Vec<f32> {
        match self {
            Self::Linear => dot(rows, vectors, width, |product| product),
            Self::Poly { gamma, coef0, degree } => {
                let power = power(degree);
                dot(rows, vectors, width, |product| power(gamma * product + coef0))
            }
            Self::Rbf { gamma } => {
                let vectors = |row| {
                    vectors
                        .chunks_exact(width)
                        .map(move |vector| squared_distance(row, vector))
                };
                let distances = rows.chunks_exact(width).flat_map(vectors);
                distances.map(|distance| (-gamma * distance).exp()).collect()
            }
            Self::Sigmoid { gamma, coef0 } => {
                dot(rows, vectors, width, |product| (gamma * product + coef0).tanh())
            }
        }
    }
}

/// Raises to the power of `degree`; small whole ones are by far the most common.
fn power(degree: f32) -> impl Fn(f32) -> f32 {
    move |base| match degree {
        2.0 => base * base,
        3.0 => base * base * base,
        _ => base.powf(degree),
    }
}

fn dot(rows: &[f32], vectors: &[f32], width: usize, of: impl Fn(f32) -> f32) -> Vec<f32> {
    let mut values = products(rows, vectors, width);
    values.iter_mut().for_each(|value| *value = of(*value));
    values
}

/// `|left - right|²`. (The sum of `|left|²`, `|right|²` and `-2 left·right` would be faster, and wrong where both are
/// long and near.)
fn squared_distance(left: &[f32], right: &[f32]) -> f32 {
    sum_of_pairs(left, right, |a, b| (a - b) * (a - b))
}

/// Support vectors, and how rows are compared with them.
#[derive(Debug)]
struct Machine {
    kernel: Kernel,
    /// A row for each support vector.
    vectors: Vec<f32>,
    /// How many support vectors there are.
    count: usize,
    /// Features of each.
    width: usize,
}

impl Machine {
    fn new(kernel: Kernel, vectors: &[f32], count: usize, name: &'static str) -> Result<Self, MlError> {
        if count == 0 || vectors.is_empty() || !vectors.len().is_multiple_of(count) {
            let problem = format!(
                "expected {count} rows of equal length, found {} values",
                vectors.len()
            );
            return Err(MlError::attribute(name, problem));
        }
        Ok(Self {
            kernel,
            vectors: vectors.to_vec(),
            count,
            width: vectors.len() / count,
        })
    }

    /// Calls `take` with the kernels of each row with all support vectors.
    fn compare(&self, rows: &[f32], mut take: impl FnMut(&[f32])) {
        for block in rows.chunks(BLOCK * self.width) {
            let kernels = self.kernel.of(block, &self.vectors, self.width);
            kernels.chunks_exact(self.count).for_each(&mut take);
        }
    }
}

fn required<'a>(attributes: Attributes<'a>, name: &'static str) -> Result<&'a [f32], MlError> {
    match attributes.floats(name)? {
        [] => Err(MlError::MissingAttribute(name)),
        found => Ok(found),
    }
}

fn expect_at_least(name: &'static str, found: usize, least: usize) -> Result<(), MlError> {
    if found >= least {
        return Ok(());
    }
    Err(MlError::attribute(
        name,
        format!("expected {least} values, found {found}"),
    ))
}

/// `SVMRegressor`. Like ONNX Runtime it reads no `post_transform`, and unlike it takes all types of the definition.
#[derive(Debug)]
pub(crate) struct SvmRegressor {
    machine: Machine,
    /// One for each support vector.
    coefficients: Vec<f32>,
    rho: f32,
    one_class: bool,
}

impl SvmRegressor {
    /// Reads the attributes of a node. Without support vectors, the coefficients are those of the features.
    pub(crate) fn from_node(attributes: Attributes<'_>) -> Result<Self, MlError> {
        let coefficients = required(attributes, "coefficients")?;
        let count = attributes.int("n_supports")?.unwrap_or(0);
        let kernel = Kernel::read(attributes)?;
        let (machine, coefficients) = if count > 0 {
            let count = usize::try_from(count).unwrap_or(0);
            let vectors = attributes.floats("support_vectors")?;
            expect_at_least("coefficients", coefficients.len(), count)?;
            let machine = Machine::new(kernel, vectors, count, "support_vectors")?;
            (machine, &coefficients[..count])
        } else {
            (
                Machine::new(Kernel::Linear, coefficients, 1, "coefficients")?,
                &[1.0][..],
            )
        };
        Ok(Self {
            machine,
            coefficients: coefficients.to_vec(),
            rho: required(attributes, "rho")?[0],
            one_class: attributes.int("one_class")?.unwrap_or(0) != 0,
        })
    }

    fn score(&self, kernels: &[f32]) -> f32 {
        match product(kernels, &self.coefficients) + self.rho {
            score if !self.one_class => score,
            score if score > 0.0 => 1.0,
            _ => -1.0,
        }
    }
}

impl MlOperator for SvmRegressor {
    fn outputs(&self, inputs: &[Fact]) -> Result<Vec<Fact>, MlError> {
        let (_, dimensions) = features::fact(inputs, &NUMBERS)?;
        let Dimensions { rows, .. } = dimensions.expect_width(self.machine.width)?;
        Ok(vec![Fact {
            datatype: Datatype::F32,
            shape: vec![rows, 1],
        }])
    }

    fn run(&self, inputs: &[View<'_>]) -> Result<Vec<Tensor>, MlError> {
        let (values, dimensions) = features::singles(inputs)?;
        let Dimensions { rows, .. } = dimensions.expect_width(self.machine.width)?;
        let mut scores = Vec::with_capacity(rows);
        self.machine
            .compare(&values, |kernels| scores.push(self.score(kernels)));
        Ok(vec![scored(vec![rows, 1], Values::F32(scores))])
    }
}

/// `SVMClassifier`, which decides between each pair of classes (libsvm) or scores each class (liblinear).
#[derive(Debug)]
pub(crate) struct SvmClassifier {
    machine: Machine,
    labels: ClassLabels,
    post_transform: PostTransform,
    decision: Decision,
}

#[derive(Debug)]
enum Decision {
    /// A linear score for each class.
    Scores {
        /// Added to all of them.
        rho: f32,
        /// Whether no coefficient is negative, of which ONNX Runtime makes something where there are two classes.
        no_negatives: bool,
    },
    /// A vote for each pair of classes.
    Votes(Votes),
}

impl SvmClassifier {
    /// Reads the attributes of a node.
    pub(crate) fn from_node(attributes: Attributes<'_>) -> Result<Self, MlError> {
        let labels = ClassLabels::read(attributes, "classlabels_ints")?;
        let coefficients = required(attributes, "coefficients")?;
        let kernel = Kernel::read(attributes)?;
        let votes = Votes::read(attributes, coefficients, labels.len())?;
        let (machine, decision) = match votes {
            Some(votes) => {
                let vectors = attributes.floats("support_vectors")?;
                let machine = Machine::new(kernel, vectors, votes.vector_count(), "support_vectors")?;
                (machine, Decision::Votes(votes))
            }
            None => {
                let machine = Machine::new(Kernel::Linear, coefficients, labels.len(), "coefficients")?;
                let decision = Decision::Scores {
                    rho: required(attributes, "rho")?[0],
                    no_negatives: coefficients.iter().all(|&weight| weight >= 0.0),
                };
                (machine, decision)
            }
        };
        Ok(Self {
            machine,
            labels,
            post_transform: PostTransform::read(attributes)?,
            decision,
        })
    }

    /// Scores of each row.
    fn scores_per_row(&self) -> usize {
        let classes = self.labels.len();
        match &self.decision {
            Decision::Votes(votes) if votes.probabilities.is_empty() && classes > 2 => votes.rho.len(),
            _ => classes,
        }
    }

    /// The class of a row, by its kernels; adds the row's scores to `scores`.
    fn decide(&self, kernels: &[f32], scores: &mut Vec<f32>) -> usize {
        let start = scores.len();
        match &self.decision {
            Decision::Scores { rho, no_negatives } => {
                scores.extend(kernels.iter().map(|kernel| kernel + rho));
                let class = decide_by_scores(&scores[start..], *no_negatives);
                self.apply(&mut scores[start..]);
                class
            }
            Decision::Votes(votes) => {
                let (class, mut pairs) = votes.count(kernels);
                if !votes.probabilities.is_empty() {
                    scores.extend(votes.couple(&pairs));
                    self.apply(&mut scores[start..]);
                } else if let [score] = *pairs {
                    scores.extend(match self.post_transform {
                        PostTransform::None => [-score, score],
                        transform => transform.pair(score),
                    });
                } else {
                    self.post_transform.apply(&mut pairs);
                    scores.extend(pairs);
                }
                class
            }
        }
    }

    fn apply(&self, scores: &mut [f32]) {
        match scores {
            [only] => *only = self.post_transform.apply_to_only(*only),
            several => self.post_transform.apply(several),
        }
    }
}

/// The class with the largest score; of two classes the second wherever any score is large, as in ONNX Runtime.
fn decide_by_scores(scores: &[f32], no_negatives: bool) -> usize {
    let best = largest(scores);
    let is_large = if no_negatives {
        scores[best] >= 0.5
    } else {
        scores[best] > 0.0
    };
    if scores.len() == 2 && is_large { 1 } else { best }
}

impl MlOperator for SvmClassifier {
    fn outputs(&self, inputs: &[Fact]) -> Result<Vec<Fact>, MlError> {
        let (_, dimensions) = features::fact(inputs, &NUMBERS)?;
        let Dimensions { rows, .. } = dimensions.expect_width(self.machine.width)?;
        let labels = Fact {
            datatype: self.labels.datatype(),
            shape: vec![rows],
        };
        let scores = Fact {
            datatype: Datatype::F32,
            shape: vec![rows, self.scores_per_row()],
        };
        Ok(vec![labels, scores])
    }

    fn run(&self, inputs: &[View<'_>]) -> Result<Vec<Tensor>, MlError> {
        let (values, dimensions) = features::singles(inputs)?;
        let Dimensions { rows, .. } = dimensions.expect_width(self.machine.width)?;
        let mut scores = Vec::with_capacity(rows * self.scores_per_row());
        let mut classes = Vec::with_capacity(rows);
        self.machine
            .compare(&values, |kernels| classes.push(self.decide(kernels, &mut scores)));
        let labels = scored(vec![rows], self.labels.of_classes(&classes));
        Ok(vec![
            labels,
            scored(vec![rows, self.scores_per_row()], Values::F32(scores)),
        ])
    }
}

/// One machine for each pair of classes, over support vectors that stand class by class.
#[derive(Debug)]
struct Votes {
    /// Where the support vectors of each class begin, and where the last ones end.
    starts: Vec<usize>,
    /// A row for each class but one: those of a class with each of the others, for all support vectors.
    coefficients: Vec<f32>,
    /// One for each pair.
    rho: Vec<f32>,
    /// What makes a probability of the score of a pair (Platt), for each pair; or none.
    probabilities: Vec<(f32, f32)>,
}

impl Votes {
    /// Reads the attributes; none where there are no support vectors.
    fn read(
        attributes: Attributes<'_>,
        coefficients: &[f32],
        classes: usize,
    ) -> Result<Option<Self>, MlError> {
        let per_class = attributes.ints("vectors_per_class")?;
        let starts = starts(per_class)?;
        let vectors = starts[per_class.len()];
        if vectors == 0 {
            return Ok(None);
        }
        if per_class.len() != classes || classes < 2 {
            let problem = format!(
                "expected one for each of 2 or more classes, found {}",
                per_class.len()
            );
            return Err(MlError::attribute("vectors_per_class", problem));
        }
        let needed = (classes - 1).saturating_mul(vectors);
        expect_at_least("coefficients", coefficients.len(), needed)?;
        let pairs = classes * (classes - 1) / 2;
        let rho = required(attributes, "rho")?;
        expect_at_least("rho", rho.len(), pairs)?;
        Ok(Some(Self {
            starts,
            coefficients: coefficients.to_vec(),
            rho: rho[..pairs].to_vec(),
            probabilities: probabilities(attributes, pairs)?,
        }))
    }

    fn vector_count(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    fn classes(&self) -> usize {
        self.starts.len() - 1
    }

    /// The pairs of classes, in the order of their machines.
    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let classes = self.classes();
        (0..classes).flat_map(move |first| (first + 1..classes).map(move |second| (first, second)))
    }

    /// The class with the most votes, the first of equals, and the scores of all pairs.
    fn count(&self, kernels: &[f32]) -> (usize, Vec<f32>) {
        let mut votes = vec![0_usize; self.classes()];
        let mut scores = Vec::with_capacity(self.rho.len());
        for ((first, second), &rho) in self.pairs().zip(&self.rho) {
            let sum = self.part(kernels, first, second - 1) + self.part(kernels, second, first);
            let score = sum + f64::from(rho);
            votes[if score > 0.0 { first } else { second }] += 1;
            scores.push(score as f32);
        }
        let most = votes.iter().copied().max();
        let winner = votes.iter().position(|&count| Some(count) == most);
        (winner.unwrap_or(0), scores)
    }

    /// What the support vectors of `class` say, with the coefficients of `row`.
    fn part(&self, kernels: &[f32], class: usize, row: usize) -> f64 {
        let range = self.starts[class]..self.starts[class + 1];
        let coefficients = &self.coefficients[row * self.vector_count()..][range.clone()];
        let products = kernels[range]
            .iter()
            .zip(coefficients)
            .map(|(kernel, weight)| kernel * weight);
        products.map(f64::from).sum()
    }

    /// The probability of each class, by the scores of the pairs: the second method of Wu, Lin and Weng, "Probability
    /// estimates for multi-class classification by pairwise coupling" (2004), as libsvm does it.
    fn couple(&self, scores: &[f32]) -> Vec<f32> {
        const LEAST: f32 = 1e-7;
        let classes = self.classes();
        let mut wins = vec![0.0; classes * classes];
        for (((first, second), &score), &(a, b)) in self.pairs().zip(scores).zip(&self.probabilities) {
            let win = (1.0 - logistic(score * a + b)).clamp(LEAST, 1.0 - LEAST);
            wins[first * classes + second] = win;
            wins[second * classes + first] = 1.0 - win;
        }
        coupled(&wins, classes)
    }
}

/// Iterates until no class's share of the error is far from the others'. `wins[i * classes + j]` is the probability
/// of class `i` against `j`.
fn coupled(wins: &[f32], classes: usize) -> Vec<f32> {
    const ROUNDS: usize = 100;
    let tolerance = 0.005 / classes as f32;
    let q = coupling_matrix(wins, classes);
    let mut p = vec![1.0 / classes as f32; classes];
    for _ in 0..ROUNDS {
        let mut qp: Vec<f32> = q.chunks_exact(classes).map(|row| inner(row, &p)).collect();
        let mut pqp = inner(&p, &qp);
        if qp.iter().all(|share| (share - pqp).abs() < tolerance) {
            break;
        }
        for class in 0..classes {
            let own = q[class * classes + class];
            let step = (pqp - qp[class]) / own;
            p[class] += step;
            pqp = (pqp + step * (step * own + 2.0 * qp[class])) / (1.0 + step) / (1.0 + step);
            for other in 0..classes {
                qp[other] = (qp[other] + step * q[class * classes + other]) / (1.0 + step);
                p[other] /= 1.0 + step;
            }
        }
    }
    p
}

fn inner(left: &[f32], right: &[f32]) -> f32 {
    left.iter().zip(right).map(|(a, b)| a * b).sum()
}

fn coupling_matrix(wins: &[f32], classes: usize) -> Vec<f32> {
    let mut q = vec![0.0; classes * classes];
    for i in 0..classes {
        for j in (0..classes).filter(|&j| j != i) {
            let (lost, won) = (wins[j * classes + i], wins[i * classes + j]);
            q[i * classes + i] += lost * lost;
            q[i * classes + j] = -lost * won;
        }
    }
    q
}

fn starts(per_class: &[i64]) -> Result<Vec<usize>, MlError> {
    let mut starts = vec![0_usize];
    let mut end = 0_usize;
    for &count in per_class {
        let sum = usize::try_from(count)
            .ok()
            .and_then(|count| end.checked_add(count));
        end = sum.ok_or_else(|| {
            MlError::attribute("vectors_per_class", format!("expected a count, found {count}"))
        })?;
        starts.push(end);
    }
    Ok(starts)
}

fn probabilities(attributes: Attributes<'_>, pairs: usize) -> Result<Vec<(f32, f32)>, MlError> {
    let a = attributes.floats("prob_a")?;
    let b = attributes.floats("prob_b")?;
    if a.is_empty() && b.is_empty() {
        return Ok(Vec::new());
    }
    expect_at_least("prob_a", a.len(), pairs)?;
    expect_at_least("prob_b", b.len(), pairs)?;
    Ok(a.iter().copied().zip(b.iter().copied()).take(pairs).collect())
}

#[cfg(test)]
mod tests {
    use super::super::node_fixture::NodeFixture;
    use super::*;
    use proptest::prelude::*;

    const REGRESSOR: &str = "SVMRegressor";
    const CLASSIFIER: &str = "SVMClassifier";

    fn regressor(kernel: &str) -> NodeFixture {
        NodeFixture::default()
            .text("kernel_type", kernel)
            .floats("kernel_params", &[0.5, 1.0, 2.0])
            .int("n_supports", 2)
            .floats("support_vectors", &[1.0, 0.0, 0.0, 2.0])
            .floats("coefficients", &[1.0, -1.0])
            .floats("rho", &[0.25])
    }

    fn score(node: &NodeFixture) -> f32 {
        match node
            .run(REGRESSOR, 2, Values::F32(vec![2.0, 1.0]))
            .unwrap()
            .as_slice()
        {
            [Values::F32(scores)] => scores[0],
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_kernel_is_as_it_is_defined() {
        // The products with the two vectors are 2 and 2, the squared distances 2 and 5.
        assert_eq!(score(&regressor("LINEAR")), 0.25);
        let weights = regressor("POLY").floats("coefficients", &[1.0, -0.5]);
        assert_eq!(score(&weights), 4.0 - 2.0 + 0.25);
        let expected = (-1.0_f32).exp() - (-2.5_f32).exp() + 0.25;
        assert!((score(&regressor("RBF")) - expected).abs() < 1e-6);
        let weights = regressor("SIGMOID").floats("coefficients", &[1.0, 0.0]);
        assert!((score(&weights) - (2.0_f32.tanh() + 0.25)).abs() < 1e-6);
    }

    #[test]
    fn one_class_answers_a_sign() {
        let node = regressor("LINEAR").int("one_class", 1);
        assert_eq!(score(&node), 1.0);
        assert_eq!(score(&node.floats("rho", &[-1.0])), -1.0);
    }

    #[test]
    fn without_support_vectors_the_coefficients_are_those_of_the_features() {
        let node = regressor("RBF").int("n_supports", 0);
        assert_eq!(score(&node), 2.0 - 1.0 + 0.25);
    }

    #[test]
    fn a_regressor_whose_attributes_do_not_fit_is_refused() {
        for broken in [
            regressor("CUBIC"),
            regressor("RBF").floats("kernel_params", &[1.0]),
            regressor("RBF").int("n_supports", 3),
            regressor("RBF").int("n_supports", i64::MAX),
            regressor("RBF").floats("coefficients", &[1.0]),
            regressor("RBF").without("rho"),
            regressor("RBF").without("support_vectors"),
        ] {
            assert!(broken.make(REGRESSOR).is_err(), "{broken:?}");
        }
    }

    /// Three classes with a support vector on an axis each; the machine of a pair prefers the nearer one.
    fn classifier() -> NodeFixture {
        NodeFixture::default()
            .texts("classlabels_strings", &["x", "y", "z"])
            .ints("vectors_per_class", &[1, 1, 1])
            .floats("support_vectors", &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0])
            .floats("coefficients", &[1.0, -1.0, -1.0, 1.0, 1.0, -1.0])
            .floats("rho", &[0.0, 0.0, 0.0])
    }

    #[test]
    fn the_class_with_the_most_votes_wins() {
        let found = classifier()
            .run(CLASSIFIER, 3, Values::F32(vec![0.1, 0.2, 0.9]))
            .unwrap();
        assert_eq!(found[0], Values::Text(vec!["z".to_owned()]));
        let Values::F32(scores) = &found[1] else {
            panic!("{found:?}")
        };
        // The pairs x-y, x-z and y-z.
        for (score, expected) in scores.iter().zip([-0.1, -0.8, -0.7]) {
            assert!((score - expected).abs() < 1e-6, "{scores:?}");
        }
    }

    #[test]
    fn probabilities_follow_the_scores() {
        let node = classifier()
            .floats("prob_a", &[-2.0; 3])
            .floats("prob_b", &[0.0; 3]);
        let found = node.run(CLASSIFIER, 3, Values::F32(vec![0.1, 0.2, 3.0])).unwrap();
        let Values::F32(p) = &found[1] else {
            panic!("{found:?}")
        };
        assert!(p[2] > p[1] && p[1] > p[0], "{p:?}");
    }

    #[test]
    fn linear_scores_need_no_support_vectors() {
        let node = NodeFixture::default()
            .ints("classlabels_ints", &[3, 5, 8])
            .floats("coefficients", &[1.0, 0.0, 0.0, 1.0, -1.0, -1.0])
            .floats("rho", &[0.5]);
        let found = node.run(CLASSIFIER, 2, Values::F32(vec![1.0, 2.0])).unwrap();
        assert_eq!(found, [Values::I64(vec![5]), Values::F32(vec![1.5, 2.5, -2.5])]);
    }

    #[test]
    fn a_classifier_whose_attributes_do_not_fit_is_refused() {
        for broken in [
            classifier().ints("vectors_per_class", &[1, 1]),
            classifier().ints("vectors_per_class", &[1, 1, -1]),
            classifier().ints("vectors_per_class", &[i64::MAX, i64::MAX, i64::MAX]),
            classifier().floats("coefficients", &[1.0; 5]),
            classifier().floats("rho", &[1.0; 2]),
            classifier().floats("prob_a", &[1.0; 3]),
            classifier().floats("support_vectors", &[1.0; 4]),
            classifier()
                .texts("classlabels_strings", &["x"])
                .ints("vectors_per_class", &[3]),
        ] {
            assert!(broken.make(CLASSIFIER).is_err(), "{broken:?}");
        }
    }

    proptest! {
        #[test]
        fn coupled_probabilities_sum_to_one(
            classes in 2_usize..6,
            wins in proptest::collection::vec(0.01_f32..0.99, 15),
        ) {
            let mut matrix = vec![0.0; classes * classes];
            let pairs = (0..classes).flat_map(|i| (i + 1..classes).map(move |j| (i, j)));
            for ((i, j), win) in pairs.zip(wins) {
                matrix[i * classes + j] = win;
                matrix[j * classes + i] = 1.0 - win;
            }
            let p = coupled(&matrix, classes);
            prop_assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-3, "{p:?}");
            prop_assert!(p.iter().all(|p| (-1e-3..=1.001).contains(p)), "{p:?}");
        }
    }
}
