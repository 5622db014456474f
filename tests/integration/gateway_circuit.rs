//! Who fails at a model gets no requests for it until it has shown that it can serve it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::client::Client;
use crate::support::fake_worker::{Behaviour, FakeWorker};
use crate::support::gateway::{Setup, TestGateway};
use crate::support::wait::{until, until_some};

const BROKEN: Behaviour = Behaviour::Refuse(500, "internal");
const TWO_MODELS: &[(&str, &str, &str)] = &[("digits", "1", "ready"), ("iris", "1", "ready")];

/// Ejections that last as long as any test, where it does not end them.
fn setup(workers: &[&FakeWorker]) -> Setup {
    Setup::over(workers)
        .set("gateway.breaker.ejection", "1h")
        .set("gateway.breaker.max_ejection", "24h")
        .set("gateway.retry.budget", 1.0)
}

async fn over(workers: &[&FakeWorker]) -> TestGateway {
    setup(workers).start().await
}

/// What admin knows of the circuit of one worker and model.
async fn circuit(gateway: &TestGateway, worker: &str, model: &str) -> Value {
    let worker = gateway.worker(worker).await;
    let loads = worker["loads"].as_array().cloned().unwrap_or_default();
    let load = loads.into_iter().find(|load| load["model"] == model);
    load.unwrap_or_else(|| panic!("{model} is not in {worker}"))["circuit"].clone()
}

async fn until_circuit(gateway: &TestGateway, worker: &str, state: &str) -> Value {
    until_some(&format!("the circuit of {worker} is {state}"), async || {
        let circuit = circuit(gateway, worker, "iris").await;
        (circuit["state"] == state).then_some(circuit)
    })
    .await
}

/// Predictions of `iris` without end, each of which must succeed.
fn steady(client: &Client) -> JoinHandle<()> {
    let client = client.clone();
    tokio::spawn(async move {
        loop {
            client.predict().await.assert_ok();
        }
    })
}

/// Sends requests until the circuit of `worker` for `iris` is open.
async fn eject(gateway: &TestGateway, worker: &FakeWorker) {
    worker.behave_for("iris", BROKEN);
    until_some("it is ejected", async || {
        gateway.client.predict().await;
        let circuit = circuit(gateway, worker.id, "iris").await;
        (circuit["state"] == "open").then_some(())
    })
    .await;
}

/// Two workers, and a gateway that has ejected the first of them for this long at first.
async fn with_one_ejected(ejection: &str) -> ([FakeWorker; 2], TestGateway) {
    let workers: [_; 2] = FakeWorker::start_many().await;
    let gateway = setup(&workers.each_ref())
        .set("gateway.breaker.ejection", ejection)
        .start()
        .await;
    eject(&gateway, &workers[0]).await;
    (workers, gateway)
}

