//! A forest as a file describes it, whichever of the three operators it belongs to.

use std::collections::HashMap;

use super::super::{Attributes, MlError};
use super::numbers;

/// Trees of nodes that point at each other by position.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Forest {
    /// The nodes of all trees.
    pub(super) nodes: Vec<Node>,
    /// Positions of the nodes at which the trees begin.
    pub(super) roots: Vec<usize>,
}

/// One node.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// Asks about one feature and goes on at one of two nodes.
    Branch(Branch),
    /// Ends the way of a row.
    Leaf(Vec<Weight>),
}

/// What a leaf adds to the score of one target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Weight {
    /// Position of the target, or of the class.
    pub(super) target: usize,
    /// How much.
    pub(super) value: f64,
}

/// A question about one feature.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Branch {
    /// Position of the feature in a row.
    pub(super) feature: u32,
    /// The question.
    pub(super) test: Test,
    /// Whether a value that is not a number counts as a yes.
    pub(super) missing_is_yes: bool,
    /// Where to go on a yes.
    pub(super) yes: usize,
    /// Where to go on a no.
    pub(super) no: usize,
}

/// The question a branch asks about a value `x`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Test {
    /// `x <= t`, `BRANCH_LEQ`
    AtMost(f64),
    /// `x < t`, `BRANCH_LT`
    Below(f64),
    /// `x >= t`, `BRANCH_GTE`
    AtLeast(f64),
    /// `x > t`, `BRANCH_GT`
    Above(f64),
    /// `x == t`, `BRANCH_EQ`
    Equal(f64),
    /// `x != t`, `BRANCH_NEQ`
    Unequal(f64),
    /// `x` is one of these, `BRANCH_MEMBER`
    Member(Vec<f64>),
}

/// Nodes are counted with 32 bits, some of which a layout needs for itself; a question takes several places in it.
const MAX_NODES: usize = 1 << 28;
/// A feature's position shares 32 bits with a flag.
const MAX_FEATURES: i64 = 1 << 31;
/// A row of scores is made for every row, so that a file of a few bytes could ask for any amount of memory.
const MAX_TARGETS: i64 = 1 << 16;

/// Checks the number of targets that a file asks for.
pub(super) fn target_count(attributes: Attributes<'_>) -> Result<usize, MlError> {
    let name = "n_targets";
    let found = attributes.int(name)?.ok_or(MlError::MissingAttribute(name))?;
    if (1..=MAX_TARGETS).contains(&found) {
        return Ok(found as usize);
    }
    Err(MlError::attribute(
        name,
        format!("expected 1 to {MAX_TARGETS}, found {found}"),
    ))
}

fn expect_len(name: &'static str, found: usize, expected: usize) -> Result<(), MlError> {
    if found == expected {
        return Ok(());
    }
    Err(MlError::attribute(
        name,
        format!("expected {expected} values, found {found}"),
    ))
}

/// A list that goes with the nodes, one value each.
fn per_node<'a>(attributes: Attributes<'a>, name: &'static str, nodes: usize) -> Result<&'a [i64], MlError> {
    let values = attributes.ints(name)?;
    expect_len(name, values.len(), nodes)?;
    Ok(values)
}

/// Whether a missing value is a yes, for each node; nowhere where the attribute is absent.
fn missing_is_yes(attributes: Attributes<'_>, nodes: usize) -> Result<Vec<bool>, MlError> {
    let name = "nodes_missing_value_tracks_true";
    let flags = attributes.ints(name)?;
    if flags.is_empty() {
        return Ok(vec![false; nodes]);
    }
    expect_len(name, flags.len(), nodes)?;
    Ok(flags.iter().map(|&flag| flag == 1).collect())
}

fn feature(found: i64) -> Result<u32, MlError> {
    match u32::try_from(found) {
        Ok(feature) if found < MAX_FEATURES => Ok(feature),
        _ => {
            let problem = format!("expected 0 to {}, found {found}", MAX_FEATURES - 1);
            Err(MlError::attribute("nodes_featureids", problem))
        }
    }
}

fn check_node_count(count: usize, roots: &'static str) -> Result<(), MlError> {
    if count == 0 {
        return Err(MlError::MissingAttribute(roots));
    }
    if count > MAX_NODES {
        return Err(MlError::attribute(
            roots,
            format!("expected at most {MAX_NODES} nodes, found {count}"),
        ));
    }
    Ok(())
}

