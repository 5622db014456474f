//! The Open Inference Protocol V2 on a gateway: what passes through, what is put together, what is retried.

use axum::http::Method;
use serde_json::json;

use crate::support::fake_worker::{Behaviour, FakeWorker};
use crate::support::gateway::Setup;
use crate::support::wait::until;

#[tokio::test]
async fn bodies_and_their_headers_pass_untouched() {
    let [worker] = FakeWorker::start_many().await;
    worker.add_header("inference-header-content-length", "9");
    let gateway = Setup::over(&[&worker]).start().await;
    let path = "/v2/models/iris/versions/1/infer";
    let request = gateway.client.request(Method::POST, path, &b"{}\0\xff"[..]);
    let headers = [
        ("content-type", "application/octet-stream"),
        ("inference-header-content-length", "2"),
    ];
    let answer = gateway.client.send_with(request, &headers).await;
    assert_eq!(answer.assert_ok().header("inference-header-content-length"), "9");
    let seen = worker.last_seen();
    assert_eq!((seen.path.as_str(), &seen.body[..]), (path, &b"{}\0\xff"[..]));
    assert_eq!(seen.header("inference-header-content-length"), ["2"]);
    assert_eq!(seen.header("content-type"), ["application/octet-stream"]);
}

#[tokio::test]
async fn a_worker_that_is_not_ready_is_known_by_its_header_and_another_one_is_asked() {
    let [first, second] = FakeWorker::start_many().await;
    first.behave(Behaviour::Reply(503, r#"{"error": "loading"}"#));
    first.add_header("x-millrace-error", "not_ready");
    let gateway = Setup::over(&[&first, &second]).start().await;
    for _ in 0..2 {
        let answer = gateway.client.post("/v2/models/iris/infer", "{}").await;
        assert_eq!(answer.assert_ok().header("x-millrace-worker"), "b");
    }
    assert_eq!(gateway.up(), 2, "it refused as a worker does");
}

#[tokio::test]
async fn the_gateways_own_refusals_have_the_shape_of_the_protocol() {
    let [worker] = FakeWorker::start_many().await;
    let gateway = Setup::over(&[&worker])
        .set("gateway.max_in_flight", 1)
        .start()
        .await;
    let client = gateway.client.clone();
    client
        .post("/v2/models/rose/infer", "{}")
        .await
        .assert_v2_error(404, "model_not_found");
    client.get("/v2/nothing").await.assert_v2_error(404, "not_found");
    worker.hold();
    let held = tokio::spawn(async move { client.post("/v2/models/iris/infer", "{}").await });
    until("one is inside", || worker.inside() == 1).await;
    let refused = gateway.client.post("/v2/models/iris/infer", "{}").await;
    refused.assert_v2_error(429, "overloaded");
    assert_eq!(refused.header("retry-after"), "1");
    worker.release();
    held.await.unwrap().assert_ok();
}

#[tokio::test]
async fn repository_calls_reach_every_worker_and_name_those_that_failed() {
    let [first, second] = FakeWorker::start_many().await;
    let gateway = Setup::over(&[&first, &second]).start().await;
    let path = "/v2/repository/models/iris/load";
    gateway.client.post(path, "{}").await.assert_ok();
    assert_eq!((first.count(), second.count()), (1, 1));
    second.behave(Behaviour::Reply(400, r#"{"error": "broken file"}"#));
    second.add_header("x-millrace-error", "invalid_input");
    let answer = gateway.client.post(path, "{}").await;
    answer.assert_v2_error(400, "invalid_input");
    assert_eq!(
        answer.json(),
        json!({"error": "1 of 2 workers failed: b: broken file"})
    );
}

#[tokio::test]
async fn a_load_has_a_time_and_a_size_of_its_own() {
    let [worker] = FakeWorker::start_many().await;
    let gateway = Setup::over(&[&worker])
        .set("gateway.deadline", "50ms")
        .set("gateway.max_body", "1KiB")
        .set("gateway.repository.max_upload", "4KiB")
        .start()
        .await;
    let path = "/v2/repository/models/iris/load";
    let client = gateway.client.clone();
    worker.hold();
    let loading = tokio::spawn(async move { client.post(path, " ".repeat(4 << 10)).await });
    until("the worker loads", || worker.inside() == 1).await;
    let other = gateway.client.post(path, " ".repeat(2 << 10)).await;
    other.assert_v2_error(429, "overloaded");
    let unload = "/v2/repository/models/iris/unload";
    // No answer in time is none: it is not known what the worker did.
    gateway
        .client
        .post(unload, "{}")
        .await
        .assert_v2_error(503, "no_worker");
    worker.release();
    loading.await.unwrap().assert_ok();
    let large = " ".repeat((4 << 10) + 1);
    let refused = gateway.client.post(path, large).await;
    refused.assert_v2_error(413, "payload_too_large");
    let refused = gateway.client.post(unload, " ".repeat(2 << 10)).await;
    refused.assert_v2_error(413, "payload_too_large");
}

#[tokio::test]
async fn the_index_says_what_each_worker_has_and_who_is_silent() {
    let [first, second] = FakeWorker::start_many().await;
    first.behave(Behaviour::Reply(
        200,
        r#"[{"name":"iris","version":"1","state":"READY","reason":""}]"#,
    ));
    let gateway = Setup::over(&[&first, &second]).start().await;
    second.go_away().await;
    let index = gateway
        .client
        .post("/v2/repository/index", "")
        .await
        .assert_ok()
        .json();
    let workers = &index[0]["workers"];
    assert_eq!(
        (&index[0]["state"], &workers["a"]["state"]),
        (&json!("READY"), &json!("READY"))
    );
    assert_eq!(workers["b"]["state"], "UNKNOWN");
    assert!(
        index[0]["reason"]
            .as_str()
            .unwrap()
            .starts_with("b: no connection"),
        "{index}"
    );
}
