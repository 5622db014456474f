//! Circuit breaking: an endpoint that fails at one model gets no requests for it until it has shown that it can serve it.
//!
//! There is one breaker for each endpoint *and model*, so that one broken model takes no other down. What requests write
//! ([`Circuit`]) takes no lock; the [`breaker`]s belong to the [pool](super::pool), whose snapshots say who is ejected.
//! Everything here is pure: values and moments in, values out. That nobody listens, or that a worker drains, is not
//! judged here but in [`health`](super::health), for all models at once.

pub mod breaker;
pub mod ejection;
pub mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use self::breaker::{Breaker, State};
pub use self::ejection::{Reason, Standing};
pub use self::window::{Counts, Mark, Window};

/// What requests and the breaker of one endpoint and model tell each other.
#[derive(Debug, Default)]
pub struct Circuit {
    /// What came of the requests.
    pub window: Window,
    is_tried: AtomicBool,
}

impl Circuit {
    /// A trial, if there is none under way: while half open, one request at a time comes through.
    #[must_use]
    pub fn try_alone(self: &Arc<Self>) -> Option<Trial> {
        let begun = self
            .is_tried
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
        begun.is_ok().then(|| Trial::Alone(Turn(Arc::clone(self))))
    }
}

/// A request on trial: what comes of it decides whether the breaker closes. It lasts until this is dropped.
#[derive(Debug)]
pub enum Trial {
    /// No other is under way there.
    Alone(Turn),
    /// Ejections are ignored, so that there may be others.
    Among,
}

/// The only trial of a circuit.
#[derive(Debug)]
pub struct Turn(Arc<Circuit>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.is_tried.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_trial_at_a_time() {
        let circuit = Arc::new(Circuit::default());
        let trial = circuit.try_alone();
        assert!(trial.is_some() && circuit.try_alone().is_none());
        drop(trial);
        assert!(circuit.try_alone().is_some());
    }

    #[test]
    fn of_many_at_once_one_gets_through() {
        let circuit = Arc::new(Circuit::default());
        let trials: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| circuit.try_alone())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(trials.iter().flatten().count(), 1);
    }
}
