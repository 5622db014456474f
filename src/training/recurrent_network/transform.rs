//! What is done to the values of a series before it is learnt, and undone in the answer.

use super::super::onnx::{Constant, Graph};

/// What is done to the values of a series before it is learnt.
///
/// Where large values vary more than small ones, as counts do, a root or logarithm makes the error alike everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transform {
    /// Nothing.
    #[default]
    None,
    /// √x; values below 0 count as 0 at prediction, and are refused in the data.
    Sqrt,
    /// ln(1 + x), with the same rule.
    Log,
}

impl Transform {
    /// The word for it on the command line and in `model.toml`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sqrt => "sqrt",
            Self::Log => "log",
        }
    }

    /// Whether it is made for this value.
    #[must_use]
    pub fn takes(self, value: f64) -> bool {
        self == Self::None || value >= 0.0
    }

    /// The value that is learnt.
    #[must_use]
    pub fn apply(self, value: f64) -> f64 {
        match self {
            Self::None => value,
            Self::Sqrt => value.max(0.0).sqrt(),
            Self::Log => value.max(0.0).ln_1p(),
        }
    }

    /// The value in the series' unit.
    #[must_use]
    pub fn invert(self, value: f64) -> f64 {
        match self {
            Self::None => value,
            Self::Sqrt => value.max(0.0).powi(2),
            Self::Log => value.exp_m1().max(0.0),
        }
    }

    /// [`Self::apply`] as nodes.
    pub(super) fn add_to(self, graph: &mut Graph, value: &str) -> String {
        if self == Self::None {
            return value.to_owned();
        }
        let value = graph.node("Relu", &[value], "series.positive", vec![]);
        if self == Self::Sqrt {
            return graph.node("Sqrt", &[&value], "series.root", vec![]);
        }
        let one = graph.parameter("one", &[], Constant::F32(vec![1.0]));
        let more = graph.node("Add", &[&value, &one], "series.more", vec![]);
        graph.node("Log", &[&more], "series.logarithm", vec![])
    }

    /// [`Self::invert`] as nodes, the last of which is `output`.
    pub(super) fn add_inverse_to(self, graph: &mut Graph, value: &str, output: &str) {
        match self {
            Self::None => graph.node("Identity", &[value], output, vec![]),
            Self::Sqrt => {
                let root = graph.node("Relu", &[value], "forecast.positive", vec![]);
                graph.node("Mul", &[&root, &root], output, vec![])
            }
            Self::Log => {
                let power = graph.node("Exp", &[value], "forecast.power", vec![]);
                let less = graph.node("Sub", &[&power, "one"], "forecast.less", vec![]);
                graph.node("Relu", &[&less], output, vec![])
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_done_is_undone(value in 0.0_f64..1e6) {
            for transform in [Transform::None, Transform::Sqrt, Transform::Log] {
                let back = transform.invert(transform.apply(value));
                prop_assert!((back - value).abs() <= 1e-9 * value.max(1.0), "{transform:?}: {value} {back}");
            }
        }
    }
}
