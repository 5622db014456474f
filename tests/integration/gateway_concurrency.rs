//! How many requests a worker has at once, and where the others wait.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::support::fake_worker::{Behaviour, FakeWorker};
use crate::support::gateway::{Setup, TestGateway};
use crate::support::graph;
use crate::support::wait::{until, until_equal};
use crate::support::worker;

const LIMIT: &str = "gateway.balancing.concurrency";

async fn until_waiting(gateway: &TestGateway, count: i64) {
    let waiting = &gateway.gateway.metrics.waiting;
    until_equal("requests that wait for room", count, || waiting.get()).await;
}

#[tokio::test]
async fn a_worker_never_has_more_than_it_may_and_the_others_are_served_in_their_order() {
    let worker = FakeWorker::start("a").await;
    worker.hold();
    let gateway = Setup::over(&[&worker]).set(LIMIT, 1).start().await;
    let mut asking = Vec::new();
    for number in 0..4 {
        let client = gateway.client.clone();
        asking.push(tokio::spawn(async move {
            let body = json!({"model": "iris", "inputs": [[number]]}).to_string();
            client.post("/predict", body).await
        }));
        until("the request is there", || {
            let waiting = usize::try_from(gateway.gateway.metrics.waiting.get()).unwrap();
            worker.inside() + waiting == number + 1
        })
        .await;
    }
    assert_eq!(worker.inside(), 1);
    assert_eq!(gateway.in_flight(), 1);
    worker.release();
    for answer in join_all(asking).await {
        answer.unwrap().assert_ok();
    }
    let bodies: Vec<_> = worker.seen().iter().map(|seen| seen.body.clone()).collect();
    let numbers = (0..4).map(|number| json!({"model": "iris", "inputs": [[number]]}).to_string());
    assert_eq!(bodies, numbers.collect::<Vec<_>>());
    until_waiting(&gateway, 0).await;
    assert_eq!(
        gateway
            .metric("millrace_gateway_wait_duration_seconds_count")
            .await,
        3.0
    );
}

#[tokio::test]
async fn a_worker_that_hangs_holds_no_more_than_it_may() {
    let [hanging, good] = &FakeWorker::start_many().await;
    hanging.hold();
    let gateway = Setup::over(&[hanging, good]).set(LIMIT, 2).start().await;
    let held: Vec<_> = (0..2)
        .map(|_| {
            let client = gateway.client.clone();
            tokio::spawn(async move { while client.predict().await.assert_ok().worker() == "b" {} })
        })
        .collect();
    until_equal("requests at the worker that hangs", 2, || hanging.inside()).await;
    let who = gateway.client.who_answers(20).await;
    assert_eq!(who, "b".repeat(20), "round robin passes over who is full");
    let question = json!({"model": "iris"}).to_string();
    let told = gateway
        .admin
        .post("/admin/explain", question)
        .await
        .assert_ok()
        .json();
    let why = told["workers"][0]["why"].as_str().unwrap();
    assert!(
        why.starts_with("it has as many requests for the model as it may"),
        "{told}"
    );
    hanging.release();
    for held in held {
        held.await.unwrap();
    }
}

#[tokio::test]
async fn the_deadline_ends_the_wait_and_who_leaves_the_line_is_forgotten() {
    let worker = FakeWorker::start("a").await;
    worker.hold();
    let gateway = Setup::over(&[&worker]).set(LIMIT, 1).start().await;
    let first = tokio::spawn({
        let client = gateway.client.clone();
        async move { client.predict().await }
    });
    until_equal("requests at the worker", 1, || worker.inside()).await;
    let late = gateway.client.predict_with("x-request-timeout-ms", "50").await;
    late.assert_error(504, "deadline_exceeded");
    assert!(
        late.message().contains("waited for a worker"),
        "{}",
        late.message()
    );
    let leaving = tokio::spawn({
        let client = gateway.client.clone();
        async move { client.predict().await }
    });
    until_waiting(&gateway, 1).await;
    leaving.abort();
    until_waiting(&gateway, 0).await;
    worker.release();
    first.await.unwrap().assert_ok();
    assert_eq!(worker.count(), 1, "nobody else came there");
    gateway.client.predict().await.assert_ok();
}

