//! Paths and methods, which gateway and worker answer alike.

use axum::http::Method;
use serde_json::json;

use crate::support::client::Client;
use crate::support::{gateway, graph, worker};

async fn start() -> (worker::TestWorker, gateway::TestGateway) {
    let worker = worker::Setup::new()
        .model("copy", &graph::identity(1))
        .start()
        .await;
    let gateway = gateway::Setup::before(&worker).start().await;
    (worker, gateway)
}

fn row() -> String {
    json!({"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [0]}]}).to_string()
}

async fn status(client: &Client, method: Method, path: &str) -> u16 {
    client
        .send(client.request(method, path, ""))
        .await
        .status
        .as_u16()
}

#[tokio::test]
async fn a_wrong_method_is_told_with_the_right_ones() {
    let (worker, gateway) = start().await;
    for client in [&worker.client, &gateway.client] {
        for path in [
            "/v2",
            "/v2/health/live",
            "/v2/health/ready",
            "/v2/models",
            "/v2/models/stats",
            "/v2/models/copy",
            "/v2/models/copy/ready",
            "/v2/models/copy/versions/1/config",
            "/v2/models/copy/versions/1/stats",
        ] {
            for method in [Method::POST, Method::DELETE, Method::OPTIONS] {
                let answer = client.send(client.request(method, path, "{}")).await;
                answer.assert_v2_error(405, "method_not_allowed");
                assert_eq!(answer.header("allow"), "GET,HEAD", "{path}");
            }
        }
        for path in [
            "/v2/models/copy/infer",
            "/v2/models/copy/versions/1/infer",
            "/v2/repository/index",
            "/v2/repository/models/copy/load",
            "/v2/repository/models/copy/unload",
        ] {
            for method in [Method::GET, Method::PUT, Method::OPTIONS] {
                let answer = client.send(client.request(method, path, "{}")).await;
                answer.assert_v2_error(405, "method_not_allowed");
                assert_eq!(answer.header("allow"), "POST", "{path}");
            }
        }
    }
}

#[tokio::test]
async fn what_can_be_got_can_be_asked_for_its_head() {
    let (worker, gateway) = start().await;
    for client in [&worker.client, &gateway.client] {
        for path in [
            "/livez",
            "/readyz",
            "/models/copy",
            "/v2/health/ready",
            "/v2/models/copy/ready",
        ] {
            let answer = client.send(client.request(Method::HEAD, path, "")).await;
            assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0), "{path}");
        }
        assert_eq!(status(client, Method::HEAD, "/v2/models/rose").await, 404);
    }
}

#[tokio::test]
async fn names_may_be_percent_encoded_and_queries_mean_nothing() {
    let (worker, gateway) = start().await;
    for client in [&worker.client, &gateway.client] {
        for path in [
            "/v2/models/%63op%79/infer?x=1&y",
            "/v2/models/copy/versions/%31/infer",
        ] {
            let answer = client.post(path, row()).await;
            assert_eq!(answer.assert_ok().json()["model_name"], "copy");
        }
        assert_eq!(status(client, Method::GET, "/v2/models/copy/ready?").await, 200);
        for path in [
            "/v2/models/co%2Fpy/infer",
            "/v2/models/%00/infer",
            "/v2/models/..%2F..%2Fcopy/infer",
        ] {
            client
                .post(path, row())
                .await
                .assert_v2_error(404, "model_not_found");
        }
        client
            .post("/v2/models/%ff/infer", row())
            .await
            .assert_v2_error(404, "not_found");
        client
            .post("/models/%ff/predict", "{}")
            .await
            .assert_error(404, "not_found");
    }
}

#[tokio::test]
async fn a_slash_too_many_leads_nowhere() {
    let (worker, gateway) = start().await;
    for client in [&worker.client, &gateway.client] {
        for path in [
            "/v2/",
            "/v2/models/",
            "/v2/models/copy/",
            "/v2//models",
            "/v2/models/copy/versions/",
        ] {
            client.get(path).await.assert_v2_error(404, "not_found");
        }
        client
            .post("/v2/models/copy/infer/", row())
            .await
            .assert_v2_error(404, "not_found");
        client.get("/models/").await.assert_error(404, "not_found");
    }
}

#[tokio::test]
async fn a_request_without_a_content_type_is_taken_for_json() {
    let (worker, gateway) = start().await;
    for client in [&worker.client, &gateway.client] {
        let mut request = client.request(Method::POST, "/v2/models/copy/infer", row());
        request.headers_mut().remove("content-type");
        client.send(request).await.assert_ok();
    }
}
