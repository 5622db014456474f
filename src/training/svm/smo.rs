//! The dual problem, by sequential minimal optimisation.
//!
//! Of all Lagrange multipliers two are moved at a time, because one alone cannot move without leaving the constraint. The
//! pair is chosen by second-order information: Fan, Chen and Lin, "Working set selection using second order information
//! for training support vector machines" (2005), as in libsvm.

use super::super::TrainingError;
use super::super::algorithm::Context;
use super::kernel::Gram;

/// Stands for a curvature that is not above 0, as in libsvm.
const LEAST_CURVATURE: f64 = 1e-12;
/// A multiplier this near to a bound, as a share of the bound, is there.
const ROUNDING: f64 = 1e-12;
/// Between two looks at whether somebody ended the fit.
const STEPS_BETWEEN_LOOKS: u64 = 1024;
/// Steps are at most so many, or [`MAX_STEPS_PER_MULTIPLIER`] for each multiplier, as in libsvm.
const MAX_STEPS: u64 = 10_000_000;
const MAX_STEPS_PER_MULTIPLIER: u64 = 100;

/// One Lagrange multiplier α of the problem: minimise ½ Σ αₛ αₜ yₛ yₜ K(s, t) + Σ pₜ αₜ where Σ yₜ αₜ = 0 and 0 ≤ αₜ ≤ Cₜ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Multiplier {
    /// The sample that it belongs to.
    pub(super) sample: usize,
    /// y: 1 or −1.
    pub(super) sign: f64,
    /// p.
    pub(super) linear: f64,
    /// C, above 0.
    pub(super) bound: f64,
}

/// Where the problem has its minimum.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Solution {
    /// α of each multiplier.
    pub(super) alpha: Vec<f64>,
    /// b of the function Σ yₜ αₜ K(t, x) + b.
    pub(super) bias: f64,
}

/// Solves the problem until no pair of multipliers violates the conditions of Karush, Kuhn and Tucker by more than
/// `tolerance`.
pub(super) fn solve(
    multipliers: &[Multiplier],
    gram: &mut Gram<'_>,
    tolerance: f64,
    context: &Context<'_>,
) -> Result<Solution, TrainingError> {
    let mut state = State::new(multipliers);
    let most = MAX_STEPS.max(MAX_STEPS_PER_MULTIPLIER * multipliers.len() as u64);
    for step in 0..most {
        if step.is_multiple_of(STEPS_BETWEEN_LOOKS) {
            context.go_on()?;
        }
        let Some((up, down)) = state.choose(gram, tolerance)? else {
            return Ok(state.solution());
        };
        state.move_pair(up, down, gram)?;
    }
    Err(TrainingError::NotSolved { steps: most })
}

struct State<'a> {
    multipliers: &'a [Multiplier],
    alpha: Vec<f64>,
    /// v: minus y times the slope of the function that is minimised. Where it is free, yα rises as long as its v is larger
    /// than that of others; at the minimum all free ones are b.
    pull: Vec<f64>,
}

impl<'a> State<'a> {
    /// All α are 0.
    fn new(multipliers: &'a [Multiplier]) -> Self {
        let pull = |multiplier: &Multiplier| -multiplier.sign * multiplier.linear;
        Self {
            multipliers,
            alpha: vec![0.0; multipliers.len()],
            pull: multipliers.iter().map(pull).collect(),
        }
    }

    /// How far yα of a multiplier can rise.
    fn room_up(&self, place: usize) -> f64 {
        let Multiplier { sign, bound, .. } = self.multipliers[place];
        if sign > 0.0 {
            bound - self.alpha[place]
        } else {
            self.alpha[place]
        }
    }

    /// How far yα of a multiplier can fall.
    fn room_down(&self, place: usize) -> f64 {
        let Multiplier { sign, bound, .. } = self.multipliers[place];
        if sign > 0.0 {
            self.alpha[place]
        } else {
            bound - self.alpha[place]
        }
    }

    /// The multiplier whose yα is to rise and the one whose yα is to fall by the same; none where nothing is left to gain.
    fn choose(&self, gram: &mut Gram<'_>, tolerance: f64) -> Result<Option<(usize, usize)>, TrainingError> {
        let Some(up) = self.strongest() else {
            return Ok(None);
        };
        let strongest = self.pull[up];
        let sample = self.multipliers[up].sample;
        let (row, own) = (gram.row(sample)?, gram.own(sample));
        let mut best = None;
        let (mut most, mut weakest) = (0.0, f64::INFINITY);
        for (place, (multiplier, &pull)) in self.multipliers.iter().zip(&self.pull).enumerate() {
            if self.room_down(place) <= 0.0 {
                continue;
            }
            weakest = pull.min(weakest);
            let difference = strongest - pull;
            if difference <= 0.0 {
                continue;
            }
            let curvature = own + gram.own(multiplier.sample) - 2.0 * row[multiplier.sample];
            // Twice what the function falls by, if nothing is in the way.
            let gain = difference * difference / curvature.max(LEAST_CURVATURE);
            if gain > most {
                (best, most) = (Some(place), gain);
            }
        }
        if strongest - weakest <= tolerance {
            return Ok(None);
        }
        Ok(best.map(|down| (up, down)))
    }

