//! What a worker knows of its own load, and tells in answers about a model, so that gateways need not guess.

mod latencies;
mod throughput;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::HeaderValue;
use axum::response::Response;
use tokio::time::Instant;

pub use self::latencies::Latencies;
pub use self::throughput::{Figures, Throughput};
use super::Worker;
use super::batching::Batcher;
use crate::api::load_report::LoadReport;
use crate::http::headers;
use crate::http::observe::Reported;
use crate::moment::Moment;
use crate::telemetry::metrics::UNKNOWN_MODEL;

/// The load of one model. All its versions share it, so that what was learnt outlives a reload.
#[derive(Debug)]
pub struct ModelLoad {
    /// The origin of its time.
    begun: Instant,
    latencies: Mutex<Latencies>,
    throughput: Mutex<Throughput>,
}

impl Default for ModelLoad {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            latencies: Mutex::default(),
            throughput: Mutex::default(),
        }
    }
}

impl ModelLoad {
    fn moment(&self, now: Instant) -> Moment {
        Moment::default() + now.saturating_duration_since(self.begun)
    }

    /// A request that found so many others in flight has its answer; its latency ended `now`.
    pub fn answered(&self, in_flight: u32, took: Duration, now: Instant) {
        lock(&self.latencies).note(in_flight, took, self.moment(now));
    }

    /// One of the `engines` of a version was at work for this time, until `now`.
    pub fn ran(&self, busy: Duration, engines: u32, now: Instant) {
        lock(&self.throughput).ran(busy, engines, self.moment(now));
    }

    /// So many requests have their outputs `now`.
    pub fn computed(&self, requests: usize, now: Instant) {
        let requests = u32::try_from(requests).unwrap_or(u32::MAX);
        lock(&self.throughput).computed(requests, self.moment(now));
    }

    /// What is known `now`, with so many requests in the worker.
    #[must_use]
    pub fn report(&self, in_flight: u32, now: Instant) -> LoadReport {
        let now = self.moment(now);
        let latency = lock(&self.latencies).estimate(in_flight, now);
        report(in_flight, latency, lock(&self.throughput).figures(now))
    }
}

/// The report of what is known.
#[must_use]
pub fn report(in_flight: u32, latency_micros: Option<u32>, figures: Option<Figures>) -> LoadReport {
    LoadReport {
        in_flight: Some(in_flight),
        queue_depth: None,
        latency_micros,
        concurrency: None,
        utilization: figures.map(|figures| short(figures.utilization)),
        requests_per_second: figures.map(|figures| short(figures.requests_per_second)),
    }
}

/// Six digits of a figure: every answer has it, and more of them take longer to write and to read.
fn short(figure: f64) -> f64 {
    if figure == 0.0 {
        return figure;
    }
    let places = 10_f64.powi(5 - figure.abs().log10().floor() as i32);
    (figure * places).round() / places
}

/// No code that can panic runs under these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Worker {
    /// Predictions that are being worked on.
    pub(super) fn in_flight(&self) -> u32 {
        u32::try_from(self.metrics.in_flight.get()).unwrap_or_default()
    }

    /// Tells it in the answer to a prediction.
    pub(super) fn tell_load_of(&self, Reported { response, outcome }: &mut Reported) {
        self.tell_load(outcome.model.as_deref().unwrap_or(UNKNOWN_MODEL), response);
    }

    /// Tells the load in an answer about `model`; of a model that does not answer, there is only that of the worker.
    pub(super) fn tell_load(&self, model: &str, response: &mut Response) {
        let text = self.load_report(model).to_header();
        let value = HeaderValue::try_from(text).expect("letters, digits and punctuation make a header value");
        response.headers_mut().insert(headers::LOAD_METRICS, value);
    }

    fn load_report(&self, model: &str) -> LoadReport {
        let in_flight = self.in_flight();
        let catalogue = self.registry.catalogue();
        let Some(any) = catalogue.answering(model).next() else {
            return LoadReport {
                in_flight: Some(in_flight),
                ..LoadReport::default()
            };
        };
        let sum = |of: fn(&Batcher) -> usize| {
            let batchers = catalogue.answering(model).map(|served| &served.batcher);
            u32::try_from(batchers.map(of).sum::<usize>()).unwrap_or(u32::MAX)
        };
        LoadReport {
            queue_depth: Some(sum(Batcher::depth)),
            concurrency: Some(sum(Batcher::concurrency)),
            ..any.batcher.load().report(in_flight, Instant::now())
        }
    }
}
