//! Connections to one worker that carry no request now.
//!
//! Each thread takes the ones that it gave back itself: the runtime of a thread wakes who waits for what comes on the
//! connections that were opened there, and another thread would have to be woken by it.

use std::array;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;

/// How long an unused connection is kept. Well under the time after which a worker closes it
/// (`worker.header_timeout`), so that a request seldom meets a connection that is just being closed.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Threads beyond so many share a place, which costs a wake-up and no more.
const PLACES: usize = 16;

/// The connections, by threads; the one used last comes first.
#[derive(Debug)]
pub struct Idle([Mutex<Vec<Resting>>; PLACES]);

#[derive(Debug)]
struct Resting {
    connection: Connection,
    since: Instant,
}

impl Default for Idle {
    fn default() -> Self {
        Self(array::from_fn(|_| Mutex::default()))
    }
}

impl Idle {
    /// One that can be used, as far as is known here.
    pub(super) fn take(&self) -> Option<Connection> {
        let mut resting = self.own();
        let is_fresh = |since: Instant| since.elapsed() < TIMEOUT;
        while let Some(Resting { connection, since }) = resting.pop() {
            if is_fresh(since) && connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    pub(super) fn give_back(&self, connection: Connection) {
        let since = Instant::now();
        self.own().push(Resting { connection, since });
    }

    /// Closes those that nobody has used for a while.
    pub fn close_old(&self) {
        let now = Instant::now();
        for place in &self.0 {
            lock(place).retain(|resting| now.saturating_duration_since(resting.since) < TIMEOUT);
        }
    }

    fn own(&self) -> MutexGuard<'_, Vec<Resting>> {
        lock(&self.0[thread_number() % PLACES])
    }
}

fn lock(place: &Mutex<Vec<Resting>>) -> MutexGuard<'_, Vec<Resting>> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number of this thread, which no other has.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    OWN.with(|own| *own)
}
