//! The clock of one gateway.

use tokio::time::Instant;

use super::balance::Moment;

/// Counts from its own start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    /// The time.
    #[must_use]
    pub fn now(self) -> Moment {
        Moment::default() + self.origin.elapsed()
    }
}
