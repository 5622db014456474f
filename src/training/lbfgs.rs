//! Limited-memory BFGS: minimises a smooth function of many variables from its gradients.
//!
//! Nocedal and Wright, *Numerical Optimization* (2006), algorithms 7.4 and 7.5, with a backtracking line search. Close
//! to the minimum, differences of the function drown in rounding while the gradient is still good; a step then
//! passes by its slope instead (Hager and Zhang 2005, <https://doi.org/10.1137/030601880>, "approximate Wolfe").

use std::collections::VecDeque;

use ndarray::Array1;

/// Pairs of steps and gradient changes that stand in for the Hessian.
const MEMORY: usize = 10;
/// A step of 2⁻⁶⁰ moves nothing any more.
const MAX_HALVINGS: u32 = 60;

/// A function's value and gradient at one point.
pub type Evaluated = (f64, Array1<f64>);

/// Where the search ended.
#[derive(Clone, Debug)]
pub struct Minimum {
    /// The best point.
    pub point: Array1<f64>,
    /// Steps taken.
    pub iterations: u64,
    /// The largest entry of the gradient there, without its sign.
    pub steepness: f64,
}

/// Minimises `function` from `start` until the steepness is at most `tolerance`, or rounding lets nothing improve, or
/// after `max_iterations` steps. The caller judges by the steepness whether that is near enough.
pub fn minimise(
    function: impl Fn(&Array1<f64>) -> Evaluated,
    start: Array1<f64>,
    tolerance: f64,
    max_iterations: u64,
) -> Minimum {
    let mut point = start;
    let (mut value, mut gradient) = function(&point);
    let mut memory = VecDeque::with_capacity(MEMORY);
    let mut iterations = 0;
    while iterations < max_iterations && largest(&gradient) > tolerance {
        let direction = descent(&gradient, &memory);
        let Some((step, (next_value, next_gradient))) =
            line_search(&function, &point, value, &gradient, &direction)
        else {
            break;
        };
        remember(&mut memory, &step, &next_gradient - &gradient);
        point += &step;
        (value, gradient) = (next_value, next_gradient);
        iterations += 1;
    }
    Minimum {
        point,
        iterations,
        steepness: largest(&gradient),
    }
}

/// A step, the gradient's change along it, and 1 / their product.
struct Curvature {
    step: Array1<f64>,
    change: Array1<f64>,
    inverse_product: f64,
}

fn remember(memory: &mut VecDeque<Curvature>, step: &Array1<f64>, change: Array1<f64>) {
    let product = step.dot(&change);
    // Without curvature along the step the pair would spoil the approximation.
    if product <= f64::EPSILON * change.dot(&change) {
        return;
    }
    if memory.len() == MEMORY {
        memory.pop_front();
    }
    memory.push_back(Curvature {
        step: step.clone(),
        change,
        inverse_product: 1.0 / product,
    });
}

/// The two-loop recursion: minus the approximate inverse Hessian times the gradient.
fn descent(gradient: &Array1<f64>, memory: &VecDeque<Curvature>) -> Array1<f64> {
    let mut direction = -gradient;
    let mut projections = Vec::with_capacity(memory.len());
    for pair in memory.iter().rev() {
        let projection = pair.inverse_product * pair.step.dot(&direction);
        direction.scaled_add(-projection, &pair.change);
        projections.push(projection);
    }
    match memory.back() {
        Some(newest) => direction /= newest.inverse_product * newest.change.dot(&newest.change),
        // Nothing is known of the scale yet: go one unit.
        None => direction /= gradient.dot(gradient).sqrt().max(1.0),
    }
    for (pair, projection) in memory.iter().zip(projections.into_iter().rev()) {
        let correction = projection - pair.inverse_product * pair.change.dot(&direction);
        direction.scaled_add(correction, &pair.step);
    }
    direction
}

/// Halves the step until it lowers the function enough, or until it hardly changes it and flattens the slope.
fn line_search(
    function: impl Fn(&Array1<f64>) -> Evaluated,
    point: &Array1<f64>,
    value: f64,
    gradient: &Array1<f64>,
    direction: &Array1<f64>,
) -> Option<(Array1<f64>, Evaluated)> {
    let slope = gradient.dot(direction);
    let rounding = 1e-14 * value.abs();
    let mut length = 1.0;
    for _ in 0..MAX_HALVINGS {
        let step = direction * length;
        let (next_value, next_gradient) = function(&(point + &step));
        let lowers = next_value <= value + 1e-4 * length * slope;
        let flattens =
            next_value <= value + rounding && next_gradient.dot(direction).abs() <= 0.9 * slope.abs();
        if lowers || flattens {
            return Some((step, (next_value, next_gradient)));
        }
        length /= 2.0;
    }
    None
}

fn largest(gradient: &Array1<f64>) -> f64 {
    gradient.fold(0.0, |largest, entry| entry.abs().max(largest))
}

#[cfg(test)]
mod tests {
    use ndarray::array;
    use proptest::prelude::*;

    use super::*;

    fn rosenbrock(point: &Array1<f64>) -> Evaluated {
        let (x, y) = (point[0], point[1]);
        let value = (1.0 - x).powi(2) + 100.0 * (y - x * x).powi(2);
        (
            value,
            array![-2.0 * (1.0 - x) - 400.0 * x * (y - x * x), 200.0 * (y - x * x)],
        )
    }

    #[test]
    fn the_banana_valley_is_followed_to_its_end() {
        let minimum = minimise(rosenbrock, array![-1.2, 1.0], 1e-10, 200);
        assert!(minimum.steepness <= 1e-10, "{minimum:?}");
        assert!(
            (minimum.point - array![1.0, 1.0])
                .iter()
                .all(|distance| distance.abs() < 1e-9)
        );
    }

    #[test]
    fn too_few_steps_are_told() {
        let minimum = minimise(rosenbrock, array![-1.2, 1.0], 1e-10, 3);
        assert!(minimum.iterations == 3 && minimum.steepness > 0.1, "{minimum:?}");
    }

    #[test]
    fn a_tolerance_below_rounding_ends_the_search() {
        let minimum = minimise(rosenbrock, array![-1.2, 1.0], 0.0, 100_000);
        assert!(
            minimum.iterations < 1000 && minimum.steepness < 1e-8,
            "{minimum:?}"
        );
    }

    proptest! {
        #[test]
        fn quadratics_of_any_scale_are_minimised(
            centre in prop::collection::vec(-10.0_f64..10.0, 4),
            curvature in prop::collection::vec(0.01_f64..100.0, 4),
        ) {
            let (centre, curvature) = (Array1::from(centre), Array1::from(curvature));
            let function = |point: &Array1<f64>| {
                let distance = point - &centre;
                ((&distance * &distance * &curvature).sum() / 2.0, &distance * &curvature)
            };
            let minimum = minimise(function, Array1::zeros(4), 1e-8, 500);
            prop_assert!(minimum.steepness <= 1e-8);
            prop_assert!((minimum.point - &centre).iter().all(|distance| distance.abs() < 1e-5));
        }
    }
}
