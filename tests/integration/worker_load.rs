//! What a worker tells of its load, read as a gateway reads it.

use axum::http::Method;
use millrace::api::load_report::LoadReport;
use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::graph;
use crate::support::wait::until_some;
use crate::support::worker::{Setup, TestWorker};

fn load_of(answer: &Answer) -> LoadReport {
    let text = answer.header("endpoint-load-metrics");
    LoadReport::parse(text).unwrap_or_else(|| panic!("{text:?} is no report"))
}

async fn predict(client: &Client, model: &str, inputs: Value) -> Answer {
    let path = format!("/models/{model}/predict");
    client.post(&path, json!({"inputs": inputs}).to_string()).await
}

/// What a gateway learns that asks without sending work.
async fn probe(worker: &TestWorker, model: &str) -> LoadReport {
    let path = format!("/v2/models/{model}/ready");
    load_of(worker.client.get(&path).await.assert_ok())
}

async fn copying() -> TestWorker {
    Setup::new().model("copy", &graph::identity(1)).start().await
}

#[tokio::test]
async fn every_answer_about_a_model_tells_its_load() {
    let worker = copying().await;
    let idle = LoadReport {
        in_flight: Some(0),
        queue_depth: Some(0),
        concurrency: Some(32),
        ..LoadReport::default()
    };
    let row =
        json!({"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [0]}]}).to_string();
    let post = [
        ("/models/copy/predict", r#"{"inputs": [["x"]]}"#, 400),
        (
            "/predict",
            r#"{"model": "copy", "version": "9", "inputs": [[1]]}"#,
            404,
        ),
        ("/v2/models/copy/infer", "{}", 400),
        ("/v2/models/copy/versions/1/infer", &row, 200),
    ];
    let get = [
        "/models/copy",
        "/v2/models/copy",
        "/v2/models/copy/ready",
        "/v2/models/copy/versions/1/ready",
        "/v2/models/copy/versions/1/config",
        "/v2/models/copy/stats",
    ];
    for path in get {
        let answer = worker.client.get(path).await;
        assert_eq!(load_of(answer.assert_ok()), idle, "{path}");
    }
    for (path, body, status) in post {
        let answer = worker.client.post(path, body.to_owned()).await;
        assert_eq!(answer.status, status, "{path}");
        let load = load_of(&answer);
        assert_eq!(load.latency_micros.is_some(), status == 200, "{path}: {load:?}");
        assert_eq!(
            (load.in_flight, load.queue_depth, load.concurrency),
            (Some(0), Some(0), Some(32)),
            "{path}: {load:?}"
        );
    }
    for path in get {
        let load = load_of(&worker.client.get(path).await);
        assert!(load.latency_micros.is_some(), "{path}: {load:?}");
    }
}

#[tokio::test]
async fn an_answer_about_no_model_tells_no_load_of_one() {
    let worker = copying().await;
    predict(&worker.client, "copy", json!([[1]])).await.assert_ok();
    let only_in_flight = LoadReport {
        in_flight: Some(0),
        ..LoadReport::default()
    };
    for answer in [
        worker.client.get("/models/rose").await,
        worker.client.get("/v2/models/rose/ready").await,
        predict(&worker.client, "rose", json!([[1]])).await,
        worker.client.post("/predict", "{").await,
    ] {
        assert_eq!(load_of(&answer), only_in_flight);
    }
    for path in ["/models", "/livez", "/v2/health/ready", "/nothing"] {
        let answer = worker.client.get(path).await;
        assert_eq!(answer.header("endpoint-load-metrics"), "", "{path}");
    }
}

#[tokio::test]
async fn the_latency_is_that_of_whole_requests_and_grows_with_load() {
    let worker = Setup::new()
        .model("slow", &graph::slow())
        .model("quick", &graph::identity(1))
        .set("worker.batching.max_batch_size", 1)
        .set("worker.deadline", "60s")
        .start()
        .await;
    predict(&worker.client, "slow", json!([[1]])).await.assert_ok();
    let in_engine = r#"millrace_worker_inference_duration_seconds_sum{model="slow",version="1"}"#;
    let run_micros = worker.metric(in_engine).await * 1e6;
    let alone = probe(&worker, "slow")
        .await
        .latency_micros
        .expect("one has just ended");
    // Whole microseconds.
    assert!(f64::from(alone) + 1.0 >= run_micros, "{alone} of {run_micros} µs");

    let clients = [0, 1, 2].map(|_| {
        let client = worker.client.clone();
        tokio::spawn(async move {
            loop {
                predict(&client, "slow", json!([[1]])).await.assert_ok();
            }
        })
    });
    until_some("all three are there", async || {
        (probe(&worker, "slow").await.in_flight == Some(3)).then_some(())
    })
    .await;
    until_some(
        "an answer of another model tells of those who are there",
        async || {
            let quick = predict(&worker.client, "quick", json!([[1]])).await;
            let others = load_of(quick.assert_ok()).in_flight?;
            assert!(others <= 3, "{others}");
            (others >= 2).then_some(())
        },
    )
    .await;
    // What a run takes now, and not before: the machine may have become slower or faster.
    let runs = r#"millrace_worker_inference_duration_seconds_count{model="slow",version="1"}"#;
    let so_far = async || (worker.metric(in_engine).await, worker.metric(runs).await);
    let (seconds, count) = so_far().await;
    until_some("who finds others waits for one of their runs", async || {
        let load = probe(&worker, "slow").await;
        let (later, more) = so_far().await;
        let run_micros = (later - seconds) * 1e6 / (more - count).max(1.0);
        let takes_longer = f64::from(load.latency_micros?) > 1.3 * run_micros;
        (more > count && load.in_flight >= Some(2) && takes_longer).then_some(())
    })
    .await;
    let quick = probe(&worker, "quick").await.latency_micros;
    assert!(quick < Some(alone), "the other model's own: {quick:?}");
    clients.iter().for_each(tokio::task::JoinHandle::abort);
    until_some("nobody is there", async || {
        (probe(&worker, "slow").await.in_flight == Some(0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn rate_and_utilization_appear_with_traffic() {
    let worker = copying().await;
    let load = until_some("a window is over", async || {
        let answer = predict(&worker.client, "copy", json!([[1]])).await;
        let load = load_of(answer.assert_ok());
        load.requests_per_second.is_some().then_some(load)
    })
    .await;
    let (rate, utilization) = (load.requests_per_second.unwrap(), load.utilization.unwrap());
    assert!((0.0..=1.0).contains(&utilization), "{load:?}");
    assert!(utilization > 0.0 && rate > 0.0, "{load:?}");
    assert_eq!(load.capacity(), Some((rate / utilization) as f32));
    let told = probe(&worker, "copy").await;
    assert_eq!(
        (told.requests_per_second, told.utilization),
        (Some(rate), Some(utilization))
    );
}

#[tokio::test]
async fn what_is_known_of_a_model_outlives_a_reload() {
    let worker = copying().await;
    // What was learnt is forgotten after some seconds, which a load may take on a busy machine.
    until_some("a load was short enough", async || {
        predict(&worker.client, "copy", json!([[1]])).await.assert_ok();
        let path = "/v2/repository/models/copy/load";
        let load = worker.client.request(Method::POST, path, "{}");
        worker.client.send(load).await.assert_ok();
        probe(&worker, "copy").await.latency_micros
    })
    .await;
}
