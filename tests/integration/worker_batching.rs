//! Many clients of one model: everybody gets their own rows, and nobody waits without bound.

use axum::http::Method;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::client::{Answer, RawConnection};
use crate::support::graph;
use crate::support::worker::{Setup, TestWorker};

fn metric(name: &str) -> String {
    format!(r#"millrace_worker_{name}{{model="slow",version="1"}}"#)
}

fn abandoned(reason: &str) -> String {
    format!(r#"millrace_worker_abandoned_requests_total{{model="slow",reason="{reason}",version="1"}}"#)
}

/// Batches of one row that ran. The request that keeps the engine busy runs in batches of two.
const SINGLE_ROWS: &str = r#"millrace_worker_batch_rows_bucket{model="slow",version="1",le="1"}"#;

fn slow_models(queue: i64) -> Setup {
    Setup::new()
        .model("slow", &graph::slow())
        .set("worker.deadline", "60s")
        .set("worker.batching.queue", queue)
        .set("worker.batching.max_batch_size", 2)
}

async fn slow_worker(queue: i64) -> TestWorker {
    slow_models(queue).start().await
}

/// Keeps the engine busy with more than it can do in the time of any test. Aborted, it is a client that leaves.
async fn keep_busy(worker: &TestWorker) -> tokio::task::JoinHandle<Answer> {
    let client = worker.client.clone();
    let body = json!({"inputs": vec![[0.5]; 1000]}).to_string();
    let busy = tokio::spawn(async move { client.post("/models/slow/predict", body).await });
    worker.until_counted(&metric("batch_rows_count")).await;
    busy
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_gets_their_own_rows_in_order() {
    let worker = Setup::new()
        .model("copy", &graph::identity(2))
        .set("worker.batching.max_batch_size", 7)
        .set("worker.batching.instances", 2)
        .start()
        .await;
    let clients = (0..16).map(|client| {
        let worker = &worker;
        async move {
            for request in 0..20 {
                let rows = 1 + (client + request) % 9;
                let row = |row: i32| json!([f64::from(client * 1000 + request * 10 + row), 1.5]);
                let inputs: Vec<Value> = (0..rows).map(row).collect();
                let body = json!({"model": "copy", "inputs": inputs});
                let answer = worker.client.post("/predict", body.to_string()).await;
                assert_eq!(answer.assert_ok().json()["predictions"], json!(inputs));
            }
        }
    });
    join_all(clients).await;
}

#[tokio::test]
async fn what_queues_up_while_the_engine_is_busy_runs_together() {
    let worker = slow_worker(16).await;
    let busy = keep_busy(&worker).await;
    let others = [0.1, 0.2].map(|value| {
        let client = worker.client.clone();
        let body = json!({"inputs": [[value]]}).to_string();
        tokio::spawn(async move { client.post("/models/slow/predict", body).await })
    });
    worker.until_metric(&metric("queue_depth"), 2.0).await;
    busy.abort();
    for other in others {
        other.await.unwrap().assert_ok();
    }
    assert_eq!(worker.metric(SINGLE_ROWS).await, 0.0);
}

#[tokio::test]
async fn a_full_queue_refuses_and_says_when_to_come_back() {
    let worker = slow_worker(1).await;
    let busy = keep_busy(&worker).await;
    let waiting = tokio::spawn({
        let client = worker.client.clone();
        async move { client.post("/models/slow/predict", r#"{"inputs": [[1]]}"#).await }
    });
    worker.until_metric(&metric("queue_depth"), 1.0).await;
    let refused = worker
        .client
        .post("/models/slow/predict", r#"{"inputs": [[2]]}"#)
        .await;
    assert_eq!(refused.assert_error(429, "overloaded").header("retry-after"), "1");
    let load = refused.header("endpoint-load-metrics");
    let expected = "TEXT named_metrics.in_flight=2, named_metrics.queue_depth=1, named_metrics.concurrency=1";
    assert_eq!(load, expected, "nothing has ended yet");
    busy.abort();
    waiting.await.unwrap().assert_ok();
}

#[tokio::test]
async fn a_request_whose_time_is_up_is_answered_then_and_never_computed() {
    let worker = slow_worker(16).await;
    let busy = keep_busy(&worker).await;
    let request = worker
        .client
        .request(Method::POST, "/models/slow/predict", r#"{"inputs": [[1]]}"#);
    worker
        .client
        .send_with(request, &[("x-request-timeout-ms", "20")])
        .await
        .assert_error(504, "deadline_exceeded");
    assert!(!busy.is_finished(), "the refusal did not wait for the engine");
    busy.abort();
    worker.until_metric(&abandoned("deadline"), 1.0).await;
    assert_eq!(worker.metric(SINGLE_ROWS).await, 0.0);
}

#[tokio::test]
async fn a_request_whose_client_left_is_never_computed() {
    let worker = slow_worker(16).await;
    let busy = keep_busy(&worker).await;
    let mut connection = RawConnection::open(worker.address).await;
    let body = r#"{"inputs": [[1]]}"#;
    let head = format!(
        "POST /models/slow/predict HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.write(head + body).await;
    worker.until_metric(&metric("queue_depth"), 1.0).await;
    drop(connection);
    worker
        .until_metric("millrace_worker_in_flight_requests", 1.0)
        .await;
    busy.abort();
    // The other one is the client that kept the engine busy.
    worker.until_metric(&abandoned("client_left"), 2.0).await;
    assert_eq!(worker.metric(SINGLE_ROWS).await, 0.0);
}

#[tokio::test]
async fn a_busy_model_does_not_hold_up_another() {
    let worker = slow_models(16).model("quick", &graph::identity(1)).start().await;
    let busy = keep_busy(&worker).await;
    let quick = worker
        .client
        .post("/models/quick/predict", r#"{"inputs": [[1]]}"#)
        .await;
    // It would have run into its deadline behind the other's rows.
    quick.assert_ok();
    busy.abort();
}
