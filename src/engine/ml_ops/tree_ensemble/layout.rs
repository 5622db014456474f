//! The trees as they run.
//!
//! Every question a branch can ask is put in one form: *is ±x at most t?* A greater-than is an at-most of both values
//! negated; a strict comparison is one with the next number below; an equality is two questions in a row; a set is a
//! search in its sorted members; and whether a missing value goes left or right is settled by which of two opposite
//! questions is asked, as any comparison with it fails. So there is but one kind of step, without a branch in the
//! machine's sense, and many rows and trees can take it side by side.

use super::super::MlError;
use super::forest::{Branch, Forest, Node, Test, Weight};

/// Numbers that rows can be made of.
pub(super) trait Scalar:
    Copy + PartialOrd + std::ops::AddAssign + Send + Sync + std::fmt::Debug
{
    /// Nothing.
    const ZERO: Self;
    /// The largest of these numbers that is not above `value`.
    fn at_most(value: f64) -> Self;
    /// The number nearest to `value`.
    fn nearest(value: f64) -> Self;
    /// Its negative if `flipped`.
    fn flip(self, flipped: bool) -> Self;
    /// In double precision.
    fn to_f64(self) -> f64;
}

impl Scalar for f32 {
    const ZERO: Self = 0.0;

    fn at_most(value: f64) -> Self {
        let nearest = value as Self;
        if f64::from(nearest) > value {
            nearest.next_down()
        } else {
            nearest
        }
    }

    fn nearest(value: f64) -> Self {
        value as Self
    }

    fn flip(self, flipped: bool) -> Self {
        Self::from_bits(self.to_bits() ^ (u32::from(flipped) << 31))
    }

    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Scalar for f64 {
    const ZERO: Self = 0.0;

    fn at_most(value: f64) -> Self {
        value
    }

    fn nearest(value: f64) -> Self {
        value
    }

    fn flip(self, flipped: bool) -> Self {
        Self::from_bits(self.to_bits() ^ (u64::from(flipped) << 63))
    }

    fn to_f64(self) -> f64 {
        self
    }
}

/// Set in [`Step::feature`] where the negative of the feature is compared.
const FLIP: u32 = 1 << 31;

/// One place of the layout: 16 bytes in single precision, so that four of them share a cache line.
///
/// A leaf leads back to itself, so that a row that has arrived may go on stepping while others are on their way. Its
/// threshold is free: it holds the weight where every leaf has just one. Elsewhere the threshold is not a number, so
/// that the answer is always no, and the place for the yes holds the number of the leaf.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Step<X> {
    pub(super) threshold: X,
    feature: u32,
    /// Where to go on a no and on a yes.
    next: [u32; 2],
}

impl<X> Step<X> {
    /// The number of a leaf that does not hold its weight itself.
    pub(super) fn number(&self) -> usize {
        self.next[1] as usize
    }
}

/// The weights of leaves.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Leaves<X> {
    /// Every leaf has one weight, which stands in its step, and all are for this target.
    Single(usize),
    /// Every leaf has a weight for each target: the rows of a matrix, by the number of the leaf.
    Dense(Vec<X>),
    /// The weights of leaf `n` are those from `starts[n]` to `starts[n + 1]`, each with its target.
    Sparse {
        /// One more than there are leaves.
        starts: Vec<u32>,
        /// Target and weight.
        weights: Vec<(u32, X)>,
    },
}

