//! Classes: a machine for each pair of them, as libsvm does it.

use ndarray::{Array2, ArrayView2};

use super::super::TrainingError;
use super::super::algorithm::Context;
use super::super::cross_validation::folds;
use super::super::standardise::Standardiser;
use super::kernel::{Gram, Samples};
use super::platt::{Sigmoid, couple};
use super::smo::{Multiplier, Solution, solve};

/// Parts of the cross-validation that gives the scores that probabilities are learnt from, as in libsvm.
const FOLDS: usize = 5;

/// What is learnt from.
pub(super) struct Rows<'a> {
    /// n standardised rows.
    pub(super) samples: &'a Samples,
    /// n numbers of classes.
    pub(super) labels: &'a [usize],
    /// C of each row, n.
    pub(super) bounds: Vec<f64>,
}

/// How it is learnt.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    pub(super) tolerance: f64,
    pub(super) probabilities: bool,
}

/// A fitted machine for each pair of classes, over support vectors that stand class by class.
#[derive(Clone, Debug, PartialEq)]
pub struct Classifier {
    pub(super) standardiser: Standardiser,
    pub(super) names: Vec<String>,
    pub(super) support: Support,
    /// The pairs (0, 1), (0, 2), … (1, 2), ….
    pub(super) pairs: Vec<Pair>,
}

/// The rows that have a say.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Support {
    /// The standardised rows.
    pub(super) vectors: Samples,
    /// Which rows of the training part they are.
    pub(super) places: Vec<usize>,
    /// How many there are of each class.
    pub(super) per_class: Vec<usize>,
    /// (classes − 1) × vectors: yα of each vector against each of the other classes, in the order of those.
    pub(super) coefficients: Array2<f64>,
}

/// What is added to the score of a pair, and what makes a probability of it. The first class is taken where the score is
/// above 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pair {
    pub(super) first: usize,
    pub(super) second: usize,
    pub(super) bias: f64,
    pub(super) sigmoid: Option<Sigmoid>,
}

impl Classifier {
    pub(super) fn fit(
        rows: &Rows<'_>,
        names: &[String],
        standardiser: Standardiser,
        rules: Rules,
        context: &mut Context<'_>,
    ) -> Result<Self, TrainingError> {
        let classes = names.len();
        let mut coefficients = Array2::zeros((classes - 1, rows.labels.len()));
        let mut pairs = Vec::with_capacity(classes * (classes - 1) / 2);
        for (first, second) in (0..classes).flat_map(|first| (first + 1..classes).map(move |it| (first, it)))
        {
            let members = rows.of(first, second);
            let problem = TwoClasses::new(rows, &members, first);
            let machine = problem.solve(rules.tolerance, context)?;
            let sigmoid = if rules.probabilities {
                Some(problem.sigmoid(rules.tolerance, context)?)
            } else {
                None
            };
            for (&row, weight) in members.iter().zip(machine.weights) {
                let against = if rows.labels[row] == first {
                    second - 1
                } else {
                    first
                };
                coefficients[[against, row]] = weight;
            }
            pairs.push(Pair {
                first,
                second,
                bias: machine.bias,
                sigmoid,
            });
        }
        Ok(Self {
            standardiser,
            names: names.to_vec(),
            support: Support::of(rows, classes, &coefficients),
            pairs,
        })
    }

    /// The scores of the pairs for rows (n × F) as they are in the data: n × pairs.
    #[must_use]
    pub fn scores(&self, rows: ArrayView2<'_, f64>) -> Array2<f64> {
        let support = &self.support;
        let starts = support.starts();
        let mut scores = Array2::zeros((rows.nrows(), self.pairs.len()));
        for (row, mut scores) in self
            .standardiser
            .apply(rows)
            .outer_iter()
            .zip(scores.outer_iter_mut())
        {
            let kernels = support.vectors.compare(row);
            let part = |class: usize, against: usize| -> f64 {
                let places = starts[class]..starts[class + 1];
                places
                    .map(|place| kernels[place] * support.coefficients[[against, place]])
                    .sum()
            };
            for (score, pair) in scores.iter_mut().zip(&self.pairs) {
                *score = part(pair.first, pair.second - 1) + part(pair.second, pair.first) + pair.bias;
            }
        }
        scores
    }

    /// The probabilities of a row by the scores of its pairs; without probabilities 1 for the class with the most votes, the
    /// first of equals.
    pub(super) fn decide(&self, scores: &[f64]) -> Vec<f64> {
        let classes = self.names.len();
        let mut wins = Array2::zeros((classes, classes));
        let mut votes = vec![0_usize; classes];
        for (pair, &score) in self.pairs.iter().zip(scores) {
            votes[if score > 0.0 { pair.first } else { pair.second }] += 1;
            let Some(sigmoid) = pair.sigmoid else { continue };
            let win = sigmoid.probability(score);
            wins[[pair.first, pair.second]] = win;
            wins[[pair.second, pair.first]] = 1.0 - win;
        }
        if self.has_probabilities() {
            return couple(&wins);
        }
        let most = votes.iter().max().copied();
        let winner = votes.iter().position(|&count| Some(count) == most);
        (0..classes)
            .map(|class| f64::from(u8::from(Some(class) == winner)))
            .collect()
    }

