//! A bounded queue between the network's tasks, which must not wait, and engine threads, which do.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use prometheus::IntGauge;
use tokio::time::Instant;

use super::collect::{Collected, Limits, Waiting, collect, enqueue};
use crate::telemetry::metric::Metric;

/// Any number of threads may push and any number may take.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    /// Something was pushed, or the queue was closed.
    changed: Condvar,
    capacity: usize,
}

struct State<T> {
    entries: VecDeque<T>,
    depth: ShownDepth,
    is_closed: bool,
}

/// What this queue has added to a gauge, which it shares with the queue of the version whose place it takes.
struct ShownDepth {
    gauge: Metric<IntGauge>,
    shown: i64,
}

impl ShownDepth {
    fn show(&mut self, length: usize) {
        let length = i64::try_from(length).unwrap_or(i64::MAX);
        self.gauge.add(length - self.shown);
        self.shown = length;
    }
}

impl Drop for ShownDepth {
    fn drop(&mut self) {
        self.gauge.add(-self.shown);
    }
}

/// Why something was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// As much waits as may.
    Full,
    /// Nothing new is taken.
    Closed,
}

impl<T: Waiting> Queue<T> {
    /// An empty queue; as long as it lives, its length is part of `depth`.
    pub(super) fn new(capacity: usize, depth: Metric<IntGauge>) -> Self {
        Self {
            state: Mutex::new(State {
                entries: VecDeque::new(),
                depth: ShownDepth {
                    gauge: depth,
                    shown: 0,
                },
                is_closed: false,
            }),
            changed: Condvar::new(),
            capacity,
        }
    }

    /// Takes in something that waits. Whoever pushes sees to it that somebody [wakes](Self::wake) or takes it.
    pub(super) fn push(&self, entry: T) -> Result<(), Refusal> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(Refusal::Closed);
        }
        if state.entries.len() >= self.capacity {
            return Err(Refusal::Full);
        }
        enqueue(&mut state.entries, entry);
        state.show_depth();
        Ok(())
    }

    /// Wakes a thread that waits for something to do.
    pub(super) fn wake(&self) {
        self.changed.notify_one();
    }

    /// What there is to do now, if anything; waits neither for more nor for a batch to grow.
    pub(super) fn take_now(&self, limits: Limits) -> Option<Collected<T>> {
        let mut state = self.lock();
        if state.entries.is_empty() {
            return None;
        }
        let collected = collect(&mut state.entries, Instant::now(), limits, true);
        state.show_depth();
        Some(collected)
    }

    /// Waits for something to do. None: the queue is closed, and everything in it was taken.
    pub(super) fn take(&self, limits: Limits) -> Option<Collected<T>> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let is_closed = state.is_closed;
            let collected = collect(&mut state.entries, now, limits, is_closed);
            let has_something =
                !collected.batch.is_empty() || !collected.expired.is_empty() || !collected.left.is_empty();
            if has_something {
                state.show_depth();
                if !state.entries.is_empty() {
                    // What is left over may be for another engine that sleeps.
                    self.changed.notify_one();
                }
                return Some(collected);
            }
            if is_closed {
                return None;
            }
            state = match collected.look_again {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(now);
                    let woken = self.changed.wait_timeout(state, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Refuses what comes from now on; what waits is still taken.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    pub(super) fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Nothing that runs under the lock leaves the state half-changed, so that a panic there does no harm.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn show_depth(&mut self) {
        self.depth.show(self.entries.len());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::telemetry::worker_metrics::WorkerMetrics;
    use crate::worker::batching::Priority;

    struct Entry(usize, Instant);

    impl Waiting for Entry {
        fn rows(&self) -> usize {
            1
        }
        fn since(&self) -> Instant {
            self.1
        }
        fn deadline(&self) -> Instant {
            self.1 + Duration::from_secs(60)
        }
        fn priority(&self) -> Priority {
            Priority::default()
        }
        fn has_left(&self) -> bool {
            false
        }
        fn fits(&self, _: &Self) -> bool {
            true
        }
    }

    const NATURAL: Limits = Limits {
        max_rows: 4,
        max_delay: Duration::ZERO,
    };

    fn gauge() -> Metric<IntGauge> {
        WorkerMetrics::new().of_version("m", "1").queue_depth
    }

    fn queue(capacity: usize) -> Arc<Queue<Entry>> {
        Arc::new(Queue::new(capacity, gauge()))
    }

    fn push(queue: &Queue<Entry>, id: usize) -> Result<(), Refusal> {
        queue.push(Entry(id, Instant::now()))?;
        queue.wake();
        Ok(())
    }

    #[test]
    fn it_is_bounded_and_shows_its_depth() {
        let depth = gauge();
        let queue = Queue::new(2, depth.clone());
        push(&queue, 0).unwrap();
        push(&queue, 1).unwrap();
        assert_eq!(push(&queue, 2), Err(Refusal::Full));
        assert_eq!(depth.get(), 2);
        assert_eq!(queue.take(NATURAL).unwrap().batch.len(), 2);
        assert_eq!(depth.get(), 0);
    }

    #[test]
    fn two_queues_of_one_version_show_what_waits_in_both() {
        let depth = gauge();
        let old = Queue::new(4, depth.clone());
        push(&old, 0).unwrap();
        push(&old, 1).unwrap();
        let new = Queue::new(4, depth.clone());
        assert_eq!(depth.get(), 2, "what waits in the old one is still there");
        push(&new, 2).unwrap();
        assert_eq!(depth.get(), 3);
        old.take(NATURAL).unwrap();
        assert_eq!(depth.get(), 1);
        drop(old);
        drop(new);
        assert_eq!(depth.get(), 0, "nobody will take what was left");
    }

    #[test]
    fn a_closed_queue_gives_what_it_has_and_then_nothing() {
        let queue = queue(2);
        push(&queue, 0).unwrap();
        queue.close();
        assert_eq!(push(&queue, 1), Err(Refusal::Closed));
        assert_eq!(queue.take(NATURAL).unwrap().batch.len(), 1);
        assert!(queue.take(NATURAL).is_none());
    }

    #[test]
    fn a_thread_that_waits_is_woken_by_a_push_and_by_closing() {
        let queue = queue(2);
        let taker = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                let first = queue.take(NATURAL).map(|collected| collected.batch[0].0);
                (first, queue.take(NATURAL).is_none())
            })
        };
        push(&queue, 7).unwrap();
        queue.close();
        assert_eq!(taker.join().unwrap(), (Some(7), true));
    }

    #[test]
    fn a_batch_that_waits_to_grow_goes_when_its_delay_is_over() {
        let queue = queue(2);
        push(&queue, 0).unwrap();
        let patient = Limits {
            max_delay: Duration::from_millis(5),
            ..NATURAL
        };
        let begun = Instant::now();
        assert_eq!(queue.take(patient).unwrap().batch.len(), 1);
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}
