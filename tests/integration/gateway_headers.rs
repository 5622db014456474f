//! Which headers pass, in each direction, and which the gateway makes.

use axum::http::{HeaderValue, Method};
use serde_json::json;

use crate::support::client::RawConnection;
use crate::support::fake_worker::FakeWorker;
use crate::support::gateway::Setup;

#[tokio::test]
async fn a_request_id_is_taken_echoed_and_forwarded() {
    let worker = FakeWorker::start("a").await;
    let gateway = Setup::over(&[&worker]).start().await;
    let answer = gateway.client.predict_with("x-request-id", "order-7").await;
    assert_eq!(answer.assert_ok().header("x-request-id"), "order-7");
    assert_eq!(worker.last_seen().header("x-request-id"), ["order-7"]);
}

#[tokio::test]
async fn a_request_id_is_made_where_none_usable_is_sent() {
    let worker = FakeWorker::start("a").await;
    let gateway = Setup::over(&[&worker]).start().await;
    let mut ids = Vec::new();
    for sent in [None, Some("with blanks"), Some(""), Some(&*"x".repeat(1000))] {
        let answer = match sent {
            None => gateway.client.predict().await,
            Some(sent) => gateway.client.predict_with("x-request-id", sent).await,
        };
        let made = answer.assert_ok().header("x-request-id").to_owned();
        assert!(
            made.len() == 32 && made.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{made}"
        );
        assert_eq!(worker.last_seen().header("x-request-id"), [made.as_str()]);
        ids.push(made);
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4, "every request has its own");
}

#[tokio::test]
async fn errors_carry_the_request_id_too() {
    let gateway = Setup::over(&[]).start().await;
    let answer = gateway.client.predict_with("x-request-id", "order-8").await;
    answer.assert_error(503, "no_worker");
    assert_eq!(answer.header("x-request-id"), "order-8");
    assert_eq!(answer.json()["error"]["request_id"], "order-8");
}

#[tokio::test]
async fn the_trace_context_is_passed_on_untouched() {
    let worker = FakeWorker::start("a").await;
    let gateway = Setup::over(&[&worker]).start().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    gateway
        .client
        .predict_with("traceparent", trace)
        .await
        .assert_ok();
    assert_eq!(worker.last_seen().header("traceparent"), [trace]);
}

#[tokio::test]
async fn what_belongs_to_one_connection_does_not_pass_to_the_worker() {
    let worker = FakeWorker::start("a").await;
    let gateway = Setup::over(&[&worker]).start().await;
    let mut connection = RawConnection::open(gateway.address).await;
    connection
        .write(
            "POST /models/iris/predict?trace=1 HTTP/1.1\r\nHost: public.example\r\nConnection: keep-alive, X-Mine\r\n\
             X-Mine: secret\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\nProxy-Authorization: Basic eDp5\r\n\
             Upgrade: h2c\r\nContent-Type: application/json\r\nX-Kept: yes\r\nContent-Length: 2\r\n\r\n{}",
        )
        .await;
    let (head, _) = connection.read_answer().await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let seen = worker.last_seen();
    for name in [
        "x-mine",
        "keep-alive",
        "te",
        "proxy-authorization",
        "upgrade",
        "connection",
    ] {
        assert!(seen.header(name).is_empty(), "{name}: {:?}", seen.header(name));
    }
    assert_eq!(seen.header("x-kept"), ["yes"]);
    assert_eq!(seen.header("content-length"), ["2"]);
    assert_eq!(seen.header("host"), [worker.address.to_string()]);
    assert_eq!((seen.method, &*seen.body), (Method::POST, &b"{}"[..]));
}

#[tokio::test]
async fn what_belongs_to_one_connection_does_not_pass_to_the_client() {
    let worker = FakeWorker::start("a").await;
    worker.add_header("connection", "x-internal");
    worker.add_header("x-internal", "1");
    worker.add_header("keep-alive", "timeout=5");
    worker.add_header("x-tag", "one");
    worker.add_header("x-tag", "two");
    worker.add_header("x-millrace-worker", "somebody-else");
    let gateway = Setup::over(&[&worker]).start().await;
    let answer = gateway.client.predict().await;
    for name in ["x-internal", "keep-alive", "connection"] {
        assert_eq!(answer.assert_ok().header(name), "", "{name}");
    }
    let all = |name| {
        answer
            .headers
            .get_all(name)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect::<Vec<_>>()
    };
    assert_eq!(all("x-tag"), [b"one", b"two"]);
    assert_eq!(all("x-millrace-worker"), [b"a"]);
    assert_eq!(all("x-request-id").len(), 1);
    assert_eq!(all("content-length").len(), 1);
}

#[tokio::test]
async fn repeated_headers_stay_repeated_and_the_clients_address_is_appended() {
    let worker = FakeWorker::start("a").await;
    let gateway = Setup::over(&[&worker]).start().await;
    let mut request = gateway.client.prediction();
    for (name, value) in [
        ("x-tag", "one"),
        ("x-tag", "two"),
        ("x-forwarded-for", "198.51.100.7, 10.0.0.1"),
    ] {
        request
            .headers_mut()
            .append(name, HeaderValue::from_static(value));
    }
    gateway.client.send(request).await.assert_ok();
    let seen = worker.last_seen();
    assert_eq!(seen.header("x-tag"), ["one", "two"]);
    assert_eq!(
        seen.header("x-forwarded-for"),
        ["198.51.100.7, 10.0.0.1", "127.0.0.1"]
    );
}

#[tokio::test]
async fn the_load_that_a_worker_tells_stays_with_the_gateway() {
    let worker = FakeWorker::start("a").await;
    worker.tell_load("TEXT named_metrics.in_flight=3, named_metrics.latency_us=2500, application_utilization=0.5, rps_fractional=20");
    let gateway = Setup::over(&[&worker]).start().await;
    assert!(gateway.worker("a").await["loads"][0].get("told").is_none());
    let answer = gateway.client.predict().await;
    assert_eq!(answer.assert_ok().header("endpoint-load-metrics"), "");
    let known = gateway.worker("a").await["loads"][0].clone();
    assert_eq!(known["model"], "iris");
    assert_eq!(
        (&known["told"]["in_flight"], &known["told"]["latency_ms"]),
        (&json!(3), &json!(2.5))
    );
    assert_eq!(known["capacity"], 40.0);
    assert!(known["latency_ms"].as_f64().unwrap() > 0.0);
}

#[tokio::test]
async fn content_type_and_status_of_the_worker_are_the_clients() {
    let worker = FakeWorker::start("a").await;
    worker.behave(crate::support::fake_worker::Behaviour::Reply(
        202,
        "{\"predictions\": []}",
    ));
    let gateway = Setup::over(&[&worker]).start().await;
    let answer = gateway.client.predict().await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("content-type")),
        (202, "application/json")
    );
    assert_eq!(answer.text(), "{\"predictions\": []}");
}
