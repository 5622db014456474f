//! A bounded cache of optimised plans, by input shapes; the least recently used one goes first.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tract_onnx::prelude::TypedRunnableModel;

/// An optimised graph for one set of input shapes.
pub(super) type Plan = TypedRunnableModel;

/// What the plans of one graph may take together, very roughly: each holds its own packed copy of the weights.
const BUDGET_BYTES: u64 = 512 << 20;
/// As many as there are batch sizes up to 128; fewer would make plans again and again.
const MIN_PLANS: usize = 8;
const MAX_PLANS: usize = 64;

/// The plans of one graph.
pub(super) struct Plans {
    /// Most recently used first. There are few, so that looking through them beats hashing the shapes.
    entries: Mutex<VecDeque<Entry>>,
    capacity: AtomicUsize,
    /// Shapes whose plans somebody will make beside the traffic: runs do without them.
    put_off: Mutex<Vec<Shapes>>,
    has_put_off: AtomicBool,
}

/// The shape of each input.
type Shapes = Vec<Vec<usize>>;

struct Entry {
    shapes: Shapes,
    plan: Arc<Plan>,
}

impl Entry {
    fn is_for(&self, shapes: &[&[usize]]) -> bool {
        are_equal(&self.shapes, shapes)
    }

    /// How many rows it is for, if each is of the shape of these.
    fn rows_of(&self, shapes: &[&[usize]]) -> Option<usize> {
        let row = |shape: &[usize]| shape.get(1..).map(<[usize]>::to_vec);
        let own = self.shapes.iter().map(|shape| row(shape));
        let is_same = own.eq(shapes.iter().map(|shape| row(shape)));
        is_same.then(|| self.shapes.first()?.first().copied()).flatten()
    }
}

fn are_equal(own: &[Vec<usize>], asked: &[&[usize]]) -> bool {
    own.len() == asked.len() && own.iter().zip(asked).all(|(own, asked)| own == asked)
}

impl Plans {
    /// Room for as many plans as a graph of this size should have.
    pub(super) fn for_graph_of(file_bytes: u64) -> Self {
        let fitting = usize::try_from(BUDGET_BYTES / file_bytes.max(1)).unwrap_or(MAX_PLANS);
        Self::with_capacity(fitting.clamp(MIN_PLANS, MAX_PLANS))
    }

    fn with_capacity(capacity: usize) -> Self {
        Self {
            entries: Mutex::default(),
            capacity: AtomicUsize::new(capacity),
            put_off: Mutex::default(),
            has_put_off: AtomicBool::new(false),
        }
    }

    /// Makes sure that there is room for so many plans beside the least that there is room for.
    pub(super) fn make_room(&self, plans: usize) {
        let capacity = (plans + MIN_PLANS).min(MAX_PLANS);
        self.capacity.fetch_max(capacity, Ordering::Relaxed);
    }

    pub(super) fn get(&self, shapes: &[&[usize]]) -> Option<Arc<Plan>> {
        let mut entries = locked(&self.entries);
        let position = entries.iter().position(|entry| entry.is_for(shapes))?;
        if position > 0 {
            let entry = entries.remove(position)?;
            entries.push_front(entry);
        }
        entries.front().map(|entry| Arc::clone(&entry.plan))
    }

    pub(super) fn put(&self, shapes: &[&[usize]], plan: Arc<Plan>) {
        let mut entries = locked(&self.entries);
        entries.retain(|entry| !entry.is_for(shapes));
        entries.push_front(Entry {
            shapes: shapes.iter().map(|shape| shape.to_vec()).collect(),
            plan,
        });
        entries.truncate(self.capacity.load(Ordering::Relaxed));
        drop(entries);
        // Only now, so that who finds it gone finds the plan.
        if self.has_put_off() {
            let mut put_off = locked(&self.put_off);
            put_off.retain(|other| !are_equal(other, shapes));
            self.has_put_off.store(!put_off.is_empty(), Ordering::Release);
        }
    }

    /// Lets runs do without the plan for these shapes until there is one.
    pub(super) fn put_off(&self, shapes: Shapes) {
        let entries = locked(&self.entries);
        if entries.iter().any(|entry| entry.shapes == shapes) {
            return;
        }
        let mut put_off = locked(&self.put_off);
        put_off.push(shapes);
        self.has_put_off.store(true, Ordering::Release);
    }

    /// Whether any plan is put off.
    pub(super) fn has_put_off(&self) -> bool {
        self.has_put_off.load(Ordering::Acquire)
    }

    /// Whether the plan for these shapes is.
    pub(super) fn is_put_off(&self, shapes: &[&[usize]]) -> bool {
        locked(&self.put_off).iter().any(|other| are_equal(other, shapes))
    }

    /// The numbers of rows that there are plans for, if each is of the shape of these.
    pub(super) fn sizes(&self, shapes: &[&[usize]]) -> Vec<usize> {
        let entries = locked(&self.entries);
        entries.iter().filter_map(|entry| entry.rows_of(shapes)).collect()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::TypedModel;
    use tract_onnx::tract_hir::internal::IntoRunnable;

    use super::*;

    fn plan() -> Arc<Plan> {
        TypedModel::default().into_runnable().unwrap()
    }

    #[test]
    fn the_least_recently_used_plan_goes_first() {
        let plans = Plans::with_capacity(2);
        plans.put(&[&[1, 4]], plan());
        plans.put(&[&[2, 4]], plan());
        assert!(plans.get(&[&[1, 4]]).is_some());
        plans.put(&[&[4, 4]], plan());
        assert!(plans.get(&[&[1, 4]]).is_some());
        assert!(plans.get(&[&[2, 4]]).is_none());
        assert!(plans.get(&[&[4, 4]]).is_some());
    }

    #[test]
    fn shapes_of_several_inputs_are_told_apart() {
        let plans = Plans::with_capacity(4);
        plans.put(&[&[1, 4], &[1]], plan());
        assert!(plans.get(&[&[1, 4]]).is_none());
        assert!(plans.get(&[&[1], &[1, 4]]).is_none());
        assert!(plans.get(&[&[1, 4], &[1]]).is_some());
    }

    #[test]
    fn what_is_put_off_is_so_until_it_is_there() {
        let plans = Plans::with_capacity(4);
        plans.put(&[&[1, 4], &[1]], plan());
        plans.put_off(vec![vec![1, 4], vec![1]]);
        assert!(!plans.has_put_off(), "it is there already");
        plans.put_off(vec![vec![8, 4], vec![8]]);
        assert!(plans.is_put_off(&[&[8, 4], &[8]]));
        assert!(!plans.is_put_off(&[&[8, 5], &[8]]));
        assert_eq!(plans.sizes(&[&[8, 4], &[8]]), [1]);
        assert!(plans.sizes(&[&[8, 5], &[8]]).is_empty());
        plans.put(&[&[8, 4], &[8]], plan());
        assert!(!plans.has_put_off());
        assert_eq!(plans.sizes(&[&[2, 4], &[2]]), [8, 1]);
    }

    #[test]
    fn a_large_graph_has_fewer_plans_but_enough_for_its_batches() {
        let capacity = |plans: &Plans| plans.capacity.load(Ordering::Relaxed);
        let large = Plans::for_graph_of(1 << 30);
        assert_eq!(capacity(&Plans::for_graph_of(10 << 10)), MAX_PLANS);
        assert_eq!(capacity(&large), MIN_PLANS);
        large.make_room(20);
        large.make_room(10);
        assert_eq!(capacity(&large), 20 + MIN_PLANS);
        large.make_room(1000);
        assert_eq!(capacity(&large), MAX_PLANS);
    }
}
