//! The figures of one policy, and which policy has the best.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::outcome::Outcome;
use super::scenario::WorkerSpec;

/// How a fleet did under one policy. Times are in milliseconds, shares from 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The policy.
    pub policy: String,
    /// Requests that were counted.
    pub requests: u64,
    /// Half of all took no longer.
    pub p50_ms: f64,
    /// 99 % took no longer.
    pub p99_ms: f64,
    /// 99.9 % took no longer.
    pub p999_ms: f64,
    /// The average.
    pub mean_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// The share of the requests that got no prediction.
    pub failed: f64,
    /// Retries for each request.
    pub retries: f64,
    /// The load of the busiest worker: the share of time for which its places were at work.
    pub busiest_load: f64,
    /// The load of all workers on average.
    pub mean_load: f64,
    /// The share of the requests that came to slow workers; none where there are no slow ones.
    pub slow_share: Option<f64>,
    /// Whether no other policy has a lower p99, of those that fail least.
    pub is_fastest: bool,
}

/// Policies that fail more requests than the best by no more than this share are as good.
const FAILURE_TOLERANCE: f64 = 0.001;

impl Summary {
    /// Of what came of a policy over these workers.
    #[must_use]
    pub fn new(policy: String, outcome: &Outcome, workers: &[WorkerSpec]) -> Self {
        let loads = outcome.workers.iter().map(|worker| worker.utilization);
        let count = outcome.workers.len().max(1) as f64;
        let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        let tries = outcome.workers.iter().map(|worker| worker.requests).sum();
        let is_slow = |spec: &WorkerSpec| spec.factor > 1.0;
        let pairs = outcome.workers.iter().zip(workers);
        let at_slow = pairs
            .filter(|(_, spec)| is_slow(spec))
            .map(|(worker, _)| worker.requests)
            .sum();
        let latencies = &outcome.latencies;
        Self {
            policy,
            requests: outcome.requests(),
            p50_ms: millis(latencies.quantile(0.5)),
            p99_ms: millis(latencies.quantile(0.99)),
            p999_ms: millis(latencies.quantile(0.999)),
            mean_ms: millis(latencies.mean()),
            max_ms: millis(latencies.max()),
            failed: share(outcome.failed, outcome.requests()),
            retries: share(outcome.retries, outcome.requests()),
            busiest_load: loads.clone().fold(0.0, f64::max),
            mean_load: loads.sum::<f64>() / count,
            slow_share: workers.iter().any(is_slow).then(|| share(at_slow, tries)),
            is_fastest: false,
        }
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Says of each whether it is the fastest.
pub fn mark_fastest(summaries: &mut [Summary]) {
    let least_failed = summaries.iter().map(|it| it.failed).fold(f64::INFINITY, f64::min);
    let is_reliable = |it: &Summary| it.requests > 0 && it.failed <= least_failed + FAILURE_TOLERANCE;
    let reliable = summaries.iter().filter(|it| is_reliable(it));
    let least = reliable.map(|it| it.p99_ms).fold(f64::INFINITY, f64::min);
    for summary in summaries {
        summary.is_fastest = is_reliable(summary) && summary.p99_ms <= least;
    }
}

const HEADER: [&str; 10] = [
    "policy",
    "p50",
    "p99",
    "p99.9",
    "mean",
    "max",
    "failed",
    "busiest",
    "mean",
    "slow ones get",
];

/// The table for people; times in milliseconds. A star marks the fastest.
#[must_use]
pub fn table(summaries: &[Summary]) -> String {
    let mut rows = vec![HEADER.map(str::to_owned)];
    rows.extend(summaries.iter().map(cells));
    let widths: Vec<usize> = (0..HEADER.len())
        .map(|column| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for (row, summary) in rows
        .iter()
        .zip(std::iter::once(None).chain(summaries.iter().map(Some)))
    {
        let mark = if summary.is_some_and(|summary| summary.is_fastest) {
            '*'
        } else {
            ' '
        };
        let _ = write!(text, "{mark} {:<width$}", row[0], width = widths[0]);
        for (cell, &width) in row.iter().zip(&widths).skip(1) {
            let _ = write!(text, "  {cell:>width$}");
        }
        text.push('\n');
    }
    text
}

fn cells(summary: &Summary) -> [String; 10] {
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    [
        summary.policy.clone(),
        time(summary.p50_ms),
        time(summary.p99_ms),
        time(summary.p999_ms),
        time(summary.mean_ms),
        time(summary.max_ms),
        format!("{:.2} %", summary.failed * 100.0),
        percent(summary.busiest_load),
        percent(summary.mean_load),
        summary
            .slow_share
            .map_or_else(|| "-".to_owned(), |share| format!("{:.3} %", share * 100.0)),
    ]
}

/// Milliseconds with three digits that say something.
fn time(millis: f64) -> String {
    let decimals = match millis {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{millis:.decimals$} ms")
}

#[cfg(test)]
mod tests {
    use super::super::{Histogram, WorkerOutcome};
    use super::*;

    fn outcome(micros: u64, failed: u64) -> Outcome {
        let mut latencies = Histogram::default();
        latencies.add(Duration::from_micros(micros));
        let worker = |requests, utilization| WorkerOutcome {
            requests,
            utilization,
            most_in_flight: 1,
        };
        Outcome {
            latencies,
            answered: 100 - failed,
            failed,
            workers: vec![worker(75, 0.3), worker(25, 0.9)],
            ..Outcome::default()
        }
    }

    fn summaries() -> Vec<Summary> {
        let slow = WorkerSpec {
            factor: 10.0,
            ..WorkerSpec::default()
        };
        let workers = [WorkerSpec::default(), slow];
        let outcomes = [
            ("round_robin", 12_345, 0),
            ("failing", 1, 3),
            ("prequal", 2_000, 0),
        ];
        let mut summaries = outcomes
            .map(|(name, micros, failed)| Summary::new(name.into(), &outcome(micros, failed), &workers));
        mark_fastest(&mut summaries);
        summaries.to_vec()
    }

    #[test]
    fn the_fastest_is_among_those_that_do_not_fail() {
        let fastest = summaries().into_iter().map(|it| it.is_fastest);
        assert_eq!(fastest.collect::<Vec<_>>(), [false, false, true]);
    }

    #[test]
    fn the_table_lines_up() {
        let expected = "  policy           p50      p99    p99.9     mean      max  failed  busiest    mean  slow ones get
  round_robin  12.3 ms  12.3 ms  12.3 ms  12.3 ms  12.3 ms  0.00 %   90.0 %  60.0 %       25.000 %
  failing      0.00 ms  0.00 ms  0.00 ms  0.00 ms  0.00 ms  3.00 %   90.0 %  60.0 %       25.000 %
* prequal      2.00 ms  2.00 ms  2.00 ms  2.00 ms  2.00 ms  0.00 %   90.0 %  60.0 %       25.000 %
";
        assert_eq!(table(&summaries()), expected);
    }
}