/// The attributes that name the weights of leaves; the classifier and the regressor call them differently.
#[derive(Clone, Copy, Debug)]
pub(super) struct WeightNames {
    tree_ids: &'static str,
    node_ids: &'static str,
    targets: &'static str,
    weights: &'static str,
    weights_as_tensor: &'static str,
}

/// As `TreeEnsembleRegressor` calls them.
pub(super) const TARGETS: WeightNames = WeightNames {
    tree_ids: "target_treeids",
    node_ids: "target_nodeids",
    targets: "target_ids",
    weights: "target_weights",
    weights_as_tensor: "target_weights_as_tensor",
};

/// As `TreeEnsembleClassifier` calls them.
pub(super) const CLASSES: WeightNames = WeightNames {
    tree_ids: "class_treeids",
    node_ids: "class_nodeids",
    targets: "class_ids",
    weights: "class_weights",
    weights_as_tensor: "class_weights_as_tensor",
};

impl Forest {
    /// Reads the form of `TreeEnsembleRegressor` and `TreeEnsembleClassifier`: nodes with ids of their own, leaves
    /// among them.
    ///
    /// A tree begins at its first node in the file, as in ONNX Runtime; the definition does not say where.
    pub(super) fn with_ids(
        attributes: Attributes<'_>,
        names: WeightNames,
        targets: usize,
    ) -> Result<Self, MlError> {
        let tree_ids = attributes.ints("nodes_treeids")?;
        let count = tree_ids.len();
        check_node_count(count, "nodes_treeids")?;
        let ids = Ids::read(tree_ids, per_node(attributes, "nodes_nodeids", count)?)?;
        let mut nodes = nodes_with_ids(attributes, &ids)?;
        add_weights(attributes, names, targets, &ids, &mut nodes)?;
        let roots = ids.roots;
        Ok(Self { nodes, roots })
    }

    /// Reads the form of `TreeEnsemble`: nodes and leaves are two lists, and positions in them the only ids.
    pub(super) fn with_positions(attributes: Attributes<'_>, targets: usize) -> Result<Self, MlError> {
        let branches = Branches::read(attributes)?;
        let leaves = leaves(attributes, targets)?;
        let mut nodes: Vec<Node> = branches.all(leaves.len())?;
        let roots = branches.roots(attributes)?;
        nodes.extend(leaves);
        Ok(Self { nodes, roots })
    }
}

/// Where the node of a tree's id and a node's id stands.
struct Ids<'a> {
    tree_ids: &'a [i64],
    positions: HashMap<(i64, i64), usize>,
    roots: Vec<usize>,
}

impl<'a> Ids<'a> {
    fn read(tree_ids: &'a [i64], node_ids: &[i64]) -> Result<Self, MlError> {
        let mut positions = HashMap::with_capacity(tree_ids.len());
        for (position, id) in tree_ids.iter().copied().zip(node_ids.iter().copied()).enumerate() {
            if positions.insert(id, position).is_some() {
                let problem = format!("node {} of tree {} is there twice", id.1, id.0);
                return Err(MlError::attribute("nodes_nodeids", problem));
            }
        }
        let mut seen = std::collections::HashSet::new();
        let first = tree_ids
            .iter()
            .enumerate()
            .filter(|(_, tree)| seen.insert(**tree));
        let roots = first.map(|(position, _)| position).collect();
        Ok(Self {
            tree_ids,
            positions,
            roots,
        })
    }

    fn find(&self, name: &'static str, tree: i64, node: i64) -> Result<usize, MlError> {
        let missing = || MlError::attribute(name, format!("there is no node {node} in tree {tree}"));
        self.positions.get(&(tree, node)).copied().ok_or_else(missing)
    }
}

