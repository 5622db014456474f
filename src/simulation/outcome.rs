//! What came of a simulation.

use super::histogram::Histogram;

/// Figures of the measured time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What requests took, from the gateway's view: those that were answered, and with the deadline those that were not in
    /// time. Requests that failed fast are not in it.
    pub latencies: Histogram,
    /// Requests that got their prediction.
    pub answered: u64,
    /// Requests that got none.
    pub failed: u64,
    /// Tries after the first.
    pub retries: u64,
    /// Retries that the budget refused.
    pub retries_refused: u64,
    /// Of each worker.
    pub workers: Vec<WorkerOutcome>,
}

/// Figures of one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WorkerOutcome {
    /// Requests that came to it.
    pub requests: u64,
    /// The share of time for which its places were at work, 0 to 1.
    pub utilization: f64,
    /// The most requests that were in it at once.
    pub most_in_flight: u32,
}

impl Outcome {
    /// Requests that were answered or failed.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.answered + self.failed
    }
}