#[tokio::test]
async fn questions_about_a_model_do_not_wait() {
    let worker = FakeWorker::start("a").await;
    worker.hold();
    let gateway = Setup::over(&[&worker]).set(LIMIT, 1).start().await;
    let first = tokio::spawn({
        let client = gateway.client.clone();
        async move { client.predict().await }
    });
    until_equal("requests at the worker", 1, || worker.inside()).await;
    let asking = tokio::spawn({
        let client = gateway.client.clone();
        async move { client.get("/models/iris").await }
    });
    until_equal("requests at the worker", 2, || gateway.in_flight()).await;
    worker.release();
    first.await.unwrap().assert_ok();
    asking.await.unwrap();
    until_waiting(&gateway, 0).await;
}

#[tokio::test]
async fn whoever_waits_is_served_by_a_worker_that_comes() {
    let [a, b] = &FakeWorker::start_many().await;
    b.go_away().await;
    a.hold();
    let gateway = Setup::over(&[a, b])
        .set(LIMIT, 1)
        .set("gateway.health.rise", 1)
        .start_at_once()
        .await;
    gateway.until_up(1).await;
    let asking: Vec<_> = (0..2)
        .map(|_| {
            let client = gateway.client.clone();
            tokio::spawn(async move { client.predict().await })
        })
        .collect();
    until_waiting(&gateway, 1).await;
    b.come_back();
    until_equal("requests that b answered", 1, || b.count()).await;
    a.release();
    for answer in join_all(asking).await {
        answer.unwrap().assert_ok();
    }
}

#[tokio::test]
async fn a_retry_waits_for_room_as_well() {
    let [failing, busy] = &FakeWorker::start_many().await;
    busy.hold();
    let gateway = Setup::over(&[failing, busy]).set(LIMIT, 1).start().await;
    // One request each; the one at `failing` is answered.
    let held = tokio::spawn({
        let client = gateway.client.clone();
        async move { while client.predict().await.assert_ok().worker() == "a" {} }
    });
    until_equal("requests at the worker that is busy", 1, || busy.inside()).await;
    failing.behave(Behaviour::Refuse(500, "internal"));
    let retried = tokio::spawn({
        let client = gateway.client.clone();
        async move { client.predict().await }
    });
    until_waiting(&gateway, 1).await;
    busy.release();
    let answer = retried.await.unwrap();
    assert_eq!((answer.assert_ok().worker(), answer.attempts()), ("b", "2"));
    held.await.unwrap();
}

#[tokio::test]
async fn a_worker_says_what_it_can_work_on_and_operators_see_its_limit() {
    let worker = worker::Setup::new().model("m", &graph::identity(1)).start().await;
    let gateway = Setup::before(&worker).start().await;
    let shown = gateway.worker("a").await;
    assert_eq!(shown["loads"][0]["limit"], 32, "{shown}");
    let answer = gateway
        .client
        .post("/models/m/predict", r#"{"inputs": [[1]]}"#)
        .await;
    answer.assert_ok();
    let shown = gateway.worker("a").await;
    assert_eq!(shown["loads"][0]["limit"], 64, "twice the 32 of a batch: {shown}");
    assert_eq!(shown["loads"][0]["in_flight"], 0, "{shown}");
}

#[tokio::test]
async fn under_a_load_with_a_limit_everybody_is_answered() {
    let workers: [_; 3] = FakeWorker::start_many().await;
    let after = Behaviour::AnswerAfter(Duration::from_millis(2));
    workers.iter().for_each(|worker| worker.behave(after.clone()));
    let gateway = Setup::over(&workers.each_ref()).set(LIMIT, 2).start().await;
    let clients = (0..40).map(|_| gateway.client.who_answers(10));
    let who = join_all(clients).await.concat();
    assert_eq!(who.len(), 400);
    for id in ["a", "b", "c"] {
        assert!(who.matches(id).count() > 50, "{who}");
    }
    until_waiting(&gateway, 0).await;
    assert_eq!(gateway.in_flight(), 0);
}
