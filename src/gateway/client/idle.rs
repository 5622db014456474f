//! Connections to one worker that carry no request now.
//!
//! Each thread takes the ones that it gave back itself: the runtime of a thread wakes who waits for what comes on the
//! connections that were opened there, and another thread would have to be woken by it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::connection::Connection;
use crate::gateway::per_thread::PerThread;

/// How many looks of [`Idle::close_old`] an unused connection outlives: seconds, well under the time after which a worker
/// closes it (`worker.header_timeout`), so that a request seldom meets a connection that is just being closed.
const LOOKS: u64 = 10;

/// The connections, by threads; the one used last comes first.
#[derive(Debug, Default)]
pub struct Idle {
    resting: PerThread<Vec<Resting>>,
    /// Looks so far: a clock that costs a request nothing.
    looks: AtomicU64,
}

#[derive(Debug)]
struct Resting {
    connection: Connection,
    since: u64,
}

impl Idle {
    /// One that can be used, as far as is known here.
    pub(super) fn take(&self) -> Option<Connection> {
        let mut resting = self.resting.own();
        while let Some(Resting { connection, .. }) = resting.pop() {
            if connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    pub(super) fn give_back(&self, connection: Connection) {
        let since = self.looks.load(Ordering::Relaxed);
        self.resting.own().push(Resting { connection, since });
    }

    /// Closes all of them.
    pub(super) fn close_all(&self) {
        self.resting.each().for_each(|mut place| place.clear());
    }

    /// Closes those that nobody has used for a while. To be called once a second.
    pub fn close_old(&self) {
        let now = self.looks.fetch_add(1, Ordering::Relaxed) + 1;
        for mut place in self.resting.each() {
            place.retain(|resting| now - resting.since < LOOKS);
        }
    }
}