fn nodes_with_ids(attributes: Attributes<'_>, ids: &Ids<'_>) -> Result<Vec<Node>, MlError> {
    let count = ids.tree_ids.len();
    let features = per_node(attributes, "nodes_featureids", count)?;
    let yes = per_node(attributes, "nodes_truenodeids", count)?;
    let no = per_node(attributes, "nodes_falsenodeids", count)?;
    let missing = missing_is_yes(attributes, count)?;
    let modes = attributes.texts("nodes_modes")?;
    expect_len("nodes_modes", modes.len(), count)?;
    let thresholds = numbers::list_or_tensor(attributes, "nodes_values", "nodes_values_as_tensor")?;
    expect_len("nodes_values", thresholds.len(), count)?;
    let node = |position: usize| {
        let Some(test) = test(modes[position], thresholds[position])? else {
            return Ok(Node::Leaf(Vec::new()));
        };
        let tree = ids.tree_ids[position];
        Ok(Node::Branch(Branch {
            feature: feature(features[position])?,
            test,
            missing_is_yes: missing[position],
            yes: ids.find("nodes_truenodeids", tree, yes[position])?,
            no: ids.find("nodes_falsenodeids", tree, no[position])?,
        }))
    };
    (0..count).map(node).collect()
}

/// The question of a mode; none for a leaf.
fn test(mode: &str, threshold: f64) -> Result<Option<Test>, MlError> {
    match mode {
        "BRANCH_LEQ" => Ok(Some(Test::AtMost(threshold))),
        "BRANCH_LT" => Ok(Some(Test::Below(threshold))),
        "BRANCH_GTE" => Ok(Some(Test::AtLeast(threshold))),
        "BRANCH_GT" => Ok(Some(Test::Above(threshold))),
        "BRANCH_EQ" => Ok(Some(Test::Equal(threshold))),
        "BRANCH_NEQ" => Ok(Some(Test::Unequal(threshold))),
        "LEAF" => Ok(None),
        _ => {
            let problem =
                format!("expected LEAF or BRANCH_ with LEQ, LT, GTE, GT, EQ or NEQ, found {mode:?}");
            Err(MlError::attribute("nodes_modes", problem))
        }
    }
}

fn target(name: &'static str, found: i64, targets: usize) -> Result<usize, MlError> {
    match usize::try_from(found) {
        Ok(target) if target < targets => Ok(target),
        _ => Err(MlError::attribute(
            name,
            format!("expected 0 to {}, found {found}", targets - 1),
        )),
    }
}

fn add_weights(
    attributes: Attributes<'_>,
    names: WeightNames,
    targets: usize,
    ids: &Ids<'_>,
    nodes: &mut [Node],
) -> Result<(), MlError> {
    let tree_ids = attributes.ints(names.tree_ids)?;
    let node_ids = per_node(attributes, names.node_ids, tree_ids.len())?;
    let target_ids = per_node(attributes, names.targets, tree_ids.len())?;
    let weights = numbers::list_or_tensor(attributes, names.weights, names.weights_as_tensor)?;
    expect_len(names.weights, weights.len(), tree_ids.len())?;
    for (position, &value) in weights.iter().enumerate() {
        let target = target(names.targets, target_ids[position], targets)?;
        let node = ids.find(names.node_ids, tree_ids[position], node_ids[position])?;
        // Weights of branches are written by old converters, and mean nothing. Where there is but one target, ONNX
        // Runtime takes the first weight of a leaf and drops the others.
        if let Node::Leaf(leaf) = &mut nodes[node]
            && (targets > 1 || leaf.is_empty())
        {
            leaf.push(Weight { target, value });
        }
    }
    Ok(())
}

fn leaves(attributes: Attributes<'_>, targets: usize) -> Result<Vec<Node>, MlError> {
    let target_ids = attributes.ints("leaf_targetids")?;
    let weights = numbers::tensor(attributes, "leaf_weights")?;
    expect_len("leaf_weights", weights.len(), target_ids.len())?;
    let leaf = |(&id, &value): (&i64, &f64)| {
        let target = target("leaf_targetids", id, targets)?;
        Ok(Node::Leaf(vec![Weight { target, value }]))
    };
    target_ids.iter().zip(&weights).map(leaf).collect()
}

/// The lists of `TreeEnsemble` that go with its branches.
struct Branches<'a> {
    modes: Vec<f64>,
    features: &'a [i64],
    thresholds: Vec<f64>,
    members: Vec<f64>,
    missing: Vec<bool>,
    yes: Ends<'a>,
    no: Ends<'a>,
}

/// One of the two ways out of every branch.
struct Ends<'a> {
    name: &'static str,
    positions: &'a [i64],
    are_leaves: &'a [i64],
}

