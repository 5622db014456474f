//! What clients can send that nobody should have to cope with: each gets its answer, and the gateway goes on.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::support::client::RawConnection;
use crate::support::fake_worker::FakeWorker;
use crate::support::gateway::{Setup, TestGateway};
use crate::support::wait::{until, until_equal};

async fn start() -> (FakeWorker, TestGateway) {
    let worker = FakeWorker::start("a").await;
    let gateway = Setup::over(&[&worker])
        .set("gateway.max_body", "64KiB")
        .set("gateway.header_timeout", "300ms")
        .set("gateway.deadline", "1s")
        .start()
        .await;
    (worker, gateway)
}

/// It still answers, and nothing of the nonsense came to a worker.
async fn still_well(worker: &FakeWorker, gateway: &TestGateway) {
    assert_eq!(worker.count(), 0, "{:?}", worker.seen());
    gateway.client.predict().await.assert_ok();
    until_equal("the number of requests in flight", 0, || gateway.in_flight()).await;
}

fn error_in(body: &str) -> Value {
    let body: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error} in {body:?}"));
    assert!(
        body["error"]["message"].is_string() && body["error"]["request_id"].is_string(),
        "{body}"
    );
    body["error"]["code"].clone()
}

#[tokio::test]
async fn what_is_not_a_request_is_refused_with_its_reason() {
    let (worker, gateway) = start().await;
    for (body, code) in [
        ("", "invalid_json"),
        ("not json", "invalid_json"),
        ("{\"model\": \"iris\"", "invalid_json"),
        ("{\"inputs\": [NaN]}", "invalid_json"),
        ("\u{feff}{}", "invalid_json"),
        ("[1, 2]", "invalid_input"),
        ("\"iris\"", "invalid_input"),
        ("{\"model\": 7}", "invalid_input"),
        ("{\"inputs\": [[1]]}", "invalid_input"),
        ("{\"model\": \"iris\", \"version\": 1.5}", "invalid_input"),
    ] {
        gateway
            .client
            .post("/predict", body)
            .await
            .assert_error(400, code);
    }
    let not_utf8 = gateway
        .client
        .post("/predict", &b"{\"model\": \"\xff\xfe\"}"[..])
        .await;
    not_utf8.assert_error(400, "invalid_json");
    still_well(&worker, &gateway).await;
}

#[tokio::test]
async fn names_that_no_model_can_have_are_not_found() {
    let (worker, gateway) = start().await;
    for path in [
        "/models/..%2F..%2Fadmin/predict",
        "/models/a%20b/predict",
        "/models/%00/predict",
        "/models/iris%3Fx/predict",
        "/models/%F0%9F%8C%B8/predict",
        "/models/iris/versions/..%2f1/predict",
    ] {
        let answer = gateway.client.post(path, "{}").await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        let code = answer.json()["error"]["code"].clone();
        assert!(
            code == "model_not_found" || code == "version_not_found",
            "{path}: {code}"
        );
    }
    let long = "m".repeat(50_000);
    let answer = gateway
        .client
        .post("/predict", json!({"model": long}).to_string())
        .await;
    answer.assert_error(404, "model_not_found");
    assert!(answer.body.len() < 1000, "the name is not sent back whole");
    gateway
        .client
        .post("/models/%ff/predict", "{}")
        .await
        .assert_error(404, "not_found");
    still_well(&worker, &gateway).await;
}

#[tokio::test]
async fn deep_nesting_is_skipped_over() {
    let worker = FakeWorker::start("a").await;
    let gateway = Setup::over(&[&worker]).start().await;
    let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
    let body = format!("{{\"inputs\": {open}{close}, \"model\": \"iris\"}}");
    gateway.client.post("/predict", body).await.assert_ok();
    gateway
        .client
        .post("/predict", open)
        .await
        .assert_error(400, "invalid_input");
    let objects = "{\"a\":".repeat(100_000);
    gateway
        .client
        .post("/predict", objects)
        .await
        .assert_error(400, "invalid_json");
}

#[tokio::test]
async fn a_body_that_is_declared_too_large_is_refused_before_it_is_read() {
    let (worker, gateway) = start().await;
    let mut connection = RawConnection::open(gateway.address).await;
    connection
        .write("POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 104857600\r\n\r\n{")
        .await;
    let (head, body) = connection.read_answer().await;
    assert!(head.starts_with("HTTP/1.1 413"), "{head}");
    assert_eq!(error_in(&body), "payload_too_large");
    still_well(&worker, &gateway).await;
}

