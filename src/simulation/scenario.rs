//! What is simulated.

use std::time::Duration;

use super::service_time::ServiceTime;
use crate::config::{BalancingConfig, RetryConfig};

/// A fleet, its traffic, and how its gateways balance.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The workers.
    pub workers: Vec<WorkerSpec>,
    /// Requests that a worker computes side by side.
    pub concurrency: u32,
    /// Requests that may wait at a worker; more are refused.
    pub queue: usize,
    /// Gateways in front of them, which know nothing of each other; each request comes to one of them by chance.
    pub gateways: usize,
    /// How requests come.
    pub arrivals: Arrivals,
    /// Requests per second.
    pub rate: f64,
    /// How long a request takes at a worker that is not slow.
    pub service_time: ServiceTime,
    /// Between a gateway and a worker, one way.
    pub network_delay: Duration,
    /// How many different keys requests have, equally often; only `consistent_hash` asks for them.
    pub keys: u64,
    /// The longest that a request may take.
    pub deadline: Duration,
    /// When it is tried again.
    pub retry: RetryConfig,
    /// What the policies go by.
    pub balancing: BalancingConfig,
    /// All chance comes out of it.
    pub seed: u64,
}

/// One worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkerSpec {
    /// Its share; 0 takes nothing.
    pub weight: u32,
    /// How many times the service time it takes.
    pub factor: f64,
    /// Whether it answers every request at once with an error.
    pub is_failing: bool,
}

/// How requests come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// Independently of each other, as those of many clients do: the times between them are exponential.
    Poisson,
    /// At equal distances.
    Even,
}

impl Default for WorkerSpec {
    fn default() -> Self {
        Self {
            weight: 1,
            factor: 1.0,
            is_failing: false,
        }
    }
}

impl Scenario {
    /// Requests per second that all workers together can answer, if the policy finds a use for each.
    #[must_use]
    pub fn capacity(&self) -> f64 {
        let of_one = f64::from(self.concurrency) * 1e6 / self.service_time.mean_micros();
        let serving = self
            .workers
            .iter()
            .filter(|worker| worker.weight > 0 && !worker.is_failing);
        serving.map(|worker| of_one / worker.factor).sum()
    }
}
