//! One worker, as the gateway sees it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::uri::Authority;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::balance::{EndpointLoad, Load, LoadReport, Moment};
use super::circuit::Circuit;
use super::client::Address;
use super::clock::Clock;
use super::snapshot::Picked;
use crate::telemetry::gateway_metrics::EndpointMetrics;

/// One worker: where it is, and what is going on with it. Health, weight and models belong to the
/// [pool](super::pool), which changes them in one place.
#[derive(Debug)]
pub struct Endpoint {
    /// Its name in metrics, logs and admin.
    pub id: Arc<str>,
    /// Where it is.
    pub address: Address,
    /// Its metrics, looked up once.
    pub metrics: EndpointMetrics,
    /// Wakes its prober before its time: a request has just met trouble.
    pub probe_now: Notify,
    is_out: AtomicBool,
    load: Arc<EndpointLoad>,
    /// What is known of it for each model. Requests find theirs in the snapshot.
    known: Mutex<HashMap<Arc<str>, Known>>,
}

/// What is known of one endpoint for one model.
#[derive(Clone, Debug)]
pub struct Known {
    /// For policies.
    pub load: Arc<Load>,
    /// For its breaker.
    pub circuit: Arc<Circuit>,
}

impl Endpoint {
    /// An endpoint without any request.
    #[must_use]
    pub fn new(id: &str, authority: Authority, metrics: EndpointMetrics) -> Arc<Self> {
        Arc::new(Self {
            id: id.into(),
            address: Address::of_endpoint(authority, &metrics),
            metrics,
            probe_now: Notify::new(),
            is_out: AtomicBool::new(false),
            load: Arc::default(),
            known: Mutex::default(),
        })
    }

    /// Whether it was found to be down. Requests that are there may never be answered.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.is_out.load(Ordering::Relaxed)
    }

    /// Tells its requests whether it is down.
    pub fn set_out(&self, is_out: bool) {
        self.is_out.store(is_out, Ordering::Relaxed);
    }

    /// Requests that wait for its answer.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.load.in_flight()
    }

    /// What is known of it for a model; from now on, if nothing was.
    #[must_use]
    pub fn known_of(&self, model: &Arc<str>) -> Known {
        let nothing = || Known {
            load: Arc::new(Load::of(Arc::clone(&self.load))),
            circuit: Arc::default(),
        };
        let mut known = self.lock();
        known.entry(Arc::clone(model)).or_insert_with(nothing).clone()
    }

    /// Forgets what is known of it for models that it no longer has.
    pub fn keep_known(&self, is_served: impl Fn(&str) -> bool) {
        self.lock().retain(|model, _| is_served(model));
    }

    /// What is known of it for each model.
    #[must_use]
    pub fn known(&self) -> Vec<(Arc<str>, Known)> {
        let pair = |(model, known): (&Arc<str>, &Known)| (Arc::clone(model), known.clone());
        self.lock().iter().map(pair).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Known>> {
        // Entries are put in whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request that waits for an endpoint's answer. Because a guard holds the count, it cannot drift: the request
/// may be answered, fail, run out of time or be given up by its client.
#[derive(Debug)]
pub struct InFlight {
    picked: Picked,
    clock: Clock,
    begun: Instant,
    /// When its answer was there, or it was clear that there is none, and how long that took.
    ended: Option<(Moment, Duration)>,
    decay: Duration,
    /// Requests for the model that were there when it came, itself included.
    met: u32,
    is_judged: bool,
}

impl InFlight {
    /// Counts a request in, now; it is counted out when the guard goes. Latency estimates decay with this time constant.
    #[must_use]
    pub fn begin(picked: Picked, clock: Clock, decay: Duration, now: Instant) -> Self {
        let met = picked.slot.load().awaited();
        picked.endpoint.metrics.in_flight.inc();
        Self {
            picked,
            clock,
            begun: now,
            ended: None,
            decay,
            met,
            is_judged: false,
        }
    }

    /// Whose request it is.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.picked.endpoint
    }

    /// How it came there.
    #[must_use]
    pub fn picked(&self) -> &Picked {
        &self.picked
    }

    /// Its answer is there, or none will be: what is told of it from here on happened now.
    pub fn end(&mut self, now: Instant) {
        self.ended = Some(self.at(now));
    }

    /// It ended only as far as its answer has begun; the rest of that passes.
    pub fn go_on(&mut self) {
        self.ended = None;
    }

    /// When it ended; now, where it has not.
    #[must_use]
    pub fn time(&self) -> Moment {
        self.seen().0
    }

    /// How long it has been there, or was.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.seen().1
    }

    fn seen(&self) -> (Moment, Duration) {
        self.ended.unwrap_or_else(|| self.at(Instant::now()))
    }

    fn at(&self, now: Instant) -> (Moment, Duration) {
        (self.clock.at(now), now.saturating_duration_since(self.begun))
    }

    /// Takes in what the worker said of itself.
    pub fn report(&self, report: &LoadReport) {
        self.load().report(report, self.time());
    }

    /// The answer is there: what it took counts.
    pub fn answered(&mut self) {
        if self.is_first_judgement() {
            let elapsed = self.elapsed();
            self.load().limit.answered(elapsed, self.present());
            self.load().observe(elapsed, self.time(), self.decay);
        }
    }

    /// What it took says nothing of the endpoint.
    pub fn says_nothing(&mut self) {
        self.is_first_judgement();
    }

    /// It failed, and counts as having taken at least so long.
    pub fn failed(&mut self, penalty: Duration) {
        if self.is_first_judgement() {
            let penalty = penalty.max(self.elapsed());
            self.load().observe_failure(penalty, self.time(), self.decay);
        }
    }

    /// What is known of the endpoint for the model.
    #[must_use]
    pub fn load(&self) -> &Load {
        self.picked.slot.load()
    }

    /// Requests for the model that were there when it came, or are there now, whichever are more.
    fn present(&self) -> u32 {
        self.met.max(self.load().awaited())
    }

    /// Only the first judgement counts.
    fn is_first_judgement(&mut self) -> bool {
        !std::mem::replace(&mut self.is_judged, true)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let elapsed = self.elapsed();
        if !self.is_judged {
            // It was given up: all that is known is that the answer takes longer.
            self.load().limit.missed(elapsed, self.present());
            self.load().observe_at_least(elapsed, self.time(), self.decay);
        }
        self.picked.endpoint.metrics.in_flight.dec();
        self.picked
            .endpoint
            .metrics
            .duration
            .observe(elapsed.as_secs_f64());
    }
}
