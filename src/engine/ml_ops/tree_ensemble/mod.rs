//! Forests of decision trees: `TreeEnsembleRegressor`, `TreeEnsembleClassifier` and `TreeEnsemble`.
//!
//! A file's attributes become a [`forest::Forest`], which is checked; that becomes a [`layout::Layout`], which is
//! fast; rows walk through that, and a [`tally::Tally`] adds up what the leaves say. What becomes of the sums is the
//! only thing in which the operators differ.

mod classifier;
mod drafts;
mod forest;
mod layout;
mod numbers;
mod regressor;
mod tally;

use std::sync::OnceLock;

pub(super) use self::classifier::TreeEnsembleClassifier;
pub(super) use self::regressor::{TreeEnsemble, TreeEnsembleRegressor};
use super::features::{self, Dimensions};
use super::{Attributes, MlError};
use crate::model::tensor::Datatype;
use forest::Forest;
use layout::Layout;

/// The trees of one operator, for rows of both precisions. Double precision is for rows of doubles; all others are
/// compared in single precision, as ONNX Runtime does it.
#[derive(Debug)]
struct Trees {
    double: Layout<f64>,
    /// Made when the type of the rows is known.
    single: OnceLock<Layout<f32>>,
}

impl Trees {
    fn of(forest: &Forest, targets: usize) -> Result<Self, MlError> {
        Ok(Self {
            double: Layout::of(forest, targets)?,
            single: OnceLock::new(),
        })
    }

    fn single(&self) -> &Layout<f32> {
        self.single.get_or_init(|| self.double.to_single())
    }

    fn targets(&self) -> usize {
        self.double.targets
    }

    fn count(&self) -> usize {
        self.double.roots.len()
    }

    /// Makes sure that rows have all the features that branches ask for.
    fn check(&self, dimensions: Dimensions) -> Result<(), MlError> {
        let (width, least) = (dimensions.width, self.double.min_width);
        if width >= least {
            return Ok(());
        }
        let problem = format!("expected at least {least} features a row, found {width}");
        Err(features::refused(problem))
    }

    /// Checks the dimensions, and has everything ready for rows of `datatype`.
    fn prepare(&self, datatype: Datatype, dimensions: Dimensions) -> Result<(), MlError> {
        self.check(dimensions)?;
        if datatype != Datatype::F64 {
            self.single();
        }
        Ok(())
    }
}

/// The base values, of which there must be one of `counts`.
fn base_values(attributes: Attributes<'_>, counts: &[usize]) -> Result<Vec<f64>, MlError> {
    let found = numbers::list_or_tensor(attributes, "base_values", "base_values_as_tensor")?;
    if counts.contains(&found.len()) {
        return Ok(found);
    }
    let problem = format!("expected one of {counts:?} values, found {}", found.len());
    let name = "base_values";
    Err(MlError::Attribute { name, problem })
}

#[cfg(test)]
mod tests {
    use super::super::node_fixture::{NodeFixture, run};
    use super::forest::{Branch, Node, Test, Weight};
    use super::layout::Scalar;
    use super::tally::Aggregate;
    use super::*;
    use crate::model::tensor::Values;
    use proptest::prelude::*;

    const REGRESSOR: &str = "TreeEnsembleRegressor";
    const CLASSIFIER: &str = "TreeEnsembleClassifier";

    /// `x[0] <= 0 ? leaf 1 : leaf 2`
    fn one_question() -> NodeFixture {
        NodeFixture::default()
            .ints("nodes_treeids", &[0, 0, 0])
            .ints("nodes_nodeids", &[0, 1, 2])
            .ints("nodes_featureids", &[0, 0, 0])
            .floats("nodes_values", &[0.0, 0.0, 0.0])
            .texts("nodes_modes", &["BRANCH_LEQ", "LEAF", "LEAF"])
            .ints("nodes_truenodeids", &[1, 0, 0])
            .ints("nodes_falsenodeids", &[2, 0, 0])
    }

    fn regressor() -> NodeFixture {
        one_question()
            .int("n_targets", 1)
            .ints("target_treeids", &[0, 0])
            .ints("target_nodeids", &[1, 2])
            .ints("target_ids", &[0, 0])
            .floats("target_weights", &[10.0, 20.0])
    }

    fn classifier(class: i64, weights: &[f32]) -> NodeFixture {
        one_question()
            .ints("class_treeids", &[0, 0])
            .ints("class_nodeids", &[1, 2])
            .ints("class_ids", &[class, class])
            .floats("class_weights", weights)
            .ints("classlabels_int64s", &[4, 7])
    }

