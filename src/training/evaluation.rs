//! Figures that say how good predictions are.

use ndarray::{Array2, ArrayView1, ArrayView2};
use serde::Serialize;

use super::dataset::Target;

/// The figures of one set of predictions.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Evaluation {
    /// For numbers.
    Regression {
        /// R², the share of the target's variance that is predicted: 1 is perfect, 0 is as good as the mean.
        r2: f64,
        /// Root of the mean squared error, in the target's unit.
        rmse: f64,
        /// Mean of the absolute error, in the target's unit.
        mae: f64,
    },
    /// For the next values of a series.
    Forecast {
        /// Root of the mean squared error over all steps, in the series' unit.
        rmse: f64,
        /// The same for each step ahead.
        rmse_by_step: Vec<f64>,
    },
    /// For classes.
    Classification {
        /// The share of rows whose likeliest class is the true one.
        accuracy: f64,
        /// Mean of −ln of the true class's probability. None where the model gives no probabilities.
        #[serde(skip_serializing_if = "Option::is_none")]
        log_loss: Option<f64>,
        /// The area under the ROC curve: how often a row of a class has a higher probability of it than a row of another,
        /// ties counting half; the mean over classes where there are more than two. None where a class has no row, or the model
        /// gives no probabilities.
        #[serde(skip_serializing_if = "Option::is_none")]
        roc_auc: Option<f64>,
        /// Rows by true class (outer) and predicted class (inner).
        confusion: Vec<Vec<u32>>,
    },
}

/// How well one class is told from the others. A share of nothing is none.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassFigures {
    /// Its name.
    pub class: String,
    /// Rows that are of it.
    pub rows: u32,
    /// The share of the rows taken for it that are of it.
    pub precision: Option<f64>,
    /// The share of its rows that were found.
    pub recall: Option<f64>,
    /// The harmonic mean of both.
    pub f1: Option<f64>,
}

impl ClassFigures {
    fn of(name: &str, class: usize, confusion: &[Vec<u32>]) -> Self {
        let share = |part: u32, whole: u32| (whole > 0).then(|| f64::from(part) / f64::from(whole));
        let rows: u32 = confusion[class].iter().sum();
        let taken: u32 = confusion.iter().map(|row| row[class]).sum();
        let hits = confusion[class][class];
        Self {
            class: name.to_owned(),
            rows,
            precision: share(hits, taken),
            recall: share(hits, rows),
            f1: share(2 * hits, rows + taken),
        }
    }
}

impl Evaluation {
    /// Compares `predictions` (n × 1, or n × C probabilities) with `target` (n values, n > 0).
    #[must_use]
    pub fn of(predictions: ArrayView2<'_, f64>, target: &Target) -> Self {
        match target {
            Target::Numbers(values) => regression(predictions.column(0), values.view()),
            Target::Steps(values) => forecast(predictions, values.view()),
            Target::Classes { labels, .. } => classification(predictions, labels),
        }
    }

    /// Compares the class that each row was taken for with its true one, by their places among `class_count` classes; n > 0. With
    /// `probabilities` (n × C) there are the figures that need them as well.
    #[must_use]
    pub fn of_classes(
        predicted: &[usize],
        labels: &[usize],
        class_count: usize,
        probabilities: Option<ArrayView2<'_, f64>>,
    ) -> Self {
        let mut confusion = Array2::<u32>::zeros((class_count, class_count));
        for (&predicted, &label) in predicted.iter().zip(labels) {
            confusion[[label, predicted]] += 1;
        }
        Self::Classification {
            accuracy: f64::from(confusion.diag().sum()) / labels.len() as f64,
            log_loss: probabilities.map(|probabilities| log_loss(probabilities, labels)),
            roc_auc: probabilities.and_then(|probabilities| roc_auc(probabilities, labels)),
            confusion: confusion.outer_iter().map(|row| row.to_vec()).collect(),
        }
    }

    /// The figures of each class, in the order of `names`; none where there are no classes.
    #[must_use]
    pub fn by_class(&self, names: &[String]) -> Vec<ClassFigures> {
        let Self::Classification { confusion, .. } = self else {
            return Vec::new();
        };
        let names = names.iter().enumerate();
        names
            .map(|(class, name)| ClassFigures::of(name, class, confusion))
            .collect()
    }

    /// The same for a model that only decides: its answers are 1 for one class and 0 for the others, and no probabilities.
    #[must_use]
    pub fn without_probabilities(mut self) -> Self {
        if let Self::Classification {
            log_loss, roc_auc, ..
        } = &mut self
        {
            (*log_loss, *roc_auc) = (None, None);
        }
        self
    }

