//! Metrics that may not be there: where a process has none, whoever records into one does nothing.

use std::collections::HashMap;
use std::fmt;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
};

/// All metrics of one name, told apart by their labels.
#[derive(Clone)]
pub struct Family<V>(Option<V>);

/// One metric, looked up once.
#[derive(Clone)]
pub struct Metric<M>(Option<M>);

/// Counters of one name.
pub type CounterFamily = Family<IntCounterVec>;
/// Whole gauges of one name.
pub type GaugeFamily = Family<IntGaugeVec>;
/// Gauges of one name that need not be whole.
pub type NumberFamily = Family<GaugeVec>;
/// Histograms of one name.
pub type HistogramFamily = Family<HistogramVec>;

impl<V> fmt::Debug for Family<V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Family").finish_non_exhaustive()
    }
}

impl<M> fmt::Debug for Metric<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Metric").finish_non_exhaustive()
    }
}

impl<V> Family<V> {
    pub(super) const fn new(family: Option<V>) -> Self {
        Self(family)
    }
}

impl<B: MetricVecBuilder> Family<MetricVec<B>> {
    /// The metric with these values of its labels.
    #[must_use]
    pub fn with_label_values<T: AsRef<str> + fmt::Debug>(&self, values: &[T]) -> Metric<B::M> {
        Metric(self.0.as_ref().map(|family| family.with_label_values(values)))
    }

    /// Removes the metric with these values of its labels, where it is there.
    pub(super) fn remove<T: AsRef<str> + fmt::Debug>(&self, values: &[T]) {
        if let Some(family) = &self.0 {
            let _ = family.remove_label_values(values);
        }
    }

    /// Removes every metric that has all of these labels.
    pub(super) fn forget(&self, labels: &[(&str, &str)]) {
        let Some(all) = &self.0 else { return };
        for family in all.collect() {
            for series in family.get_metric() {
                let pairs = series.get_label().iter();
                let own: HashMap<&str, &str> = pairs.map(|pair| (pair.name(), pair.value())).collect();
                if labels.iter().all(|(name, value)| own.get(name) == Some(value)) {
                    // Nobody else removes series, and it was there a moment ago.
                    let _ = all.remove(&own);
                }
            }
        }
    }
}

impl Metric<IntCounter> {
    /// One more.
    pub fn inc(&self) {
        self.inc_by(1);
    }

    /// So many more.
    pub fn inc_by(&self, more: u64) {
        if let Some(counter) = &self.0 {
            counter.inc_by(more);
        }
    }

    /// What was counted so far; 0 where there are no metrics.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.as_ref().map_or(0, IntCounter::get)
    }
}

impl Metric<IntGauge> {
    /// One more.
    pub fn inc(&self) {
        if let Some(gauge) = &self.0 {
            gauge.inc();
        }
    }

    /// One fewer.
    pub fn dec(&self) {
        if let Some(gauge) = &self.0 {
            gauge.dec();
        }
    }

    /// So many more, or fewer where that is negative.
    pub fn add(&self, more: i64) {
        if let Some(gauge) = &self.0 {
            gauge.add(more);
        }
    }

    /// So many.
    pub fn set(&self, value: i64) {
        if let Some(gauge) = &self.0 {
            gauge.set(value);
        }
    }

    /// How many; 0 where there are no metrics.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.as_ref().map_or(0, IntGauge::get)
    }
}

impl Metric<Gauge> {
    /// Shows this.
    pub fn set(&self, value: f64) {
        if let Some(gauge) = &self.0 {
            gauge.set(value);
        }
    }
}

impl Metric<Histogram> {
    /// Counts one more of this size.
    pub fn observe(&self, value: f64) {
        if let Some(histogram) = &self.0 {
            histogram.observe(value);
        }
    }

    /// How many were counted; 0 where there are no metrics.
    #[must_use]
    pub fn get_sample_count(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::get_sample_count)
    }

    /// What they come to together.
    #[must_use]
    pub fn get_sample_sum(&self) -> f64 {
        self.0.as_ref().map_or(0.0, Histogram::get_sample_sum)
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Opts;

    use super::*;

    #[test]
    fn what_is_not_there_takes_whatever_it_is_told() {
        let none = CounterFamily::new(None);
        let counter = none.with_label_values(&["a"]);
        counter.inc();
        none.forget(&[("label", "a")]);
        none.remove(&["a"]);
        assert_eq!(counter.get(), 0);
        HistogramFamily::new(None).with_label_values(&["a"]).observe(1.0);
        GaugeFamily::new(None).with_label_values(&["a"]).set(1);
    }

    #[test]
    fn series_are_forgotten_by_any_of_their_labels() {
        let vec = IntCounterVec::new(Opts::new("name", "help"), &["model", "code"]).unwrap();
        let family = Family::new(Some(vec));
        for labels in [["a", "ok"], ["a", "internal"], ["b", "ok"]] {
            family.with_label_values(&labels).inc();
        }
        family.forget(&[("model", "a")]);
        let counted = |labels: [&str; 2]| family.with_label_values(&labels).get();
        assert_eq!((counted(["a", "ok"]), counted(["b", "ok"])), (0, 1));
    }
}
