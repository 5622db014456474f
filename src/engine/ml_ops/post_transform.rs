//! What classifiers and regressors do to their scores at the very end.

use super::{Attributes, MlError};

/// A transform of the scores of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PostTransform {
    /// The scores as they are.
    None,
    /// `exp(x)` over the sum of all.
    Softmax,
    /// `1 / (1 + exp(-x))`.
    Logistic,
    /// Softmax over the scores that are not zero; those stay zero.
    SoftmaxZero,
    /// The inverse of the normal distribution.
    Probit,
}

const NAME: &str = "post_transform";

impl PostTransform {
    /// Reads the attribute where it is a text.
    pub(super) fn read(attributes: Attributes<'_>) -> Result<Self, MlError> {
        match attributes.text(NAME)?.unwrap_or("NONE") {
            "NONE" => Ok(Self::None),
            "SOFTMAX" => Ok(Self::Softmax),
            "LOGISTIC" => Ok(Self::Logistic),
            "SOFTMAX_ZERO" => Ok(Self::SoftmaxZero),
            "PROBIT" => Ok(Self::Probit),
            other => Err(unknown(other)),
        }
    }

    /// Reads the attribute where it is a number, as in `TreeEnsemble`.
    ///
    /// The definition says 1 = SOFTMAX and 2 = LOGISTIC. ONNX Runtime (up to 1.32 at least) reads them the other way
    /// round; a model was checked by its author against what it runs on, so that is followed.
    pub(super) fn read_number(attributes: Attributes<'_>) -> Result<Self, MlError> {
        match attributes.int(NAME)?.unwrap_or(0) {
            0 => Ok(Self::None),
            1 => Ok(Self::Logistic),
            2 => Ok(Self::Softmax),
            3 => Ok(Self::SoftmaxZero),
            4 => Ok(Self::Probit),
            other => Err(unknown(&other.to_string())),
        }
    }

    /// Transforms the scores of one row that has several.
    pub(super) fn apply(self, scores: &mut [f32]) {
        match self {
            Self::None => {}
            Self::Softmax => softmax(scores),
            Self::Logistic => scores.iter_mut().for_each(|score| *score = logistic(*score)),
            Self::SoftmaxZero => softmax_zero(scores),
            Self::Probit => scores.iter_mut().for_each(|score| *score = probit(*score)),
        }
    }

    /// Transforms the score of a row that has only one: ONNX Runtime leaves it alone, but for the probit.
    pub(super) fn apply_to_only(self, score: f32) -> f32 {
        match self {
            Self::Probit => probit(score),
            _ => score,
        }
    }

    /// The scores of two classes, of which only that of the second was computed.
    pub(super) fn pair(self, score: f32) -> [f32; 2] {
        match self {
            Self::Logistic => [logistic(-score), logistic(score)],
            // ONNX Runtime writes this into the first place and leaves the second as it finds it. Opposite
            // probabilities have opposite probits.
            Self::Probit => {
                let score = probit(score);
                [score, -score]
            }
            _ => [1.0 - score, score],
        }
    }
}

fn unknown(found: &str) -> MlError {
    MlError::Attribute {
        name: NAME,
        problem: format!("expected NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO or PROBIT, found {found}"),
    }
}

/// The logistic function, without overflow.
pub(super) fn logistic(score: f32) -> f32 {
    let positive = 1.0 / (1.0 + (-score.abs()).exp());
    if score < 0.0 { 1.0 - positive } else { positive }
}

/// The quantile of the normal distribution, by Winitzki's approximation of the inverse error function with the
/// constants that ONNX Runtime uses. Not a number outside of 0 to 1.
pub(super) fn probit(score: f32) -> f32 {
    const A: f32 = 0.147;
    let x = 2.0 * score - 1.0;
    let log = ((1.0 - x) * (1.0 + x)).ln();
    let half = 2.0 / (std::f32::consts::PI * A) + 0.5 * log;
    let inverse_erf = (-half + (half * half - log / A).sqrt()).sqrt();
    std::f32::consts::SQRT_2 * if x < 0.0 { -inverse_erf } else { inverse_erf }
}

fn largest(scores: &[f32]) -> f32 {
    scores.iter().copied().fold(f32::MIN, f32::max)
}

fn divide_by_sum(scores: &mut [f32], sum: f32) {
    scores.iter_mut().for_each(|score| *score /= sum);
}

fn softmax(scores: &mut [f32]) {
    // The largest exponent is 0, so that nothing overflows.
    let largest = largest(scores);
    scores
        .iter_mut()
        .for_each(|score| *score = (*score - largest).exp());
    let sum = scores.iter().sum();
    divide_by_sum(scores, sum);
}

fn softmax_zero(scores: &mut [f32]) {
    const ZERO: f32 = 1e-7;
    let largest = largest(scores);
    let mut sum = 0.0;
    for score in &mut *scores {
        if score.abs() > ZERO {
            *score = (*score - largest).exp();
            sum += *score;
        } else {
            *score *= (-largest).exp();
        }
    }
    divide_by_sum(scores, sum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn applied(transform: PostTransform, scores: &[f32]) -> Vec<f32> {
        let mut scores = scores.to_vec();
        transform.apply(&mut scores);
        scores
    }

    #[test]
    fn softmax_of_huge_scores_does_not_overflow() {
        assert_eq!(applied(PostTransform::Softmax, &[1e30, 0.0]), [1.0, 0.0]);
    }

    #[test]
    fn softmax_zero_leaves_zeros_out() {
        let half = 0.5;
        assert_eq!(
            applied(PostTransform::SoftmaxZero, &[2.0, 0.0, 2.0]),
            [half, 0.0, half]
        );
    }

    #[test]
    fn the_probit_of_a_half_is_zero() {
        assert!(probit(0.5).abs() < 1e-6);
        assert!((probit(0.975) - 1.959_96).abs() < 1e-2);
        assert!(probit(1.5).is_nan());
    }

    #[test]
    fn a_row_of_one_score_keeps_it() {
        assert_eq!(PostTransform::Logistic.apply_to_only(0.25), 0.25);
        assert_eq!(PostTransform::Probit.apply_to_only(0.25), probit(0.25));
    }

    proptest! {
        #[test]
        fn softmax_gives_probabilities(scores in proptest::collection::vec(-50.0_f32..50.0, 2..9)) {
            let probabilities = applied(PostTransform::Softmax, &scores);
            prop_assert!(probabilities.iter().all(|p| (0.0..=1.0).contains(p)));
            prop_assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-4);
        }

        #[test]
        fn the_logistic_function_is_symmetric(score in -80.0_f32..80.0) {
            prop_assert!((logistic(score) + logistic(-score) - 1.0).abs() < 1e-6);
        }
    }
}