/// A forest that is ready to run on rows of `X`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout<X> {
    /// The steps of all trees, each tree's together, and the one for a yes right behind its branch.
    steps: Vec<Step<X>>,
    /// Where the trees begin.
    pub(super) roots: Vec<u32>,
    /// The weights.
    pub(super) leaves: Leaves<X>,
    /// How many targets there are.
    pub(super) targets: usize,
    /// How many features a row must have at least.
    pub(super) min_width: usize,
    /// Whether any step compares a negative.
    flips: bool,
}

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

    /// The same forest for rows in single precision. The questions are the same for all of them: a number of single
    /// precision is at most `t` exactly if it is at most the largest of its kind that is not above `t`.
    pub(super) fn to_single(&self) -> Layout<f32> {
        let weights_in_steps = matches!(self.leaves, Leaves::Single(_));
        let steps = self.steps.iter().enumerate().map(|(position, step)| {
            let is_leaf = step.next[0] as usize == position;
            let threshold = if is_leaf && weights_in_steps {
                f32::nearest(step.threshold)
            } else {
                f32::at_most(step.threshold)
            };
            Step {
                threshold,
                feature: step.feature,
                next: step.next,
            }
        });
        let leaves = match &self.leaves {
            Leaves::Single(target) => Leaves::Single(*target),
            Leaves::Dense(weights) => Leaves::Dense(weights.iter().copied().map(f32::nearest).collect()),
            Leaves::Sparse { starts, weights } => Leaves::Sparse {
                starts: starts.clone(),
                weights: weights
                    .iter()
                    .map(|&(target, weight)| (target, f32::nearest(weight)))
                    .collect(),
            },
        };
        Layout {
            steps: steps.collect(),
            roots: self.roots.clone(),
            leaves,
            targets: self.targets,
            min_width: self.min_width,
            flips: self.flips,
        }
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

/// How many ways are walked side by side: one step waits for the memory and for the comparison of the step before,
/// and meanwhile the others use the machine.
const LANES: usize = 8;
/// How many rows go through a tree before the next tree's turn, so that neither leaves the cache.
const BLOCK: usize = 64;

impl<X: Scalar> Layout<X> {
    /// Calls `arrive` with the position of a row and its leaf's step, for each row of `width` values in `rows` and for
    /// each tree; a row meets the trees in their order.
    pub(super) fn walk(&self, rows: &[X], width: usize, arrive: impl FnMut(usize, &Step<X>)) {
        if self.flips {
            self.walk_blocks::<true>(rows, width, arrive);
        } else {
            self.walk_blocks::<false>(rows, width, arrive);
        }
    }

    fn walk_blocks<const FLIPS: bool>(
        &self,
        rows: &[X],
        width: usize,
        mut arrive: impl FnMut(usize, &Step<X>),
    ) {
        let mut first = 0;
        for block in rows.chunks(BLOCK * width) {
            let mut arrive_in_block = |row: usize, step: &Step<X>| arrive(first + row, step);
            let full = block.len() / (LANES * width) * LANES;
            let (together, alone) = block.split_at(full * width);
            self.walk_rows::<FLIPS>(together, width, &mut arrive_in_block);
            for (position, row) in alone.chunks_exact(width).enumerate() {
                self.walk_trees::<FLIPS>(row, |step| arrive_in_block(full + position, step));
            }
            first += block.len() / width;
        }
    }

    /// Several rows at once through each tree.
    fn walk_rows<const FLIPS: bool>(
        &self,
        rows: &[X],
        width: usize,
        arrive: &mut impl FnMut(usize, &Step<X>),
    ) {
        let offsets: [usize; LANES] = std::array::from_fn(|lane| lane * width);
        for &root in &self.roots {
            for (group, rows) in rows.chunks_exact(LANES * width).enumerate() {
                let leaves = self.descend::<FLIPS, LANES>(rows, &offsets, [root; LANES]);
                for (lane, leaf) in leaves.into_iter().enumerate() {
                    arrive(group * LANES + lane, leaf);
                }
            }
        }
    }

    /// One row through several trees at once.
    fn walk_trees<const FLIPS: bool>(&self, row: &[X], mut arrive: impl FnMut(&Step<X>)) {
        let (groups, rest) = self.roots.as_chunks::<LANES>();
        for &roots in groups {
            for leaf in self.descend::<FLIPS, LANES>(row, &[0; LANES], roots) {
                arrive(leaf);
            }
        }
        for &root in rest {
            for leaf in self.descend::<FLIPS, 1>(row, &[0], [root]) {
                arrive(leaf);
            }
        }
    }

    /// Steps from each of `at` with the row that begins at the lane's offset in `values`, until all are at leaves.
    #[inline(always)]
    fn descend<const FLIPS: bool, const N: usize>(
        &self,
        values: &[X],
        offsets: &[usize; N],
        mut at: [u32; N],
    ) -> [&Step<X>; N] {
        let steps = self.steps.as_slice();
        loop {
            let mut moved = 0;
            for lane in 0..N {
                let step = &steps[at[lane] as usize];
                let feature = if FLIPS { step.feature & !FLIP } else { step.feature };
                let value = values[offsets[lane] + feature as usize];
                let value = if FLIPS {
                    value.flip(step.feature & FLIP != 0)
                } else {
                    value
                };
                let next = step.next[usize::from(value <= step.threshold)];
                moved |= next ^ at[lane];
                at[lane] = next;
            }
            if moved == 0 {
                return at.map(|position| &steps[position as usize]);
            }
        }
    }
}
