//! How long to wait before a worker that ended is started again.

use std::time::Duration;

/// The first wait: one crash should cost next to nothing.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait: a worker that cannot start must not fill the log.
const LONGEST: Duration = Duration::from_secs(10);
/// A worker that ran so long was well; its next end is a first one again.
const RAN_WELL: Duration = Duration::from_secs(10);

/// Doubles the wait with every short run.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    short_runs: u32,
}

impl Backoff {
    /// The wait after a worker ran for `lasted`.
    pub(super) fn after_run(&mut self, lasted: Duration) -> Duration {
        if lasted >= RAN_WELL {
            self.short_runs = 0;
        }
        let wait = FIRST
            .saturating_mul(2_u32.saturating_pow(self.short_runs))
            .min(LONGEST);
        self.short_runs = self.short_runs.saturating_add(1);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_runs_wait_longer_and_longer() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..9)
            .map(|_| backoff.after_run(Duration::ZERO).as_millis())
            .collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    }

    #[test]
    fn a_long_run_makes_the_next_end_a_first_one() {
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.after_run(Duration::ZERO);
        }
        assert_eq!(backoff.after_run(RAN_WELL), FIRST);
    }
}