    /// The multiplier that can rise and is pulled most.
    fn strongest(&self) -> Option<usize> {
        let can_rise = (0..self.pull.len()).filter(|&place| self.room_up(place) > 0.0);
        can_rise.max_by(|&one, &other| self.pull[one].total_cmp(&self.pull[other]))
    }

    /// Moves yα of one up and that of the other down by the same, as far as it pays and both have room.
    fn move_pair(&mut self, up: usize, down: usize, gram: &mut Gram<'_>) -> Result<(), TrainingError> {
        let (rising, falling) = (self.multipliers[up], self.multipliers[down]);
        let row = gram.row(rising.sample)?;
        let other = gram.row(falling.sample)?;
        let curvature = gram.own(rising.sample) + gram.own(falling.sample) - 2.0 * row[falling.sample];
        let wanted = (self.pull[up] - self.pull[down]) / curvature.max(LEAST_CURVATURE);
        let (room_up, room_down) = (self.room_up(up), self.room_down(down));
        let step = wanted.min(room_up).min(room_down);
        // What comes to its bound is put exactly there.
        let moved = |multiplier: Multiplier, alpha: f64, direction: f64, is_last: bool| {
            let change = direction * multiplier.sign;
            match (is_last, change > 0.0) {
                (true, true) => multiplier.bound,
                (true, false) => 0.0,
                (false, _) => at_bound(alpha + change * step, multiplier.bound),
            }
        };
        self.alpha[up] = moved(rising, self.alpha[up], 1.0, step >= room_up);
        self.alpha[down] = moved(falling, self.alpha[down], -1.0, step >= room_down);
        for (pull, multiplier) in self.pull.iter_mut().zip(self.multipliers) {
            *pull -= step * (row[multiplier.sample] - other[multiplier.sample]);
        }
        Ok(())
    }

    fn solution(self) -> Solution {
        Solution {
            bias: self.bias(),
            alpha: self.alpha,
        }
    }

    /// The mean pull of the free multipliers; where all are at a bound, the middle of what is possible.
    fn bias(&self) -> f64 {
        let (mut sum, mut free) = (0.0, 0_usize);
        let (mut least, mut most) = (f64::NEG_INFINITY, f64::INFINITY);
        for (place, &pull) in self.pull.iter().enumerate() {
            let (can_rise, can_fall) = (self.room_up(place) > 0.0, self.room_down(place) > 0.0);
            if can_rise {
                least = pull.max(least);
            }
            if can_fall {
                most = pull.min(most);
            }
            if can_rise && can_fall {
                sum += pull;
                free += 1;
            }
        }
        if free > 0 {
            return sum / free as f64;
        }
        match (least.is_finite(), most.is_finite()) {
            (true, true) => f64::midpoint(least, most),
            (true, false) => least,
            (false, true) => most,
            (false, false) => 0.0,
        }
    }
}

