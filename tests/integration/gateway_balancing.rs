//! Who gets a request: the policies, counted over real requests, and the routes by model and version.

use crate::support::fake_worker::FakeWorker;
use crate::support::gateway::Setup;

#[tokio::test]
async fn round_robin_gives_everyone_the_same() {
    let workers: [_; 3] = FakeWorker::start_many().await;
    let gateway = Setup::over(&workers.each_ref()).start().await;
    gateway.client.who_answers(100).await;
    let mut counts = workers.each_ref().map(FakeWorker::count);
    counts.sort_unstable();
    assert_eq!(counts, [33, 33, 34]);
}

#[tokio::test]
async fn round_robin_is_exact_under_concurrent_requests_too() {
    let workers: [_; 3] = FakeWorker::start_many().await;
    // Hedges on a busy machine would be second copies that no policy has picked.
    let gateway = Setup::over(&workers.each_ref())
        .set("gateway.hedging.percentile", 0.0)
        .start()
        .await;
    let clients = (0..10).map(|_| gateway.client.who_answers(30));
    futures_util::future::join_all(clients).await;
    assert_eq!(workers.each_ref().map(FakeWorker::count), [100, 100, 100]);
}

#[tokio::test]
async fn weighted_spreads_turns_without_bursts() {
    let [a, b, c] = &FakeWorker::start_many().await;
    let gateway = Setup::weighted(&[(a, 3), (b, 1), (c, 1)])
        .set("gateway.policy", "weighted")
        .start()
        .await;
    let who = gateway.client.who_answers(15).await;
    // Where in its cycle the first request falls is left open; the cycle is not.
    assert!("abacaabacaabacaabaca".contains(&who), "{who}");
}

#[tokio::test]
async fn a_worker_with_weight_zero_takes_nothing_under_any_policy() {
    for policy in ["round_robin", "random", "weighted"] {
        let [a, b] = &FakeWorker::start_many().await;
        let gateway = Setup::weighted(&[(a, 1), (b, 0)])
            .set("gateway.policy", policy)
            .start()
            .await;
        assert_eq!(gateway.client.who_answers(10).await, "aaaaaaaaaa", "{policy}");
        assert_eq!(b.count(), 0, "{policy}");
    }
}

#[tokio::test]
async fn random_is_roughly_even() {
    let workers: [_; 3] = FakeWorker::start_many().await;
    let gateway = Setup::over(&workers.each_ref())
        .set("gateway.policy", "random")
        .start()
        .await;
    let who = gateway.client.who_answers(300).await;
    // Six standard deviations (√(300·⅓·⅔) = 8.2) from the mean.
    for worker in &workers {
        assert!(
            (51..=149).contains(&worker.count()),
            "{}: {}",
            worker.id,
            worker.count()
        );
    }
    assert!(!"abc".repeat(100).eq(&who), "it is not round robin");
}

#[tokio::test]
async fn only_workers_that_serve_the_model_get_it() {
    let [a, b, c] = &FakeWorker::start_many().await;
    b.serves(&[("digits", "1", "ready")]);
    c.serves(&[("digits", "1", "loading"), ("iris", "1", "ready")]);
    let gateway = Setup::over(&[a, b, c]).start().await;
    for _ in 0..4 {
        gateway
            .client
            .post("/models/iris/predict", "{}")
            .await
            .assert_ok();
        gateway
            .client
            .post("/models/digits/predict", "{}")
            .await
            .assert_ok();
    }
    assert_eq!([a, b, c].map(FakeWorker::count), [2, 4, 2]);
    assert!(b.seen().iter().all(|seen| seen.path == "/models/digits/predict"));
}

