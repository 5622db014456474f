//! From scores to probabilities.

use ndarray::Array2;

const MAX_STEPS: usize = 100;
/// The slopes at which a minimum is near enough.
const TOLERANCE: f64 = 1e-8;
/// Added to the curvatures, so that there is a step where all scores are the same.
const LEAST_CURVATURE: f64 = 1e-12;
const SHORTEST_STEP: f64 = 1e-10;
/// No class is beaten or beats with certainty, as in libsvm.
const LEAST: f64 = 1e-7;

/// The probability of the first of two classes by its score f: 1 / (1 + exp(a f + b)).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sigmoid {
    /// Below 0 where a higher score makes the class likelier.
    pub(super) a: f64,
    pub(super) b: f64,
}

impl Sigmoid {
    /// The likeliest one for `scores`, of which `is_first` says whether they are of the first class: Newton's method of Lin,
    /// Lin and Weng, "A note on Platt's probabilistic outputs for support vector machines" (2007). As there, the classes
    /// count as if each had been seen once more than it was, with the other's score.
    pub(super) fn fit(scores: &[f64], is_first: &[bool]) -> Self {
        let first = is_first.iter().filter(|&&is_first| is_first).count() as f64;
        let second = is_first.len() as f64 - first;
        let target = |is_first: bool| {
            if is_first {
                (first + 1.0) / (first + 2.0)
            } else {
                1.0 / (second + 2.0)
            }
        };
        let fit = Likelihood {
            scores,
            targets: is_first.iter().map(|&is_first| target(is_first)).collect(),
        };
        let mut point = Self {
            a: 0.0,
            b: ((second + 1.0) / (first + 1.0)).ln(),
        };
        let mut loss = fit.loss(point);
        for _ in 0..MAX_STEPS {
            let Some((next, next_loss)) = fit.step(point, loss) else {
                break;
            };
            (point, loss) = (next, next_loss);
        }
        point
    }

    /// The probability of the first class.
    pub(super) fn probability(self, score: f64) -> f64 {
        let exponent = self.a * score + self.b;
        if exponent >= 0.0 {
            (-exponent).exp() / (1.0 + (-exponent).exp())
        } else {
            1.0 / (1.0 + exponent.exp())
        }
    }
}

/// What is minimised: −Σ t ln p + (1 − t) ln (1 − p), t the targets.
struct Likelihood<'a> {
    scores: &'a [f64],
    targets: Vec<f64>,
}

impl Likelihood<'_> {
    fn loss(&self, Sigmoid { a, b }: Sigmoid) -> f64 {
        let loss = |(score, target): (&f64, &f64)| {
            let exponent = a * score + b;
            if exponent >= 0.0 {
                target * exponent + (-exponent).exp().ln_1p()
            } else {
                (target - 1.0) * exponent + exponent.exp().ln_1p()
            }
        };
        self.scores.iter().zip(&self.targets).map(loss).sum()
    }

    /// A step of Newton's, halved until it lowers the loss enough; none where there is nothing left to gain.
    fn step(&self, point: Sigmoid, loss: f64) -> Option<(Sigmoid, f64)> {
        let (mut aa, mut ab, mut bb) = (LEAST_CURVATURE, 0.0, LEAST_CURVATURE);
        let (mut slope_a, mut slope_b) = (0.0, 0.0);
        for (&score, target) in self.scores.iter().zip(&self.targets) {
            let p = point.probability(score);
            let curvature = p * (1.0 - p);
            aa += score * score * curvature;
            ab += score * curvature;
            bb += curvature;
            slope_a += score * (target - p);
            slope_b += target - p;
        }
        if slope_a.abs() < TOLERANCE && slope_b.abs() < TOLERANCE {
            return None;
        }
        let determinant = aa * bb - ab * ab;
        let step_a = -(bb * slope_a - ab * slope_b) / determinant;
        let step_b = -(aa * slope_b - ab * slope_a) / determinant;
        let slope = slope_a * step_a + slope_b * step_b;
        let mut length = 1.0;
        while length >= SHORTEST_STEP {
            let next = Sigmoid {
                a: point.a + length * step_a,
                b: point.b + length * step_b,
            };
            let next_loss = self.loss(next);
            if next_loss < loss + 1e-4 * length * slope {
                return Some((next, next_loss));
            }
            length /= 2.0;
        }
        None
    }
}

/// The probability of each class of those of the pairs: `wins` (C × C) says how likely the class of a row is where it is one
/// of two. The second method of Wu, Lin and Weng, "Probability estimates for multi-class classification by pairwise
/// coupling" (2004): p minimises Σ (wins[j, i] pᵢ − wins[i, j] pⱼ)² where Σ p = 1. The graph's operator comes near to this
/// minimum by iteration; this is the minimum itself.
pub(super) fn couple(wins: &Array2<f64>) -> Vec<f64> {
    let classes = wins.nrows();
    let win = |one: usize, other: usize| wins[[one, other]].clamp(LEAST, 1.0 - LEAST);
    // Q p + λ = 0 and Σ p = 1; the last column is the right side.
    let mut system = Array2::zeros((classes + 1, classes + 2));
    for one in 0..classes {
        for other in (0..classes).filter(|&other| other != one) {
            system[[one, one]] += win(other, one).powi(2);
            system[[one, other]] = -win(other, one) * win(one, other);
        }
        system[[one, classes]] = 1.0;
        system[[classes, one]] = 1.0;
    }
    system[[classes, classes + 1]] = 1.0;
    let mut p = solve(system);
    p.truncate(classes);
    p
}

