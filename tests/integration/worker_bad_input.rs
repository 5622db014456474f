//! Whatever a client sends gets the error table's answer, and the worker goes on.

use std::time::Duration;

use axum::http::Method;
use serde_json::json;
use tokio::join;
use tokio::time::interval;

use crate::support::client::RawConnection;
use crate::support::graph::{self, FLOAT, Graph, TEXT};
use crate::support::worker::{Setup, TestWorker};

const FEATURES: &[u8] = br#"features = ["width", "height"]"#;

async fn boxes() -> TestWorker {
    Setup::new()
        .model("boxes", &graph::linear(&[1.0, 1.0], 0.0))
        .file("boxes/1/model.toml", FEATURES)
        .set("worker.max_body", "64KiB")
        .start()
        .await
}

/// The worker still does its work.
async fn assert_well(worker: &TestWorker) {
    let body = json!({"model": "boxes", "inputs": [[1, 2]]}).to_string();
    assert_eq!(
        worker.client.post("/predict", body).await.assert_ok().json()["predictions"],
        json!([3.0])
    );
}

#[tokio::test]
async fn values_that_the_graph_refuses() {
    let numbers = Graph::default()
        .input("text", TEXT, &[-1, 1])
        .output("number", FLOAT, &[-1, 1])
        .node_with("Cast", &["text"], "number", &[("to", FLOAT as i64)])
        .bytes();
    let worker = Setup::new().model("numbers", &numbers).start().await;
    let good = json!({"inputs": [["1.5"], ["2"]]}).to_string();
    let bad = json!({"inputs": [["1.5"], ["two"]]}).to_string();
    let path = "/models/numbers/predict";
    let (good, bad) = join!(worker.client.post(path, good), worker.client.post(path, bad));
    assert_eq!(good.assert_ok().json()["predictions"], json!([1.5, 2.0]));
    let message = bad.assert_error(400, "invalid_input").message();
    assert!(
        message.contains("begins with a number") && message.contains("two"),
        "{message}"
    );
    let tensor = json!({"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": ["two"]});
    let answer = worker
        .client
        .post(
            "/v2/models/numbers/infer",
            json!({"inputs": [tensor]}).to_string(),
        )
        .await;
    let message = answer.assert_v2_error(400, "invalid_input").json()["error"].to_string();
    assert!(message.contains("begins with a number"), "{message}");
}

