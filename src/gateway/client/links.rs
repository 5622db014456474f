//! The links to one worker: each thread has its own.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::connector::Connector;
use super::link::Link;
use crate::gateway::per_thread::PerThread;
use crate::telemetry::gateway_metrics::LinkMetrics;

/// The links to a worker that takes any.
#[derive(Debug)]
pub struct Links {
    /// How many of them the worker wants from one gateway; 0: it takes none.
    wanted: AtomicUsize,
    own: PerThread<Own>,
    metrics: LinkMetrics,
}

/// Those of one thread.
#[derive(Debug, Default)]
struct Own {
    links: Vec<Arc<Link>>,
    turn: usize,
}

impl Links {
    pub(super) fn new(metrics: LinkMetrics) -> Self {
        Self {
            wanted: AtomicUsize::new(0),
            own: PerThread::default(),
            metrics,
        }
    }

    /// Takes in how many links the worker wants.
    pub fn want(&self, count: usize) {
        self.wanted.store(count, Ordering::Relaxed);
    }

    /// One of this thread's, of a gateway with so many of them; opened now, where there are fewer than the worker wants.
    pub(super) fn take(
        &self,
        to: &Connector,
        patience: Duration,
        threads: NonZero<usize>,
    ) -> Option<Arc<Link>> {
        let wanted = self.wanted.load(Ordering::Relaxed).div_ceil(threads.get());
        if wanted == 0 {
            return None;
        }
        let mut own = self.own.own();
        own.links.retain(|link| link.is_open());
        if own.links.len() < wanted {
            let link = Link::open(to, patience, self.metrics.clone());
            own.links.push(Arc::clone(&link));
            return Some(link);
        }
        own.turn = (own.turn + 1) % own.links.len();
        Some(Arc::clone(&own.links[own.turn]))
    }
}

impl Drop for Links {
    /// The worker is no longer one of the gateway's; what is on its way comes to its end.
    fn drop(&mut self) {
        for own in self.own.each() {
            own.links.iter().for_each(|link| link.retire());
        }
    }
}