#[tokio::test]
async fn only_workers_that_serve_the_version_get_it() {
    let [a, b] = &FakeWorker::start_many().await;
    a.serves(&[("iris", "1", "ready"), ("iris", "2", "failed")]);
    b.serves(&[("iris", "1", "ready"), ("iris", "2", "ready")]);
    let gateway = Setup::over(&[a, b]).start().await;
    for _ in 0..3 {
        let by_path = gateway.client.post("/models/iris/versions/2/predict", "{}").await;
        assert_eq!(by_path.assert_ok().worker(), "b");
        let by_body = gateway
            .client
            .post("/predict", r#"{"model": "iris", "version": 2}"#)
            .await;
        assert_eq!(by_body.assert_ok().worker(), "b");
    }
    assert_eq!(a.count(), 0);
    assert!(
        b.seen()
            .iter()
            .all(|seen| seen.path == "/models/iris/versions/2/predict")
    );
}

#[tokio::test]
async fn the_routes_follow_what_workers_load_and_unload() {
    let [a, b] = &FakeWorker::start_many().await;
    let gateway = Setup::over(&[a, b]).start().await;
    let client = &gateway.client;
    client
        .post("/models/digits/predict", "{}")
        .await
        .assert_error(404, "model_not_found");
    b.serves(&[("iris", "1", "ready"), ("digits", "1", "ready")]);
    let is_served = async || {
        let answer = client.post("/models/digits/predict", "{}").await;
        answer.status.is_success().then(|| answer.worker().to_owned())
    };
    let who = crate::support::wait::until_some("digits is served", is_served).await;
    assert_eq!(who, "b");
    b.serves(&[("iris", "1", "ready")]);
    let is_gone = async || {
        let answer = client.post("/models/digits/predict", "{}").await;
        (answer.status == 404).then_some(())
    };
    crate::support::wait::until_some("digits is gone", is_gone).await;
}

#[tokio::test]
async fn unknown_models_unknown_versions_and_missing_workers_are_told_apart() {
    let [a, b] = &FakeWorker::start_many().await;
    a.serves(&[("iris", "1", "ready"), ("digits", "1", "loading")]);
    let gateway = Setup::over(&[a, b]).start().await;
    let ask = async |path: &str| gateway.client.post(path, "{}").await;

    let answer = ask("/models/nothing/predict").await;
    answer.assert_error(404, "model_not_found");
    assert!(answer.message().contains("\"nothing\""), "{}", answer.message());

    let answer = ask("/models/iris/versions/9/predict").await;
    answer.assert_error(404, "version_not_found");
    assert!(answer.message().contains("\"9\""), "{}", answer.message());

    let answer = ask("/models/digits/predict").await;
    answer.assert_error(503, "no_worker");
    assert_eq!(answer.header("retry-after"), "1");
}

#[tokio::test]
async fn while_some_worker_was_never_seen_a_model_may_yet_turn_up() {
    let a = FakeWorker::start("a").await;
    let absent = FakeWorker::start_down("b");
    let gateway = Setup::over(&[&a, &absent]).start_at_once().await;
    gateway.until_up(1).await;
    let answer = gateway.client.post("/models/digits/predict", "{}").await;
    answer.assert_error(503, "no_worker");
    assert_eq!(answer.header("retry-after"), "1");
    gateway.client.predict().await.assert_ok();
}

#[tokio::test]
async fn a_request_that_names_no_model_is_for_the_default_model() {
    let worker = FakeWorker::start("a").await;
    let gateway = Setup::over(&[&worker]).start().await;
    let answer = gateway.client.post("/predict", r#"{"inputs": [[1]]}"#).await;
    answer.assert_error(400, "invalid_input");
    assert!(
        answer.message().contains("model is missing"),
        "{}",
        answer.message()
    );

    let gateway = Setup::over(&[&worker])
        .set("gateway.default_model", "iris")
        .start()
        .await;
    gateway
        .client
        .post("/predict", r#"{"inputs": [[1]]}"#)
        .await
        .assert_ok();
    let seen = worker.last_seen();
    assert_eq!(seen.path, "/models/iris/predict");
    assert_eq!(seen.body, r#"{"inputs": [[1]]}"#);
}

#[tokio::test]
async fn the_list_of_models_puts_together_what_all_workers_have() {
    let [a, b] = &FakeWorker::start_many().await;
    a.serves(&[
        ("iris", "1", "ready"),
        ("digits", "10", "ready"),
        ("digits", "9", "failed"),
    ]);
    b.serves(&[("iris", "1", "loading"), ("iris", "2", "ready")]);
    let gateway = Setup::over(&[a, b]).start().await;
    let list = gateway.client.get("/models").await.assert_ok().json();
    let expected = serde_json::json!({"models": [
        {"name": "digits", "task": "classification", "versions": [
            {"version": "9", "state": "failed"}, {"version": "10", "state": "ready"}]},
        {"name": "iris", "task": "classification", "versions": [
            {"version": "1", "state": "ready"}, {"version": "2", "state": "ready"}]},
    ]});
    assert_eq!(list, expected);
    let detail = gateway.client.get("/models/iris").await;
    assert_eq!(
        detail.assert_ok().json()["predictions"][0],
        "setosa",
        "a worker was asked"
    );
    gateway
        .client
        .get("/models/nothing")
        .await
        .assert_error(404, "model_not_found");
}
