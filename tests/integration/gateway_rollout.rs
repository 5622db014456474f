//! Requests that name no version are split between versions, copied to a shadow, and taken back from a version that is
//! worse than live.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::fake_worker::{Behaviour, FakeWorker, Seen};
use crate::support::gateway::{Setup, TestGateway};
use crate::support::graph;
use crate::support::load::Load;
use crate::support::wait::{until, until_some};
use crate::support::worker::{Setup as WorkerSetup, TestWorker};

const ROW: &str = r#"{"inputs": [[5.1, 3.5, 1.4, 0.2]]}"#;
const LIVE: &str = "/models/iris/versions/1/predict";
const CANARY: &str = "/models/iris/versions/2/predict";
const SHADOW: &str = "/models/iris/versions/3/predict";
/// So many requests more or less than its share a version may have got at any time.
const INEXACT: usize = 3;
const HOUR: Duration = Duration::from_secs(3600);

/// Serves versions 1, 2 and 3 of iris.
async fn workers<const N: usize>() -> [FakeWorker; N] {
    let workers = FakeWorker::start_many().await;
    for worker in &workers {
        worker.serves(&[
            ("iris", "1", "ready"),
            ("iris", "2", "ready"),
            ("iris", "3", "ready"),
        ]);
    }
    workers
}

/// A gateway with this rollout of iris, which sends each request to one worker only: what comes there is counted.
async fn over(workers: &[&FakeWorker], rollout: &str) -> TestGateway {
    let tables = format!("[gateway.rollout.iris]\n{rollout}\n");
    let setup = Setup::over(workers).with_tables(&tables);
    setup.set("gateway.hedging.percentile", 0.0).start().await
}

/// Which version the rollout chose.
fn version(answer: &Answer) -> &str {
    answer.assert_ok().header("x-millrace-rollout")
}

/// How many of so many predictions each version got.
async fn versions(client: &Client, count: usize) -> BTreeMap<String, usize> {
    let mut versions = BTreeMap::new();
    for _ in 0..count {
        *versions
            .entry(version(&client.predict().await).to_owned())
            .or_default() += 1;
    }
    versions
}

/// How many predictions came to this path.
fn count_at(workers: &[&FakeWorker], path: &str) -> usize {
    let seen = workers.iter().flat_map(|worker| worker.seen());
    seen.filter(|seen| seen.path == path).count()
}

async fn rollout(gateway: &TestGateway) -> Value {
    let shown = gateway.admin.get("/admin/rollouts/iris").await;
    shown.assert_ok().json()
}

async fn comparison(gateway: &TestGateway) -> Value {
    let shown = gateway.admin.get("/admin/comparison").await.assert_ok().json();
    shown["comparisons"][0].clone()
}

/// Sends predictions until the split was taken back; what admin shows of it.
async fn until_taken_back(gateway: &TestGateway) -> Value {
    until_some("the split is taken back", async || {
        gateway.client.predict().await;
        let split = rollout(gateway).await["versions"][1].clone();
        split["taken_back"].is_object().then_some(split)
    })
    .await
}

#[tokio::test]
async fn shares_are_exact_and_explicit_versions_are_left_alone() {
    let [a, b] = &workers().await;
    let gateway = over(&[a, b], "live = 1\nsplits = { 2 = 0.1 }").await;
    let client = &gateway.client;
    let counts = versions(client, 200).await;
    let of = |version: &str| counts.get(version).copied().unwrap_or_default();
    assert!(
        of("2").abs_diff(20) <= INEXACT && of("1") + of("2") == 200,
        "{counts:?}"
    );
    assert_eq!(count_at(&[a, b], CANARY), of("2"));
    let requests = r#"millrace_gateway_rollout_requests_total{model="iris",version="2"}"#;
    assert_eq!(gateway.metric(requests).await, of("2") as f64);
    let share = r#"millrace_gateway_rollout_share{model="iris",version="1"}"#;
    assert_eq!(gateway.metric(share).await, 0.9);

    let explicit = [
        ("/models/iris/versions/3/predict", ROW.to_owned(), SHADOW),
        (
            "/models/iris/predict",
            json!({"version": 3, "inputs": []}).to_string(),
            "/models/iris/predict",
        ),
        (
            "/predict",
            json!({"model": "iris", "version": "3", "inputs": []}).to_string(),
            SHADOW,
        ),
        (
            "/v2/models/iris/versions/3/infer",
            "{}".to_owned(),
            "/v2/models/iris/versions/3/infer",
        ),
    ];
    for (path, body, at_worker) in explicit {
        let before = count_at(&[a, b], at_worker);
        let answer = client.post(path, body).await;
        assert_eq!(version(&answer), "", "{path}");
        assert_eq!(count_at(&[a, b], at_worker), before + 1, "{path}");
    }
}

