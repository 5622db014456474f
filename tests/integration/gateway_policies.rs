//! The policies that see load: what they go by reaches them over real requests.

use std::time::Duration;

use serde_json::json;

use crate::support::fake_worker::{Behaviour, FakeWorker};
use crate::support::gateway::{Setup, TestGateway};
use crate::support::wait::until;

const SLOW: Duration = Duration::from_millis(40);

async fn over(workers: &[&FakeWorker], policy: &str) -> TestGateway {
    Setup::over(workers).set("gateway.policy", policy).start().await
}

/// Sends so many requests one after the other, and gives how many `worker` got of them.
async fn share(gateway: &TestGateway, worker: &str, count: usize) -> usize {
    gateway.client.who_answers(count).await.matches(worker).count()
}

#[tokio::test]
async fn a_busy_worker_is_left_alone_by_those_that_count() {
    for policy in ["least_request", "power_of_two"] {
        let [a, b] = &FakeWorker::start_many().await;
        let gateway = over(&[a, b], policy).await;
        a.hold();
        let client = gateway.client.clone();
        let held = tokio::spawn(async move { client.who_answers(20).await });
        until("one request waits", || a.inside() == 1).await;
        assert_eq!(gateway.client.who_answers(20).await, "b".repeat(20), "{policy}");
        a.release();
        held.await.unwrap();
    }
}

#[tokio::test]
async fn a_slow_worker_is_left_alone_by_peak_ewma() {
    let [a, b, c] = &FakeWorker::start_many().await;
    a.behave(Behaviour::AnswerAfter(SLOW));
    let gateway = over(&[a, b, c], "peak_ewma").await;
    let count = share(&gateway, "a", 60).await;
    assert_eq!(count, 1, "it is tried once, as long as nothing is known of it");
    let known = gateway.worker("a").await["loads"][0]["latency_ms"]
        .as_f64()
        .unwrap();
    assert!(known >= 10.0, "{known} ms are what a time constant leaves of 40");
}

#[tokio::test]
async fn failing_fast_attracts_nobody() {
    for policy in ["peak_ewma", "prequal"] {
        let [a, b] = &FakeWorker::start_many().await;
        a.behave(Behaviour::Refuse(500, "internal"));
        b.behave(Behaviour::AnswerAfter(Duration::from_millis(5)));
        let gateway = over(&[a, b], policy).await;
        assert_eq!(gateway.client.who_answers(40).await, "b".repeat(40), "{policy}");
        assert!(a.count() <= 2, "{policy} sent it {} requests", a.count());
    }
}

#[tokio::test]
async fn a_worker_that_asks_for_a_pause_gets_it() {
    let [a, b] = &FakeWorker::start_many().await;
    a.behave(Behaviour::Refuse(429, "overloaded"));
    a.add_header("retry-after", "30");
    let gateway = over(&[a, b], "peak_ewma").await;
    gateway.client.who_answers(5).await;
    let known = gateway.worker("a").await["loads"][0]["latency_ms"]
        .as_f64()
        .unwrap();
    assert!((20_000.0..=30_000.0).contains(&known), "it counts as {known} ms");
}

#[tokio::test]
async fn a_clients_mistake_says_nothing_of_a_worker() {
    let worker = FakeWorker::start("a").await;
    worker.behave(Behaviour::Refuse(400, "invalid_input"));
    let gateway = over(&[&worker], "peak_ewma").await;
    gateway.client.predict().await.assert_error(400, "invalid_input");
    assert!(gateway.worker("a").await["loads"][0].get("latency_ms").is_none());
}

#[tokio::test]
async fn prequal_goes_by_what_workers_say() {
    let [a, b] = &FakeWorker::start_many().await;
    a.tell_load("TEXT named_metrics.in_flight=0, named_metrics.latency_us=90000");
    b.tell_load("TEXT named_metrics.in_flight=0, named_metrics.latency_us=2000");
    let gateway = over(&[a, b], "prequal").await;
    gateway.client.who_answers(2).await;
    assert_eq!(share(&gateway, "b", 30).await, 30, "it says that it is faster");
}

