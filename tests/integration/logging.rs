//! One line a request on each side, under one id; as text and as JSON.

use serde_json::Value;

use crate::support::client::RawConnection;
use crate::support::serving::Serving;
use crate::support::wait::until_some;

/// The access lines of one request, once both sides have written theirs.
async fn lines_of(serving: &Serving, id: &str) -> Vec<String> {
    until_some(&format!("both sides log {id}"), async || {
        let of_it = |line: &String| line.contains("millrace::access") && line.contains(id);
        let lines: Vec<String> = serving.process.log().into_iter().filter(of_it).collect();
        (lines.len() == 2).then_some(lines)
    })
    .await
}

async fn predict_as(serving: &Serving, id: &'static str) {
    let answer = serving.client.predict_with("x-request-id", id).await;
    assert_eq!(answer.assert_ok().header("x-request-id"), id);
}

#[tokio::test]
async fn a_request_is_found_on_both_sides_by_its_id() {
    let serving = Serving::start().await;
    predict_as(&serving, "order-7").await;
    let lines = lines_of(&serving, "order-7").await;
    let from = |label: &str| lines.iter().find(|line| line.starts_with(label));
    let gateway = from("[gateway] ").expect("the gateway logs it");
    assert!(
        gateway.contains("model=\"iris\"") && gateway.contains("attempts=1"),
        "{gateway}"
    );
    let worker = gateway
        .split_once("worker=\"")
        .and_then(|(_, rest)| rest.split_once('"'))
        .unwrap()
        .0;
    let line = from(&format!("[{worker}] ")).expect("the worker that is named logs it too");
    assert!(
        line.contains("path=\"/models/iris/predict\"") && line.contains("status=200"),
        "{line}"
    );
}

#[tokio::test]
async fn json_lines_are_json_and_say_which_process_wrote_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("millrace.toml");
    std::fs::write(&file, "[telemetry]\nlog_format = \"json\"\n").unwrap();
    let serving = Serving::start_with(&["--config", file.to_str().unwrap()]).await;
    predict_as(&serving, "order-8").await;
    let mut processes = Vec::new();
    for line in lines_of(&serving, "order-8").await {
        let line: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(line["request_id"], "order-8");
        assert_eq!(line["status"], 200);
        processes.push(line["process"].as_str().unwrap_or_default().to_owned());
    }
    processes.sort_unstable();
    assert_eq!(processes[0], "gateway");
    assert!(processes[1].starts_with('w'), "{processes:?}");
}

#[tokio::test]
async fn a_client_that_leaves_leaves_a_line_behind() {
    let serving = Serving::start().await;
    let mut connection = RawConnection::open(serving.address).await;
    let head = "POST /predict HTTP/1.1\r\nhost: a\r\nx-request-id: order-9\r\ncontent-length: 9\r\n\r\n{";
    connection.write(head).await;
    until_some("the request is in", async || {
        let metrics = serving.client.get("/metrics").await.text();
        metrics
            .contains("millrace_gateway_in_flight_requests 1")
            .then_some(())
    })
    .await;
    drop(connection);
    let line = serving.process.line("order-9").await;
    assert!(
        line.contains("code=\"client_left\"") || line.contains("broke off"),
        "{line}"
    );
}