#[tokio::test]
async fn every_dialect_takes_part() {
    let [a] = &workers().await;
    let gateway = over(&[a], "live = 1\nsplits = { 2 = 1.0 }").await;
    let client = &gateway.client;
    for (path, at_worker) in [
        ("/models/iris/predict", CANARY),
        ("/models/%69ris/predict", "/models/%69ris/versions/2/predict"),
        ("/v2/models/iris/infer", "/v2/models/iris/versions/2/infer"),
    ] {
        let answer = client.post(path, ROW).await;
        assert_eq!(
            (version(&answer), a.last_seen().path.as_str()),
            ("2", at_worker),
            "{path}"
        );
    }
    for (path, at_worker) in [
        ("/v2/models/iris", "/v2/models/iris/versions/1"),
        ("/v2/models/iris/config", "/v2/models/iris/versions/1/config"),
        ("/models/iris", "/models/iris"),
    ] {
        client.get(path).await.assert_ok();
        assert_eq!(a.last_seen().path, at_worker, "questions go to live");
    }
    let asked = json!({"model": "iris"}).to_string();
    let told = gateway
        .admin
        .post("/admin/explain", asked)
        .await
        .assert_ok()
        .json();
    assert_eq!(told["version"]["version"], "1");
    let why = told["version"]["why"].as_str().unwrap();
    assert!(why.contains("0.0000 go to live, 1 to 2"), "{why}");
    let asked = json!({"model": "iris", "version": "2"}).to_string();
    let told = gateway
        .admin
        .post("/admin/explain", asked)
        .await
        .assert_ok()
        .json();
    assert!(told["version"].is_null(), "{told}");
    let explained = client.predict_with("x-millrace-debug", "1").await;
    let decision = explained.header("x-millrace-decision");
    assert!(
        decision.starts_with("split 2 by the rollout; round_robin -> a"),
        "{decision}"
    );
}

#[tokio::test]
async fn one_key_stays_with_one_version_while_shares_grow() {
    let [a] = &workers().await;
    let gateway = over(&[a], "live = 1\nsplits = { 2 = 0.2 }\nkey = 'header:x-user'").await;
    let users: Vec<String> = (0..60).map(|user| format!("user-{user}")).collect();
    let of_users = async || {
        let mut of_users = Vec::new();
        for user in &users {
            let answer = gateway.client.predict_with("x-user", user).await;
            of_users.push(version(&answer).to_owned());
        }
        of_users
    };
    let first = of_users().await;
    let share = first.iter().filter(|version| *version == "2").count();
    assert!((3..30).contains(&share), "a fifth of 60: {share}");
    assert_eq!(of_users().await, first);

    let wider = json!({"live": 1, "splits": {"2": 0.6}, "key": "header:x-user"});
    gateway
        .admin
        .put("/admin/rollouts/iris", &wider)
        .await
        .assert_ok();
    let wider = of_users().await;
    for (before, after) in first.iter().zip(&wider) {
        assert!(before == after || before == "1", "{before} -> {after}");
    }
    assert_ne!(wider, first);
    let without = versions(&gateway.client, 100).await;
    assert!(without["2"].abs_diff(60) <= INEXACT, "by turn: {without:?}");
}

