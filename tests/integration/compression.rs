//! Compressed bodies, to a worker and through a gateway.

use std::io::Read;

use axum::http::Method;
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder, ZlibDecoder, ZlibEncoder};
use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::{gateway, graph, worker};

const INFER: &str = "/v2/models/copy/infer";

fn read(mut reader: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).expect("these bytes can be read");
    bytes
}

fn compressed(coding: &str, bytes: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => read(GzEncoder::new(bytes, Compression::best())),
        _ => read(ZlibEncoder::new(bytes, Compression::best())),
    }
}

fn decompressed(coding: &str, bytes: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => read(GzDecoder::new(bytes)),
        _ => read(ZlibDecoder::new(bytes)),
    }
}

async fn send(client: &Client, path: &str, body: Vec<u8>, headers: &[(&'static str, &str)]) -> Answer {
    client
        .send_with(client.request(Method::POST, path, body), headers)
        .await
}

/// A request for so many rows, in JSON.
fn rows(count: usize) -> Vec<u8> {
    let data: Vec<usize> = (0..count).collect();
    let input = json!({"name": "x", "shape": [count, 1], "datatype": "FP32", "data": data});
    json!({"inputs": [input]}).to_string().into_bytes()
}

async fn start() -> (worker::TestWorker, gateway::TestGateway) {
    let worker = worker::Setup::new()
        .model("copy", &graph::identity(1))
        .set("worker.max_body", "64KiB");
    let worker = worker.start().await;
    let gateway = gateway::Setup::before(&worker).start().await;
    (worker, gateway)
}

#[tokio::test]
async fn requests_may_be_compressed_in_every_dialect() {
    let (worker, gateway) = start().await;
    let json = json!({"inputs": [{"name": "x", "shape": [2, 1], "datatype": "FP32", "parameters": {"binary_data_size": 8}}]});
    let json = json.to_string();
    let mixed = [json.as_bytes(), &1_f32.to_le_bytes(), &2_f32.to_le_bytes()].concat();
    let length = json.len().to_string();
    let native: &[u8] = br#"{"model": "copy", "inputs": [[1], [2]]}"#;
    for client in [&worker.client, &gateway.client] {
        for coding in ["gzip", "deflate"] {
            let headers = [
                ("content-encoding", coding),
                ("inference-header-content-length", length.as_str()),
            ];
            let answer = send(client, INFER, compressed(coding, &mixed), &headers).await;
            assert_eq!(answer.assert_ok().json()["outputs"][0]["data"], json!([1.0, 2.0]));
            let answer = send(client, INFER, compressed(coding, &rows(3)), &headers[..1]).await;
            assert_eq!(
                answer.assert_ok().json()["outputs"][0]["data"],
                json!([0.0, 1.0, 2.0])
            );
            for path in ["/predict", "/models/copy/predict"] {
                let answer = send(client, path, compressed(coding, native), &headers[..1]).await;
                assert_eq!(answer.assert_ok().json()["predictions"], json!([1.0, 2.0]));
            }
            let index = send(
                client,
                "/v2/repository/index",
                compressed(coding, b"{}"),
                &headers[..1],
            )
            .await;
            assert_eq!(index.assert_ok().json()[0]["name"], "copy");
        }
        let answer = send(client, INFER, rows(1), &[("content-encoding", "identity")]).await;
        answer.assert_ok();
    }
}

#[tokio::test]
async fn what_is_not_what_it_is_declared_as_is_refused_and_so_are_bombs() {
    let (worker, gateway) = start().await;
    let bomb = vec![b' '; 1 << 20];
    for client in [&worker.client, &gateway.client] {
        for coding in ["br", "gzip, deflate", "zstd"] {
            let headers = [("content-encoding", coding)];
            let refused = send(client, INFER, rows(1), &headers).await;
            refused.assert_v2_error(415, "unsupported_media_type");
            let refused = send(client, "/models/copy/predict", rows(1), &headers).await;
            refused.assert_error(415, "unsupported_media_type");
        }
        for coding in ["gzip", "deflate"] {
            let headers = [("content-encoding", coding)];
            let refused = send(client, INFER, rows(1), &headers).await;
            refused.assert_v2_error(400, "invalid_input");
            let whole = compressed(coding, &rows(1));
            let half = whole[..whole.len() / 2].to_vec();
            send(client, INFER, half, &headers)
                .await
                .assert_v2_error(400, "invalid_input");
            let bomb = compressed(coding, &bomb);
            assert!(bomb.len() < 2000);
            let refused = send(client, INFER, bomb.clone(), &headers).await;
            refused.assert_v2_error(413, "payload_too_large");
            let refused = send(client, "/models/copy/predict", bomb, &headers).await;
            refused.assert_error(413, "payload_too_large");
        }
    }
}

#[tokio::test]
async fn answers_are_compressed_for_who_asks_and_where_it_saves_something() {
    let (worker, gateway) = start().await;
    for client in [&worker.client, &gateway.client] {
        let plain = client.post(INFER, rows(500)).await;
        assert_eq!(plain.assert_ok().header("content-encoding"), "");
        for coding in ["gzip", "deflate"] {
            let answer = send(client, INFER, rows(500), &[("accept-encoding", coding)]).await;
            assert_eq!(answer.assert_ok().header("content-encoding"), coding);
            assert_eq!(decompressed(coding, &answer.body), plain.body);
            let small = send(client, INFER, rows(1), &[("accept-encoding", coding)]).await;
            assert_eq!(small.assert_ok().header("content-encoding"), "");
            let refused = send(client, INFER, b"{}".to_vec(), &[("accept-encoding", coding)]).await;
            refused.assert_v2_error(400, "invalid_input");
        }
    }
}

#[tokio::test]
async fn the_length_of_the_json_is_told_as_it_is_before_compression() {
    let (worker, _gateway) = start().await;
    let mut request: Value = serde_json::from_slice(&rows(500)).expect("it is JSON");
    request["parameters"] = json!({"binary_data_output": true});
    let body = request.to_string().into_bytes();
    let answer = send(&worker.client, INFER, body, &[("accept-encoding", "gzip")]).await;
    assert_eq!(answer.assert_ok().header("content-encoding"), "gzip");
    let length: usize = answer
        .header("inference-header-content-length")
        .parse()
        .expect("a number");
    let whole = decompressed("gzip", &answer.body);
    let head: Value = serde_json::from_slice(&whole[..length]).expect("it is JSON");
    assert_eq!(head["outputs"][0]["parameters"]["binary_data_size"], 2000);
    assert_eq!(whole.len(), length + 2000);
}
