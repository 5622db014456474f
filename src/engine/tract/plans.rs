//! A bounded cache of optimised plans, by input shapes; the least recently used one goes first.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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
}

struct Entry {
    shapes: Vec<Vec<usize>>,
    plan: Arc<Plan>,
}

impl Entry {
    fn is_for(&self, shapes: &[&[usize]]) -> bool {
        self.shapes.len() == shapes.len() && self.shapes.iter().zip(shapes).all(|(own, asked)| own == asked)
    }
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
        }
    }

    /// Makes sure that there is room for so many plans beside the least that there is room for.
    pub(super) fn make_room(&self, plans: usize) {
        let capacity = (plans + MIN_PLANS).min(MAX_PLANS);
        self.capacity.fetch_max(capacity, Ordering::Relaxed);
    }

    pub(super) fn get(&self, shapes: &[&[usize]]) -> Option<Arc<Plan>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let position = entries.iter().position(|entry| entry.is_for(shapes))?;
        if position > 0 {
            let entry = entries.remove(position)?;
            entries.push_front(entry);
        }
        entries.front().map(|entry| Arc::clone(&entry.plan))
    }

    pub(super) fn put(&self, shapes: &[&[usize]], plan: Arc<Plan>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| !entry.is_for(shapes));
        entries.push_front(Entry {
            shapes: shapes.iter().map(|shape| shape.to_vec()).collect(),
            plan,
        });
        entries.truncate(self.capacity.load(Ordering::Relaxed));
    }
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