impl Ends<'_> {
    /// Position of the node behind the branch at `position`, where leaves are counted on after the branches.
    fn behind(&self, position: usize, branches: usize, leaves: usize) -> Result<usize, MlError> {
        let is_leaf = self.are_leaves[position] != 0;
        let (offset, count) = if is_leaf {
            (branches, leaves)
        } else {
            (0, branches)
        };
        let found = self.positions[position];
        match usize::try_from(found) {
            Ok(target) if target < count => Ok(offset + target),
            _ => {
                let kind = if is_leaf { "leaf" } else { "node" };
                Err(MlError::attribute(
                    self.name,
                    format!("there is no {kind} {found}, only {count} of them"),
                ))
            }
        }
    }
}

impl<'a> Branches<'a> {
    fn read(attributes: Attributes<'a>) -> Result<Self, MlError> {
        let features = attributes.ints("nodes_featureids")?;
        let count = features.len();
        check_node_count(count, "nodes_featureids")?;
        let modes = numbers::tensor(attributes, "nodes_modes")?;
        expect_len("nodes_modes", modes.len(), count)?;
        let thresholds = numbers::tensor(attributes, "nodes_splits")?;
        expect_len("nodes_splits", thresholds.len(), count)?;
        let ends = |name, leaves| {
            Ok(Ends {
                name,
                positions: per_node(attributes, name, count)?,
                are_leaves: per_node(attributes, leaves, count)?,
            })
        };
        Ok(Self {
            modes,
            features,
            thresholds,
            members: numbers::tensor(attributes, "membership_values")?,
            missing: missing_is_yes(attributes, count)?,
            yes: ends("nodes_truenodeids", "nodes_trueleafs")?,
            no: ends("nodes_falsenodeids", "nodes_falseleafs")?,
        })
    }

    fn all(&self, leaves: usize) -> Result<Vec<Node>, MlError> {
        let count = self.features.len();
        // The sets stand one after the other, each ended by a value that is not a number.
        let mut sets = self.members.split(|member| member.is_nan());
        let mut nodes = Vec::with_capacity(count + leaves);
        for position in 0..count {
            nodes.push(Node::Branch(Branch {
                feature: feature(self.features[position])?,
                test: numbered_test(self.modes[position], self.thresholds[position], &mut sets)?,
                missing_is_yes: self.missing[position],
                yes: self.yes.behind(position, count, leaves)?,
                no: self.no.behind(position, count, leaves)?,
            }));
        }
        Ok(nodes)
    }

    fn roots(&self, attributes: Attributes<'_>) -> Result<Vec<usize>, MlError> {
        let name = "tree_roots";
        let count = self.features.len();
        let root = |&found: &i64| match usize::try_from(found) {
            Ok(root) if root < count => Ok(self.leaf_for(root, count).unwrap_or(root)),
            _ => Err(MlError::attribute(
                name,
                format!("there is no node {found}, only {count} of them"),
            )),
        };
        let roots: Vec<usize> = attributes
            .ints(name)?
            .iter()
            .map(root)
            .collect::<Result<_, _>>()?;
        if roots.is_empty() {
            return Err(MlError::MissingAttribute(name));
        }
        Ok(roots)
    }

    /// A tree that is only a leaf is written as a branch both of whose ends are that leaf.
    fn leaf_for(&self, root: usize, branches: usize) -> Option<usize> {
        let leaf = self.yes.positions[root];
        let both = self.yes.are_leaves[root] != 0 && self.no.are_leaves[root] != 0;
        (both && leaf == self.no.positions[root]).then(|| branches + leaf as usize)
    }
}

fn numbered_test<'a>(
    mode: f64,
    threshold: f64,
    sets: &mut impl Iterator<Item = &'a [f64]>,
) -> Result<Test, MlError> {
    match mode as i64 {
        0 => Ok(Test::AtMost(threshold)),
        1 => Ok(Test::Below(threshold)),
        2 => Ok(Test::AtLeast(threshold)),
        3 => Ok(Test::Above(threshold)),
        4 => Ok(Test::Equal(threshold)),
        5 => Ok(Test::Unequal(threshold)),
        6 => match sets.next() {
            Some(members) if !members.is_empty() => Ok(Test::Member(members.to_vec())),
            _ => {
                let problem = "expected a set of members for each BRANCH_MEMBER, found fewer".to_owned();
                Err(MlError::attribute("membership_values", problem))
            }
        },
        _ => Err(MlError::attribute(
            "nodes_modes",
            format!("expected 0 to 6, found {mode}"),
        )),
    }
}
