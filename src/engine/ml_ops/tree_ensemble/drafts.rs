//! Makes a layout of a forest: every question in its one form, every node in its place.

use super::super::MlError;
use super::forest::{Branch, Forest, Node, Test, Weight};
use super::layout::{FLIP, Layout, Leaves, Step};

impl Layout<f64> {
    /// Lays out `forest`, whose weights are for `targets` targets. A tree whose nodes lead in a circle is refused; one
    /// whose nodes have several parents is not, as converters of LightGBM share them, and nothing is copied for it.
    pub(super) fn of(forest: &Forest, targets: usize) -> Result<Self, MlError> {
        let mut drafts = Drafts::new(forest, targets);
        for &root in &forest.roots {
            drafts.lay_out(root)?;
        }
        Ok(drafts.finish())
    }
}

/// Where a draft leads: to a draft, or to wherever the drafts of a node begin.
#[derive(Clone, Copy, Debug)]
enum Goal {
    Draft(usize),
    Node(usize),
}

/// A step whose goals are not all known yet.
#[derive(Clone, Copy, Debug)]
struct Draft {
    threshold: f64,
    feature: u32,
    next: [Goal; 2],
}

/// How far the layout of a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Untouched,
    /// Its drafts begin here; what lies behind it is not laid out yet.
    Open(usize),
    Done(usize),
}

struct Drafts<'a> {
    forest: &'a Forest,
    targets: usize,
    leaf_kind: LeafKind,
    drafts: Vec<Draft>,
    progress: Vec<Progress>,
    /// The weights of the leaves that are laid out, by their numbers.
    leaves: Vec<&'a [Weight]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeafKind {
    Single(usize),
    Dense,
    Sparse,
}

impl LeafKind {
    fn of(forest: &Forest, targets: usize) -> Self {
        let leaves = || {
            forest.nodes.iter().filter_map(|node| match node {
                Node::Leaf(weights) => Some(weights.as_slice()),
                Node::Branch(_) => None,
            })
        };
        let first_target = leaves()
            .next()
            .and_then(|weights| weights.first())
            .map(|weight| weight.target);
        if let Some(target) = first_target
            && leaves().all(|weights| matches!(weights, [weight] if weight.target == target))
        {
            return Self::Single(target);
        }
        let is_row = |weights: &[Weight]| {
            weights.len() == targets
                && weights
                    .iter()
                    .enumerate()
                    .all(|(target, weight)| weight.target == target)
        };
        if leaves().all(is_row) {
            Self::Dense
        } else {
            Self::Sparse
        }
    }
}

impl<'a> Drafts<'a> {
    fn new(forest: &'a Forest, targets: usize) -> Self {
        Self {
            forest,
            targets,
            leaf_kind: LeafKind::of(forest, targets),
            drafts: Vec::with_capacity(forest.nodes.len()),
            progress: vec![Progress::Untouched; forest.nodes.len()],
            leaves: Vec::new(),
        }
    }

    /// Lays out all that can be reached from the node `root`, with a stack of its own: trees can be deep.
    fn lay_out(&mut self, root: usize) -> Result<(), MlError> {
        enum Visit {
            Enter(usize),
            Leave(usize),
        }
        let mut visits = vec![Visit::Enter(root)];
        while let Some(visit) = visits.pop() {
            let node = match visit {
                Visit::Enter(node) => node,
                Visit::Leave(node) => {
                    self.close(node);
                    continue;
                }
            };
            match self.progress[node] {
                Progress::Done(_) => continue,
                Progress::Open(_) => return Err(circle(node)),
                Progress::Untouched => self.progress[node] = Progress::Open(self.drafts.len()),
            }
            visits.push(Visit::Leave(node));
            match &self.forest.nodes[node] {
                Node::Leaf(weights) => self.leaf(weights),
                Node::Branch(branch) => {
                    self.branch(branch);
                    check_size(self.drafts.len())?;
                    visits.push(Visit::Enter(branch.no));
                    visits.push(Visit::Enter(branch.yes));
                }
            }
        }
        Ok(())
    }