/// The same, or the bound that it differs from by rounding only: one that is free by rounding would decide b alone.
fn at_bound(alpha: f64, bound: f64) -> f64 {
    let rounding = ROUNDING * bound;
    if alpha <= rounding {
        0.0
    } else if alpha >= bound - rounding {
        bound
    } else {
        alpha
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use ndarray::{Array2, array};
    use proptest::prelude::*;

    use super::super::super::dataset::Missing;
    use super::super::super::encoding::Unknown;
    use super::super::super::random::Generator;
    use super::super::kernel::{Kernel, Samples};
    use super::*;

    fn solved(
        multipliers: &[Multiplier],
        samples: &Samples,
        tolerance: f64,
    ) -> Result<Solution, TrainingError> {
        interruptible(multipliers, samples, tolerance, &AtomicBool::new(false))
    }

    fn interruptible(
        multipliers: &[Multiplier],
        samples: &Samples,
        tolerance: f64,
        stop: &AtomicBool,
    ) -> Result<Solution, TrainingError> {
        let context = Context {
            generator: &mut Generator::new(1),
            observe: &mut |_| (),
            stop,
            missing: Missing::Refuse,
            unknown: Unknown::Refuse,
        };
        solve(multipliers, &mut Gram::new(samples)?, tolerance, &context)
    }

    fn classification(signs: &[f64], bound: f64) -> Vec<Multiplier> {
        let multiplier = |(sample, &sign)| Multiplier {
            sample,
            sign,
            linear: -1.0,
            bound,
        };
        signs.iter().enumerate().map(multiplier).collect()
    }

    /// Two points at −1 and 1: the widest margin is f(x) = x, which is α = ½ for both.
    #[test]
    fn two_points_are_the_hand_calculation() {
        let samples = Samples::new(Kernel::Linear, array![[-1.0], [1.0]]);
        let solution = solved(&classification(&[-1.0, 1.0], 10.0), &samples, 1e-9).unwrap();
        assert_eq!((solution.alpha, solution.bias), (vec![0.5, 0.5], 0.0));
        // With so small a C both are at their bound, f = 2 · 0.1 x, and any b up to 0.8 from 0 is as good: the middle.
        let solution = solved(&classification(&[-1.0, 1.0], 0.1), &samples, 1e-9).unwrap();
        assert_eq!((solution.alpha, solution.bias), (vec![0.1, 0.1], 0.0));
    }

    /// Points at 0, 1 | 3, 9: only 1 and 3 matter, f(x) = x − 2 and α = ½ · (2 / 4).
    #[test]
    fn points_behind_the_margin_have_no_say() {
        let samples = Samples::new(Kernel::Linear, array![[0.0], [1.0], [3.0], [9.0]]);
        let solution = solved(&classification(&[-1.0, -1.0, 1.0, 1.0], 100.0), &samples, 1e-12).unwrap();
        for (alpha, expected) in solution.alpha.iter().zip([0.0, 0.5, 0.5, 0.0]) {
            assert!((alpha - expected).abs() < 1e-9, "{solution:?}");
        }
        assert!((solution.bias + 2.0).abs() < 1e-9, "{solution:?}");
    }

    #[test]
    fn whoever_ends_it_gets_nothing() {
        let samples = Samples::new(Kernel::Linear, array![[-1.0], [1.0]]);
        let multipliers = classification(&[-1.0, 1.0], 1.0);
        let error = interruptible(&multipliers, &samples, 1e-9, &AtomicBool::new(true)).unwrap_err();
        assert!(matches!(error, TrainingError::Interrupted), "{error}");
    }

    /// Equal rows with different signs: the curvature between them is 0.
    #[test]
    fn equal_rows_of_both_classes_end_at_their_bounds() {
        let samples = Samples::new(Kernel::Rbf { gamma: 1.0 }, array![[1.0], [1.0], [1.0], [1.0]]);
        let solution = solved(&classification(&[1.0, -1.0, 1.0, -1.0], 2.0), &samples, 1e-6).unwrap();
        assert_eq!(solution.alpha, [2.0; 4]);
    }

    fn kernels() -> impl Strategy<Value = Kernel> {
        prop_oneof![
            Just(Kernel::Linear),
            (0.05_f64..2.0).prop_map(|gamma| Kernel::Rbf { gamma }),
            (0.1_f64..1.0, 0.0_f64..2.0).prop_map(|(gamma, coef0)| Kernel::Polynomial {
                gamma,
                coef0,
                degree: 2
            }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The conditions of Karush, Kuhn and Tucker, the constraint and the bounds, of which each multiplier has its own.
        #[test]
        fn the_conditions_hold_at_the_solution(
            values in prop::collection::vec(-2.0_f64..2.0, 24),
            positive in prop::collection::vec(any::<bool>(), 12),
            bounds in prop::collection::vec(0.1_f64..5.0, 12),
            kernel in kernels(),
        ) {
            const TOLERANCE: f64 = 1e-8;
            let samples = Samples::new(kernel, Array2::from_shape_vec((12, 2), values).unwrap());
            let multipliers: Vec<Multiplier> = positive
                .iter()
                .zip(&bounds)
                .enumerate()
                .map(|(sample, (&positive, &bound))| Multiplier {
                    sample,
                    sign: if positive { 1.0 } else { -1.0 },
                    linear: -1.0,
                    bound,
                })
                .collect();
            let Solution { alpha, bias } = solved(&multipliers, &samples, TOLERANCE).unwrap();
            let sum: f64 = multipliers.iter().zip(&alpha).map(|(it, alpha)| it.sign * alpha).sum();
            prop_assert!(sum.abs() < 1e-9, "{}", sum);
            for (place, (multiplier, &own)) in multipliers.iter().zip(&alpha).enumerate() {
                prop_assert!((0.0..=multiplier.bound).contains(&own));
                let kernels = samples.compare(samples.rows().row(place));
                let score: f64 = multipliers
                    .iter()
                    .zip(&alpha)
                    .map(|(it, alpha)| it.sign * alpha * kernels[it.sample])
                    .sum::<f64>() + bias;
                // Beyond the margin nothing, at it anything, within it the whole bound.
                let margin = multiplier.sign * score - 1.0;
                if own == 0.0 {
                    prop_assert!(margin >= -1e-6, "{} {}", own, margin);
                } else if own == multiplier.bound {
                    prop_assert!(margin <= 1e-6, "{} {}", own, margin);
                } else {
                    prop_assert!(margin.abs() <= 1e-6, "{} {}", own, margin);
                }
            }
        }
    }
}
