//! The real `millrace serve`: a gateway and worker processes with the models that come with the project.

use serde_json::{Value, json};

use std::net::SocketAddr;

use super::client::Client;
use super::process::Process;
use super::wait::until_some;

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models");
const SHIPPED: [&str; 3] = ["diabetes", "digits", "iris"];

/// `millrace serve` with two workers.
pub(crate) struct Serving {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
    pub(crate) admin: Client,
}

impl Serving {
    /// Two workers, both of which take requests.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same, with more arguments.
    pub(crate) async fn start_with(more: &[&str]) -> Self {
        let any = "127.0.0.1:0";
        let arguments = [
            "serve",
            "--workers",
            "2",
            "--models",
            MODELS,
            "--listen",
            any,
            "--admin",
            any,
        ];
        let process = Process::start(&[&arguments, more].concat());
        let (address, admin) = process.listening().await;
        let serving = Self {
            process,
            address,
            client: Client::new(address),
            admin: Client::new(admin),
        };
        serving.until_both_are_up().await;
        serving
    }

    /// Waits until both workers take requests for every model; they are up before the last one is loaded.
    pub(crate) async fn until_both_are_up(&self) {
        let is_up = |worker: &Value| worker["state"] == "up" && worker["models"] == json!(SHIPPED);
        until_some("both workers take requests", async || {
            let shown = self.admin.get("/admin/workers").await.assert_ok().json();
            let workers = shown["workers"].as_array()?;
            (workers.len() == 2 && workers.iter().all(is_up)).then_some(())
        })
        .await;
    }

    /// The process ids of every start of one worker, in order.
    pub(crate) fn pids(&self, id: &str) -> Vec<u32> {
        let of_it = format!("worker=\"{id}\"");
        let log = self.process.log();
        let starts = log
            .iter()
            .filter(|line| line.contains("the worker runs") && line.contains(&of_it));
        let pid = |line: &String| {
            line.split(' ')
                .find_map(|word| word.strip_prefix("pid=")?.parse().ok())
        };
        starts.filter_map(pid).collect()
    }
}