    fn close(&mut self, node: usize) {
        if let Progress::Open(start) = self.progress[node] {
            self.progress[node] = Progress::Done(start);
        }
    }

    fn leaf(&mut self, weights: &'a [Weight]) {
        let itself = Goal::Draft(self.drafts.len());
        let draft = match (self.leaf_kind, weights) {
            (LeafKind::Single(_), [weight]) => Draft {
                threshold: weight.value,
                feature: 0,
                next: [itself; 2],
            },
            _ => Draft {
                threshold: f64::NAN,
                feature: 0,
                next: [itself, Goal::Draft(self.leaves.len())],
            },
        };
        self.drafts.push(draft);
        self.leaves.push(weights);
    }

    fn push(&mut self, feature: u32, threshold: f64, yes: Goal, no: Goal) {
        self.drafts.push(Draft {
            threshold,
            feature,
            next: [no, yes],
        });
    }

    /// `x <= t`; a missing `x` is a no, here as below.
    fn at_most(&mut self, feature: u32, t: f64, yes: Goal, no: Goal) {
        self.push(feature, t, yes, no);
    }

    /// `x < t`
    fn below(&mut self, feature: u32, t: f64, yes: Goal, no: Goal) {
        self.push(feature, next_below(t), yes, no);
    }

    /// `x >= t`
    fn at_least(&mut self, feature: u32, t: f64, yes: Goal, no: Goal) {
        self.push(feature | FLIP, -t, yes, no);
    }

    /// `x > t`
    fn above(&mut self, feature: u32, t: f64, yes: Goal, no: Goal) {
        self.push(feature | FLIP, next_below(-t), yes, no);
    }

    fn branch(&mut self, branch: &Branch) {
        let (yes, no) = (Goal::Node(branch.yes), Goal::Node(branch.no));
        let feature = branch.feature;
        match (&branch.test, branch.missing_is_yes) {
            // No number compares with what is not one.
            (Test::Unequal(t), _) if t.is_nan() => self.number(feature, yes, yes),
            (test, missing_is_yes) if has_no_threshold(test) => {
                self.number(feature, no, if missing_is_yes { yes } else { no });
            }
            (&Test::AtMost(t), false) => self.at_most(feature, t, yes, no),
            (&Test::AtMost(t), true) => self.above(feature, t, no, yes),
            (&Test::Below(t), false) => self.below(feature, t, yes, no),
            (&Test::Below(t), true) => self.at_least(feature, t, no, yes),
            (&Test::AtLeast(t), false) => self.at_least(feature, t, yes, no),
            (&Test::AtLeast(t), true) => self.below(feature, t, no, yes),
            (&Test::Above(t), false) => self.above(feature, t, yes, no),
            (&Test::Above(t), true) => self.at_most(feature, t, no, yes),
            (&Test::Equal(t), false) => self.equal(feature, t, yes, no),
            (&Test::Equal(t), true) => self.unequal(feature, t, no, yes),
            // What is not a number is unequal to all numbers, whatever it is tracked as.
            (&Test::Unequal(t), _) => self.equal(feature, t, no, yes),
            (Test::Member(members), missing_is_yes) => {
                let behind = Goal::Draft(self.drafts.len() + 1);
                self.number(feature, behind, if missing_is_yes { yes } else { no });
                self.member(feature, members, yes, no);
            }
        }
    }

    /// Whether `x` is a number at all.
    fn number(&mut self, feature: u32, yes: Goal, no: Goal) {
        self.at_most(feature, f64::INFINITY, yes, no);
    }

    /// `x == t`
    fn equal(&mut self, feature: u32, t: f64, yes: Goal, no: Goal) {
        let behind = Goal::Draft(self.drafts.len() + 1);
        self.at_most(feature, t, behind, no);
        self.at_least(feature, t, yes, no);
    }

