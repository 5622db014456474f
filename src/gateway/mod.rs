//! The front process: takes requests, picks a worker for each, and sees it through.
//!
//! The way of a request: [`router`] → [`predict`] ([`admission`], deadline, body, [`target`]) → [`forward`] (picks from
//! the [`snapshot`], tries by an [`attempt`] that holds an [`endpoint`] guard, sends by the [`client`] and judges the
//! answer, [`retry`]) → the client. Where a request names no version, the [`rollout`] of its model may choose one
//! before it is forwarded. Beside it run the probes ([`health`]), which keep the [`pool`] true, the [`discovery`] of
//! workers, the [`admin`] listener and the [`reload`] of the configuration.

pub mod admin;
pub mod admission;
mod alarm;
mod answer;
mod attempt;
pub mod balance;
pub mod circuit;
pub mod client;
pub mod clock;
pub mod concurrency;
pub mod discovery;
pub mod endpoint;
mod everyone;
mod explain;
pub mod forward;
pub mod health;
pub mod hedging;
pub mod key;
pub mod models;
mod per_thread;
pub mod pool;
pub mod predict;
pub mod proxy_headers;
pub mod reload;
pub mod retry;
pub mod rollout;
pub mod router;
pub mod snapshot;
pub mod target;
mod v2;
mod verdict;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use self::admission::Admission;
use self::alarm::Alarms;
use self::client::WorkerClient;
use self::clock::Clock;
use self::discovery::Discovery;
use self::endpoint::Endpoint;
use self::pool::Pool;
use self::retry::RetryBudget;
use self::rollout::Rollouts;
use crate::api::error::{ApiError, ErrorCode};
use crate::config::{EndpointConfig, GatewayConfig};
use crate::http::drain::Drain;
use crate::http::upload::UploadRoom;
use crate::telemetry::gateway_metrics::GatewayMetrics;

/// Everything that the requests of one gateway share.
#[derive(Debug)]
pub struct Gateway {
    /// Over whom it balances.
    pub pool: Pool,
    /// The connections to them.
    pub client: WorkerClient,
    /// Its time.
    pub clock: Clock,
    /// What it counts.
    pub metrics: GatewayMetrics,
    /// How many retries all requests together may still make.
    pub budget: RetryBudget,
    /// How many hedges.
    pub hedging_budget: RetryBudget,
    /// How many requests are inside.
    pub admission: Admission,
    /// Which versions share the requests that name none.
    pub rollouts: Rollouts,
    /// The timers of its requests.
    alarms: Alarms,
    /// Models that come with load requests.
    pub uploads: UploadRoom,
    /// Where it is in its life.
    pub drain: Drain,
    settings: ArcSwap<GatewayConfig>,
    discovery: Mutex<Discovery>,
    probers: Mutex<Vec<(Arc<Endpoint>, AbortHandle)>>,
}

/// What sends its requests.
fn client(config: &GatewayConfig) -> WorkerClient {
    let client = WorkerClient::new(config.connect_timeout);
    if config.coalesce {
        client.with_links(config.network_threads())
    } else {
        client
    }
}

impl Gateway {
    /// A gateway over the workers of `config`, probing them from now on. Needs a tokio runtime.
    #[must_use]
    pub fn start(config: GatewayConfig) -> Arc<Self> {
        let (clock, metrics) = (Clock::start(), GatewayMetrics::new());
        let gateway = Arc::new(Self {
            pool: Pool::new(
                config.policy,
                config.balancing.clone(),
                config.health.clone(),
                config.breaker.clone(),
                clock,
                metrics.clone(),
            ),
            clock,
            client: client(&config),
            budget: RetryBudget::default(),
            hedging_budget: RetryBudget::default(),
            admission: Admission::new(metrics.in_flight.clone()),
            rollouts: Rollouts::new(&config.rollout, clock, metrics.clone()),
            alarms: Alarms::default(),
            uploads: UploadRoom::default(),
            drain: Drain::new(),
            discovery: Mutex::default(),
            probers: Mutex::default(),
            metrics,
            settings: ArcSwap::from_pointee(config),
        });
        let settings = gateway.settings();
        gateway.set_sources(&settings.workers, &settings.discovery);
        tokio::spawn(health::load_probe::run(Arc::downgrade(&gateway)));
        tokio::spawn(refresh(Arc::downgrade(&gateway)));
        tokio::spawn(review_circuits(Arc::downgrade(&gateway)));
        tokio::spawn(rollout::review(Arc::downgrade(&gateway)));
        gateway
    }

