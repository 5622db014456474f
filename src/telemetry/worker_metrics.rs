//! Every metric of a worker.

use prometheus::{Histogram, IntCounter, IntGauge, Registry};

use super::metric::{CounterFamily, GaugeFamily, HistogramFamily, Metric};
use super::metrics::Declare;

/// Every metric of a worker.
#[derive(Clone, Debug)]
pub struct WorkerMetrics {
    /// Where they are scraped from.
    pub registry: Registry,
    /// Answered requests by model and code (`ok`, or the code of the error).
    pub requests: CounterFamily,
    /// From the head of a request to its answer.
    pub request_duration: HistogramFamily,
    /// Requests being worked on.
    pub in_flight: IntGauge,
    /// 1 for the state that a version is in.
    pub model_state: GaugeFamily,
    /// Versions that were loaded, or could not be, by model and outcome (`loaded`, `failed`).
    pub loads: CounterFamily,
    /// Looks at the repository, by outcome: what was found was `taken`, or `refused` (and what serves stays).
    pub scans: CounterFamily,
    batch_rows: HistogramFamily,
    queue_depth: GaugeFamily,
    queue_seconds: HistogramFamily,
    inference_seconds: HistogramFamily,
    abandoned: CounterFamily,
}

/// The metrics of one model version's batching, looked up once.
#[derive(Clone, Debug)]
pub struct BatchMetrics {
    /// Rows of each batch.
    pub batch_rows: Metric<Histogram>,
    /// Requests waiting.
    pub queue_depth: Metric<IntGauge>,
    /// Seconds from queue to engine, one observation a request.
    pub queue_seconds: Metric<Histogram>,
    /// Seconds in the engine, one observation a batch.
    pub inference_seconds: Metric<Histogram>,
    /// Requests that were not computed because their deadline had passed.
    pub expired: Metric<IntCounter>,
    /// Requests that were not computed because their client had left.
    pub left: Metric<IntCounter>,
}

impl Default for WorkerMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl WorkerMetrics {
    /// All of them, at zero, in a registry of their own.
    #[must_use]
    pub fn new() -> Self {
        let declare = Declare::for_this_process();
        let version = &["model", "version"];
        let rows: Vec<f64> = (0..=10).map(|power| f64::from(1 << power)).collect();
        Self {
            requests: declare.counter(
                "millrace_worker_requests_total",
                "Answered predictions, by model and code (ok or the error's code).",
                &["model", "code"],
            ),
            request_duration: declare.durations(
                "millrace_worker_request_duration_seconds",
                "Time from the head of a prediction request to its answer.",
                &["model"],
            ),
            in_flight: declare.count(
                "millrace_worker_in_flight_requests",
                "Predictions being worked on.",
            ),
            model_state: declare.gauge(
                "millrace_worker_model_state",
                "1 for the state that a model version is in.",
                &["model", "version", "state"],
            ),
            loads: declare.counter(
                "millrace_worker_model_loads_total",
                "Model versions that were loaded or reloaded, by outcome: loaded or failed.",
                &["model", "outcome"],
            ),
            scans: declare.counter(
                "millrace_worker_repository_scans_total",
                "Looks at the model repository, by outcome: taken, or refused because it cannot be read or is not mounted.",
                &["outcome"],
            ),
            batch_rows: declare.histogram(
                "millrace_worker_batch_rows",
                "Rows that ran together.",
                version,
                &rows,
            ),
            queue_depth: declare.gauge(
                "millrace_worker_queue_depth",
                "Requests that wait for the engine.",
                version,
            ),
            queue_seconds: declare.durations(
                "millrace_worker_queue_duration_seconds",
                "Time that a request waited for the engine.",
                version,
            ),
            inference_seconds: declare.durations(
                "millrace_worker_inference_duration_seconds",
                "Time that the engine took for a batch.",
                version,
            ),
            abandoned: declare.counter(
                "millrace_worker_abandoned_requests_total",
                "Requests that were not computed, by reason: deadline or client_left.",
                &["model", "version", "reason"],
            ),
            registry: declare.0,
        }
    }

    /// The metrics of one model version.
    #[must_use]
    pub fn of_version(&self, model: &str, version: &str) -> BatchMetrics {
        let labels = &[model, version];
        BatchMetrics {
            batch_rows: self.batch_rows.with_label_values(labels),
            queue_depth: self.queue_depth.with_label_values(labels),
            queue_seconds: self.queue_seconds.with_label_values(labels),
            inference_seconds: self.inference_seconds.with_label_values(labels),
            expired: self.abandoned.with_label_values(&[model, version, "deadline"]),
            left: self.abandoned.with_label_values(&[model, version, "client_left"]),
        }
    }

    /// Removes the series of a version that is gone.
    pub fn forget_version(&self, model: &str, version: &str) {
        let gone = [("model", model), ("version", version)];
        self.model_state.forget(&gone);
        self.batch_rows.forget(&gone);
        self.queue_depth.forget(&gone);
        self.queue_seconds.forget(&gone);
        self.inference_seconds.forget(&gone);
        self.abandoned.forget(&gone);
    }

    /// Removes the series of a model without versions, so that names that come and go do not pile up.
    pub fn forget_model(&self, model: &str) {
        let gone = [("model", model)];
        self.requests.forget(&gone);
        self.request_duration.forget(&gone);
        self.loads.forget(&gone);
    }
}
