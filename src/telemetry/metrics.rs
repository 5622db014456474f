//! What the metrics of both processes have in common: one registry, one set of buckets, one text encoder.
//!
//! Every metric is declared once, in [`gateway_metrics`](super::gateway_metrics) or
//! [`worker_metrics`](super::worker_metrics). Units are base units (seconds, bytes), and every label has a bounded
//! set of values: what clients send, such as the name of a model that nobody has, never becomes one.

use std::sync::atomic::{AtomicBool, Ordering};

use prometheus::core::Collector;
use prometheus::{
    Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use super::metric::Family;
use crate::config::TelemetryConfig;

/// The label value for a model that nobody here knows. No model can be called so.
pub const UNKNOWN_MODEL: &str = "_unknown";

/// From 100 µs to 10 s, three a decade: small models answer in the first buckets, a deadline ends in the last.
pub(super) const DURATION_BUCKETS: [f64; 16] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Whether this process has metrics.
static ARE_RECORDED: AtomicBool = AtomicBool::new(true);

/// Says for the whole process whether it has metrics. To be said before any is declared.
pub fn start(config: &TelemetryConfig) {
    ARE_RECORDED.store(config.metrics, Ordering::Relaxed);
}

/// Whether this process has metrics.
fn are_recorded() -> bool {
    ARE_RECORDED.load(Ordering::Relaxed)
}

/// Declares metrics in one registry; none where this process has none.
#[derive(Clone, Debug)]
pub(super) struct Declare(pub(super) Registry);

impl Declare {
    /// A registry that already holds what the system knows of this process, and which build runs.
    pub(super) fn for_this_process() -> Self {
        let declare = Self(Registry::new());
        if !are_recorded() {
            return declare;
        }
        declare.register(prometheus::process_collector::ProcessCollector::for_self());
        let build = declare.gauge("millrace_build_info", "Which build runs; always 1.", &["version"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        declare
    }

    pub(super) fn counter(&self, name: &str, help: &str, labels: &[&str]) -> Family<IntCounterVec> {
        self.family(|| IntCounterVec::new(Opts::new(name, help), labels))
    }

    pub(super) fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> Family<IntGaugeVec> {
        self.family(|| IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// A gauge that need not be whole.
    pub(super) fn number(&self, name: &str, help: &str, labels: &[&str]) -> Family<GaugeVec> {
        self.family(|| GaugeVec::new(Opts::new(name, help), labels))
    }

    /// A gauge that somebody reads as well, so that it counts whether there are metrics or not.
    pub(super) fn count(&self, name: &str, help: &str) -> IntGauge {
        let gauge = IntGauge::new(name, help).expect("a declared metric has a valid name");
        if are_recorded() {
            self.register(gauge.clone());
        }
        gauge
    }

    pub(super) fn durations(&self, name: &str, help: &str, labels: &[&str]) -> Family<HistogramVec> {
        self.histogram(name, help, labels, &DURATION_BUCKETS)
    }

    pub(super) fn histogram(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> Family<HistogramVec> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.family(|| HistogramVec::new(options, labels))
    }

    fn family<V: Collector + Clone + 'static>(
        &self,
        make: impl FnOnce() -> prometheus::Result<V>,
    ) -> Family<V> {
        Family::new(are_recorded().then(|| {
            let family = make().expect("a declared metric has a valid name");
            self.register(family.clone());
            family
        }))
    }

    fn register(&self, collector: impl Collector + 'static) {
        self.0
            .register(Box::new(collector))
            .expect("every metric is declared once");
    }
}

/// There is nothing to scrape.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("this process has no metrics (telemetry.metrics)")]
pub struct NoMetrics;

/// The text that Prometheus scrapes, and its content type.
pub fn encode(registry: &Registry) -> Result<(&'static str, Vec<u8>), NoMetrics> {
    if !are_recorded() {
        return Err(NoMetrics);
    }
    let mut text = Vec::with_capacity(16 << 10);
    TextEncoder::new()
        .encode(&registry.gather(), &mut text)
        .expect("a vector takes every byte");
    Ok((prometheus::TEXT_FORMAT, text))
}