#[tokio::test]
async fn a_version_that_fails_is_taken_back_and_blamed_on_no_worker() {
    let [a, b] = &workers().await;
    let rules = "live = 1\nsplits = { 2 = 0.5 }\nrollback = { min_requests = 20 }";
    let gateway = over(&[a, b], rules).await;
    a.behave_at(CANARY, Behaviour::Refuse(500, "internal"));
    b.behave_at(CANARY, Behaviour::CutHalfway);
    let split = until_taken_back(&gateway).await;
    assert_eq!(
        (&split["share"], &split["taken_back"]["share"]),
        (&json!(0.0), &json!(0.5))
    );
    let reason = split["taken_back"]["reason"].as_str().unwrap_or_default();
    assert!(
        reason.contains("requests failed") && reason.contains("of live"),
        "{reason}"
    );
    let rollbacks = r#"millrace_gateway_rollbacks_total{model="iris",reason="error_rate",version="2"}"#;
    assert_eq!(gateway.metric(rollbacks).await, 1.0);
    assert_eq!(versions(&gateway.client, 50).await["1"], 50);
    for worker in ["a", "b"] {
        let shown = gateway.worker(worker).await;
        let circuit = &shown["loads"][0]["circuit"];
        assert_eq!(
            (&shown["state"], &circuit["state"], &circuit["failures"]),
            (&json!("up"), &json!("closed"), &json!(0)),
            "{shown}"
        );
    }
    let config = gateway.admin.get("/admin/config").await.assert_ok().json();
    assert_eq!(config["rollout"]["iris"]["splits"]["2"], 0.0);

    for worker in [a, b] {
        worker.behave_at(CANARY, Behaviour::Answer);
    }
    let again = json!({"live": "1", "splits": {"2": 0.5}});
    gateway
        .admin
        .put("/admin/rollouts/iris", &again)
        .await
        .assert_ok();
    let counts = versions(&gateway.client, 50).await;
    assert!(
        counts["2"].abs_diff(25) <= INEXACT,
        "an operator gave it a share again: {counts:?}"
    );
}

#[tokio::test]
async fn a_version_that_is_slow_or_hangs_is_taken_back() {
    let rules = "live = 1\nsplits = { 2 = 0.5 }\nrollback = { min_requests = 10 }";
    let [slow] = &workers().await;
    let gateway = over(&[slow], rules).await;
    slow.behave_at(CANARY, Behaviour::AnswerAfter(Duration::from_millis(100)));
    let split = until_taken_back(&gateway).await;
    assert_eq!(split["taken_back"]["cause"], "latency", "{split}");

    // Its clients have little time, and give up themselves: nobody is told of an error.
    let [hangs] = &workers().await;
    let gateway = over(&[hangs], rules).await;
    hangs.behave_at(CANARY, Behaviour::AnswerAfter(HOUR));
    let impatient = async || {
        let client = gateway.client.clone();
        let waited = tokio::time::timeout(Duration::from_millis(150), client.predict());
        let _ = waited.await;
    };
    let split = until_some("the split is taken back", async || {
        impatient().await;
        let split = rollout(&gateway).await["versions"][1].clone();
        split["taken_back"].is_object().then_some(split)
    });
    assert_eq!(split.await["taken_back"]["cause"], "latency");
}

#[tokio::test]
async fn what_live_does_as_badly_is_not_blamed_on_a_split() {
    let [a, b] = &workers().await;
    let rules = "live = 1\nsplits = { 2 = 0.5 }\nrollback = { min_requests = 10 }";
    let gateway = over(&[a, b], rules).await;
    for worker in [a, b] {
        worker.behave(Behaviour::Refuse(500, "internal"));
    }
    for _ in 0..100 {
        gateway.client.predict().await.assert_error(500, "internal");
    }
    // It has been looked at many times by now, and is looked at once more after the last of these.
    let shown = until_some("all was counted", async || {
        let shown = rollout(&gateway).await;
        (shown["versions"][1]["failures"].as_u64() >= Some(40)).then_some(shown)
    })
    .await;
    assert_eq!(shown["versions"][1]["share"], 0.5, "{shown}");
}

