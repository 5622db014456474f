//! The end of a worker: nobody is cut off.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use millrace::http::drain::Phase;
use serde_json::json;
use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::graph;
use crate::support::serving::small_repository;
use crate::support::wait::until_some;
use crate::support::worker::Setup;

#[tokio::test]
async fn an_announced_end_shows_and_requests_are_still_taken() {
    let worker = Setup::new().model("copy", &graph::identity(1)).start().await;
    worker.drain.advance(Phase::Announced);
    worker.client.get("/readyz").await.assert_error(503, "draining");
    let models = worker.client.get("/models").await.assert_ok().json();
    assert_eq!(models["models"][0]["versions"][0]["state"], "unloading");
    worker
        .client
        .post("/predict", r#"{"model": "copy", "inputs": [[1]]}"#)
        .await
        .assert_ok();
    let state = r#"millrace_worker_model_state{model="copy",state="unloading",version="1"}"#;
    worker.until_metric(state, 1.0).await;
    assert_eq!(worker.end().await, 0);
}

#[tokio::test]
async fn accepted_work_is_finished_before_the_end() {
    let worker = Setup::new()
        .model("slow", &graph::slow())
        .set("worker.batching.max_batch_size", 1)
        .start()
        .await;
    let requests = [0.5, 0.25].map(|value| {
        let client = worker.client.clone();
        let body = json!({"inputs": vec![[value]; 8]}).to_string();
        tokio::spawn(async move { client.post("/models/slow/predict", body).await })
    });
    worker
        .until_metric("millrace_worker_in_flight_requests", 2.0)
        .await;
    assert_eq!(worker.end().await, 0);
    for request in requests {
        request.await.unwrap().assert_ok();
    }
}

#[tokio::test]
async fn a_request_whose_body_comes_after_the_end_began_is_refused_as_draining() {
    let worker = Setup::new().model("copy", &graph::identity(1)).start().await;
    // In the middle of a request's head the server cannot tell that the connection is idle.
    let mut connection = crate::support::client::RawConnection::open(worker.address).await;
    connection.write("POST /predict HTTP/1.1\r\nhost: x\r\n").await;
    worker.drain.advance(Phase::Closing);
    let rest = "content-length: 2\r\n\r\n{}";
    if connection.try_write(rest).await.is_ok() {
        let answer = connection.read_to_end().await;
        assert!(answer.is_empty() || answer.contains("draining"), "{answer}");
    }
}

/// The real binary on some of the shipped models, killed when the test is over. Nobody reads its log, so that it must be ready before
/// that has filled a pipe.
struct Process(
    Child,
    #[expect(dead_code, reason = "held as long as the process runs")] TempDir,
);

impl Process {
    fn start() -> Self {
        let models = small_repository();
        let child = Command::new(env!("CARGO_BIN_EXE_millrace"))
            .args([
                "worker",
                "--listen",
                "127.0.0.1:0",
                "--supervised-as",
                "w7",
                "--models",
            ])
            .arg(models.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        Self(child, models)
    }

    /// Waits until it says where it listens.
    fn listening(&mut self) -> SocketAddr {
        let output = self.0.stdout.take().expect("standard output is a pipe");
        let mut line = String::new();
        BufReader::new(output)
            .read_line(&mut line)
            .expect("it says something");
        let address = line.strip_prefix("listening ").unwrap_or_default().trim();
        address
            .parse()
            .unwrap_or_else(|_| panic!("it says where it listens, not {line:?}"))
    }

    fn log(&mut self) -> String {
        let mut log = String::new();
        let mut errors = self.0.stderr.take().expect("standard error is a pipe");
        errors.read_to_string(&mut log).expect("logs are text");
        log
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn until_ready(address: SocketAddr) -> Client {
    let client = Client::new(address);
    until_some("the worker is ready", async || {
        (client.get("/readyz").await.status == 200).then_some(())
    })
    .await;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_the_process_with_0() {
    let mut process = Process::start();
    // Waiting for a child closes its input, which would be another reason to end.
    let _supervisor = process.0.stdin.take();
    let client = until_ready(process.listening()).await;
    let row = json!({"model": "iris", "inputs": [[5.1, 3.5, 1.4, 0.2]]});
    client.post("/predict", row.to_string()).await.assert_ok();
    let pid = process.0.id().to_string();
    // Waiting for a process closes its standard input, which would ask a supervised worker to end as well.
    let _open_input = process.0.stdin.take();
    assert!(
        Command::new("sh")
            .args(["-c", &format!("kill -TERM {pid}")])
            .status()
            .unwrap()
            .success()
    );
    let status = process.0.wait().unwrap();
    let log = process.log();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.lines().all(|line| line.starts_with("[w7] ")), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervised_worker_ends_with_its_supervisor() {
    let mut process = Process::start();
    until_ready(process.listening()).await;
    drop(process.0.stdin.take());
    assert_eq!(process.0.wait().unwrap().code(), Some(0));
}

#[test]
fn a_repository_that_is_not_there_is_wrong_use() {
    let output = Command::new(env!("CARGO_BIN_EXE_millrace"))
        .args(["worker", "--listen", "127.0.0.1:0", "--models", "/nowhere/models"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(
        message.contains("worker.models") && message.contains("/nowhere/models"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_costs_no_request_and_leaves_no_worker_behind() {
    let mut process = Process::start();
    let client = until_ready(process.listening()).await;
    drop(process.0.stderr.take());
    let row = json!({"model": "iris", "inputs": [[5.1, 3.5, 1.4, 0.2]]});
    client.post("/predict", row.to_string()).await.assert_ok();
    drop(process.0.stdin.take());
    let status = until_some("the worker ends", async || process.0.try_wait().unwrap()).await;
    assert_eq!(status.code(), Some(0));
}
