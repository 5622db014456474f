//! Workers on the gateway's own machine are asked without a network, and answer as they do over one.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::gateway::{Setup, TestGateway};
use crate::support::graph;
use crate::support::wait::until_some;
use crate::support::worker::{Setup as WorkerSetup, TestWorker};

const LOCAL: &str = r#"millrace_gateway_connections_total{over="local",worker="a"}"#;

async fn worker() -> TestWorker {
    WorkerSetup::new()
        .model("copy", &graph::identity(1))
        .start()
        .await
}

/// Asks for so many rows, and expects them back.
async fn copies(gateway: &TestGateway, rows: usize) {
    let body = json!({"inputs": vec![[0.5]; rows]});
    let request = gateway
        .client
        .request(Method::POST, "/models/copy/predict", body.to_string());
    let answer = gateway.client.send(request).await;
    let predictions: Value = answer.assert_ok().json()["predictions"].clone();
    assert_eq!(predictions, json!(vec![0.5; rows]));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn small_and_large_requests_go_to_a_worker_beside_the_gateway_without_a_network() {
    let worker = worker().await;
    let gateway = Setup::before(&worker).start().await;
    copies(&gateway, 1).await;
    let with_links = gateway.metric(LOCAL).await;
    assert!(with_links > 0.0);
    copies(&gateway, 5_000).await;
    let probe = async || (gateway.metric(LOCAL).await > with_links).then_some(());
    until_some("a large one has a connection of its own", probe).await;
}

#[tokio::test]
async fn they_go_over_the_network_where_that_is_configured() {
    let worker = worker().await;
    let gateway = Setup::before(&worker)
        .set("gateway.local_sockets", false)
        .start()
        .await;
    copies(&gateway, 1).await;
    copies(&gateway, 5_000).await;
    assert_eq!(gateway.metric(LOCAL).await, 0.0);
}
