//! The real `millrace worker` with the iris model, at an address that it comes back to.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use tempfile::TempDir;
use tokio::net::TcpSocket;

use super::fake_worker::{reserve, reserve_side_by_side};
use super::gateway::entry;
use super::process::{Command, Process};

/// A worker process.
pub(crate) struct WorkerProcess {
    pub(crate) id: &'static str,
    pub(crate) address: SocketAddr,
    process: Process,
    repository: TempDir,
    /// Bound and not listening, so that nobody else gets the port while this worker is away.
    _reserved: TcpSocket,
}

const IDS: [&str; 4] = ["a", "b", "c", "d"];

impl WorkerProcess {
    /// So many workers, called a, b, c, …
    pub(crate) async fn start_many(count: usize) -> Vec<Self> {
        Self::start_many_as(count, |_| {}).await
    }

    /// The same, with something changed about the way they are run.
    pub(crate) async fn start_many_as(count: usize, change: impl Fn(&mut Command)) -> Vec<Self> {
        let sockets = (0..count).map(|_| reserve()).collect();
        Self::start_at(sockets, change).await
    }

    /// So many workers at one port of 127.0.0.1, 127.0.0.2, …
    pub(crate) async fn start_side_by_side(count: usize) -> Vec<Self> {
        Self::start_at(reserve_side_by_side(count), |_| {}).await
    }

    async fn start_at(sockets: Vec<TcpSocket>, change: impl Fn(&mut Command)) -> Vec<Self> {
        let start = |(reserved, id): (TcpSocket, &'static str)| {
            let address = reserved.local_addr().expect("a bound socket has an address");
            let repository = repository_of_iris();
            Self {
                id,
                address,
                process: run(address, repository.path(), &change),
                repository,
                _reserved: reserved,
            }
        };
        let workers: Vec<_> = sockets.into_iter().zip(IDS).map(start).collect();
        for worker in &workers {
            worker.process.line("the worker listens").await;
        }
        workers
    }

    /// As a gateway's configuration names it.
    pub(crate) fn entry(&self) -> String {
        entry(self.id, self.address, 1)
    }

    pub(crate) async fn signal(&self, name: &str) {
        self.process.signal(name).await;
    }

    /// Kills it, and waits until it is gone.
    pub(crate) async fn kill(&mut self) {
        self.process.signal("KILL").await;
        self.process.end().await;
    }

    /// Asks it to end, and waits until it has; it must have cut off nobody.
    pub(crate) async fn terminate(&mut self) {
        self.process.signal("TERM").await;
        assert_eq!(
            self.process.end().await.code(),
            Some(0),
            "{:#?}",
            self.process.log()
        );
    }

    /// Starts it again, at its address, after it has ended.
    pub(crate) async fn start_again(&mut self) {
        self.process = run(self.address, self.repository.path(), |_| {});
        self.process.line("the worker listens").await;
    }
}

/// A model repository with iris and nothing else.
pub(crate) fn repository_of_iris() -> TempDir {
    let repository = TempDir::new().expect("a folder can be made");
    let version = repository.path().join("iris/1");
    fs::create_dir_all(&version).expect("a folder can be made");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/iris/1");
    for name in ["model.onnx", "model.toml"] {
        fs::copy(shipped.join(name), version.join(name)).expect("iris is shipped");
    }
    repository
}

/// What the command line of a worker is.
pub(crate) fn arguments(address: SocketAddr, repository: &Path) -> [String; 5] {
    let models = repository.display().to_string();
    [
        "worker".into(),
        "--listen".into(),
        address.to_string(),
        "--models".into(),
        models,
    ]
}

fn run(address: SocketAddr, repository: &Path, change: impl FnOnce(&mut Command)) -> Process {
    let arguments = arguments(address, repository);
    Process::start_as(&arguments.each_ref().map(String::as_str), change)
}
