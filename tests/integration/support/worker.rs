//! A worker inside the test process, on a free port, with a model repository of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use millrace::config::{Config, Layers, WorkerConfig};
use millrace::http::drain::{Drain, Phase};
use millrace::http::observe::AccessLog;
use millrace::http::threads::Threads;
use millrace::worker::Worker;
use millrace::worker::trial::Trial;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::client::Client;
use super::wait::{in_time, until_some};

/// What a worker is started with.
pub(crate) struct Setup {
    layers: Layers,
    repository: TempDir,
}

/// A running worker.
pub(crate) struct TestWorker {
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
    pub(crate) drain: Drain,
    pub(crate) worker: Arc<Worker>,
    pub(crate) config: Arc<WorkerConfig>,
    serving: JoinHandle<usize>,
    repository: TempDir,
}

impl Setup {
    /// An empty repository.
    pub(crate) fn new() -> Self {
        Self {
            layers: Layers::new(),
            repository: tempfile::tempdir().expect("a folder can be made"),
        }
    }

    /// With version 1 of a model.
    pub(crate) fn model(self, name: &str, graph: &[u8]) -> Self {
        self.file(&format!("{name}/1/model.onnx"), graph)
    }

    /// With a file in the repository.
    pub(crate) fn file(self, path: &str, contents: &[u8]) -> Self {
        let path = self.repository.path().join(path);
        let folder = path.parent().expect("a file lies in a folder");
        std::fs::create_dir_all(folder).expect("a folder can be made");
        std::fs::write(path, contents).expect("a file can be written");
        self
    }

    /// With the models that come with the project.
    pub(crate) fn shipped(mut self) -> Self {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        self.layers = self.layers.with_flag("worker.models", models.to_str());
        self
    }

    /// With one key set.
    pub(crate) fn set(mut self, key: &'static str, value: impl Into<toml::Value>) -> Self {
        self.layers = self.layers.with_flag(key, Some(value));
        self
    }

    pub(crate) fn repository(&self) -> &Path {
        self.repository.path()
    }

    /// Starts the worker and waits until every model is loaded or has failed.
    pub(crate) async fn start(self) -> TestWorker {
        let (test, worker) = self.bind().await;
        worker.load().expect("threads can be started");
        in_time("loading", worker.settled()).await;
        test
    }

    /// Starts the worker without loading anything yet.
    pub(crate) async fn bind(self) -> (TestWorker, Arc<Worker>) {
        let own = self.repository.path().display();
        let text = format!("[worker]\nmodels = '{own}'\n[worker.shutdown]\ngrace = '10s'\n");
        let config = Config::check(&self.layers.with_text(text)).expect("tests give valid configurations");
        let drain = Drain::new();
        let program = env!("CARGO_BIN_EXE_millrace").into();
        let trial = Trial::new(program, config.worker.loading.clone());
        let config = Arc::new(config.worker);
        let worker =
            Worker::new(WorkerConfig::clone(&config), trial, drain.clone()).expect("the repository is there");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let serving = {
            let worker = Arc::clone(&worker);
            tokio::spawn(async move { worker.serve(listener, &Threads::here(), AccessLog(false)).await })
        };
        let test = TestWorker {
            address,
            client: Client::new(address),
            drain,
            worker: Arc::clone(&worker),
            config,
            serving,
            repository: self.repository,
        };
        (test, worker)
    }
}

impl TestWorker {
    pub(crate) fn repository(&self) -> &Path {
        self.repository.path()
    }

    /// The value of one metric, by its name and labels as they stand in the text; 0 where it is not there.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let text = self.client.get("/metrics").await.assert_ok().text();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().expect("a metric is a number"))
    }

    /// Waits until a metric has this value.
    pub(crate) async fn until_metric(&self, series: &str, wanted: f64) {
        let what = format!("{series} is {wanted}");
        let look = async || (self.metric(series).await == wanted).then_some(());
        until_some(&what, look).await;
    }

    /// Waits until a metric is more than zero.
    pub(crate) async fn until_counted(&self, series: &str) {
        let what = format!("{series} is more than 0");
        let look = async || (self.metric(series).await > 0.0).then_some(());
        until_some(&what, look).await;
    }

    /// Ends it; how many connections were cut off.
    pub(crate) async fn end(self) -> usize {
        self.drain.advance(Phase::Closing);
        in_time("the end of the worker", self.serving)
            .await
            .expect("the worker does not panic")
    }
}