/// Solves a system of linear equations (n × (n + 1), the right side in the last column) that has one solution, by
/// elimination with the largest pivot of each column.
fn solve(mut system: Array2<f64>) -> Vec<f64> {
    let count = system.nrows();
    for column in 0..count {
        let pivot = (column..count)
            .max_by(|&one, &other| {
                system[[one, column]]
                    .abs()
                    .total_cmp(&system[[other, column]].abs())
            })
            .unwrap_or(column);
        for place in 0..=count {
            system.swap([column, place], [pivot, place]);
        }
        for row in (0..count).filter(|&row| row != column) {
            let factor = system[[row, column]] / system[[column, column]];
            for place in column..=count {
                system[[row, place]] -= factor * system[[column, place]];
            }
        }
    }
    (0..count)
        .map(|row| system[[row, count]] / system[[row, row]])
        .collect()
}

#[cfg(test)]
mod tests {
    use ndarray::array;
    use proptest::prelude::*;

    use super::*;

    /// Scores of ±1 that are of their class in three of four cases: the two targets are 5/6 and 1/6, so that
    /// p(1) = (3 · 5/6 + 1/6) / 4 = 2/3, which is a = −ln 2 and b = 0.
    #[test]
    fn four_scores_on_each_side_are_the_hand_calculation() {
        let scores = [1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0];
        let is_first = [true, true, true, false, false, false, false, true];
        let sigmoid = Sigmoid::fit(&scores, &is_first);
        assert!(
            (sigmoid.a + 2.0_f64.ln()).abs() < 1e-8 && sigmoid.b.abs() < 1e-8,
            "{sigmoid:?}"
        );
        assert!((sigmoid.probability(1.0) - 2.0 / 3.0).abs() < 1e-8);
    }

    #[test]
    fn scores_that_say_nothing_give_the_share_of_the_class() {
        let sigmoid = Sigmoid::fit(&[0.0; 6], &[true, true, false, false, false, false]);
        // (2 · 3/4 + 4 · 1/6) / 6.
        assert!(
            (sigmoid.probability(0.0) - 13.0 / 36.0).abs() < 1e-8,
            "{sigmoid:?}"
        );
    }

    #[test]
    fn huge_scores_stay_probabilities() {
        let sigmoid = Sigmoid { a: -2.0, b: 0.5 };
        assert_eq!((sigmoid.probability(1e6), sigmoid.probability(-1e6)), (1.0, 0.0));
    }

    #[test]
    fn two_classes_are_coupled_by_their_own_probability() {
        let p = couple(&array![[0.0, 0.999], [0.001, 0.0]]);
        assert!(
            (p[0] - 0.999).abs() < 1e-12 && (p[1] - 0.001).abs() < 1e-12,
            "{p:?}"
        );
    }

    #[test]
    fn pairs_that_agree_are_coupled_to_what_they_agree_on() {
        let truth = [0.2, 0.5, 0.3];
        let wins = Array2::from_shape_fn((3, 3), |(i, j)| truth[i] / (truth[i] + truth[j]));
        for (found, expected) in couple(&wins).iter().zip(truth) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }

    proptest! {
        #[test]
        fn coupled_probabilities_are_probabilities(wins in prop::collection::vec(0.0_f64..1.0, 6)) {
            let mut matrix = Array2::zeros((4, 4));
            let pairs = (0..4).flat_map(|i| (i + 1..4).map(move |j| (i, j)));
            for ((i, j), win) in pairs.zip(wins) {
                matrix[[i, j]] = win;
                matrix[[j, i]] = 1.0 - win;
            }
            let p = couple(&matrix);
            prop_assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{p:?}");
            prop_assert!(p.iter().all(|p| (-1e-9..=1.0 + 1e-9).contains(p)), "{p:?}");
        }

        /// The slopes of the loss are 0 at the fit.
        #[test]
        fn newton_ends_at_the_minimum(
            scores in prop::collection::vec(-3.0_f64..3.0, 10),
            is_first in prop::collection::vec(any::<bool>(), 10),
        ) {
            let sigmoid = Sigmoid::fit(&scores, &is_first);
            let first = is_first.iter().filter(|&&is_first| is_first).count() as f64;
            let target = |is_first: bool| {
                if is_first { (first + 1.0) / (first + 2.0) } else { 1.0 / (12.0 - first) }
            };
            let errors = scores.iter().zip(&is_first).map(|(&score, &is_first)| {
                (score, target(is_first) - sigmoid.probability(score))
            });
            let (a, b) = errors.fold((0.0, 0.0), |(a, b), (score, error)| (a + score * error, b + error));
            prop_assert!(a.abs() < 1e-6 && b.abs() < 1e-6, "{a} {b} {sigmoid:?}");
        }
    }
}