#[tokio::test]
async fn a_broken_model_takes_no_other_down() {
    let [a, b] = &FakeWorker::start_many().await;
    for worker in [a, b] {
        worker.serves(TWO_MODELS);
    }
    let gateway = over(&[a, b]).await;
    a.behave_for("iris", BROKEN);
    for _ in 0..40 {
        gateway.client.predict_of("iris").await.assert_ok();
    }
    let tried = |worker: &FakeWorker, model: &str| {
        let path = format!("/models/{model}/predict");
        worker.seen().iter().filter(|seen| seen.path == path).count()
    };
    assert_eq!(
        tried(a, "iris"),
        5,
        "so many failures in a row, and no request more"
    );
    let known = circuit(&gateway, "a", "iris").await;
    assert_eq!(
        (
            &known["state"],
            &known["times"],
            &known["failures"],
            &known["consecutive_failures"]
        ),
        (&json!("open"), &json!(1), &json!(5), &json!(5)),
        "{known}"
    );
    assert!(
        known["until_ms"].as_u64().is_some_and(|left| left > 3_000_000),
        "{known}"
    );
    for _ in 0..10 {
        gateway.client.predict_of("digits").await.assert_ok();
    }
    assert_eq!(
        (tried(a, "digits"), tried(b, "digits")),
        (5, 5),
        "its other model goes on"
    );
    assert_eq!(circuit(&gateway, "a", "digits").await["state"], "closed");
    assert_eq!(circuit(&gateway, "b", "iris").await["successes"], 40);

    let labels = r#"model="iris",reason="consecutive_failures",worker="a""#;
    let ejections = format!("millrace_gateway_ejections_total{{{labels}}}");
    assert_eq!(gateway.metric(&ejections).await, 1.0);
    let ejected = r#"millrace_gateway_ejected{model="iris",worker="a"}"#;
    assert_eq!(gateway.metric(ejected).await, 1.0);
    assert_eq!(
        gateway.metric(r#"millrace_gateway_panic{model="iris"}"#).await,
        0.0
    );
}

#[tokio::test]
async fn it_comes_back_with_one_request_at_a_time() {
    let ([a, b], gateway) = &with_one_ejected("300ms").await;
    a.behave_for("iris", Behaviour::Answer);
    a.hold();
    let before = a.count();
    until_circuit(gateway, "a", "half_open").await;

    let clients: Vec<_> = (0..8).map(|_| steady(&gateway.client)).collect();
    until("one request is on trial", || a.inside() == 1).await;
    let others = b.count();
    until("others are answered", || b.count() > others + 200).await;
    assert_eq!((a.inside(), a.count()), (1, before + 1), "no second one came");

    a.release();
    until_circuit(gateway, "a", "closed").await;
    let others = a.count();
    until("it has its share again", || a.count() > others + 50).await;
    let ejected = r#"millrace_gateway_ejected{model="iris",worker="a"}"#;
    assert_eq!(gateway.metric(ejected).await, 0.0);
    for client in clients {
        assert!(!client.is_finished(), "no request failed");
        client.abort();
    }
}

#[tokio::test]
async fn who_fails_on_trial_is_out_for_longer() {
    let ([a, _], gateway) = &with_one_ejected("100ms").await;
    let client = steady(&gateway.client);
    let known = until_some("three trials failed", async || {
        let known = circuit(gateway, "a", "iris").await;
        (known["state"] == "open" && known["times"].as_u64() >= Some(4)).then_some(known)
    })
    .await;
    assert!(!client.is_finished(), "no request failed");
    client.abort();
    let trials = r#"millrace_gateway_ejections_total{model="iris",reason="trial",worker="a"}"#;
    assert!(gateway.metric(trials).await >= 3.0, "{known}");
    assert!(
        a.count() <= 5 + known["times"].as_u64().unwrap() as usize,
        "one request a trial"
    );
}

#[tokio::test]
async fn a_trial_that_its_client_gives_up_leaves_room_for_the_next() {
    let ([a, _], gateway) = &with_one_ejected("100ms").await;
    a.behave_for("iris", Behaviour::Answer);
    a.hold();
    until_circuit(gateway, "a", "half_open").await;
    let client = gateway.client.clone();
    let given_up = tokio::spawn(async move { client.predict().await });
    until("it is on trial", || a.inside() == 1).await;
    given_up.abort();
    until("it is given up", || a.abandoned() == 1).await;
    a.release();
    let client = steady(&gateway.client);
    until_circuit(gateway, "a", "closed").await;
    client.abort();
}

#[tokio::test]
async fn the_last_worker_is_never_ejected() {
    let worker = FakeWorker::start("a").await;
    let gateway = over(&[&worker]).await;
    worker.behave(BROKEN);
    for _ in 0..40 {
        gateway.client.predict().await.assert_error(500, "internal");
    }
    assert_eq!(circuit(&gateway, "a", "iris").await["state"], "closed");
    worker.behave(Behaviour::Answer);
    gateway.client.predict().await.assert_ok();
}

#[tokio::test]
async fn never_more_than_half_of_the_workers_are_ejected() {
    let workers: [_; 5] = FakeWorker::start_many().await;
    let gateway = over(&workers.each_ref()).await;
    for worker in &workers {
        worker.behave(BROKEN);
    }
    for _ in 0..100 {
        gateway.client.predict().await.assert_error(500, "internal");
    }
    let mut ejected = 0;
    for worker in &workers {
        ejected += usize::from(circuit(&gateway, worker.id, "iris").await["state"] == "open");
    }
    assert_eq!(ejected, 2);
}

#[tokio::test]
async fn a_large_share_of_failures_ejects_too() {
    let [a, b] = &FakeWorker::start_many().await;
    let gateway = setup(&[a, b])
        .set("gateway.breaker.consecutive_failures", 0)
        .start()
        .await;
    let client = steady(&gateway.client);
    until("it answers", || a.count() >= 5).await;
    a.behave(BROKEN);
    until_circuit(&gateway, "a", "open").await;
    let reason = r#"millrace_gateway_ejections_total{model="iris",reason="failure_rate",worker="a"}"#;
    assert_eq!(gateway.metric(reason).await, 1.0);
    assert!(!client.is_finished(), "no request failed");
    client.abort();
}

#[tokio::test]
async fn where_too_few_are_left_ejections_are_ignored() {
    let workers: [_; 4] = FakeWorker::start_many().await;
    let [a, _, c, d] = &workers;
    let gateway = over(&workers.each_ref()).await;
    eject(&gateway, a).await;
    let panic = r#"millrace_gateway_panic{model="iris"}"#;
    assert_eq!(gateway.metric(panic).await, 0.0);
    let before = a.count();
    for _ in 0..12 {
        gateway.client.predict().await.assert_ok();
    }
    assert_eq!(a.count(), before);

    a.behave_for("iris", Behaviour::Answer);
    c.go_away().await;
    d.go_away().await;
    gateway.until_up(2).await;
    assert_eq!(gateway.metric(panic).await, 1.0);
    until_some("the ejected one helps out", async || {
        gateway.client.predict().await.assert_ok();
        (a.count() > before).then_some(())
    })
    .await;
    assert_eq!(
        circuit(&gateway, "a", "iris").await["state"],
        "open",
        "that is not forgotten"
    );

    c.come_back();
    d.come_back();
    gateway.until_up(4).await;
    assert_eq!(gateway.metric(panic).await, 0.0);
    let before = a.count();
    for _ in 0..12 {
        gateway.client.predict().await.assert_ok();
    }
    assert_eq!(a.count(), before);
}

#[tokio::test]
async fn ejections_survive_other_changes() {
    let ([a, _], gateway) = &with_one_ejected("1h").await;
    let before = a.count();
    for policy in ["random", "peak_ewma", "weighted", "round_robin"] {
        let changed = gateway
            .admin
            .put("/admin/policy", &json!({"policy": policy}))
            .await;
        changed.assert_ok();
        assert_eq!(gateway.client.who_answers(10).await, "b".repeat(10), "{policy}");
    }
    let changed = gateway.admin.put("/admin/workers/a", &json!({"weight": 3})).await;
    changed.assert_ok();
    assert_eq!(gateway.client.who_answers(10).await, "b".repeat(10));
    assert_eq!(a.count(), before);
}

#[tokio::test]
async fn a_worker_that_was_gone_or_has_another_version_is_tried_at_once() {
    let ([a, _], gateway) = &with_one_ejected("1h").await;
    a.go_away().await;
    gateway.until_up(1).await;
    a.behave_for("iris", Behaviour::Answer);
    a.come_back();
    gateway.until_up(2).await;
    assert_eq!(circuit(gateway, "a", "iris").await["state"], "half_open");
    gateway.client.who_answers(10).await;
    assert_eq!(circuit(gateway, "a", "iris").await["state"], "closed");

    eject(gateway, a).await;
    a.serves(&[("iris", "2", "ready")]);
    until_circuit(gateway, "a", "half_open").await;
}

#[tokio::test]
async fn what_is_no_fault_of_a_worker_ejects_nobody() {
    let [a, b] = &FakeWorker::start_many().await;
    let gateway = over(&[a, b]).await;
    let others = [
        Behaviour::Refuse(400, "invalid_input"),
        Behaviour::Refuse(429, "overloaded"),
        Behaviour::Refuse(503, "not_ready"),
        Behaviour::Refuse(504, "deadline_exceeded"),
    ];
    for behaviour in others {
        a.behave(behaviour.clone());
        gateway.client.predict().await;
        for _ in 0..20 {
            gateway.client.predict().await;
        }
        assert_eq!(
            circuit(&gateway, "a", "iris").await["state"],
            "closed",
            "{behaviour:?}"
        );
    }
}

#[tokio::test]
async fn a_worker_that_hangs_is_ejected_and_clients_in_a_hurry_eject_nobody() {
    let [a, b] = &FakeWorker::start_many().await;
    let gateway = setup(&[a, b]).set("gateway.deadline", "200ms").start().await;
    a.behave(Behaviour::AnswerAfter(Duration::from_secs(3600)));
    for _ in 0..20 {
        gateway.client.predict_with("x-request-timeout-ms", "5").await;
    }
    assert_eq!(circuit(&gateway, "a", "iris").await["failures"], 0);
    until_some("it is ejected", async || {
        gateway.client.predict().await;
        let known = circuit(&gateway, "a", "iris").await;
        (known["state"] == "open").then_some(())
    })
    .await;
    assert_eq!(gateway.client.who_answers(10).await, "b".repeat(10));
}

#[tokio::test]
async fn series_of_a_worker_that_left_are_forgotten() {
    let (_workers, gateway) = &with_one_ejected("1h").await;
    let mut workers = gateway.gateway.settings().workers.clone();
    workers.retain(|worker| worker.id == "b");
    gateway.gateway.set_members(&workers);
    let text = gateway.client.get("/metrics").await.text();
    let left = text
        .lines()
        .find(|line| line.starts_with("millrace_gateway_eject") && line.contains("\"a\""));
    assert_eq!(left, None);
}