    fn scores(node: &NodeFixture, values: &[f32]) -> Vec<f32> {
        match node
            .run(REGRESSOR, 1, Values::F32(values.to_vec()))
            .unwrap()
            .as_slice()
        {
            [Values::F32(scores)] => scores.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_mode_asks_its_question() {
        let values = [-1.0, 0.0, 1.0, f32::NAN];
        for (mode, expected) in [
            ("BRANCH_LEQ", [10.0, 10.0, 20.0, 20.0]),
            ("BRANCH_LT", [10.0, 20.0, 20.0, 20.0]),
            ("BRANCH_GTE", [20.0, 10.0, 10.0, 20.0]),
            ("BRANCH_GT", [20.0, 20.0, 10.0, 20.0]),
            ("BRANCH_EQ", [20.0, 10.0, 20.0, 20.0]),
            ("BRANCH_NEQ", [10.0, 20.0, 10.0, 10.0]),
        ] {
            let node = regressor().texts("nodes_modes", &[mode, "LEAF", "LEAF"]);
            assert_eq!(scores(&node, &values), expected, "{mode}");
            let tracked = node.ints("nodes_missing_value_tracks_true", &[1, 0, 0]);
            assert_eq!(scores(&tracked, &values)[..3], expected[..3], "{mode}");
            assert_eq!(scores(&tracked, &values)[3], 10.0, "{mode}");
        }
    }

    #[test]
    fn doubles_are_compared_as_doubles() {
        let threshold = 0.1_f64;
        let node = regressor()
            .without("nodes_values")
            .doubles("nodes_values_as_tensor", &[threshold, 0.0, 0.0]);
        let values = Values::F64(vec![threshold, threshold.next_up()]);
        let found = node.run(REGRESSOR, 1, values).unwrap();
        assert_eq!(found, [Values::F32(vec![10.0, 20.0])]);
        // The nearest single is above the threshold, so that it is not at most that.
        assert_eq!(scores(&node, &[0.1, 0.1_f32.next_down()]), [20.0, 10.0]);
    }

    #[test]
    fn weights_of_one_class_are_a_probability_where_none_is_negative() {
        let rows = Values::F32(vec![-1.0, 1.0]);
        let found = classifier(0, &[0.25, 0.75])
            .run(CLASSIFIER, 1, rows.clone())
            .unwrap();
        assert_eq!(
            found,
            [Values::I64(vec![4, 7]), Values::F32(vec![0.75, 0.25, 0.25, 0.75])]
        );
        let found = classifier(0, &[0.25, -0.75]).run(CLASSIFIER, 1, rows).unwrap();
        assert_eq!(
            found,
            [
                Values::I64(vec![7, 4]),
                Values::F32(vec![-0.25, 0.25, 0.75, -0.75])
            ]
        );
    }

    #[test]
    fn the_best_of_many_classes_wins() {
        let node = classifier(0, &[0.5, 0.5])
            .ints("class_ids", &[2, 1])
            .texts("classlabels_strings", &["a", "b", "c"]);
        let found = node.run(CLASSIFIER, 1, Values::I64(vec![-1, 1])).unwrap();
        assert_eq!(found[0], Values::Text(vec!["c".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn broken_trees_are_refused() {
        let broken = [
            (
                "a node leads to itself",
                regressor().ints("nodes_truenodeids", &[0, 0, 0]),
            ),
            (
                "a child that is not there",
                regressor().ints("nodes_falsenodeids", &[9, 0, 0]),
            ),
            (
                "the same node twice",
                regressor().ints("nodes_nodeids", &[0, 1, 1]),
            ),
            ("too few modes", regressor().texts("nodes_modes", &["LEAF"])),
            (
                "an unknown mode",
                regressor().texts("nodes_modes", &["BRANCH_XOR", "LEAF", "LEAF"]),
            ),
            ("too few thresholds", regressor().floats("nodes_values", &[0.0])),
            ("no thresholds", regressor().without("nodes_values")),
            (
                "a negative feature",
                regressor().ints("nodes_featureids", &[-1, 0, 0]),
            ),
            (
                "a huge feature",
                regressor().ints("nodes_featureids", &[1 << 40, 0, 0]),
            ),
            (
                "a target that is not there",
                regressor().ints("target_ids", &[0, 1]),
            ),
            ("a weight of no node", regressor().ints("target_nodeids", &[1, 5])),
            (
                "more weights than ids",
                regressor().floats("target_weights", &[1.0; 3]),
            ),
            ("no targets", regressor().int("n_targets", 0)),
            ("too many targets", regressor().int("n_targets", 1 << 40)),
            ("no nodes", regressor().without("nodes_treeids")),
            (
                "too many base values",
                regressor().floats("base_values", &[1.0, 2.0]),
            ),
            (
                "too few flags",
                regressor().ints("nodes_missing_value_tracks_true", &[1]),
            ),
        ];
        for (what, node) in broken {
            assert!(node.make(REGRESSOR).is_err(), "{what}");
        }
    }

    #[test]
    fn a_long_circle_is_refused() {
        let modes = ["BRANCH_LEQ", "BRANCH_LEQ", "LEAF"];
        let node = regressor()
            .texts("nodes_modes", &modes)
            .ints("nodes_truenodeids", &[1, 0, 0])
            .ints("nodes_falsenodeids", &[2, 2, 0]);
        let error = node.make(REGRESSOR).unwrap_err().to_string();
        assert!(error.contains("back to itself"), "{error}");
    }

    #[test]
    fn features_beyond_the_row_are_refused() {
        let node = regressor().ints("nodes_featureids", &[3, 0, 0]);
        let error = node.run(REGRESSOR, 3, Values::F32(vec![0.0; 3])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "input 0: expected at least 4 features a row, found 3"
        );
    }

    /// Every node has two children, and both are the next one.
    fn diamonds(depth: usize) -> Forest {
        let branch = |position| {
            Node::Branch(Branch {
                feature: 0,
                test: Test::AtMost(0.0),
                missing_is_yes: false,
                yes: position + 1,
                no: position + 1,
            })
        };
        let mut nodes: Vec<Node> = (0..depth).map(branch).collect();
        nodes.push(Node::Leaf(vec![Weight {
            target: 0,
            value: 1.0,
        }]));
        Forest {
            nodes,
            roots: vec![0],
        }
    }

    #[test]
    fn shared_nodes_are_not_copied_and_deep_trees_do_not_overflow() {
        let layout = Layout::of(&diamonds(100_000), 1).unwrap();
        let tally = layout.tally(&[0.5], 1, Aggregate::Sum);
        assert_eq!(tally.rows().next(), Some((&[1.0][..], &[true][..])));
    }

    const WIDTH: usize = 3;
    const TARGETS: usize = 3;

    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![
            8 => (-4..5).prop_map(|n| f64::from(n) / 2.0),
            1 => prop::sample::select(vec![f64::INFINITY, f64::NEG_INFINITY, f64::NAN, -0.0, 1e300, 5e-324]),
        ]
    }

    fn question() -> impl Strategy<Value = Test> {
        let member = prop::collection::vec((-9..9).prop_map(|n| f64::from(n) / 2.0), 1..12);
        let compared = (0..6, number()).prop_map(|(mode, t)| match mode {
            0 => Test::AtMost(t),
            1 => Test::Below(t),
            2 => Test::AtLeast(t),
            3 => Test::Above(t),
            4 => Test::Equal(t),
            _ => Test::Unequal(t),
        });
        prop_oneof![6 => compared, 1 => member.prop_map(Test::Member)]
    }

    /// Nodes that lead to later nodes only, and leaves at the end.
    fn forest() -> impl Strategy<Value = Forest> {
        let branch = (0..WIDTH as u32, question(), any::<bool>(), 1_usize..6, 1_usize..6);
        let weights = prop::collection::vec((0..TARGETS, -2.0_f64..2.0), 0..3);
        let leaves = prop::collection::vec(weights, 6);
        (
            prop::collection::vec(branch, 0..20),
            leaves,
            prop::collection::vec(0_usize..20, 1..12),
        )
            .prop_map(|(branches, leaves, roots)| {
                let of = |(position, (feature, test, missing_is_yes, yes, no))| {
                    let (yes, no) = (position + yes, position + no);
                    Node::Branch(Branch {
                        feature,
                        test,
                        missing_is_yes,
                        yes,
                        no,
                    })
                };
                let mut nodes: Vec<Node> = branches.into_iter().enumerate().map(of).collect();
                let weight = |(target, value)| Weight { target, value };
                nodes.extend(
                    leaves
                        .into_iter()
                        .map(|leaf| Node::Leaf(leaf.into_iter().map(weight).collect())),
                );
                let roots = roots.into_iter().map(|root| root % nodes.len()).collect();
                Forest { nodes, roots }
            })
    }

    fn holds(branch: &Branch, x: f64) -> bool {
        let holds = match &branch.test {
            Test::AtMost(t) => x <= *t,
            Test::Below(t) => x < *t,
            Test::AtLeast(t) => x >= *t,
            Test::Above(t) => x > *t,
            Test::Equal(t) => x == *t,
            Test::Unequal(t) => x != *t,
            Test::Member(members) => members.contains(&x),
        };
        holds || (branch.missing_is_yes && x.is_nan())
    }

    /// What the definition says, step by step.
    fn naive<X: Scalar>(forest: &Forest, row: &[X]) -> [X; TARGETS] {
        let mut sums = [X::ZERO; TARGETS];
        for &root in &forest.roots {
            let mut at = root;
            let leaf = loop {
                match &forest.nodes[at] {
                    Node::Leaf(weights) => break weights,
                    Node::Branch(branch) if holds(branch, row[branch.feature as usize].to_f64()) => {
                        at = branch.yes;
                    }
                    Node::Branch(branch) => at = branch.no,
                }
            };
            for weight in leaf {
                sums[weight.target] += X::nearest(weight.value);
            }
        }
        sums
    }

    fn agrees<X: Scalar>(forest: &Forest, layout: &Layout<X>, values: &[f64]) -> Result<(), TestCaseError> {
        let rows: Vec<X> = values.iter().copied().map(X::nearest).collect();
        let rows = &rows[..rows.len() / WIDTH * WIDTH];
        let tally = layout.tally(rows, WIDTH, Aggregate::Sum);
        let mut count = 0;
        for ((sums, seen), row) in tally.rows().zip(rows.chunks_exact(WIDTH)) {
            let expected = naive(forest, row);
            for target in 0..TARGETS {
                let sum = if seen[target] { sums[target] } else { X::ZERO };
                prop_assert!(sum == expected[target], "{row:?}: {sums:?} is not {expected:?}");
            }
            count += 1;
        }
        prop_assert_eq!(count, rows.len() / WIDTH);
        Ok(())
    }

    proptest! {
        #[test]
        fn a_layout_agrees_with_a_walk_by_the_definition(
            forest in forest(),
            values in prop::collection::vec(number(), WIDTH..WIDTH * 30),
        ) {
            let layout = Layout::of(&forest, TARGETS).unwrap();
            agrees(&forest, &layout, &values)?;
            agrees(&forest, &layout.to_single(), &values)?;
        }

        #[test]
        fn attributes_of_any_kind_never_panic(
            nodes in prop::collection::vec((0..3_i64, 0..7_i64, 0..7_i64, 0..3_usize, -1.0_f32..1.0), 1..7),
            leaves in prop::collection::vec((0..7_i64, -1..3_i64, -1.0_f32..1.0), 0..7),
            targets in 0_i64..4,
        ) {
            let ints = |of: fn(&(i64, i64, i64, usize, f32)) -> i64| nodes.iter().map(of).collect::<Vec<_>>();
            let modes = ["BRANCH_LT", "BRANCH_EQ", "LEAF"];
            let node = NodeFixture::default()
                .ints("nodes_treeids", &ints(|_| 0))
                .ints("nodes_nodeids", &(0..nodes.len() as i64).collect::<Vec<_>>())
                .ints("nodes_featureids", &ints(|node| node.0))
                .ints("nodes_truenodeids", &ints(|node| node.1))
                .ints("nodes_falsenodeids", &ints(|node| node.2))
                .texts("nodes_modes", &nodes.iter().map(|node| modes[node.3]).collect::<Vec<_>>())
                .floats("nodes_values", &nodes.iter().map(|node| node.4).collect::<Vec<_>>())
                .int("n_targets", targets)
                .ints("target_treeids", &vec![0; leaves.len()])
                .ints("target_nodeids", &leaves.iter().map(|leaf| leaf.0).collect::<Vec<_>>())
                .ints("target_ids", &leaves.iter().map(|leaf| leaf.1).collect::<Vec<_>>())
                .floats("target_weights", &leaves.iter().map(|leaf| leaf.2).collect::<Vec<_>>());
            if let Ok(operator) = node.make(REGRESSOR) {
                let _ = run(operator.as_ref(), 2, Values::F32(vec![0.5; 20]));
            }
        }
    }
}