    /// What of the settings is needed now. Cheaper than all of them for who needs them once: nothing is counted.
    pub fn setting<T>(&self, of: impl FnOnce(&GatewayConfig) -> T) -> T {
        of(&self.settings.load())
    }

    /// The settings as the configuration has them.
    #[must_use]
    pub fn settings(&self) -> Arc<GatewayConfig> {
        self.settings.load_full()
    }

    /// Who the members are. Held over the change of the pool as well, so that no older list comes after a newer one.
    fn discovery(&self) -> MutexGuard<'_, Discovery> {
        self.discovery.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `workers` the members: new ones are probed at once, gone ones no longer.
    fn set_endpoints(self: &Arc<Self>, workers: &[EndpointConfig]) {
        // Held over both, so that nobody who has just left gets a prober after all.
        let mut probers = self.probers.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = self.pool.set_members(workers);
        probers.retain(|(endpoint, prober)| {
            let has_left = changes.left.iter().any(|left| Arc::ptr_eq(left, endpoint));
            if has_left {
                prober.abort();
            }
            !has_left
        });
        for endpoint in changes.joined {
            let prober = health::probe::spawn(Arc::downgrade(self), endpoint.clone());
            probers.push((endpoint, prober.abort_handle()));
        }
    }

    /// Fails where requests should go elsewhere.
    pub fn check_ready(&self) -> Result<(), ApiError> {
        if self.drain.is_announced() {
            return Err(ApiError::new(ErrorCode::Draining, "the gateway is shutting down"));
        }
        if !self.pool.snapshot().serves_anything() {
            return Err(ApiError::new(
                ErrorCode::NoWorker,
                "no healthy worker serves any model",
            ));
        }
        Ok(())
    }

    /// The settings with the policy, the weights and the rollouts that are in force: those are the pool's and the
    /// rollouts', which an operator can change.
    #[must_use]
    pub fn settings_in_force(&self) -> GatewayConfig {
        let mut settings = GatewayConfig::clone(&self.settings());
        settings.rollout = self.rollouts.configs();
        settings.policy = self.pool.snapshot().policy;
        for member in self.pool.members() {
            let worker = settings
                .workers
                .iter_mut()
                .find(|worker| worker.id == *member.endpoint.id);
            if let Some(worker) = worker {
                worker.weight = member.weight;
            }
        }
        settings
    }
}

/// Lets policies take over what changes slowly, and closes connections that nobody uses, until the gateway goes.
async fn refresh(gateway: Weak<Gateway>) {
    loop {
        sleep(Duration::from_secs(1)).await;
        let Some(gateway) = gateway.upgrade() else { return };
        gateway.pool.snapshot().refresh();
        for member in gateway.pool.members() {
            member.endpoint.address.close_old_connections();
        }
    }
}

/// Ends ejections, and ejects whom no single request can judge, until the gateway goes.
async fn review_circuits(gateway: Weak<Gateway>) {
    loop {
        sleep(Duration::from_millis(100)).await;
        let Some(gateway) = gateway.upgrade() else { return };
        gateway.pool.review_circuits();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let probers = self.probers.get_mut().unwrap_or_else(PoisonError::into_inner);
        probers.drain(..).for_each(|(_, prober)| prober.abort());
    }
}
