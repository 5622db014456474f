//! Runs batches on the network's own thread, where an engine takes less than handing rows over to its thread costs: waking
//! that thread and being woken by it are two system calls and two changes of context.
//!
//! Rows still run together. Who queues the first request of a batch lets all other connections that have something to read
//! now have their turn first, and then runs whatever is in the queue.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::task::Poll;
use std::time::Duration;

use super::batcher::Entry;
use super::executor::Executor;
use super::pace::Pace;
use super::queue::Queue;

/// The longest run that the network waits for. Handing rows over costs a tenth of it.
const QUICK: Duration = Duration::from_micros(100);

/// What runs the batches of one version in place.
pub(super) struct InPlace {
    queue: Arc<Queue<Entry>>,
    executor: Mutex<Executor>,
    pace: Arc<Pace>,
    /// Somebody has queued a request and will run what waits.
    is_due: AtomicBool,
}

/// The duty of running what waits. Whoever drops it instead leaves it to the engine's thread.
pub(super) struct Turn(Option<Arc<InPlace>>);

impl InPlace {
    pub(super) fn new(queue: Arc<Queue<Entry>>, executor: Executor, pace: Arc<Pace>) -> Arc<Self> {
        Arc::new(Self {
            queue,
            executor: Mutex::new(executor),
            pace,
            is_due: AtomicBool::new(false),
        })
    }

    /// Whether so many rows are run here.
    pub(super) fn takes(&self, rows: usize) -> bool {
        self.pace.estimate(rows).is_some_and(|time| time <= QUICK)
    }

    /// The duty to run what was queued just now; none where somebody else has it already.
    pub(super) fn turn(self: &Arc<Self>) -> Option<Turn> {
        let is_taken = self.is_due.swap(true, Ordering::AcqRel);
        (!is_taken).then(|| Turn(Some(Arc::clone(self))))
    }

    /// Runs what waits, as long as the network may wait for that. What is left then is for a turn of its own, after another one
    /// of all others.
    fn run(self: &Arc<Self>) {
        // From here on the next request is for somebody else to run.
        self.is_due.store(false, Ordering::Release);
        let is_done = match self.executor.try_lock() {
            Ok(mut executor) => executor.work_off(QUICK),
            Err(TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned).work_off(QUICK),
            // Another thread of the network is at it, and may be about to end.
            Err(TryLockError::WouldBlock) => return self.queue.wake(),
        };
        if !is_done && let Some(turn) = self.turn() {
            tokio::spawn(turn.take());
        }
    }
}

impl Turn {
    /// Waits until all others had their turn, and runs what waits then.
    pub(super) async fn take(mut self) {
        let_others_go_first().await;
        if let Some(in_place) = self.0.take() {
            in_place.run();
        }
    }
}

/// Goes on once every other task that is ready now has had its turn.
async fn let_others_go_first() {
    let mut has_waited = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Drop for Turn {
    /// Its client has left; the others wait all the same.
    fn drop(&mut self) {
        if let Some(in_place) = self.0.take() {
            in_place.is_due.store(false, Ordering::Release);
            in_place.queue.wake();
        }
    }
}
