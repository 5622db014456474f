//! What the metrics of both processes have in common: one registry, one set of buckets, one text encoder.
//!
//! Every metric is declared once, in [`gateway_metrics`](super::gateway_metrics) or
//! [`worker_metrics`](super::worker_metrics). Units are base units (seconds, bytes), and every label has a bounded
//! set of values: what clients send, such as the name of a model that nobody has, never becomes one.

use std::collections::HashMap;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{
    Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// The label value for a model that nobody here knows. No model can be called so.
pub const UNKNOWN_MODEL: &str = "_unknown";

/// From 100 µs to 10 s, three a decade: small models answer in the first buckets, a deadline ends in the last.
pub(super) const DURATION_BUCKETS: [f64; 16] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Declares metrics in one registry.
#[derive(Clone, Debug)]
pub(super) struct Declare(pub(super) Registry);

impl Declare {
    /// A registry that already holds what the system knows of this process, and which build runs.
    pub(super) fn for_this_process() -> Self {
        let declare = Self(Registry::new());
        declare.register(prometheus::process_collector::ProcessCollector::for_self());
        let build = declare.gauge("millrace_build_info", "Which build runs; always 1.", &["version"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        declare
    }

    pub(super) fn counter(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        let counter =
            IntCounterVec::new(Opts::new(name, help), labels).expect("a declared metric has a valid name");
        self.register(counter.clone());
        counter
    }

    pub(super) fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        let gauge =
            IntGaugeVec::new(Opts::new(name, help), labels).expect("a declared metric has a valid name");
        self.register(gauge.clone());
        gauge
    }

    /// A gauge that need not be whole.
    pub(super) fn number(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        let gauge = GaugeVec::new(Opts::new(name, help), labels).expect("a declared metric has a valid name");
        self.register(gauge.clone());
        gauge
    }

    pub(super) fn durations(&self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        self.histogram(name, help, labels, &DURATION_BUCKETS)
    }

    pub(super) fn histogram(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let histogram = HistogramVec::new(options, labels).expect("a declared metric has a valid name");
        self.register(histogram.clone());
        histogram
    }

    fn register(&self, collector: impl Collector + 'static) {
        self.0
            .register(Box::new(collector))
            .expect("every metric is declared once");
    }
}

/// Removes every series that has all of these labels.
pub(super) fn forget<T: MetricVecBuilder>(metric: &MetricVec<T>, labels: &[(&str, &str)]) {
    for family in metric.collect() {
        for series in family.get_metric() {
            let pairs = series.get_label().iter();
            let all: HashMap<&str, &str> = pairs.map(|pair| (pair.name(), pair.value())).collect();
            if labels.iter().all(|(name, value)| all.get(name) == Some(value)) {
                // Nobody else removes series, and it was there a moment ago.
                let _ = metric.remove(&all);
            }
        }
    }
}

/// The text that Prometheus scrapes, and its content type.
#[must_use]
pub fn encode(registry: &Registry) -> (&'static str, Vec<u8>) {
    let mut text = Vec::with_capacity(16 << 10);
    TextEncoder::new()
        .encode(&registry.gather(), &mut text)
        .expect("a vector takes every byte");
    (prometheus::TEXT_FORMAT, text)
}
