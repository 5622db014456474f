//! The time of the pure cores.

use std::ops::Add;
use std::time::Duration;

/// A point in time: microseconds since some origin that all moments of one process, or of one simulation, share.
///
/// Policies, budgets and what workers measure never read a clock. They are given moments, so that a simulation can run the
/// same code on virtual time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// So many microseconds after the origin.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the origin.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to this; zero where that is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// The moment so much earlier; the origin where that would lie before it.
    #[must_use]
    pub const fn before(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(whole_micros(time)))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    /// The moment so much later; the last one there is where that would lie behind it.
    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(whole_micros(time)))
    }
}

/// Whole microseconds, rounded down; at most what 64 bits hold.
#[must_use]
pub(crate) const fn whole_micros(time: Duration) -> u64 {
    let micros = time.as_micros();
    if micros > u64::MAX as u128 {
        u64::MAX
    } else {
        micros as u64
    }
}
