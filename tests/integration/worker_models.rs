//! What a worker says of its models, and when it is ready.

use serde_json::json;

use crate::support::graph;
use crate::support::wait::in_time;
use crate::support::worker::Setup;

#[tokio::test]
async fn while_models_load_the_worker_lives_and_is_not_ready() {
    let setup = Setup::new().model("copy", &graph::identity(1));
    let (worker, loading) = setup.bind().await;
    worker.client.get("/livez").await.assert_ok();
    let answer = worker.client.get("/readyz").await;
    assert_eq!(answer.assert_error(503, "not_ready").message(), "loading: copy");
    let body = r#"{"model": "copy", "inputs": [[1]]}"#;
    worker
        .client
        .post("/predict", body)
        .await
        .assert_error(503, "not_ready");
    let expected = json!({"models": [{"name": "copy", "versions": [{"version": "1", "state": "loading"}]}]});
    assert_eq!(worker.client.get("/models").await.assert_ok().json(), expected);

    loading.load().unwrap();
    in_time("loading", loading.settled()).await;
    worker.client.get("/readyz").await.assert_ok();
    worker.client.post("/predict", body).await.assert_ok();
    let state =
        |state: &str| format!(r#"millrace_worker_model_state{{model="copy",state="{state}",version="1"}}"#);
    assert_eq!(worker.metric(&state("ready")).await, 1.0);
    assert_eq!(worker.metric(&state("loading")).await, 0.0);
}

#[tokio::test]
async fn a_broken_model_says_why_and_the_others_serve() {
    let whole = graph::linear(&[1.0, 2.0], 0.0);
    let worker = Setup::new()
        .model("good", &whole)
        .model("half", &whole[..whole.len() / 2])
        .model("empty", b"")
        .model("alien", &graph::unknown_operator())
        .file("bare/1/README", b"no graph here")
        .model("misnamed", &whole)
        .file("misnamed/1/model.toml", br#"features = ["one", "two", "three"]"#)
        .model("typo", &whole)
        .file("typo/1/model.toml", br#"clases = ["a"]"#)
        .start()
        .await;
    for (model, reason) in [
        ("half", "not a whole ONNX graph"),
        ("empty", "it holds no graph"),
        (
            "alien",
            "not implemented: Telepathy; ONNX Runtime may have them: set worker.onnxruntime_library",
        ),
        ("bare", "model.onnx is missing"),
        ("misnamed", "3 features are named, and the graph has 2"),
        ("typo", "clases"),
    ] {
        let detail = worker
            .client
            .get(&format!("/models/{model}"))
            .await
            .assert_ok()
            .json();
        assert_eq!(detail["versions"][0]["state"], "failed", "{detail}");
        let told = detail["versions"][0]["reason"].as_str().unwrap();
        assert!(told.contains(reason) && !told.contains("/tmp"), "{model}: {told}");
        let body = r#"{"inputs": [[1, 2]]}"#;
        let answer = worker
            .client
            .post(&format!("/models/{model}/predict"), body)
            .await;
        answer.assert_error(503, "not_ready");
    }
    worker
        .client
        .post("/models/good/predict", r#"{"inputs": [[1, 2]]}"#)
        .await
        .assert_ok();
    let answer = worker.client.get("/readyz").await;
    let message = answer.assert_error(503, "not_ready").message();
    assert_eq!(message, "not loaded: alien, bare, empty, half, misnamed, typo");
}

#[tokio::test]
async fn a_repository_without_models_is_not_ready() {
    let worker = Setup::new().start().await;
    worker.client.get("/readyz").await.assert_error(503, "not_ready");
    assert_eq!(
        worker.client.get("/models").await.assert_ok().json(),
        json!({"models": []})
    );
}

#[tokio::test]
async fn a_model_is_described_by_its_newest_ready_version() {
    let worker = Setup::new().shipped().start().await;
    let detail = worker.client.get("/models/iris").await.assert_ok().json();
    assert_eq!(detail["task"], "classification");
    assert_eq!(detail["engine"], "tract");
    assert_eq!(detail["versions"][0]["engine"], "tract");
    assert_eq!(detail["inputs"][0]["datatype"], "FP32");
    assert_eq!(detail["inputs"][0]["shape"], json!([-1, 4]));
    assert_eq!(detail["outputs"][0]["shape"], json!([-1, 3]));
    assert_eq!(detail["features"].as_array().unwrap().len(), 4);
    assert_eq!(detail["classes"], json!(["setosa", "versicolor", "virginica"]));
    assert!(detail["metrics"]["accuracy"].as_f64().unwrap() > 0.9, "{detail}");
}

#[tokio::test]
async fn a_link_that_leads_out_of_the_repository_is_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret.onnx"), graph::identity(1)).unwrap();
    let setup = Setup::new().file("linked/1/README", b"the graph is a link");
    let link = setup.repository().join("linked/1/model.onnx");
    std::os::unix::fs::symlink(outside.path().join("secret.onnx"), link).unwrap();
    let worker = setup.start().await;
    let detail = worker.client.get("/models/linked").await.assert_ok().json();
    assert_eq!(detail["versions"][0]["state"], "failed");
}

#[tokio::test]
async fn the_api_is_described() {
    let worker = Setup::new().model("copy", &graph::identity(1)).start().await;
    let document = worker.client.get("/openapi.json").await.assert_ok().json();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["paths"]["/models/{model}/versions/{version}/predict"]["post"].is_object());
}