#[tokio::test]
async fn who_serves_live_stands_in_for_a_version_that_nobody_serves() {
    let [a, b] = &workers().await;
    let gateway = over(&[a, b], "live = 1\nsplits = { 9 = 0.5 }").await;
    assert_eq!(versions(&gateway.client, 20).await["1"], 20);
    let fallbacks =
        |version| format!("millrace_gateway_rollout_fallbacks_total{{model=\"iris\",version=\"{version}\"}}");
    let is_half = |count: f64| (count - 10.0).abs() <= INEXACT as f64;
    assert!(is_half(gateway.metric(&fallbacks("9")).await));

    // Its workers have let it go, and the gateway does not know that yet.
    let gone = json!({"live": 1, "splits": {"2": 0.5}});
    gateway.admin.put("/admin/rollouts/iris", &gone).await.assert_ok();
    for worker in [a, b] {
        worker.behave_at(CANARY, Behaviour::Refuse(404, "version_not_found"));
    }
    assert_eq!(versions(&gateway.client, 20).await["1"], 20);
    assert!(is_half(gateway.metric(&fallbacks("2")).await));

    // Live itself stands in for nobody, and nobody for it.
    let nowhere = json!({"live": "stable"});
    gateway
        .admin
        .put("/admin/rollouts/iris", &nowhere)
        .await
        .assert_ok();
    gateway
        .client
        .predict()
        .await
        .assert_error(404, "version_not_found");
}

#[tokio::test]
async fn a_retry_stays_with_the_version() {
    let [a, b] = &workers().await;
    let gateway = over(&[a, b], "live = 1\nsplits = { 2 = 1.0 }").await;
    a.behave_at(CANARY, Behaviour::Refuse(500, "internal"));
    let (mut retried, before) = (0, count_at(&[b], CANARY));
    for _ in 0..6 {
        let answer = gateway.client.predict().await;
        assert_eq!((version(&answer), answer.worker()), ("2", "b"));
        retried += usize::from(answer.attempts() == "2");
    }
    assert!(retried > 0);
    assert_eq!((count_at(&[b], CANARY) - before, count_at(&[a, b], LIVE)), (6, 0));
}

#[tokio::test]
async fn a_shadows_answers_are_compared_and_thrown_away() {
    let [a] = &workers().await;
    let live = r#"{"model": "iris", "version": "1", "predictions": ["a", "b"], "probabilities": [[0.5, 0.5], [0.25, 0.75]]}"#;
    let shadow = r#"{"model": "iris", "version": "3", "predictions": ["a", "a"], "probabilities": [[0.5, 0.5], [0.5, 0.5]]}"#;
    a.behave_at(LIVE, Behaviour::Reply(200, live));
    a.behave_at(SHADOW, Behaviour::Reply(200, shadow));
    let gateway = over(&[a], "live = 1\nshadow = 3").await;
    for _ in 0..40 {
        let answer = gateway.client.predict().await;
        assert_eq!(answer.text(), live);
    }
    let compared = async |count: u64| {
        until_some("the copies are compared", async || {
            let shown = comparison(&gateway).await;
            (shown["compared"] == count).then_some(shown)
        })
        .await
    };
    let shown = compared(40).await;
    for (key, wanted) in [
        ("live", json!("1")),
        ("shadow", json!("3")),
        ("versions", json!(["1", "3"])),
        ("different", json!(40)),
        ("not_comparable", json!(0)),
        ("failed", json!(0)),
        ("dropped", json!(0)),
        ("max_abs_difference", json!(0.25)),
        ("changed_classes", json!(0.5)),
    ] {
        assert_eq!(shown[key], wanted, "{key} in {shown}");
    }
    assert!(
        shown["latency_ratio"].as_f64().is_some_and(|ratio| ratio > 0.0),
        "{shown}"
    );
    let differ = r#"millrace_gateway_shadow_max_abs_difference{model="iris",version="3"}"#;
    assert_eq!(gateway.metric(differ).await, 0.25);
    let answered = r#"millrace_gateway_requests_total{code="ok",model="iris"}"#;
    assert_eq!(gateway.metric(answered).await, 40.0, "copies are no requests");

    a.behave_at(SHADOW, Behaviour::Refuse(500, "internal"));
    for _ in 0..20 {
        version(&gateway.client.predict().await);
    }
    let failed = r#"millrace_gateway_shadow_copies_total{model="iris",outcome="failed",version="3"}"#;
    gateway.until_metric(failed, 20.0).await;
    let circuit = gateway.worker("a").await["loads"][0]["circuit"].clone();
    assert_eq!(
        (&circuit["state"], &circuit["failures"]),
        (&json!("closed"), &json!(0))
    );

    // Behind the same name there is another version now: what was found of the old one is forgotten.
    let newer = r#"{"model": "iris", "version": "4", "predictions": ["a", "b"], "probabilities": [[0.5, 0.5], [0.25, 0.75]]}"#;
    a.behave_at(SHADOW, Behaviour::Reply(200, newer));
    for _ in 0..4 {
        version(&gateway.client.predict().await);
    }
    let shown = compared(4).await;
    assert_eq!(
        (
            &shown["max_abs_difference"],
            &shown["failed"],
            &shown["versions"][1]
        ),
        (&json!(0.0), &json!(0), &json!("4"))
    );
}

