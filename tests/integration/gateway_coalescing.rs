//! Small predictions that wait for one worker at the same time travel together, and each keeps its own answer, error, id, time
//! and end.

use axum::http::{Method, Request};
use bytes::Bytes;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::gateway::{Setup, TestGateway};
use crate::support::graph;
use crate::support::wait::{until_equal, until_some};
use crate::support::worker::{Setup as WorkerSetup, TestWorker};

const REQUESTS: &str = r#"millrace_gateway_link_requests_total{worker="a"}"#;
const WRITES: &str = r#"millrace_gateway_link_writes_total{worker="a"}"#;

async fn copying() -> TestWorker {
    let setup = WorkerSetup::new().model("copy", &graph::identity(1));
    setup.model("slow", &graph::slow()).start().await
}

fn request(gateway: &TestGateway, model: &str, body: &Value) -> Request<Full<Bytes>> {
    let path = format!("/models/{model}/predict");
    gateway.client.request(Method::POST, &path, body.to_string())
}

/// All answers to requests that are sent at the same time.
async fn at_once(gateway: &TestGateway, requests: Vec<Request<Full<Bytes>>>) -> Vec<Answer> {
    let asking = requests.into_iter().map(|request| {
        let client = gateway.client.clone();
        tokio::spawn(async move { client.send(request).await })
    });
    let mut answers = Vec::new();
    for asking in asking.collect::<Vec<_>>() {
        answers.push(asking.await.expect("no test panics here"));
    }
    answers
}

#[tokio::test]
async fn predictions_travel_together_and_each_comes_back_with_its_own_answer_and_id() {
    let worker = copying().await;
    let gateway = Setup::before(&worker).start().await;
    let requests = (0..200).map(|number| {
        let mut request = request(&gateway, "copy", &json!({"inputs": [[number]]}));
        let id = format!("request-{number}").parse().unwrap();
        request.headers_mut().insert("x-request-id", id);
        request
    });
    let requests = requests.collect();
    for (number, answer) in at_once(&gateway, requests).await.iter().enumerate() {
        assert_eq!(answer.assert_ok().json()["predictions"], json!([number as f64]));
        assert_eq!(answer.header("x-request-id"), format!("request-{number}"));
    }
    let (requests, writes) = (gateway.metric(REQUESTS).await, gateway.metric(WRITES).await);
    assert_eq!(requests, 200.0);
    assert!(writes < requests, "{writes} writes");
}

#[tokio::test]
async fn errors_are_kept_apart() {
    let worker = copying().await;
    let gateway = Setup::before(&worker).start().await;
    let requests = (0..90).map(|number| match number % 3 {
        0 => request(&gateway, "copy", &json!({"inputs": [[number]]})),
        1 => request(&gateway, "copy", &json!({"inputs": [[number, number]]})),
        _ => request(&gateway, "copy", &json!({"rows": number})),
    });
    let requests = requests.collect();
    for (number, answer) in at_once(&gateway, requests).await.iter().enumerate() {
        match number % 3 {
            0 => answer.assert_ok(),
            _ => answer.assert_error(400, "invalid_input"),
        };
    }
}

#[tokio::test]
async fn the_time_of_one_is_not_the_time_of_the_others() {
    let worker = copying().await;
    let gateway = Setup::before(&worker).start().await;
    let slow = json!({"inputs": [[0.5]]});
    let requests = (0..4).map(|number| {
        let mut request = request(&gateway, "slow", &slow);
        if number % 2 == 1 {
            request
                .headers_mut()
                .insert("x-request-timeout-ms", "1".parse().unwrap());
        }
        request
    });
    let requests = requests.collect();
    for (number, answer) in at_once(&gateway, requests).await.iter().enumerate() {
        match number % 2 {
            0 => answer.assert_ok(),
            _ => answer.assert_error(504, "deadline_exceeded"),
        };
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_nobody_with_it() {
    let worker = copying().await;
    let gateway = Setup::before(&worker).start().await;
    let body = json!({"inputs": [[0.5]]});
    let [leaving, staying] = [(); 2].map(|()| {
        let (client, request) = (gateway.client.clone(), request(&gateway, "slow", &body));
        tokio::spawn(async move { client.send(request).await })
    });
    worker
        .until_metric("millrace_worker_in_flight_requests", 2.0)
        .await;
    leaving.abort();
    staying.await.unwrap().assert_ok();
    until_equal("requests in flight", 0, || gateway.in_flight()).await;
    worker
        .until_metric("millrace_worker_in_flight_requests", 0.0)
        .await;
}

#[tokio::test]
async fn a_large_request_has_a_connection_of_its_own_and_so_has_each_where_that_is_configured() {
    let worker = copying().await;
    let gateway = Setup::before(&worker).start().await;
    let large = json!({"inputs": vec![[0.123_456_789]; 2000]});
    gateway
        .client
        .send(request(&gateway, "copy", &large))
        .await
        .assert_ok();
    assert_eq!(gateway.metric(REQUESTS).await, 0.0);

    let apart = Setup::before(&worker)
        .set("gateway.coalesce", false)
        .start()
        .await;
    let small = json!({"inputs": [[1]]});
    apart
        .client
        .send(request(&apart, "copy", &small))
        .await
        .assert_ok();
    assert_eq!(apart.metric(REQUESTS).await, 0.0);
}

#[tokio::test]
async fn a_worker_that_shuts_down_answers_what_it_has() {
    let worker = copying().await;
    let gateway = Setup::before(&worker).start().await;
    let body = json!({"inputs": [[0.5]]});
    let asking = [(); 3].map(|()| {
        let (client, request) = (gateway.client.clone(), request(&gateway, "slow", &body));
        tokio::spawn(async move { client.send(request).await })
    });
    let in_flight = async || {
        let count = worker.metric("millrace_worker_in_flight_requests").await;
        (count == 3.0).then_some(())
    };
    until_some("three requests are there", in_flight).await;
    assert_eq!(worker.end().await, 0);
    for asking in asking {
        asking.await.unwrap().assert_ok();
    }
}
