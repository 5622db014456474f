//! A gateway inside the test process, on free ports.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use millrace::config::{Config, HttpConfig, Layers};
use millrace::gateway::{Gateway, router};
use millrace::http::drain::{Drain, Phase};
use millrace::http::observe::AccessLog;
use millrace::http::server::serve;
use millrace::http::service::{Predictions, Service};
use millrace::http::threads::Threads;
use serde_json::Value;
use tokio::net::TcpListener;

use super::client::Client;
use super::fake_worker::FakeWorker;
use super::wait::{until, until_some};
use super::worker::TestWorker;

/// Quick probes, so that no test waits for them long; connections that no test should miss.
const DEFAULTS: &str = r#"
[gateway]
connect_timeout = "500ms"
[gateway.health]
interval = "50ms"
timeout = "500ms"
"#;

/// How a gateway is to be started.
pub(crate) struct Setup {
    layers: Layers,
    workers: String,
    count: usize,
}

/// A running gateway.
pub(crate) struct TestGateway {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
    pub(crate) admin: Client,
    admin_drain: Drain,
}

impl Setup {
    pub(crate) fn over(workers: &[&FakeWorker]) -> Self {
        let weighted: Vec<_> = workers.iter().map(|&worker| (worker, 1)).collect();
        Self::weighted(&weighted)
    }

    pub(crate) fn weighted(workers: &[(&FakeWorker, u32)]) -> Self {
        let entry = |(worker, weight): &(&FakeWorker, u32)| entry(worker.id, worker.address, *weight);
        Self::with_entries(&workers.iter().map(entry).collect::<Vec<_>>())
    }

    /// In front of a worker that really runs models.
    pub(crate) fn before(worker: &TestWorker) -> Self {
        Self::with_entries(&[entry("a", worker.address, 1)])
    }

    fn with_entries(entries: &[String]) -> Self {
        Self {
            layers: Layers::new(),
            workers: entries.concat(),
            count: entries.len(),
        }
    }

    /// With more tables of the configuration.
    pub(crate) fn with_tables(mut self, tables: &str) -> Self {
        self.workers += tables;
        self
    }

    /// With one key set.
    pub(crate) fn set(mut self, key: &'static str, value: impl Into<toml::Value>) -> Self {
        self.layers = self.layers.with_flag(key, Some(value));
        self
    }

    /// Starts the gateway and waits until all of its workers take requests.
    pub(crate) async fn start(self) -> TestGateway {
        let count = self.count;
        let gateway = self.start_at_once().await;
        gateway.until_up(count).await;
        gateway
    }

    /// Starts the gateway, whatever its workers do.
    pub(crate) async fn start_at_once(self) -> TestGateway {
        let layers = self.layers.with_text(DEFAULTS.to_owned() + &self.workers);
        let config = Config::check(&layers)
            .expect("tests give valid configurations")
            .gateway;
        let limits = config.http.clone();
        let grace = config.shutdown.grace;
        let gateway = Gateway::start(config);
        let admin_drain = Drain::new();
        let public = router::public(gateway.clone(), AccessLog(false));
        let address = start(public, limits.clone(), gateway.drain.clone(), grace).await;
        let admin = router::admin(gateway.clone(), AccessLog(false));
        let admin = start(admin, limits, admin_drain.clone(), grace).await;
        TestGateway {
            gateway,
            address,
            client: Client::new(address),
            admin: Client::new(admin),
            admin_drain,
        }
    }
}

/// Serves on a free port, which it gives back.
async fn start<P: Predictions>(
    service: Service<P>,
    limits: HttpConfig,
    drain: Drain,
    grace: Duration,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("a listener has an address");
    tokio::spawn(
        async move { serve(listener.into(), service, &limits, &Threads::here(), &drain, grace).await },
    );
    address
}

/// As a configuration names a worker.
pub(crate) fn entry(id: &str, address: SocketAddr, weight: u32) -> String {
    format!("[[gateway.workers]]\nid = \"{id}\"\nurl = \"http://{address}\"\nweight = {weight}\n")
}

impl TestGateway {
    /// How many endpoints are up.
    pub(crate) fn up(&self) -> usize {
        let members = self.gateway.pool.members();
        members.iter().filter(|member| member.health.is_up()).count()
    }

    pub(crate) async fn until_up(&self, count: usize) {
        until(&format!("{count} workers take requests"), || self.up() == count).await;
    }

    /// Requests that wait for an answer, over all endpoints.
    pub(crate) fn in_flight(&self) -> u32 {
        let members = self.gateway.pool.members();
        members.iter().map(|member| member.endpoint.in_flight()).sum()
    }

    /// The value of one metric once it is `wanted`.
    pub(crate) async fn until_metric(&self, series: &str, wanted: f64) {
        let what = format!("{series} is {wanted}");
        let look = async || (self.metric(series).await == wanted).then_some(());
        until_some(&what, look).await;
    }

    /// What admin knows of one worker.
    pub(crate) async fn worker(&self, id: &str) -> Value {
        let workers = self.admin.get("/admin/workers").await.assert_ok().json();
        let all = workers["workers"].as_array().cloned().unwrap_or_default();
        let found = all.into_iter().find(|worker| worker["id"] == id);
        found.unwrap_or_else(|| panic!("{id} is not in {workers}"))
    }

    /// The value of one metric, by its name and labels as they stand in the text; 0 where it is not there.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let text = self.client.get("/metrics").await.assert_ok().text();
        metric_in(&text, series)
    }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        self.gateway.drain.advance(Phase::Closing);
        self.admin_drain.advance(Phase::Closing);
    }
}

/// The value of one series in the Prometheus text format; 0 where it is not there.
pub(crate) fn metric_in(text: &str, series: &str) -> f64 {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().expect("a metric is a number"))
}
