//! What happened to one version since it was loaded, in the terms of the V2 statistics extension. (Prometheus has its
//! own, beside these: a scrape wants distributions, this extension wants sums.)

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::api::v2::statistics::{BatchStatistics, InferenceStatistics, ModelStatistics, Times};

/// The counts of one version. Requests and engine threads add to them side by side; nobody waits for another, but for
/// the moment in which a run is noted.
#[derive(Debug, Default)]
pub(crate) struct Statistics {
    last_inference: AtomicU64,
    rows: AtomicU64,
    success: Timer,
    fail: Timer,
    queue: Timer,
    compute_input: Timer,
    compute_infer: Timer,
    compute_output: Timer,
    runs: Mutex<BTreeMap<u64, BatchStatistics>>,
}

/// The parts of one run, or of several for one request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RunTimes {
    /// Putting rows together.
    pub(super) input: Duration,
    /// The engine.
    pub(super) infer: Duration,
    /// Taking rows apart.
    pub(super) output: Duration,
}

#[derive(Debug, Default)]
struct Timer {
    count: AtomicU64,
    nanos: AtomicU64,
}

impl Timer {
    fn add(&self, count: u64, each: Duration) {
        self.count.fetch_add(count, Ordering::Relaxed);
        let nanos = nanos(each).saturating_mul(count);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    fn read(&self) -> Times {
        Times {
            count: self.count.load(Ordering::Relaxed),
            ns: self.nanos.load(Ordering::Relaxed),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

const fn once(ns: u64) -> Times {
    Times { count: 1, ns }
}

impl Statistics {
    /// Counts a request that began at `since`; see [`Counted`].
    pub(super) fn begin(self: &Arc<Self>, since: Instant) -> Counted {
        self.last_inference
            .store(milliseconds_since_1970(), Ordering::Relaxed);
        Counted {
            statistics: Arc::clone(self),
            since,
            has_succeeded: false,
        }
    }

    /// A request has come out of the queue.
    pub(super) fn waited(&self, time: Duration) {
        self.queue.add(1, time);
    }

    /// The engine ran so many rows at once.
    pub(super) fn ran(&self, rows: usize, times: RunTimes) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let run = runs.entry(rows as u64).or_default();
        run.compute_input += once(nanos(times.input));
        run.compute_infer += once(nanos(times.infer));
        run.compute_output += once(nanos(times.output));
    }

    /// So many requests with so many rows in all were computed together, in these times.
    pub(super) fn computed(&self, requests: usize, rows: usize, times: RunTimes) {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
        self.compute_input.add(requests as u64, times.input);
        self.compute_infer.add(requests as u64, times.infer);
        self.compute_output.add(requests as u64, times.output);
    }

    /// As they are now.
    pub(super) fn read(&self, name: &str, version: &str) -> ModelStatistics {
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let batch = |(batch_size, run): (u64, BatchStatistics)| BatchStatistics { batch_size, ..run };
        ModelStatistics {
            name: name.to_owned(),
            version: version.to_owned(),
            last_inference: self.last_inference.load(Ordering::Relaxed),
            inference_count: self.rows.load(Ordering::Relaxed),
            execution_count: runs.values().map(|run| run.compute_infer.count).sum(),
            inference_stats: InferenceStatistics {
                success: self.success.read(),
                fail: self.fail.read(),
                queue: self.queue.read(),
                compute_input: self.compute_input.read(),
                compute_infer: self.compute_infer.read(),
                compute_output: self.compute_output.read(),
                ..InferenceStatistics::default()
            },
            batch_stats: runs.into_iter().map(batch).collect(),
        }
    }
}

/// A request that is counted once, however it ends: as failed, unless somebody says that it succeeded.
#[derive(Debug)]
pub(super) struct Counted {
    statistics: Arc<Statistics>,
    since: Instant,
    has_succeeded: bool,
}

impl Counted {
    /// It has its answer.
    pub(super) fn succeed(mut self) {
        self.has_succeeded = true;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let timer = if self.has_succeeded {
            &self.statistics.success
        } else {
            &self.statistics.fail
        };
        timer.add(1, self.since.elapsed());
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the extension tells clients a time of day"
)]
fn milliseconds_since_1970() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn every_request_of_a_run_counts_its_whole_time() {
        let statistics = Statistics::default();
        let times = RunTimes {
            infer: 5 * MS,
            ..RunTimes::default()
        };
        statistics.ran(4, times);
        statistics.computed(3, 4, times);
        statistics.ran(4, times);
        let read = statistics.read("m", "1");
        let infer = Times {
            count: 3,
            ns: 15_000_000,
        };
        assert_eq!(read.inference_stats.compute_infer, infer);
        assert_eq!((read.inference_count, read.execution_count), (4, 2));
        let [batch] = read.batch_stats.as_slice() else {
            panic!("{read:?}")
        };
        assert_eq!((batch.batch_size, batch.compute_infer.ns), (4, 10_000_000));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_nobody_calls_answered_has_failed() {
        let statistics = Arc::new(Statistics::default());
        let (answered, left) = (statistics.begin(Instant::now()), statistics.begin(Instant::now()));
        tokio::time::advance(2 * MS).await;
        answered.succeed();
        drop(left);
        let read = statistics.read("m", "1");
        let once = Times {
            count: 1,
            ns: 2_000_000,
        };
        assert_eq!(
            (read.inference_stats.success, read.inference_stats.fail),
            (once, once)
        );
        assert!(read.last_inference > 1_600_000_000_000);
    }
}