#[tokio::test]
async fn prequal_asks_a_worker_that_gets_no_requests_for_its_load() {
    let [a, b] = &FakeWorker::start_many().await;
    a.tell_load("TEXT named_metrics.in_flight=0, named_metrics.latency_us=90000");
    b.tell_load("TEXT named_metrics.in_flight=0, named_metrics.latency_us=2000");
    let gateway = over(&[a, b], "prequal").await;
    assert_eq!(
        a.load_probes() + b.load_probes(),
        0,
        "nobody asked for anything yet"
    );
    let client = gateway.client.clone();
    let requests = tokio::spawn(async move {
        loop {
            client.who_answers(1).await;
        }
    });
    until("the silent one is asked", || a.load_probes() > 1).await;
    a.tell_load("TEXT named_metrics.in_flight=0, named_metrics.latency_us=100");
    let before = a.count();
    until("it is taken back", || a.count() > before + 20).await;
    requests.abort();
}

#[tokio::test]
async fn the_same_key_stays_with_the_same_worker() {
    let workers: [_; 4] = FakeWorker::start_many().await;
    for (key, header) in [("header:x-user", true), ("field:model", false), ("client", false)] {
        let gateway = Setup::over(&workers.each_ref())
            .set("gateway.policy", "consistent_hash")
            .set("gateway.balancing.key", key)
            .start()
            .await;
        let mut homes = String::new();
        for user in 0..12 {
            let mut home = String::new();
            for _ in 0..4 {
                let answer = gateway
                    .client
                    .predict_with("x-user", &format!("user-{user}"))
                    .await;
                home += answer.assert_ok().worker();
            }
            assert_eq!(home, home[..1].repeat(4), "{key}");
            homes += &home[..1];
        }
        let is_spread = homes.chars().any(|home| !homes.starts_with(home));
        assert_eq!(is_spread, header, "{key}: {homes}");
    }
}

#[tokio::test]
async fn keys_of_a_worker_that_is_gone_move_and_the_others_stay() {
    let workers: [_; 4] = FakeWorker::start_many().await;
    let gateway = Setup::over(&workers.each_ref())
        .set("gateway.policy", "consistent_hash")
        .set("gateway.balancing.key", "header:x-user")
        .set("gateway.retry.budget", 1.0)
        .start()
        .await;
    let mut homes = Vec::new();
    for round in 0..2 {
        for user in 0..20 {
            let answer = gateway
                .client
                .predict_with("x-user", &format!("user-{user}"))
                .await;
            let home = answer.assert_ok().worker().to_owned();
            match homes.get(user) {
                None => homes.push(home),
                Some(before) if before == "a" => assert_ne!(home, "a"),
                Some(before) => assert_eq!(home, *before, "user {user} stays"),
            }
        }
        if round == 0 {
            assert!(homes.iter().any(|home| home == "a"), "{homes:?}");
            workers[0].go_away().await;
        }
    }
}

#[tokio::test]
async fn measured_weights_follow_what_workers_can_do() {
    let [a, b] = &FakeWorker::start_many().await;
    a.tell_load("TEXT application_utilization=0.5, rps_fractional=150");
    b.tell_load("TEXT application_utilization=0.5, rps_fractional=50");
    let gateway = Setup::over(&[a, b])
        .set("gateway.policy", "weighted")
        .set("gateway.balancing.weights", "measured")
        .start()
        .await;
    assert_eq!(share(&gateway, "a", 20).await, 10, "nothing is known yet");
    let mut last = 0;
    for _ in 0..200 {
        // 100 and 33 turns make a cycle.
        last = share(&gateway, "a", 133).await;
        if last == 100 {
            break;
        }
    }
    assert_eq!(last, 100);
}

#[tokio::test]
async fn every_policy_is_switched_to_and_from_under_load() {
    let workers: [_; 3] = FakeWorker::start_many().await;
    let gateway = over(&workers.each_ref(), "round_robin").await;
    let client = gateway.client.clone();
    let requests = tokio::spawn(async move { client.who_answers(600).await });
    let choices = gateway.admin.get("/admin/policy").await.json()["choices"].clone();
    let choices: Vec<String> = serde_json::from_value(choices).unwrap();
    assert_eq!(choices.len(), 8);
    for policy in choices.iter().cycle().take(40) {
        let answer = gateway
            .admin
            .put("/admin/policy", &json!({"policy": policy}))
            .await;
        assert_eq!(answer.assert_ok().json()["policy"], *policy);
    }
    assert_eq!(requests.await.unwrap().len(), 600);
    let latency = gateway.worker("a").await["loads"][0]["latency_ms"].as_f64();
    assert!(latency.is_some(), "what was learnt outlives the switches");
}
