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
        self.at(Instant::now())
    }

    /// What it shows at `instant`. Who has just looked at the time need not look again: that is a call each time.
    #[must_use]
    pub fn at(self, instant: Instant) -> Moment {
        Moment::default() + instant.saturating_duration_since(self.origin)
    }
}