#[tokio::test]
async fn a_shadow_gets_its_share_of_copies() {
    let [a] = &workers().await;
    let gateway = over(&[a], "live = 1\nshadow = 3\nshadow_share = 0.5").await;
    for _ in 0..60 {
        version(&gateway.client.predict().await);
    }
    let all = json!({"live": 1, "shadow": 3});
    gateway.admin.put("/admin/rollouts/iris", &all).await.assert_ok();
    let last = json!({"model": "iris", "inputs": ["the last one"]}).to_string();
    version(&gateway.client.post("/predict", last.clone()).await);
    let is_last = |seen: &Seen| seen.path == SHADOW && seen.body == last;
    until("the last request is copied", || a.seen().iter().any(is_last)).await;
    let copies = count_at(&[a], SHADOW) - 1;
    assert!(copies.abs_diff(30) <= INEXACT, "{copies} of 60");
}

#[tokio::test]
async fn a_shadow_that_hangs_delays_nobody() {
    let [a] = &workers().await;
    a.behave_at(SHADOW, Behaviour::AnswerAfter(HOUR));
    // Held by two copies, a worker with room for two requests would have none left.
    let tables = "[gateway.rollout.iris]\nlive = 1\nshadow = 3\n";
    let setup = Setup::over(&[a]).with_tables(tables);
    let setup = setup.set("gateway.hedging.percentile", 0.0);
    let gateway = setup.set("gateway.balancing.concurrency", 2).start().await;
    for _ in 0..100 {
        version(&gateway.client.predict().await);
    }
    assert_eq!(count_at(&[a], LIVE), 100);
    until("as many copies as may are on their way", || {
        count_at(&[a], SHADOW) == 64
    })
    .await;
    assert_eq!(comparison(&gateway).await["dropped"], 36);
    let dropped = r#"millrace_gateway_shadow_copies_total{model="iris",outcome="dropped",version="3"}"#;
    assert_eq!(gateway.metric(dropped).await, 36.0);
}

#[tokio::test]
async fn rollouts_change_under_load_without_a_failed_request() {
    let [a, b] = &workers().await;
    let gateway = over(&[a, b], "live = 1").await;
    let load = Load::on(&gateway.client);
    for round in 0..60 {
        let wanted = match round % 4 {
            0 => json!({"live": "1", "splits": {"2": 0.3}, "shadow": "3"}),
            1 => json!({"live": "2", "splits": {"1": 0.5, "3": 0.5}, "key": "client"}),
            2 => json!({"live": "3", "splits": {"9": 0.5}, "shadow": "1"}),
            _ => {
                let end = gateway.admin.request(Method::DELETE, "/admin/rollouts/iris", "");
                gateway.admin.send(end).await.assert_ok();
                continue;
            }
        };
        let shown = gateway.admin.put("/admin/rollouts/iris", &wanted).await;
        assert_eq!(shown.assert_ok().json()["config"]["live"], wanted["live"]);
    }
    assert!(load.stop().await > 0);
}

