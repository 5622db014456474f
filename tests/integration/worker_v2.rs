//! The Open Inference Protocol V2 on a worker, beyond what its real clients check (`tests/python/v2_clients.py`).

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::graph;
use crate::support::worker::Setup;

fn floats(name: &str, shape: &Value, data: &Value) -> Value {
    json!({"name": name, "shape": shape, "datatype": "FP32", "data": data})
}

async fn infer(client: &Client, model: &str, body: &Value) -> Answer {
    client
        .post(&format!("/v2/models/{model}/infer"), body.to_string())
        .await
}

/// A body with `header_length` bytes of JSON.
async fn infer_bytes(client: &Client, model: &str, body: Vec<u8>, header_length: &str) -> Answer {
    let request = client.request(Method::POST, &format!("/v2/models/{model}/infer"), body);
    let headers = [
        ("content-type", "application/octet-stream"),
        ("inference-header-content-length", header_length),
    ];
    client.send_with(request, &headers).await
}

#[tokio::test]
async fn outputs_come_in_the_order_in_which_they_are_asked_for() {
    let worker = Setup::new().model("pair", &graph::two_inputs()).start().await;
    let inputs = json!([
        floats("income", &json!([2, 1]), &json!([10, 20])),
        floats("age", &json!([2, 1]), &json!([[1], [2]])),
    ]);
    let answer = infer(&worker.client, "pair", &json!({"id": "7", "inputs": inputs})).await;
    let expected = json!({"model_name": "pair", "model_version": "1", "id": "7", "outputs": [
        {"name": "total", "datatype": "FP32", "shape": [2, 1], "data": [21.0, 42.0]},
        {"name": "same_age", "datatype": "FP32", "shape": [2, 1], "data": [1.0, 2.0]},
    ]});
    assert_eq!(answer.assert_ok().json(), expected);
    let wanted = json!([{"name": "same_age"}, {"name": "total"}]);
    let answer = infer(
        &worker.client,
        "pair",
        &json!({"inputs": inputs, "outputs": wanted}),
    )
    .await;
    assert_eq!(answer.assert_ok().json()["outputs"][0]["name"], "same_age");
}

#[tokio::test]
async fn a_raw_request_is_answered_with_bytes_which_may_be_no_numbers() {
    let worker = Setup::new().model("inverse", &graph::reciprocal()).start().await;
    let answer = infer_bytes(&worker.client, "inverse", 0_f32.to_le_bytes().to_vec(), "0").await;
    let length: usize = answer
        .assert_ok()
        .header("inference-header-content-length")
        .parse()
        .unwrap();
    let head: Value = serde_json::from_slice(&answer.body[..length]).unwrap();
    assert_eq!(head["outputs"][0]["parameters"]["binary_data_size"], 4);
    assert_eq!(answer.body[length..], f32::INFINITY.to_le_bytes());
    let body = json!({"inputs": [floats("x", &json!([1, 1]), &json!([0]))]});
    infer(&worker.client, "inverse", &body)
        .await
        .assert_v2_error(500, "internal");
}

/// Sends one input as bytes and asks for bytes; those of the only output.
async fn bytes_back(client: &Client, model: &str, mut input: Value, bytes: &[u8]) -> Vec<u8> {
    input["parameters"] = json!({"binary_data_size": bytes.len()});
    let head = json!({"inputs": [input], "parameters": {"binary_data_output": true}}).to_string();
    let body = [head.as_bytes(), bytes].concat();
    let answer = infer_bytes(client, model, body, &head.len().to_string()).await;
    let length = answer.assert_ok().header("inference-header-content-length");
    answer.body[length.parse().expect("a number")..].to_vec()
}

