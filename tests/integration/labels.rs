//! Labels through a gateway, which takes them for versions wherever its workers do.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::wait::until_some;
use crate::support::{gateway, graph, worker};

fn row() -> Value {
    json!({"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [0]}]})
}

/// The version that answers an inference request for the label `stable`.
async fn stable(client: &Client) -> Value {
    let path = "/v2/models/m/versions/stable/infer";
    client.post(path, row().to_string()).await.json()["model_version"].clone()
}

#[tokio::test]
async fn a_label_leads_to_its_version_in_every_dialect_and_can_be_moved() {
    let worker = worker::Setup::new()
        .set("worker.model.m.labels.stable", 1)
        .file("m/1/model.onnx", &graph::linear(&[1.0], 1.0))
        .file("m/2/model.onnx", &graph::linear(&[1.0], 2.0))
        .start()
        .await;
    let gateway = gateway::Setup::before(&worker).start().await;
    for client in [&worker.client, &gateway.client] {
        let by_path = client
            .post("/models/m/versions/stable/predict", r#"{"inputs": [[0]]}"#)
            .await;
        let by_body = client
            .post(
                "/predict",
                r#"{"model": "m", "version": "stable", "inputs": [[0]]}"#,
            )
            .await;
        for answer in [by_path, by_body] {
            assert_eq!(answer.assert_ok().json()["version"], "1");
        }
        assert_eq!(stable(client).await, "1");
        for path in ["", "/ready", "/config", "/stats"] {
            let path = format!("/v2/models/m/versions/stable{path}");
            client.get(&path).await.assert_ok();
        }
        let statistics = client.get("/v2/models/m/versions/stable/stats").await.json();
        assert_eq!(statistics["model_stats"][0]["version"], "1");
        let models = client.get("/models").await.json();
        assert_eq!(models["models"][0]["labels"], json!({"stable": "1"}));
        let unknown = client
            .post("/v2/models/m/versions/canary/infer", row().to_string())
            .await;
        unknown.assert_v2_error(404, "version_not_found");
        let unknown = client
            .post("/models/m/versions/canary/predict", r#"{"inputs": [[0]]}"#)
            .await;
        unknown.assert_error(404, "version_not_found");
    }
    worker
        .worker
        .set_label("m", "stable", Some(2))
        .expect("version 2 is there");
    assert_eq!(
        stable(&gateway.client).await,
        "2",
        "the worker decides, not what the gateway knew before"
    );
    worker
        .worker
        .set_label("m", "stable", None)
        .expect("a label can be removed");
    until_some("the label is gone", async || {
        let answer = gateway
            .client
            .post("/v2/models/m/versions/stable/infer", row().to_string())
            .await;
        (answer.status == 404).then_some(())
    })
    .await;
}