#[tokio::test]
async fn operators_are_told_what_is_wrong() {
    let [a] = &workers().await;
    let gateway = over(&[a], "live = 1").await;
    let admin = &gateway.admin;
    for (body, parts) in [
        (
            json!({"splits": {"2": 7}}),
            &[
                "live: is missing",
                "splits.2: expected a share from 0 to 1; found 7",
            ][..],
        ),
        (
            json!({"live": "1", "spilts": {}}),
            &["spilts: unknown key; did you mean splits?"],
        ),
        (json!([1]), &["expected an object"]),
    ] {
        let answer = admin.put("/admin/rollouts/iris", &body).await;
        let message = answer.assert_error(400, "invalid_input").message();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
    let path = "/admin/rollouts/a%2Fb";
    admin
        .put(path, &json!({"live": "1"}))
        .await
        .assert_error(400, "invalid_input");
    admin
        .get("/admin/rollouts/rose")
        .await
        .assert_error(404, "not_found");
    let end = admin.request(Method::DELETE, "/admin/rollouts/rose", "");
    admin.send(end).await.assert_error(404, "not_found");
    assert_eq!(rollout(&gateway).await["config"]["live"], "1", "nothing changed");
    let end = admin.request(Method::DELETE, "/admin/rollouts/iris", "");
    let left = admin.send(end).await.assert_ok().json();
    assert_eq!(left, json!({"rollouts": []}));
    let answer = gateway.client.predict().await;
    assert_eq!(version(&answer), "");
    let share = r#"millrace_gateway_rollout_share{model="iris",version="1"}"#;
    let metrics = gateway.client.get("/metrics").await.text();
    assert!(!metrics.contains(share), "what is gone is not shown");
}

/// Versions 1 and 2 of model m, labelled stable and canary; they answer 1 and 2.5 to a row of zero.
async fn real_worker() -> TestWorker {
    let answering = |value| graph::linear(&[1.0], value);
    WorkerSetup::new()
        .file("m/1/model.onnx", &answering(1.0))
        .file("m/2/model.onnx", &answering(2.5))
        .set("worker.model.m.labels.stable", 1)
        .set("worker.model.m.labels.canary", 2)
        .start()
        .await
}

#[tokio::test]
async fn real_versions_of_a_model_are_split_and_compared() {
    let worker = real_worker().await;
    let tables = "[gateway.rollout.m]\nlive = \"stable\"\nsplits = { canary = 0.25 }\nshadow = \"canary\"\n";
    let gateway = Setup::before(&worker).with_tables(tables).start().await;
    let mut values = Vec::new();
    for _ in 0..40 {
        let answer = gateway
            .client
            .post("/models/m/predict", r#"{"inputs": [[0]]}"#)
            .await;
        let expected = if version(&answer) == "canary" {
            ("2", 2.5)
        } else {
            ("1", 1.0)
        };
        let body = answer.json();
        assert_eq!(
            (body["version"].as_str(), body["predictions"][0].as_f64()),
            (Some(expected.0), Some(expected.1))
        );
        values.push(expected.1);
    }
    let of_canary = values.iter().filter(|&&value| value == 2.5).count();
    assert!(of_canary.abs_diff(10) <= INEXACT, "{of_canary}");

    let tensor = json!({"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [0]}]});
    let metadata = gateway.client.get("/v2/models/m").await.assert_ok().json();
    let input = metadata["inputs"][0]["name"].clone();
    let mut tensor = tensor;
    tensor["inputs"][0]["name"] = input;
    let mut of_live = (40 - of_canary) as u64;
    for _ in 0..8 {
        let answer = gateway
            .client
            .post("/v2/models/m/infer", tensor.to_string())
            .await;
        let number = if version(&answer) == "canary" { "2" } else { "1" };
        assert_eq!(answer.json()["model_version"], number);
        of_live += u64::from(number == "1");
    }
    tensor["inputs"][0]["shape"] = json!([400, 1]);
    tensor["inputs"][0]["data"] = json!(vec![0; 400]);
    for _ in 0..4 {
        let request = gateway
            .client
            .request(Method::POST, "/v2/models/m/infer", tensor.to_string());
        let compressed = gateway.client.send_with(request, &[("accept-encoding", "gzip")]);
        let answer = compressed.await;
        assert_eq!(answer.header("content-encoding"), "gzip");
        of_live += u64::from(version(&answer) == "stable");
    }
    let shown = until_some("every answer of live is compared", async || {
        let shown = comparison(&gateway).await;
        (shown["compared"] == of_live).then_some(shown)
    })
    .await;
    assert_eq!(
        (
            &shown["max_abs_difference"],
            &shown["not_comparable"],
            &shown["versions"]
        ),
        (&json!(1.5), &json!(0), &json!(["1", "2"])),
        "{shown}"
    );
    worker.end().await;
}
