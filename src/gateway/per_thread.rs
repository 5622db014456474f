//! One value for each thread that serves connections.

use std::array;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Threads beyond so many share a place, which costs a wake-up and no more.
const PLACES: usize = 16;

/// The values, each made when it is first asked for.
#[derive(Debug)]
pub(super) struct PerThread<T>([Mutex<T>; PLACES]);

impl<T: Default> Default for PerThread<T> {
    fn default() -> Self {
        Self(array::from_fn(|_| Mutex::default()))
    }
}

impl<T> PerThread<T> {
    /// That of this thread.
    pub(super) fn own(&self) -> MutexGuard<'_, T> {
        lock(&self.0[thread_number() % PLACES])
    }

    /// Those of all threads, one after the other.
    pub(super) fn each(&self) -> impl Iterator<Item = MutexGuard<'_, T>> {
        self.0.iter().map(lock)
    }
}

fn lock<T>(place: &Mutex<T>) -> MutexGuard<'_, T> {
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
