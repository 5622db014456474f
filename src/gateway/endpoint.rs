//! One worker, as the gateway sees it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::uri::{Authority, PathAndQuery, Scheme};
use axum::http::{HeaderMap, Method, Request, Uri};
use bytes::Bytes;
use http_body_util::Full;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::balance::{EndpointLoad, Load, LoadReport};
use super::clock::Clock;
use crate::telemetry::gateway_metrics::EndpointMetrics;

/// One worker: where it is, and what is going on with it. Health, weight and models belong to the
/// [pool](super::pool), which changes them in one place.
#[derive(Debug)]
pub struct Endpoint {
    /// Its name in metrics, logs and admin.
    pub id: Arc<str>,
    /// Host and port.
    pub authority: Authority,
    /// Its metrics, looked up once.
    pub metrics: EndpointMetrics,
    /// Wakes its prober before its time: a request has just met trouble.
    pub probe_now: Notify,
    load: Arc<EndpointLoad>,
    /// What is known of it for each model. Requests find theirs in the snapshot.
    loads: Mutex<HashMap<Arc<str>, Arc<Load>>>,
}

impl Endpoint {
    /// An endpoint without any request.
    #[must_use]
    pub fn new(id: &str, authority: Authority, metrics: EndpointMetrics) -> Arc<Self> {
        Arc::new(Self {
            id: id.into(),
            authority,
            metrics,
            probe_now: Notify::new(),
            load: Arc::default(),
            loads: Mutex::default(),
        })
    }

    /// Requests that wait for its answer.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.load.in_flight()
    }

    /// A request to it.
    #[must_use]
    pub fn request(
        &self,
        method: Method,
        path: PathAndQuery,
        headers: HeaderMap,
        body: Bytes,
    ) -> Request<Full<Bytes>> {
        let uri = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()
            .expect("scheme, authority and path make a URI");
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        request
    }

    /// What is known of it for a model; from now on, if nothing was.
    #[must_use]
    pub fn load_of(&self, model: &Arc<str>) -> Arc<Load> {
        let mut loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        let load = loads
            .entry(Arc::clone(model))
            .or_insert_with(|| Arc::new(Load::of(Arc::clone(&self.load))));
        Arc::clone(load)
    }

    /// Forgets what is known of it for models that it no longer has.
    pub fn keep_loads(&self, is_served: impl Fn(&str) -> bool) {
        let mut loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        loads.retain(|model, _| is_served(model));
    }

    /// What is known of it for each model.
    #[must_use]
    pub fn loads(&self) -> Vec<(Arc<str>, Arc<Load>)> {
        let loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = |(model, load): (&Arc<str>, &Arc<Load>)| (Arc::clone(model), Arc::clone(load));
        loads.iter().map(pair).collect()
    }
}

/// One request that waits for an endpoint's answer. Because a guard holds the count, it cannot drift: the request
/// may be answered, fail, run out of time or be given up by its client.
#[derive(Debug)]
pub struct InFlight {
    endpoint: Arc<Endpoint>,
    load: Arc<Load>,
    clock: Clock,
    begun: Instant,
    decay: Duration,
    is_judged: bool,
}

impl InFlight {
    /// Counts a request in; it is counted out when the guard goes. Latency estimates decay with this time constant.
    #[must_use]
    pub fn begin(endpoint: Arc<Endpoint>, load: Arc<Load>, clock: Clock, decay: Duration) -> Self {
        load.begin();
        endpoint.metrics.in_flight.inc();
        Self {
            endpoint,
            load,
            clock,
            begun: Instant::now(),
            decay,
            is_judged: false,
        }
    }

    /// Whose request it is.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Takes in what the worker said of itself.
    pub fn report(&self, report: &LoadReport) {
        self.load.report(report, self.clock.now());
    }

    /// The answer is there: what it took counts.
    pub fn answered(&mut self) {
        if self.is_first_judgement() {
            self.load
                .observe(self.begun.elapsed(), self.clock.now(), self.decay);
        }
    }

    /// What it took says nothing of the endpoint.
    pub fn says_nothing(&mut self) {
        self.is_first_judgement();
    }

    /// It failed, and counts as having taken at least so long.
    pub fn failed(&mut self, penalty: Duration) {
        if self.is_first_judgement() {
            let penalty = penalty.max(self.begun.elapsed());
            self.load.observe_failure(penalty, self.clock.now(), self.decay);
        }
    }

    /// Only the first judgement counts.
    fn is_first_judgement(&mut self) -> bool {
        !std::mem::replace(&mut self.is_judged, true)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let elapsed = self.begun.elapsed();
        if !self.is_judged {
            // It was given up: all that is known is that the answer takes longer.
            self.load.observe_at_least(elapsed, self.clock.now(), self.decay);
        }
        self.load.end();
        self.endpoint.metrics.in_flight.dec();
        self.endpoint.metrics.duration.observe(elapsed.as_secs_f64());
    }
}