#[tokio::test]
async fn what_json_has_no_words_for_passes_as_bytes() {
    let worker = Setup::new()
        .model("copy", &graph::identity(1))
        .model("texts", &graph::texts())
        .start()
        .await;
    let numbers = [f32::NAN, f32::NEG_INFINITY, -0.0].map(f32::to_le_bytes).concat();
    let input = json!({"name": "x", "shape": [3, 1], "datatype": "FP32"});
    assert_eq!(
        bytes_back(&worker.client, "copy", input.clone(), &numbers).await,
        numbers
    );
    let head = json!({"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "parameters": {"binary_data_size": 4}}]});
    let head = head.to_string();
    let body = [head.as_bytes(), &f32::NAN.to_le_bytes()].concat();
    let answer = infer_bytes(&worker.client, "copy", body, &head.len().to_string()).await;
    answer.assert_v2_error(500, "internal");
    let texts = "\0\0\0\0\x07\0\0\0größe\0\0\0\0".as_bytes();
    let input = json!({"name": "x", "shape": [3, 1], "datatype": "BYTES"});
    assert_eq!(bytes_back(&worker.client, "texts", input, texts).await, texts);
    let input = json!({"name": "x", "shape": [3, 1], "datatype": "BYTES", "data": ["", "größe", "a\0b"]});
    let answer = infer(&worker.client, "texts", &json!({"inputs": [input]})).await;
    assert_eq!(
        answer.assert_ok().json()["outputs"][0]["data"],
        json!(["", "größe", "a\0b"])
    );
}

#[tokio::test]
async fn empty_tensors_are_refused_in_every_form() {
    let worker = Setup::new()
        .model("copy", &graph::identity(1))
        .model("sum", &graph::sequence_sum())
        .start()
        .await;
    for (model, shape) in [
        ("copy", json!([0, 1])),
        ("sum", json!([2, 0])),
        ("sum", json!([0, 0])),
    ] {
        let answer = infer(
            &worker.client,
            model,
            &json!({"inputs": [floats("x", &shape, &json!([]))]}),
        )
        .await;
        answer.assert_v2_error(400, "invalid_input");
        let error = answer.json()["error"].to_string();
        assert!(
            error.contains("is empty") && error.contains("expected 1 or more"),
            "{error}"
        );
        let input =
            json!({"name": "x", "shape": shape, "datatype": "FP32", "parameters": {"binary_data_size": 0}});
        let head = json!({"inputs": [input]}).to_string();
        let length = head.len().to_string();
        let answer = infer_bytes(&worker.client, model, head.into_bytes(), &length).await;
        answer.assert_v2_error(400, "invalid_input");
    }
    let answer = infer_bytes(&worker.client, "sum", Vec::new(), "0").await;
    answer.assert_v2_error(400, "invalid_input");
}

#[tokio::test]
async fn every_refusal_has_the_shape_of_the_protocol() {
    let worker = Setup::new()
        .model("copy", &graph::identity(2))
        .set("worker.max_body", "4KiB")
        .start()
        .await;
    let client = &worker.client;
    for body in ["", "{", "[]", r#"{"inputs": [NaN]}"#] {
        let answer = client.post("/v2/models/copy/infer", body).await;
        assert_eq!(answer.status.as_u16(), 400, "{body}");
        assert!(answer.json()["error"].is_string(), "{body}");
    }
    for length in ["-1", "five", "9999"] {
        let answer = infer_bytes(client, "copy", b"{}".to_vec(), length).await;
        answer.assert_v2_error(400, "invalid_input");
    }
    let huge = json!({"inputs": [floats("x", &json!([1_u64 << 40, 2]), &json!([1, 2]))]});
    infer(client, "copy", &huge)
        .await
        .assert_v2_error(400, "invalid_input");
    client.get("/v2/nothing").await.assert_v2_error(404, "not_found");
    client
        .get("/v2/models/rose")
        .await
        .assert_v2_error(404, "model_not_found");
    client
        .get("/v2/models/copy/infer")
        .await
        .assert_v2_error(405, "method_not_allowed");
    client
        .post("/v2/models/copy/infer", vec![b' '; 5000])
        .await
        .assert_v2_error(413, "payload_too_large");
    let request = client.request(Method::POST, "/v2/models/copy/infer", "{}");
    client
        .send_with(request, &[("content-type", "text/plain")])
        .await
        .assert_v2_error(415, "unsupported_media_type");
    client.get("/nothing").await.assert_error(404, "not_found");
}

#[tokio::test]
async fn a_request_that_allows_itself_no_time_is_out_of_it() {
    let worker = Setup::new().model("slow", &graph::slow()).start().await;
    let body = json!({"inputs": [floats("x", &json!([1, 1]), &json!([0.5]))], "parameters": {"timeout": 1}});
    infer(&worker.client, "slow", &body)
        .await
        .assert_v2_error(504, "deadline_exceeded");
    let statistics = worker
        .client
        .get("/v2/models/slow/stats")
        .await
        .assert_ok()
        .json();
    assert_eq!(
        statistics["model_stats"][0]["inference_stats"]["fail"]["count"],
        1
    );
}

#[tokio::test]
async fn requests_count_in_the_same_metrics_as_native_ones() {
    let worker = Setup::new().model("copy", &graph::identity(1)).start().await;
    let body = json!({"inputs": [floats("x", &json!([3, 1]), &json!([1, 2, 3]))]});
    infer(&worker.client, "copy", &body).await.assert_ok();
    let series = r#"millrace_worker_requests_total{code="ok",model="copy"}"#;
    worker.until_metric(series, 1.0).await;
}

#[tokio::test]
async fn a_load_that_fails_is_told_although_the_version_before_answers_on() {
    let worker = Setup::new()
        .model("copy", &graph::identity(1))
        .set("worker.repository.allow_uploads", true)
        .start()
        .await;
    let load = async |parameters: Value| {
        let body = json!({"parameters": parameters}).to_string();
        worker.client.post("/v2/repository/models/copy/load", body).await
    };
    let answer = load(json!({"config": "{}", "file:1/model.onnx": "YWI="})).await;
    answer.assert_v2_error(400, "invalid_input");
    let error = answer.json()["error"].to_string();
    assert!(error.contains("failed to load 'copy': version 1: "), "{error}");
    let body = json!({"inputs": [floats("x", &json!([1, 1]), &json!([1]))]});
    infer(&worker.client, "copy", &body).await.assert_ok();
    let answer = load(json!({"file:1/model.onnx": "YWI="})).await;
    answer.assert_v2_error(400, "invalid_input");
    load(json!({})).await.assert_ok();
}

#[tokio::test]
async fn files_in_load_requests_are_refused_where_they_are_not_allowed() {
    let worker = Setup::new().model("copy", &graph::identity(1)).start().await;
    let body = json!({"parameters": {"config": "{}", "file:1/model.onnx": "YWI="}});
    let answer = worker
        .client
        .post("/v2/repository/models/copy/load", body.to_string())
        .await;
    answer.assert_v2_error(403, "forbidden");
    let index = worker
        .client
        .post("/v2/repository/index", "")
        .await
        .assert_ok()
        .json();
    assert_eq!(
        index,
        json!([{"name": "copy", "version": "1", "state": "READY", "reason": ""}])
    );
}

#[tokio::test]
async fn an_upload_has_a_time_and_a_size_of_its_own() {
    let graph = graph::linear(&[1.0; 600], 7.0);
    let encoded = base64(&graph);
    let body = json!({"parameters": {"config": "{}", "file:1/model.onnx": encoded}}).to_string();
    assert!((2 << 10..8 << 10).contains(&body.len()), "{}", body.len());
    let allowing = |allowed: bool| {
        Setup::new()
            .set("worker.deadline", "1ms")
            .set("worker.max_body", "1KiB")
            .set("worker.repository.max_upload", "8KiB")
            .set("worker.repository.allow_uploads", allowed)
            .model("copy", &graph::identity(1))
    };
    let worker = allowing(true).start().await;
    let path = "/v2/repository/models/large/load";
    worker.client.post(path, body.clone()).await.assert_ok();
    let ready = worker.client.get("/v2/models/large/ready").await;
    ready.assert_ok();
    let refused = worker.client.post(path, " ".repeat(9 << 10)).await;
    refused.assert_v2_error(413, "payload_too_large");
    let refused = worker
        .client
        .post("/v2/models/large/infer", " ".repeat(2 << 10))
        .await;
    refused.assert_v2_error(413, "payload_too_large");
    let mut hurried = worker.client.request(Method::POST, path, body.clone());
    hurried
        .headers_mut()
        .insert("x-request-timeout-ms", "1".parse().unwrap());
    worker
        .client
        .send(hurried)
        .await
        .assert_v2_error(504, "deadline_exceeded");

    let worker = allowing(false).start().await;
    worker
        .client
        .post(path, body)
        .await
        .assert_v2_error(413, "payload_too_large");
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let padded = [
            0,
            group[0],
            *group.get(1).unwrap_or(&0),
            *group.get(2).unwrap_or(&0),
        ];
        let bits = u32::from_be_bytes(padded);
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit <= group.len() {
                char::from(DIGITS[value as usize])
            } else {
                '='
            });
        }
    }
    text
}