    /// The one figure by which fits are compared, and what it is called: higher is better.
    #[must_use]
    pub fn score(&self) -> (&'static str, f64) {
        match self {
            Self::Regression { r2, .. } => ("R²", *r2),
            Self::Forecast { rmse, .. } => ("−RMSE", -rmse),
            Self::Classification { accuracy, .. } => ("accuracy", *accuracy),
        }
    }
}

fn regression(predictions: ArrayView1<'_, f64>, truth: ArrayView1<'_, f64>) -> Evaluation {
    let rows = truth.len() as f64;
    let mean = truth.sum() / rows;
    let residual: f64 = truth
        .iter()
        .zip(predictions)
        .map(|(truth, guess)| (truth - guess).powi(2))
        .sum();
    let total: f64 = truth.iter().map(|truth| (truth - mean).powi(2)).sum();
    // Where all true values are equal the ratio is not defined; perfect predictions then count 1 and others 0.
    let r2 = match (residual == 0.0, total == 0.0) {
        (true, _) => 1.0,
        (false, true) => 0.0,
        (false, false) => 1.0 - residual / total,
    };
    let absolute = truth
        .iter()
        .zip(predictions)
        .map(|(truth, guess)| (truth - guess).abs());
    Evaluation::Regression {
        r2,
        rmse: (residual / rows).sqrt(),
        mae: absolute.sum::<f64>() / rows,
    }
}

fn forecast(predictions: ArrayView2<'_, f64>, truth: ArrayView2<'_, f64>) -> Evaluation {
    let squares = (&predictions - &truth).mapv(|error| error * error);
    let root = |mean: Option<f64>| mean.unwrap_or(0.0).sqrt();
    Evaluation::Forecast {
        rmse: root(squares.mean()),
        rmse_by_step: squares
            .columns()
            .into_iter()
            .map(|step| root(step.mean()))
            .collect(),
    }
}

fn classification(probabilities: ArrayView2<'_, f64>, labels: &[usize]) -> Evaluation {
    let predicted: Vec<usize> = probabilities.outer_iter().map(likeliest).collect();
    Evaluation::of_classes(&predicted, labels, probabilities.ncols(), Some(probabilities))
}

fn log_loss(probabilities: ArrayView2<'_, f64>, labels: &[usize]) -> f64 {
    let rows = probabilities.outer_iter().zip(labels);
    // A probability that underflowed to 0 must not make the mean infinite.
    let loss: f64 = rows.map(|(row, &label)| -row[label].max(f64::EPSILON).ln()).sum();
    loss / labels.len() as f64
}

fn roc_auc(probabilities: ArrayView2<'_, f64>, labels: &[usize]) -> Option<f64> {
    let area = |class: usize| {
        let is_positive: Vec<bool> = labels.iter().map(|&label| label == class).collect();
        area_under_curve(probabilities.column(class), &is_positive)
    };
    match probabilities.ncols() {
        2 => area(1),
        classes => {
            let areas: Option<Vec<f64>> = (0..classes).map(area).collect();
            Some(areas?.iter().sum::<f64>() / classes as f64)
        }
    }
}

/// The share of pairs of a positive and another row in which the positive one scores higher, ties counting half (Mann and
/// Whitney 1947, <https://doi.org/10.1214/aoms/1177730491>); none where one of the two sides is empty.
fn area_under_curve(scores: ArrayView1<'_, f64>, is_positive: &[bool]) -> Option<f64> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&one, &other| scores[one].total_cmp(&scores[other]));
    let (mut negatives, mut positives, mut won) = (0.0, 0.0, 0.0);
    for ties in order.chunk_by(|&one, &other| scores[one] == scores[other]) {
        let positive = ties.iter().filter(|&&row| is_positive[row]).count() as f64;
        let negative = ties.len() as f64 - positive;
        won += positive * (negatives + negative / 2.0);
        positives += positive;
        negatives += negative;
    }
    (positives > 0.0 && negatives > 0.0).then(|| won / (positives * negatives))
}