#[tokio::test]
async fn a_client_that_waits_to_be_asked_for_its_too_large_body_is_not_asked() {
    let (worker, gateway) = start().await;
    let mut connection = RawConnection::open(gateway.address).await;
    connection
        .write(
            "POST /predict HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 104857600\r\n\r\n",
        )
        .await;
    let all = connection.read_to_end().await;
    assert!(all.starts_with("HTTP/1.1 413"), "{all}");
    still_well(&worker, &gateway).await;
}

#[tokio::test]
async fn a_body_in_chunks_is_refused_once_it_is_too_large() {
    let (worker, gateway) = start().await;
    let mut connection = RawConnection::open(gateway.address).await;
    connection
        .write("POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    // A hundred megabytes, of which the gateway reads what it needs to refuse them.
    for _ in 0..17 {
        connection.write(&chunk).await;
    }
    let (head, body) = connection.read_answer().await;
    assert!(head.starts_with("HTTP/1.1 413"), "{head}");
    assert_eq!(error_in(&body), "payload_too_large");
    still_well(&worker, &gateway).await;
}

#[tokio::test]
async fn a_client_that_writes_on_gets_to_read_why_it_was_refused() {
    let (worker, gateway) = start().await;
    let answer = gateway.client.post("/predict", vec![b' '; 20 << 20]).await;
    answer.assert_error(413, "payload_too_large");
    assert!(answer.message().contains("65536"), "{}", answer.message());
    still_well(&worker, &gateway).await;
}

#[tokio::test]
async fn wrong_methods_and_paths_are_told_apart() {
    let (worker, gateway) = start().await;
    for (method, path, allowed) in [
        (Method::GET, "/predict", "POST"),
        (Method::DELETE, "/models/iris/predict", "POST"),
        (Method::POST, "/models", "GET,HEAD"),
        (Method::PUT, "/readyz", "GET,HEAD"),
    ] {
        let answer = gateway
            .client
            .send(gateway.client.request(method, path, "{}"))
            .await;
        answer.assert_error(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), allowed, "{path}");
    }
    for path in [
        "/",
        "/prediction",
        "/models/iris/predict/",
        "/admin/workers",
        "/models/a/b/predict",
    ] {
        gateway
            .client
            .post(path, "{}")
            .await
            .assert_error(404, "not_found");
    }
    still_well(&worker, &gateway).await;
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_says_that_it_is_the_last() {
    let (worker, gateway) = start().await;
    for head in [
        "POST /nowhere HTTP/1.1\r\nHost: x\r\n",
        "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n",
        "POST /predict HTTP/1.1\r\nHost: x\r\nX-Request-Timeout-Ms: soon\r\n",
    ] {
        let mut connection = RawConnection::open(gateway.address).await;
        connection.write(format!("{head}Content-Length: 2\r\n\r\n")).await;
        let (answer, _) = connection.read_answer().await;
        assert!(answer.contains("\r\nconnection: close"), "{head}: {answer}");
        assert_eq!(connection.read_to_end().await, "");
    }
    // Where there was no body, or it was read, the connection goes on.
    let mut connection = RawConnection::open(gateway.address).await;
    for request in [
        "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{]",
        "POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{]\r\n0\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        connection.write(request).await;
        let (answer, _) = connection.read_answer().await;
        assert!(!answer.contains("connection: close"), "{request}: {answer}");
    }
    still_well(&worker, &gateway).await;
}

#[tokio::test]
async fn what_is_declared_as_something_else_than_json_is_refused() {
    let (worker, gateway) = start().await;
    for kind in [
        "text/plain",
        "multipart/form-data; boundary=x",
        "application/xml",
        "nonsense",
    ] {
        let answer = gateway.client.predict_with("content-type", kind).await;
        answer.assert_error(415, "unsupported_media_type");
    }
    still_well(&worker, &gateway).await;
}

#[tokio::test]
async fn a_flood_of_headers_is_refused_or_cut() {
    let (worker, gateway) = start().await;
    let many = (0..5000).fold(String::new(), |mut text, index| {
        let _ = write!(text, "x-{index}: {index}\r\n");
        text
    });
    let large = format!("x-large: {}\r\n", "x".repeat(4 << 20));
    for flood in [many, large] {
        let mut connection = RawConnection::open(gateway.address).await;
        let request = format!("POST /predict HTTP/1.1\r\nHost: x\r\n{flood}Content-Length: 2\r\n\r\n{{}}");
        // The gateway may close the connection before it has read everything.
        let _ = connection.try_write(request).await;
        let all = connection.read_to_end().await;
        assert!(all.is_empty() || all.starts_with("HTTP/1.1 431"), "{all}");
    }
    still_well(&worker, &gateway).await;
}

#[tokio::test]
async fn a_line_that_is_not_http_is_refused_or_cut() {
    let (worker, gateway) = start().await;
    for line in [
        "GET\r\n\r\n",
        "\x16\x03\x01\x02",
        "POST /predict HTTP/9.9\r\n\r\n",
        "\r\n\r\n\0\0\0\0",
    ] {
        let mut connection = RawConnection::open(gateway.address).await;
        let _ = connection.try_write(line).await;
        let all = connection.read_to_end().await;
        assert!(
            all.is_empty() || all.starts_with("HTTP/1.1 400"),
            "{line:?}: {all}"
        );
    }
    still_well(&worker, &gateway).await;
}

/// Writes `bytes` one by one, and gives how long it took until the server closed or answered.
async fn drip(address: SocketAddr, start: &str, bytes: &str) -> (Duration, String) {
    let mut connection = RawConnection::open(address).await;
    connection.write(start).await;
    let begun = Instant::now();
    let (mut reader, mut writer) = connection.split();
    let dripping = async {
        for byte in bytes.as_bytes().iter().cycle() {
            if writer.try_write([*byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        all = reader.read_to_end() => (begun.elapsed(), all),
        () = dripping => unreachable!("it never ends"),
    }
}

#[tokio::test]
async fn a_client_that_drips_its_head_is_cut_off_in_time() {
    let (worker, gateway) = start().await;
    let (took, all) = drip(gateway.address, "POST /predict HTTP/1.1\r\n", "x-a: b\r\n").await;
    assert!(
        (Duration::from_millis(250)..Duration::from_secs(5)).contains(&took),
        "{took:?}"
    );
    assert!(all.is_empty() || all.starts_with("HTTP/1.1 408"), "{all}");
    still_well(&worker, &gateway).await;
}

#[tokio::test]
async fn a_client_that_drips_its_body_is_cut_off_in_time() {
    let (worker, gateway) = start().await;
    let head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n";
    let (took, all) = drip(gateway.address, head, " ").await;
    assert!(
        (Duration::from_millis(900)..Duration::from_secs(6)).contains(&took),
        "{took:?}"
    );
    assert!(all.starts_with("HTTP/1.1 504"), "{all}");
    let (_, body) = all.split_once("\r\n\r\n").unwrap();
    assert_eq!(error_in(body), "deadline_exceeded");
    still_well(&worker, &gateway).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_time() {
    let (worker, gateway) = start().await;
    let mut unused = RawConnection::open(gateway.address).await;
    let mut used = RawConnection::open(gateway.address).await;
    used.write("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(used.read_answer().await.0.starts_with("HTTP/1.1 200"));
    let begun = Instant::now();
    assert_eq!(unused.read_to_end().await, "");
    assert_eq!(used.read_to_end().await, "");
    assert!(begun.elapsed() < Duration::from_secs(5));
    still_well(&worker, &gateway).await;
}

#[tokio::test]
async fn a_request_with_two_lengths_cannot_smuggle_another() {
    let (worker, gateway) = start().await;
    let smuggled = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    for lengths in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
    ] {
        let mut connection = RawConnection::open(gateway.address).await;
        let request = format!("POST /predict HTTP/1.1\r\nHost: x\r\n{lengths}\r\n0\r\n\r\n{smuggled}");
        let _ = connection.try_write(request).await;
        let all = connection.read_to_end().await;
        assert!(all.matches("HTTP/1.1 ").count() <= 1, "{lengths}: {all}");
        assert!(
            all.is_empty() || all.starts_with("HTTP/1.1 400"),
            "{lengths}: {all}"
        );
    }
    still_well(&worker, &gateway).await;
}

#[tokio::test]
async fn a_client_that_leaves_half_way_leaves_nothing_behind() {
    let (worker, gateway) = start().await;
    for part in [
        "POST /pre",
        "POST /predict HTTP/1.1\r\nHost: x\r\n",
        "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 60\r\n\r\n{\"model\": \"ir",
        "POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"mo",
    ] {
        let mut connection = RawConnection::open(gateway.address).await;
        connection.write(part).await;
        drop(connection);
    }
    let text = async || gateway.client.get("/metrics").await.text();
    until("the worker was probed meanwhile", || worker.probes() > 2).await;
    crate::support::wait::until_some("nobody is in", async || {
        text()
            .await
            .contains("millrace_gateway_in_flight_requests 0\n")
            .then_some(())
    })
    .await;
    still_well(&worker, &gateway).await;
}
