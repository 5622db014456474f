//! The threads on which connections are served.
//!
//! Each thread runs a single-threaded runtime of its own. What happens on a connection, and on those to workers that its
//! requests go out on, then stays on one thread: no task is handed from core to core, and hardly any wake-up is a system
//! call. Connections are dealt out by one accept loop, so that an address which is taken is still refused at the start
//! (two processes that share a port would both succeed), and so that no thread has many more of them than another.

use std::io;
use std::sync::Arc;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Threads that connections are dealt out to. They end when the last clone goes, and with them what still runs there.
#[derive(Clone, Debug)]
pub struct Threads(Arc<Running>);

#[derive(Debug)]
struct Running {
    threads: Vec<Thread>,
    _end: DropGuard,
}

#[derive(Debug)]
struct Thread {
    runtime: Handle,
    /// Every connection has a clone of it.
    connections: Arc<()>,
}

/// A thread that a connection is served on, and that counts it as long as this lives.
pub(super) struct Assigned {
    pub(super) runtime: Handle,
    _counted: Arc<()>,
}

impl Threads {
    /// The runtime that this is called on, and no other.
    #[must_use]
    pub fn here() -> Self {
        Self::of(vec![Handle::current()], CancellationToken::new())
    }

    /// `count` threads; for one the runtime that this is called on will do.
    pub fn start(count: usize) -> io::Result<Self> {
        if count <= 1 {
            return Ok(Self::here());
        }
        let end = CancellationToken::new();
        let runtimes: io::Result<_> = (0..count).map(|_| start_one(end.clone())).collect();
        Ok(Self::of(runtimes?, end))
    }

    fn of(runtimes: Vec<Handle>, end: CancellationToken) -> Self {
        let thread = |runtime| Thread {
            runtime,
            connections: Arc::default(),
        };
        Self(Arc::new(Running {
            threads: runtimes.into_iter().map(thread).collect(),
            _end: end.drop_guard(),
        }))
    }

    /// The thread with the fewest connections, for one more.
    pub(super) fn assign(&self) -> Assigned {
        let threads = &self.0.threads;
        let idlest = threads
            .iter()
            .min_by_key(|thread| Arc::strong_count(&thread.connections));
        let thread = idlest.expect("there is one thread at least");
        Assigned {
            runtime: thread.runtime.clone(),
            _counted: Arc::clone(&thread.connections),
        }
    }
}

fn start_one(end: CancellationToken) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new()
        .name("millrace-net".to_owned())
        .spawn(move || {
            runtime.block_on(end.cancelled());
            // A blocking call that nobody waits for any more must not hold up the end.
            runtime.shutdown_background();
        })?;
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    async fn thread_of(assigned: &Assigned) -> thread::ThreadId {
        let task = assigned.runtime.spawn(async { thread::current().id() });
        task.await.unwrap()
    }

    #[tokio::test]
    async fn connections_are_dealt_out_evenly_and_the_next_goes_where_one_has_ended() {
        let threads = Threads::start(3).unwrap();
        let mut assigned: Vec<Assigned> = (0..3).map(|_| threads.assign()).collect();
        let mut ids = Vec::new();
        for one in &assigned {
            ids.push(thread_of(one).await);
        }
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 3);
        assigned.remove(1);
        assert_eq!(thread_of(&threads.assign()).await, ids[1]);
    }

    #[tokio::test]
    async fn one_thread_is_the_one_that_is_there() {
        let assigned = Threads::start(1).unwrap().assign();
        assert_eq!(thread_of(&assigned).await, thread::current().id());
    }

    #[tokio::test]
    async fn the_threads_end_with_the_last_clone() {
        let threads = Threads::start(2).unwrap();
        let assigned = threads.assign();
        let left = assigned.runtime.spawn(std::future::pending::<()>());
        drop(threads);
        assert!(left.await.unwrap_err().is_cancelled());
    }
}