    pub(super) fn has_probabilities(&self) -> bool {
        self.pairs.iter().all(|pair| pair.sigmoid.is_some())
    }
}

impl Rows<'_> {
    /// The rows of either class, in their order.
    fn of(&self, first: usize, second: usize) -> Vec<usize> {
        let is_member = |&row: &usize| self.labels[row] == first || self.labels[row] == second;
        (0..self.labels.len()).filter(is_member).collect()
    }
}

impl Support {
    /// The rows with a coefficient that is not 0, class by class and in their order within each.
    fn of(rows: &Rows<'_>, classes: usize, coefficients: &Array2<f64>) -> Self {
        let mut places: Vec<usize> = (0..rows.labels.len())
            .filter(|&row| coefficients.column(row).iter().any(|&weight| weight != 0.0))
            .collect();
        if places.is_empty() {
            // Where all rows are of one class there is nothing to weigh, but the operator takes no empty list.
            places.push(0);
        }
        places.sort_by_key(|&row| rows.labels[row]);
        let of_class = |class| places.iter().filter(|&&row| rows.labels[row] == class).count();
        Self {
            vectors: rows.samples.select(&places),
            per_class: (0..classes).map(of_class).collect(),
            coefficients: coefficients.select(ndarray::Axis(1), &places),
            places,
        }
    }

    /// Where the vectors of each class begin, and where the last ones end.
    pub(super) fn starts(&self) -> Vec<usize> {
        let mut starts = vec![0];
        for count in &self.per_class {
            starts.push(starts[starts.len() - 1] + count);
        }
        starts
    }
}

/// The rows of two classes.
struct TwoClasses {
    samples: Samples,
    is_first: Vec<bool>,
    bounds: Vec<f64>,
}

/// f(x) = Σ weights · K(samples, x) + bias.
struct Machine {
    weights: Vec<f64>,
    bias: f64,
}

impl TwoClasses {
    fn new(rows: &Rows<'_>, members: &[usize], first: usize) -> Self {
        Self {
            samples: rows.samples.select(members),
            is_first: members.iter().map(|&row| rows.labels[row] == first).collect(),
            bounds: members.iter().map(|&row| rows.bounds[row]).collect(),
        }
    }

    fn select(&self, members: &[usize]) -> Self {
        Self {
            samples: self.samples.select(members),
            is_first: members.iter().map(|&row| self.is_first[row]).collect(),
            bounds: members.iter().map(|&row| self.bounds[row]).collect(),
        }
    }

    fn solve(&self, tolerance: f64, context: &Context<'_>) -> Result<Machine, TrainingError> {
        let multiplier = |(sample, (&is_first, &bound)): (usize, (&bool, &f64))| Multiplier {
            sample,
            sign: if is_first { 1.0 } else { -1.0 },
            linear: -1.0,
            bound,
        };
        let multipliers: Vec<Multiplier> = self
            .is_first
            .iter()
            .zip(&self.bounds)
            .enumerate()
            .map(multiplier)
            .collect();
        let Solution { alpha, bias } =
            solve(&multipliers, &mut Gram::new(&self.samples)?, tolerance, context)?;
        let weights = multipliers
            .iter()
            .zip(alpha)
            .map(|(it, alpha)| it.sign * alpha)
            .collect();
        Ok(Machine { weights, bias })
    }

    /// Scores of rows that a machine has learnt from are farther from 0 than those of others, so each row is scored by a
    /// machine that was fitted without it.
    fn sigmoid(&self, tolerance: f64, context: &mut Context<'_>) -> Result<Sigmoid, TrainingError> {
        let strata: Vec<usize> = self
            .is_first
            .iter()
            .map(|&is_first| usize::from(!is_first))
            .collect();
        let mut scores = vec![0.0; strata.len()];
        for part in folds(&strata, FOLDS, context.generator) {
            let rest: Vec<usize> = (0..strata.len())
                .filter(|row| part.binary_search(row).is_err())
                .collect();
            let known = self.select(&rest);
            let machine = known.solve(tolerance, context)?.without_zeros(&known.samples);
            for row in part {
                scores[row] = machine.score(self.samples.rows().row(row));
            }
        }
        Ok(Sigmoid::fit(&scores, &self.is_first))
    }
}

impl Machine {
    fn without_zeros(self, samples: &Samples) -> Scorer {
        let places: Vec<usize> = (0..self.weights.len())
            .filter(|&place| self.weights[place] != 0.0)
            .collect();
        Scorer {
            weights: places.iter().map(|&place| self.weights[place]).collect(),
            vectors: samples.select(&places),
            bias: self.bias,
        }
    }
}

/// A machine with its support vectors.
struct Scorer {
    vectors: Samples,
    weights: ndarray::Array1<f64>,
    bias: f64,
}

impl Scorer {
    fn score(&self, row: ndarray::ArrayView1<'_, f64>) -> f64 {
        self.vectors.compare(row).dot(&self.weights) + self.bias
    }
}
