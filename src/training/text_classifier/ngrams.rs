//! What a text classifier is held against: logistic regression on character n-grams.
//!
//! The features are those of scikit-learn's `TfidfVectorizer(analyzer="char", ngram_range=(1, 5), min_df=2)`: runs of 1 to 5
//! characters of the text in lower case, that stand in two texts or more, weighted by how few texts they stand in, at length
//! 1 a text. They are fitted as by its `LogisticRegression(C=10)`.

use std::collections::{BTreeMap, HashMap};

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};

use super::super::lbfgs;

/// Characters of the longest run.
const LONGEST: usize = 5;
/// A run that stands in fewer texts says nothing of others.
const MIN_TEXTS: usize = 2;
/// Half of the weight of ‖w‖² beside the sum of the losses, which is 1/C.
const PENALTY: f64 = 0.1;
/// In the gradient of the mean loss: near enough for an accuracy to four digits.
const TOLERANCE: f64 = 1e-5;
/// Steps of the search at most.
const MAX_ITERATIONS: u64 = 300;

/// A text as the numbers and values of its features.
type Row = Vec<(usize, f64)>;

/// The fitted model.
pub(super) struct NgramRegression {
    features: Features,
    /// Features × classes.
    weights: Array2<f64>,
    bias: Array1<f64>,
}

impl NgramRegression {
    /// Fits on texts and labels (each below `class_count`), each counted by its weight.
    pub(super) fn fit(texts: &[String], (labels, class_count): (&[usize], usize), weights: &[f64]) -> Self {
        let features = Features::fit(texts);
        let likelihood = Likelihood {
            rows: texts.iter().map(|text| features.row(text)).collect(),
            labels,
            weights,
            shape: (features.numbers.len(), class_count),
        };
        let start = Array1::zeros((likelihood.shape.0 + 1) * class_count);
        let minimum = lbfgs::minimise(|point| likelihood.loss(point), start, TOLERANCE, MAX_ITERATIONS);
        let (weights, bias) = likelihood.unpack(&minimum.point);
        let (weights, bias) = (weights.to_owned(), bias.to_owned());
        Self {
            features,
            weights,
            bias,
        }
    }

    /// The share of texts whose class it finds.
    pub(super) fn accuracy(&self, texts: &[String], labels: &[usize]) -> f64 {
        let is_found = |(text, label): &(&String, &usize)| {
            let logits = logits(&self.features.row(text), self.weights.view(), self.bias.view());
            let likeliest = (0..logits.len()).max_by(|&one, &other| logits[one].total_cmp(&logits[other]));
            likeliest == Some(**label)
        };
        let found = texts.iter().zip(labels).filter(is_found).count();
        found as f64 / texts.len() as f64
    }
}

/// The runs that are known.
struct Features {
    /// The number of each.
    numbers: HashMap<String, usize>,
    /// The weight of each: ln((1 + n) / (1 + texts that have it)) + 1.
    rarity: Vec<f64>,
}

impl Features {
    fn fit(texts: &[String]) -> Self {
        // In their order, so that every sum is added up in the same one.
        let mut having: BTreeMap<String, usize> = BTreeMap::new();
        for text in texts {
            for run in counts(text).into_keys() {
                *having.entry(run).or_default() += 1;
            }
        }
        having.retain(|_, texts| *texts >= MIN_TEXTS);
        let rarity = |&having: &usize| ((1 + texts.len()) as f64 / (1 + having) as f64).ln() + 1.0;
        Self {
            rarity: having.values().map(rarity).collect(),
            numbers: having.into_keys().zip(0..).collect(),
        }
    }

    fn row(&self, text: &str) -> Row {
        let mut row: Row = counts(text)
            .into_iter()
            .filter_map(|(run, count)| {
                let number = *self.numbers.get(&run)?;
                Some((number, count as f64 * self.rarity[number]))
            })
            .collect();
        let length = row.iter().map(|(_, value)| value * value).sum::<f64>().sqrt();
        if length > 0.0 {
            row.iter_mut().for_each(|(_, value)| *value /= length);
        }
        row
    }
}

