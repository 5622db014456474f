//! What a gateway says of itself: the names and labels that dashboards are built on.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::fake_worker::{Behaviour, FakeWorker};
use crate::support::gateway::{Setup, TestGateway, metric_in};

/// A gateway that has answered, refused and tried again.
async fn used_gateway(a: &FakeWorker, b: &FakeWorker) -> TestGateway {
    let gateway = Setup::over(&[a, b]).set("gateway.health.fall", 100).start().await;
    a.behave(Behaviour::CutBefore);
    gateway.client.who_answers(4).await;
    a.behave(Behaviour::Answer);
    for model in ["nothing", "secret-name", "m".repeat(120).as_str()] {
        let body = json!({"model": model, "inputs": []}).to_string();
        gateway
            .client
            .post("/predict", body)
            .await
            .assert_error(404, "model_not_found");
    }
    gateway
        .client
        .post("/predict", "nonsense")
        .await
        .assert_error(400, "invalid_json");
    gateway
}

#[tokio::test]
async fn requests_endpoints_and_retries_are_counted() {
    let [a, b] = &FakeWorker::start_many().await;
    let gateway = used_gateway(a, b).await;
    let answer = gateway.client.get("/metrics").await;
    assert_eq!(
        answer.assert_ok().header("content-type"),
        "text/plain; version=0.0.4"
    );
    let text = answer.text();
    for (series, value) in [
        (r#"millrace_gateway_requests_total{code="ok",model="iris"}"#, 4.0),
        (
            r#"millrace_gateway_requests_total{code="model_not_found",model="_unknown"}"#,
            3.0,
        ),
        (
            r#"millrace_gateway_requests_total{code="invalid_json",model="_unknown"}"#,
            1.0,
        ),
        (
            r#"millrace_gateway_request_duration_seconds_count{model="iris"}"#,
            4.0,
        ),
        (
            r#"millrace_gateway_request_duration_seconds_bucket{model="iris",le="+Inf"}"#,
            4.0,
        ),
        (r#"millrace_gateway_retries_total{reason="broken_off"}"#, 2.0),
        ("millrace_gateway_retries_refused_total", 0.0),
        ("millrace_gateway_in_flight_requests", 0.0),
        (r#"millrace_gateway_policy{policy="round_robin"}"#, 1.0),
        (r#"millrace_gateway_policy{policy="random"}"#, 0.0),
        (r#"millrace_gateway_endpoint_healthy{worker="a"}"#, 1.0),
        (r#"millrace_gateway_endpoint_in_flight_requests{worker="a"}"#, 0.0),
        (r#"millrace_gateway_endpoint_weight{worker="a"}"#, 1.0),
        (
            r#"millrace_gateway_endpoint_outcomes_total{outcome="broken_off",worker="a"}"#,
            2.0,
        ),
        (
            r#"millrace_gateway_endpoint_outcomes_total{outcome="ok",worker="b"}"#,
            4.0,
        ),
        (
            r#"millrace_gateway_endpoint_duration_seconds_count{worker="b"}"#,
            4.0,
        ),
    ] {
        assert!(
            text.contains(&format!("\n{series} ")),
            "{series} is not in\n{text}"
        );
        assert_eq!(metric_in(&text, series), value, "{series}");
    }
    assert!(metric_in(&text, "millrace_gateway_snapshot_generation") >= 3.0);
    assert!(text.contains("\nprocess_cpu_seconds_total "), "{text}");
    for name in ["process_resident_memory_bytes", "process_open_fds"] {
        assert!(metric_in(&text, name) > 0.0, "{name}");
    }
}

#[tokio::test]
async fn what_clients_send_never_becomes_a_label() {
    let [a, b] = &FakeWorker::start_many().await;
    let gateway = used_gateway(a, b).await;
    let text = gateway.client.get("/metrics").await.text();
    for sent in ["nothing", "secret-name", "mmmm"] {
        assert!(!text.contains(sent), "{sent}");
    }
    let models: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.split_once("model=\"")?.1.split('"').next())
        .collect();
    assert_eq!(models, BTreeSet::from(["_unknown", "iris"]));
}

#[tokio::test]
async fn every_bucket_of_a_duration_lies_between_100_microseconds_and_10_seconds() {
    let [a, b] = &FakeWorker::start_many().await;
    let gateway = used_gateway(a, b).await;
    let text = gateway.client.get("/metrics").await.text();
    let bounds: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("millrace_gateway_request_duration_seconds_bucket{model=\"iris\""))
        .filter_map(|line| line.split_once("le=\"")?.1.split('"').next())
        .collect();
    assert_eq!((bounds.first(), bounds.last()), (Some(&"0.0001"), Some(&"+Inf")));
    assert_eq!(bounds.get(bounds.len() - 2), Some(&"10"));
}

#[tokio::test]
async fn a_worker_that_is_no_member_any_more_shows_no_state() {
    let [a, b] = &FakeWorker::start_many().await;
    let gateway = used_gateway(a, b).await;
    let only_b: Vec<_> = gateway
        .gateway
        .settings()
        .workers
        .iter()
        .filter(|worker| worker.id == "b")
        .cloned()
        .collect();
    gateway.gateway.set_members(&only_b);
    let text = gateway.client.get("/metrics").await.text();
    assert!(
        !text.contains(r#"millrace_gateway_endpoint_healthy{worker="a"}"#),
        "{text}"
    );
    assert!(
        text.contains(r#"millrace_gateway_endpoint_healthy{worker="b"} 1"#),
        "{text}"
    );
}

#[tokio::test]
async fn promtool_finds_nothing_wrong() {
    let [a, b] = &FakeWorker::start_many().await;
    let gateway = used_gateway(a, b).await;
    let text = gateway.client.get("/metrics").await.text();
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = started else {
        assert!(
            std::env::var_os("CI").is_none(),
            "promtool is missing, and CI must have it"
        );
        eprintln!("promtool is not installed: its check was left out");
        return;
    };
    let mut stdin = promtool.stdin.take().expect("standard input is a pipe");
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success() && said.is_empty(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}
