//! One worker, as the gateway sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;
use axum::http::uri::Authority;
use tokio::sync::Notify;
use tokio::time::Instant;

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
    in_flight: AtomicUsize,
    reported_load: ArcSwapOption<String>,
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
            in_flight: AtomicUsize::new(0),
            reported_load: ArcSwapOption::empty(),
        })
    }

    /// Requests that wait for its answer.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts a request in; it is counted out when the guard goes.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.metrics.in_flight.inc();
        InFlight {
            endpoint: self.clone(),
            begun: Instant::now(),
        }
    }

    /// Remembers the load that a worker's answer told, as it wrote it.
    pub fn report_load(&self, load: &str) {
        let is_known = self
            .reported_load
            .load()
            .as_deref()
            .is_some_and(|known| *known == load);
        if !is_known {
            self.reported_load.store(Some(Arc::new(load.to_owned())));
        }
    }

    /// The load that its last answer told.
    #[must_use]
    pub fn reported_load(&self) -> Option<Arc<String>> {
        self.reported_load.load_full()
    }
}

/// One request that waits for an endpoint's answer. Because a guard holds the count, it cannot drift: the request
/// may be answered, fail, run out of time or be given up by its client.
#[derive(Debug)]
pub struct InFlight {
    endpoint: Arc<Endpoint>,
    begun: Instant,
}

impl InFlight {
    /// Whose request it is.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.endpoint.metrics.in_flight.dec();
        self.endpoint
            .metrics
            .duration
            .observe(self.begun.elapsed().as_secs_f64());
    }
}