/// How often each run of characters stands in a text.
fn counts(text: &str) -> BTreeMap<String, usize> {
    let lower = text.to_lowercase();
    let spaced: Vec<char> = lower
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .collect();
    let mut counts = BTreeMap::new();
    for length in 1..=LONGEST {
        for run in spaced.windows(length) {
            *counts.entry(run.iter().collect()).or_default() += 1;
        }
    }
    counts
}

/// The function to minimise. A point is the weights (F × C), row by row, and then the C intercepts.
struct Likelihood<'a> {
    rows: Vec<Row>,
    labels: &'a [usize],
    weights: &'a [f64],
    shape: (usize, usize),
}

impl Likelihood<'_> {
    fn unpack<'p>(&self, point: &'p Array1<f64>) -> (ArrayView2<'p, f64>, ArrayView1<'p, f64>) {
        let (weights, bias) = point.view().split_at(Axis(0), self.shape.0 * self.shape.1);
        let weights = weights
            .into_shape_with_order(self.shape)
            .expect("a point has F · C weights before its intercepts");
        (weights, bias)
    }

    /// The penalised loss and its gradient, both divided by n.
    fn loss(&self, point: &Array1<f64>) -> lbfgs::Evaluated {
        let (weights, bias) = self.unpack(point);
        let mut loss = 0.5 * PENALTY * weights.iter().map(|weight| weight * weight).sum::<f64>();
        let mut gradient = PENALTY * &weights;
        let mut intercepts = Array1::zeros(bias.len());
        for ((row, &label), &weight) in self.rows.iter().zip(self.labels).zip(self.weights) {
            let mut error = logits(row, weights, bias);
            let maximum = error.fold(f64::NEG_INFINITY, |maximum, &logit| maximum.max(logit));
            let own = error[label] - maximum;
            error.mapv_inplace(|logit| (logit - maximum).exp());
            let sum = error.sum();
            loss += weight * (sum.ln() - own);
            error /= sum;
            error[label] -= 1.0;
            error *= weight;
            for &(number, value) in row {
                gradient.row_mut(number).scaled_add(value, &error);
            }
            intercepts += &error;
        }
        let rows = self.labels.len() as f64;
        let gradient = gradient.into_iter().chain(intercepts);
        (loss / rows, gradient.map(|entry| entry / rows).collect())
    }
}

fn logits(row: &Row, weights: ArrayView2<'_, f64>, bias: ArrayView1<'_, f64>) -> Array1<f64> {
    let mut logits = bias.to_owned();
    for &(number, value) in row {
        logits.scaled_add(value, &weights.row(number));
    }
    logits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn runs_of_characters_are_counted_in_lower_case() {
        let found = counts("Ab\n ab");
        assert_eq!(
            (found["a"], found["ab"], found["b a"], found["ab ab"]),
            (2, 2, 1, 1)
        );
        assert_eq!(found.len(), 3 + 3 + 3 + 2 + 1);
    }

    /// By the definition: "a" in both texts of two, "b" in one and left out, and "aa" likewise.
    #[test]
    fn what_stands_in_one_text_only_is_left_out() {
        let features = Features::fit(&owned(&["a", "aab"]));
        assert_eq!(features.numbers.len(), 1);
        assert_eq!(features.rarity, [1.0]);
        assert_eq!(features.row("aab"), [(0, 1.0)]);
        assert_eq!(features.row("x"), []);
    }

    #[test]
    fn endings_of_words_are_learnt() {
        let texts = owned(&["walking", "singing", "going", "walked", "played", "turned"]);
        let model = NgramRegression::fit(&texts, (&[0, 0, 0, 1, 1, 1], 2), &[1.0; 6]);
        assert_eq!(model.accuracy(&owned(&["playing", "jumped"]), &[0, 1]), 1.0);
        assert_eq!(model.accuracy(&owned(&["playing", "jumped"]), &[0, 0]), 0.5);
    }
}
