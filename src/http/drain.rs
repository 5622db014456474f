//! The end of a server, in two steps, so that nobody is cut off.
//!
//! First it *announces*: readiness turns 503, balancers look elsewhere, requests are still taken. Then it *closes*:
//! no new requests, no new connections, and what was accepted is finished within the grace period.

use tokio::sync::watch;
use tokio::time::sleep;

use crate::config::ShutdownConfig;

/// Where a server is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serves.
    Running,
    /// Says that it will stop, and still serves.
    Announced,
    /// Takes nothing new and finishes what it has.
    Closing,
}

/// A view of a server's phase. All clones see the same one.
#[derive(Clone, Debug)]
pub struct Drain(watch::Sender<Phase>);

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

impl Drain {
    /// A server that runs.
    #[must_use]
    pub fn new() -> Self {
        Self(watch::Sender::new(Phase::Running))
    }

    /// Where the server is now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Whether it has said that it will stop.
    #[must_use]
    pub fn is_announced(&self) -> bool {
        self.phase() >= Phase::Announced
    }

    /// Whether it takes nothing new.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.phase() >= Phase::Closing
    }

    /// Moves on to `phase`; never back.
    pub fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|current| {
            let moves = phase > *current;
            *current = phase.max(*current);
            moves
        });
    }

    /// Waits until the server is in `phase` or past it.
    pub async fn reached(&self, phase: Phase) {
        let mut phases = self.0.subscribe();
        // The sender lives in self, so that waiting cannot fail.
        let _ = phases.wait_for(|current| *current >= phase).await;
    }

    /// Announces, waits for the configured delay, and closes.
    pub async fn begin(&self, shutdown: &ShutdownConfig) {
        self.advance(Phase::Announced);
        sleep(shutdown.delay).await;
        self.advance(Phase::Closing);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_announces_before_it_closes() {
        let drain = Drain::new();
        let shutdown = ShutdownConfig {
            delay: Duration::from_secs(5),
            grace: Duration::from_secs(1),
        };
        let begun = tokio::time::Instant::now();
        let ending = tokio::spawn({
            let drain = drain.clone();
            async move { drain.begin(&shutdown).await }
        });
        drain.reached(Phase::Announced).await;
        assert!(drain.is_announced() && !drain.is_closing());
        drain.reached(Phase::Closing).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
        ending.await.unwrap();
    }

    #[test]
    fn there_is_no_way_back() {
        let drain = Drain::new();
        drain.advance(Phase::Closing);
        drain.advance(Phase::Announced);
        assert_eq!(drain.phase(), Phase::Closing);
    }
}