/// The place of the largest value; the first one among equals.
#[must_use]
pub fn likeliest(probabilities: ArrayView1<'_, f64>) -> usize {
    let mut best = 0;
    for (class, &probability) in probabilities.iter().enumerate() {
        if probability > probabilities[best] {
            best = class;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    fn classes(labels: &[usize]) -> Target {
        Target::Classes {
            names: vec!["a".into(), "b".into()],
            labels: labels.to_vec(),
        }
    }

    #[test]
    fn regression_figures_are_those_of_a_hand_calculation() {
        // Residuals 1, 0, −1, 2: sum of squares 6. Around the mean 4 the truth has 9 + 1 + 1 + 9 = 20.
        let predictions = array![[0.0], [3.0], [6.0], [5.0]];
        let target = Target::Numbers(array![1.0, 3.0, 5.0, 7.0]);
        let Evaluation::Regression { r2, rmse, mae } = Evaluation::of(predictions.view(), &target) else {
            panic!("numbers have regression figures");
        };
        assert!((r2 - 0.7).abs() < 1e-12);
        assert!((rmse - 1.5_f64.sqrt()).abs() < 1e-12);
        assert!((mae - 1.0).abs() < 1e-12);
    }

    #[test]
    fn r2_is_defined_where_the_truth_is_constant() {
        let target = Target::Numbers(array![2.0, 2.0]);
        for (predictions, expected) in [(array![[2.0], [2.0]], 1.0), (array![[2.0], [3.0]], 0.0)] {
            let evaluation = Evaluation::of(predictions.view(), &target);
            assert!(
                matches!(evaluation, Evaluation::Regression { r2, .. } if r2 == expected),
                "{evaluation:?}"
            );
        }
    }

    #[test]
    fn classification_figures_are_those_of_a_hand_calculation() {
        let probabilities = array![[0.5, 0.5], [0.25, 0.75], [0.75, 0.25], [0.25, 0.75]];
        let evaluation = Evaluation::of(probabilities.view(), &classes(&[0, 1, 1, 1]));
        let Evaluation::Classification {
            accuracy,
            log_loss,
            roc_auc,
            confusion,
        } = evaluation
        else {
            panic!("classes have classification figures");
        };
        assert_eq!(confusion, [[1, 0], [1, 2]]);
        assert_eq!(accuracy, 0.75);
        // Of the three pairs of an "a" (0.5 for "b") and a "b" (0.75, 0.25, 0.75) two are in order.
        assert_eq!(roc_auc, Some(2.0 / 3.0));
        let hand = -(0.5_f64.ln() + 0.75_f64.ln() + 0.25_f64.ln() + 0.75_f64.ln()) / 4.0;
        assert!((log_loss.unwrap() - hand).abs() < 1e-12, "{log_loss:?}");
    }

    #[test]
    fn figures_by_class_are_those_of_a_hand_calculation() {
        let names = ["a", "b", "c"].map(str::to_owned);
        let evaluation = Evaluation::of_classes(&[0, 0, 1, 0], &[0, 0, 1, 1], 3, None);
        let figures = |class, rows, precision, recall, f1| ClassFigures {
            class: str::to_owned(class),
            rows,
            precision,
            recall,
            f1,
        };
        let expected = [
            figures("a", 2, Some(2.0 / 3.0), Some(1.0), Some(0.8)),
            figures("b", 2, Some(1.0), Some(0.5), Some(2.0 / 3.0)),
            // No row is of it, and none was taken for it.
            figures("c", 0, None, None, None),
        ];
        assert_eq!(evaluation.by_class(&names), expected);
        let Evaluation::Classification {
            accuracy,
            log_loss,
            roc_auc,
            ..
        } = evaluation
        else {
            panic!("classes")
        };
        assert_eq!((accuracy, log_loss, roc_auc), (0.75, None, None));
    }

    #[test]
    fn ties_count_half_and_one_sided_rows_have_no_curve() {
        let area = |scores: &[f64], positive: &[bool]| area_under_curve(ArrayView1::from(scores), positive);
        assert_eq!(area(&[0.5, 0.5], &[true, false]), Some(0.5));
        assert_eq!(
            area(&[0.1, 0.2, 0.2, 0.9], &[false, true, false, true]),
            Some(0.875)
        );
        assert_eq!(area(&[0.1, 0.2], &[true, true]), None);
    }

    #[test]
    fn a_forecast_is_judged_step_by_step() {
        let truth = Target::Steps(array![[1.0, 2.0], [3.0, 4.0]]);
        let evaluation = Evaluation::of(array![[1.0, 5.0], [3.0, 0.0]].view(), &truth);
        let Evaluation::Forecast { rmse, rmse_by_step } = evaluation else {
            panic!("a forecast")
        };
        assert_eq!(rmse_by_step, [0.0, 12.5_f64.sqrt()]);
        assert_eq!(rmse, 2.5);
    }

    #[test]
    fn a_certain_mistake_costs_much_and_not_infinitely_much() {
        let evaluation = Evaluation::of(array![[1.0, 0.0]].view(), &classes(&[1]));
        let Evaluation::Classification { log_loss, .. } = evaluation else {
            panic!("classes")
        };
        assert!(
            log_loss.is_some_and(|loss| loss.is_finite() && loss > 30.0),
            "{log_loss:?}"
        );
    }
}
