//! The trees as they run.
//!
//! Every question a branch can ask is put in one form: *is ±x at most t?* A greater-than is an at-most of both values
//! negated; a strict comparison is one with the next number below; an equality is two questions in a row; a set is a
//! search in its sorted members; and whether a missing value goes left or right is settled by which of two opposite
//! questions is asked, as any comparison with it fails. So there is but one kind of step, without a branch in the
//! machine's sense, and many rows and trees can take it side by side.

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
pub(super) const FLIP: u32 = 1 << 31;

/// One place of the layout: 16 bytes in single precision, so that four of them share a cache line.
///
/// A leaf leads back to itself, so that a row that has arrived may go on stepping while others are on their way. Its
/// threshold is free: it holds the weight where every leaf has just one. Elsewhere the threshold is not a number, so
/// that the answer is always no, and the place for the yes holds the number of the leaf.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Step<X> {
    pub(super) threshold: X,
    /// Position of the feature, and [`FLIP`].
    pub(super) feature: u32,
    /// Where to go on a no and on a yes.
    pub(super) next: [u32; 2],
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
    pub(super) steps: Vec<Step<X>>,
    /// Where the trees begin.
    pub(super) roots: Vec<u32>,
    /// The weights.
    pub(super) leaves: Leaves<X>,
    /// How many targets there are.
    pub(super) targets: usize,
    /// How many features a row must have at least.
    pub(super) min_width: usize,
    /// Whether any step compares a negative.
    pub(super) flips: bool,
}

impl Layout<f64> {
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