#[tokio::test]
async fn what_is_not_json_or_no_request() {
    let worker = boxes().await;
    for (body, code) in [
        ("", "invalid_json"),
        ("not json", "invalid_json"),
        (r#"{"model": "boxes", "inputs": [[1, NaN]]}"#, "invalid_json"),
        (r#"{"model": "boxes", "inputs": [[1, 1e400]]}"#, "invalid_input"),
        (r#"{"model": "boxes", "inputs": [[1, 1e39]]}"#, "invalid_input"),
        ("[[1, 2]]", "invalid_input"),
        (r#"{"model": "boxes"}"#, "invalid_input"),
        (r#"{"model": "boxes", "instances": [[1, 2]]}"#, "invalid_input"),
        (r#"{"inputs": [[1, 2]]}"#, "invalid_input"),
    ] {
        worker.client.post("/predict", body).await.assert_error(400, code);
    }
    let deep = format!(
        r#"{{"model": "boxes", "inputs": {}{}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    worker
        .client
        .post("/predict", deep)
        .await
        .assert_error(400, "invalid_json");
    assert_well(&worker).await;
}

#[tokio::test]
async fn rows_that_do_not_fit_say_which_and_what_was_expected() {
    let worker = boxes().await;
    for (inputs, message) in [
        (
            "[[1, 2], [1]]",
            "inputs[1] has 1 value; model boxes takes 2: width, height",
        ),
        (
            "[[1, 2], [1, 2, 3]]",
            "inputs[1] has 3 values; model boxes takes 2: width, height",
        ),
        (
            r#"[["wide", 2]]"#,
            r#"inputs[0][0] (width) is the text "wide"; expected a number in the range of 32-bit floats"#,
        ),
        (
            "[[1, null]]",
            "inputs[0][1] (height) is null; expected a number in the range of 32-bit floats, and none may be missing \
             (missing_values in model.toml)",
        ),
        (
            r#"[{"width": 1, "hieght": 2}]"#,
            r#"inputs[0] has the unknown feature "hieght"; did you mean height?"#,
        ),
        (
            r#"[{"width": 1}]"#,
            "inputs[0] lacks height; model boxes takes 2: width, height",
        ),
        (
            r#"[{"width": 1, "width": 1, "height": 2}]"#,
            "inputs[0] gives width twice",
        ),
        ("[]", "inputs has no rows; expected at least 1"),
    ] {
        let answer = worker
            .client
            .post("/models/boxes/predict", format!(r#"{{"inputs": {inputs}}}"#))
            .await;
        assert_eq!(answer.assert_error(400, "invalid_input").message(), message);
    }
    assert_well(&worker).await;
}

#[tokio::test]
async fn unknown_models_versions_paths_and_methods() {
    let worker = boxes().await;
    let body = r#"{"inputs": [[1, 2]]}"#;
    for path in [
        "/models/boxez/predict",
        "/models/%2e%2e/predict",
        "/models/a%2fb/predict",
    ] {
        worker
            .client
            .post(path, body)
            .await
            .assert_error(404, "model_not_found");
    }
    worker
        .client
        .get("/models/boxez")
        .await
        .assert_error(404, "model_not_found");
    for version in ["2", "0", "latest", "99999999999999999999999"] {
        let path = format!("/models/boxes/versions/{version}/predict");
        worker
            .client
            .post(&path, body)
            .await
            .assert_error(404, "version_not_found");
    }
    worker
        .client
        .post("/models/%ff/predict", body)
        .await
        .assert_error(404, "not_found");
    worker
        .client
        .get("/nothing/here")
        .await
        .assert_error(404, "not_found");
    let answer = worker.client.get("/predict").await;
    assert_eq!(
        answer.assert_error(405, "method_not_allowed").header("allow"),
        "POST"
    );
    let answer = worker.client.post("/models", "{}").await;
    assert_eq!(
        answer.assert_error(405, "method_not_allowed").header("allow"),
        "GET,HEAD"
    );
    let contradiction = r#"{"model": "other", "inputs": [[1, 2]]}"#;
    worker
        .client
        .post("/models/boxes/predict", contradiction)
        .await
        .assert_error(400, "invalid_input");
    assert_well(&worker).await;
}

#[tokio::test]
async fn content_types() {
    let worker = boxes().await;
    let send = async |content_type: Option<&'static str>| {
        let body = r#"{"model": "boxes", "inputs": [[1, 2]]}"#;
        let mut request = worker.client.request(Method::POST, "/predict", body);
        request.headers_mut().remove("content-type");
        let declared = content_type.map(|content_type| ("content-type", content_type));
        worker.client.send_with(request, declared.as_slice()).await
    };
    for good in [
        None,
        Some("application/json; charset=utf-8"),
        Some("application/vnd.api+json"),
    ] {
        send(good).await.assert_ok();
    }
    let answer = send(Some("application/x-www-form-urlencoded")).await;
    let message = answer.assert_error(415, "unsupported_media_type").message();
    assert!(message.contains("content-type: application/json"), "{message}");
}

#[tokio::test]
async fn bodies_over_the_limit_are_refused_before_they_are_read() {
    let worker = boxes().await;
    let body = " ".repeat(64 << 10) + "{}";
    worker
        .client
        .post("/predict", body)
        .await
        .assert_error(413, "payload_too_large");
    let mut connection = RawConnection::open(worker.address).await;
    connection
        .write("POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 104857600\r\n\r\n")
        .await;
    let (head, _) = connection.read_answer().await;
    assert!(head.starts_with("HTTP/1.1 413"), "{head}");
    assert_well(&worker).await;
}

#[tokio::test]
async fn a_flood_of_headers_is_refused() {
    let worker = boxes().await;
    let mut connection = RawConnection::open(worker.address).await;
    let flood = (0..5000)
        .map(|number| format!("x-{number}: y\r\n"))
        .collect::<String>();
    // The server may close before it has read everything.
    let _ = connection
        .try_write(format!("POST /predict HTTP/1.1\r\nhost: x\r\n{flood}\r\n"))
        .await;
    let answer = connection.read_to_end().await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    assert_well(&worker).await;
}

#[tokio::test]
async fn deadlines_of_clients() {
    let worker = boxes().await;
    for value in ["soon", "0", "-5", "1.5"] {
        let body = r#"{"model": "boxes", "inputs": [[1, 2]]}"#;
        let request = worker.client.request(Method::POST, "/predict", body);
        worker
            .client
            .send_with(request, &[("x-request-timeout-ms", value)])
            .await
            .assert_error(400, "invalid_input");
    }
}

#[tokio::test]
async fn a_client_that_sends_its_body_byte_by_byte_runs_out_of_time() {
    let worker = boxes().await;
    let mut connection = RawConnection::open(worker.address).await;
    let head =
        "POST /predict HTTP/1.1\r\nhost: x\r\nx-request-timeout-ms: 100\r\ncontent-length: 1000\r\n\r\n";
    connection.write(head).await;
    let mut pace = interval(Duration::from_millis(20));
    for _ in 0..3 {
        pace.tick().await;
        connection.write("{").await;
    }
    let answer = connection.read_answer().await;
    assert!(answer.0.starts_with("HTTP/1.1 504"), "{answer:?}");
    assert!(answer.1.contains("deadline_exceeded"), "{answer:?}");
    // What is left of the body could be taken for another request.
    assert_eq!(connection.read_to_end().await, "");
    assert_well(&worker).await;
}

#[tokio::test]
async fn a_client_that_leaves_half_way_does_no_harm() {
    let worker = boxes().await;
    let mut connection = RawConnection::open(worker.address).await;
    connection
        .write("POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{\"mod")
        .await;
    worker
        .until_metric("millrace_worker_in_flight_requests", 1.0)
        .await;
    drop(connection);
    worker
        .until_metric("millrace_worker_in_flight_requests", 0.0)
        .await;
    assert_well(&worker).await;
}
