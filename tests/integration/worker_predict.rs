//! Predictions of a worker, as a client sees them.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::fake_worker::reserve;
use crate::support::graph;
use crate::support::process::Process;
use crate::support::worker::Setup;
use crate::support::worker_process;

const SETOSA: [f64; 4] = [5.1, 3.5, 1.4, 0.2];

#[tokio::test]
async fn the_shipped_models_answer() {
    let worker = Setup::new().shipped().start().await;
    let named = json!({"sepal_length": 6.7, "sepal_width": 3.0, "petal_length": 5.2, "petal_width": 2.3});
    let body = json!({"model": "iris", "inputs": [SETOSA, named]});
    let answer = worker
        .client
        .post("/predict", body.to_string())
        .await
        .assert_ok()
        .json();
    assert_eq!(answer["model"], "iris");
    assert_eq!(answer["version"], "1");
    assert_eq!(answer["predictions"], json!(["setosa", "virginica"]));
    assert_eq!(answer["classes"], json!(["setosa", "versicolor", "virginica"]));
    for row in answer["probabilities"].as_array().unwrap() {
        let sum: f64 = row.as_array().unwrap().iter().filter_map(Value::as_f64).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{row}");
    }

    let patient = json!({"inputs": [[59, 2, 32.1, 101, 157, 93.2, 38, 4, 4.8598, 87]]});
    let answer = worker
        .client
        .post("/models/diabetes/predict", patient.to_string())
        .await
        .assert_ok()
        .json();
    let progression = answer["predictions"][0].as_f64().unwrap();
    assert!((25.0..346.0).contains(&progression), "{answer}");
    assert!(answer.get("probabilities").is_none() && answer.get("classes").is_none());

    let digits = json!({"inputs": [vec![0; 64], vec![8; 64]]});
    let answer = worker
        .client
        .post("/models/digits/predict", digits.to_string())
        .await
        .assert_ok()
        .json();
    assert_eq!(answer["predictions"].as_array().unwrap().len(), 2);
    assert_eq!(answer["probabilities"][0].as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn path_body_and_default_name_the_same_model() {
    let worker = Setup::new()
        .model("double", &graph::linear(&[2.0], 0.0))
        .set("worker.default_model", "double")
        .start()
        .await;
    for (path, body) in [
        ("/predict", json!({"inputs": [[4]]})),
        ("/predict", json!({"model": "double", "inputs": [[4]]})),
        (
            "/predict",
            json!({"model": "double", "version": 1, "inputs": [[4]]}),
        ),
        ("/models/double/predict", json!({"inputs": [[4]]})),
        (
            "/models/double/predict",
            json!({"model": "double", "inputs": [4]}),
        ),
        (
            "/models/double/versions/1/predict",
            json!({"inputs": [[4]], "version": "1"}),
        ),
    ] {
        let answer = worker.client.post(path, body.to_string()).await;
        assert_eq!(
            answer.assert_ok().json()["predictions"],
            json!([8.0]),
            "{path} {body}"
        );
    }
}

#[tokio::test]
async fn the_newest_ready_version_answers_unless_another_is_asked_for() {
    let worker = Setup::new()
        .file("scale/2/model.onnx", &graph::linear(&[2.0], 0.0))
        .file("scale/10/model.onnx", &graph::linear(&[10.0], 0.0))
        .file("scale/11/model.onnx", b"broken")
        .start()
        .await;
    let ask = async |version: Value| {
        let body = json!({"model": "scale", "version": version, "inputs": [[1]]});
        worker.client.post("/predict", body.to_string()).await
    };
    let newest = ask(Value::Null).await.assert_ok().json();
    assert_eq!(
        (&newest["version"], &newest["predictions"]),
        (&json!("10"), &json!([10.0]))
    );
    assert_eq!(
        ask(json!(2)).await.assert_ok().json()["predictions"],
        json!([2.0])
    );
    ask(json!(3)).await.assert_error(404, "version_not_found");
    ask(json!("02")).await.assert_error(404, "version_not_found");
    ask(json!(11)).await.assert_error(503, "not_ready");
}

#[tokio::test]
async fn bare_graphs_are_served_from_their_own_signature() {
    let worker = Setup::new()
        .model("pair", &graph::two_inputs())
        .model("copy", &graph::identity(2))
        .model("labelled", &graph::label_and_probabilities())
        .model("single", &graph::fixed_batch(1))
        .model("sum", &graph::sequence_sum())
        .start()
        .await;
    let predict = async |model: &str, inputs: Value| {
        let body = json!({"model": model, "inputs": inputs});
        worker
            .client
            .post("/predict", body.to_string())
            .await
            .assert_ok()
            .json()
    };
    let pair = predict("pair", json!([{"income": 10, "age": 1}, [2, 20]])).await;
    assert_eq!(
        pair["outputs"],
        json!({"total": [[21.0], [42.0]], "same_age": [[1.0], [2.0]]})
    );
    let copy = predict("copy", json!([[0.1, 2], [3, 4]])).await;
    assert_eq!(copy["predictions"], json!([[0.1, 2.0], [3.0, 4.0]]));
    let labelled = predict("labelled", json!([[0, 5, 1]])).await;
    assert_eq!(labelled["predictions"], json!([1]));
    assert_eq!(labelled["probabilities"][0].as_array().unwrap().len(), 3);
    let single = predict("single", json!([[-1, 1], [2, -2], [3, 3]])).await;
    assert_eq!(single["predictions"], json!([[0.0, 1.0], [2.0, 0.0], [3.0, 3.0]]));
    let sum = predict("sum", json!([[1, 2, 3], [4, 5, 6]])).await;
    assert_eq!(sum["predictions"], json!([6.0, 15.0]));
}

#[tokio::test]
async fn answers_carry_the_id() {
    let worker = Setup::new().model("copy", &graph::identity(1)).start().await;
    let request = json!({"model": "copy", "inputs": [[1]]}).to_string();
    let request = worker
        .client
        .request(axum::http::Method::POST, "/predict", request);
    let answer = worker
        .client
        .send_with(request, &[("x-request-id", "order-7")])
        .await;
    assert_eq!(answer.assert_ok().header("x-request-id"), "order-7");
}

#[tokio::test]
async fn a_number_that_is_not_finite_is_told_by_its_row() {
    let worker = Setup::new().model("inverse", &graph::reciprocal()).start().await;
    let body = json!({"model": "inverse", "inputs": [[2], [0]]});
    let answer = worker.client.post("/predict", body.to_string()).await;
    answer.assert_error(500, "internal");
    assert!(answer.message().contains("inputs[1]"), "{}", answer.message());
}

#[tokio::test]
async fn metrics_count_by_known_models_only() {
    let worker = Setup::new().model("copy", &graph::identity(1)).start().await;
    for (model, times) in [("copy", 3), ("secret-name", 2)] {
        for _ in 0..times {
            let body = json!({"model": model, "inputs": [[1]]});
            worker.client.post("/predict", body.to_string()).await;
        }
    }
    let requests = |labels: &str| format!("millrace_worker_requests_total{{{labels}}}");
    worker
        .until_metric(&requests(r#"code="ok",model="copy""#), 3.0)
        .await;
    worker
        .until_metric(&requests(r#"code="model_not_found",model="_unknown""#), 2.0)
        .await;
    let text = worker.client.get("/metrics").await.assert_ok().text();
    assert!(!text.contains("secret-name"));
    assert_eq!(
        worker
            .metric(r#"millrace_worker_batch_rows_sum{model="copy",version="1"}"#)
            .await,
        3.0
    );
    assert_eq!(worker.metric("millrace_worker_in_flight_requests").await, 0.0);
}

#[tokio::test]
async fn without_metrics_nothing_is_counted_and_everything_else_is_as_before() {
    let repository = worker_process::repository_of_iris();
    let file = repository.path().join("millrace.toml");
    std::fs::write(&file, "[telemetry]\nmetrics = false\n").expect("a file can be written");
    let socket = reserve();
    let address = socket.local_addr().expect("a bound socket has an address");
    drop(socket);
    let worker = worker_process::arguments(address, repository.path());
    let mut arguments: Vec<&str> = worker.iter().map(String::as_str).collect();
    arguments.extend(["--config", file.to_str().expect("its path is text")]);
    let worker = Process::start(&arguments);
    worker.line("a model version is ready").await;
    let client = Client::new(address);
    let body = json!({"model": "iris", "inputs": [SETOSA]});
    let answer = client.post("/predict", body.to_string()).await;
    assert!(answer.header("endpoint-load-metrics").contains("in_flight"));
    assert_eq!(answer.assert_ok().json()["predictions"], json!(["setosa"]));
    let metrics = client.get("/metrics").await;
    metrics.assert_error(404, "not_found");
    assert!(
        metrics.message().contains("telemetry.metrics"),
        "{}",
        metrics.message()
    );
    let statistics = client.get("/v2/models/iris/stats").await.assert_ok().json();
    assert_eq!(statistics["model_stats"][0]["inference_count"], 1);
}