    /// `x < t` or `x > t`
    fn unequal(&mut self, feature: u32, t: f64, yes: Goal, no: Goal) {
        let behind = Goal::Draft(self.drafts.len() + 1);
        self.below(feature, t, yes, behind);
        self.above(feature, t, yes, no);
    }

    /// Whether the number `x` is one of `members`: halves them until one is left.
    fn member(&mut self, feature: u32, members: &[f64], yes: Goal, no: Goal) {
        let mut sorted = members.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted.dedup();
        self.search(feature, &sorted, yes, no);
    }

    fn search(&mut self, feature: u32, sorted: &[f64], yes: Goal, no: Goal) {
        match *sorted {
            [] => {}
            [member] => self.equal(feature, member, yes, no),
            _ => {
                let (lower, upper) = sorted.split_at(sorted.len() / 2);
                let question = self.drafts.len();
                let largest = lower[lower.len() - 1];
                self.at_most(feature, largest, Goal::Draft(question + 1), no);
                self.search(feature, lower, yes, no);
                self.drafts[question].next[0] = Goal::Draft(self.drafts.len());
                self.search(feature, upper, yes, no);
            }
        }
    }

    fn start(&self, node: usize) -> u32 {
        match self.progress[node] {
            Progress::Open(start) | Progress::Done(start) => start as u32,
            Progress::Untouched => unreachable!("all that can be reached from a root is laid out"),
        }
    }

    fn finish(self) -> Layout<f64> {
        let resolve = |goal| match goal {
            Goal::Draft(position) => position as u32,
            Goal::Node(node) => self.start(node),
        };
        let step = |draft: &Draft| Step {
            threshold: draft.threshold,
            feature: draft.feature,
            next: draft.next.map(resolve),
        };
        let widest = self
            .drafts
            .iter()
            .map(|draft| (draft.feature & !FLIP) as usize + 1);
        Layout {
            steps: self.drafts.iter().map(step).collect(),
            roots: self.forest.roots.iter().map(|&root| self.start(root)).collect(),
            leaves: self.weights(),
            targets: self.targets,
            min_width: widest.max().unwrap_or(1),
            flips: self.drafts.iter().any(|draft| draft.feature & FLIP != 0),
        }
    }

    fn weights(&self) -> Leaves<f64> {
        let all = self.leaves.iter().copied().flatten();
        match self.leaf_kind {
            LeafKind::Single(target) => Leaves::Single(target),
            LeafKind::Dense => Leaves::Dense(all.map(|weight| weight.value).collect()),
            LeafKind::Sparse => {
                let mut starts = vec![0];
                let mut end = 0;
                for leaf in &self.leaves {
                    end += leaf.len() as u32;
                    starts.push(end);
                }
                let weights = all.map(|weight| (weight.target as u32, weight.value)).collect();
                Leaves::Sparse { starts, weights }
            }
        }
    }
}

fn check_size(steps: usize) -> Result<(), MlError> {
    if u32::try_from(steps).is_ok() {
        return Ok(());
    }
    Err(MlError::Attribute {
        name: "membership_values",
        problem: "expected fewer of them: they take more than 2^32 steps".to_owned(),
    })
}

fn circle(node: usize) -> MlError {
    MlError::Attribute {
        name: "nodes_truenodeids",
        problem: format!("expected a tree, found a way from node {node} (counted from 0) back to itself"),
    }
}

fn has_no_threshold(test: &Test) -> bool {
    match *test {
        Test::AtMost(t) | Test::Below(t) | Test::AtLeast(t) | Test::Above(t) | Test::Equal(t) => t.is_nan(),
        Test::Unequal(_) | Test::Member(_) => false,
    }
}

/// The largest number below `t`; not a number where there is none, as nothing is at most that.
fn next_below(t: f64) -> f64 {
    if t == f64::NEG_INFINITY {
        f64::NAN
    } else {
        t.next_down()
    }
}
