//! The admin listener: shows what the gateway knows, and changes it while requests run.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::fake_worker::FakeWorker;
use crate::support::gateway::{Setup, TestGateway};
use crate::support::load::Load;
use crate::support::wait::until;

async fn put_policy(gateway: &TestGateway, policy: &str) -> Value {
    let change = json!({"policy": policy});
    gateway
        .admin
        .put("/admin/policy", &change)
        .await
        .assert_ok()
        .json()
}

#[tokio::test]
async fn the_policy_in_force_and_the_choices_are_shown() {
    let worker = FakeWorker::start("a").await;
    let gateway = Setup::over(&[&worker]).start().await;
    let shown = gateway.admin.get("/admin/policy").await.assert_ok().json();
    assert_eq!(shown["policy"], "round_robin");
    let choices = shown["choices"].as_array().unwrap();
    assert!(
        ["round_robin", "random", "weighted"]
            .iter()
            .all(|&name| choices.contains(&name.into()))
    );
    let after = put_policy(&gateway, "weighted").await;
    assert_eq!(after["policy"], "weighted");
    assert_eq!(after["generation"], shown["generation"].as_u64().unwrap() + 1);
    assert_eq!(
        put_policy(&gateway, "weighted").await,
        after,
        "the same policy makes no new snapshot"
    );
}

#[tokio::test]
async fn the_policy_switches_under_load_without_a_failed_request() {
    let [a, b, c] = &FakeWorker::start_many().await;
    let gateway = Setup::weighted(&[(a, 3), (b, 1), (c, 1)]).start().await;
    a.hold();
    let held = {
        let client = gateway.client.clone();
        // Round robin asks each of the three in turn.
        tokio::spawn(async move { futures_util::future::join_all((0..3).map(|_| client.predict())).await })
    };
    until("one request is held", || a.inside() == 1).await;
    // Nobody may be picked who holds its answers back, or the load would stand still.
    gateway
        .admin
        .put("/admin/workers/a", &json!({"drain": true}))
        .await
        .assert_ok();
    let load = Load::on(&gateway.client);
    for _ in 0..5 {
        for policy in ["random", "weighted", "round_robin"] {
            put_policy(&gateway, policy).await;
            let before = c.count();
            until("requests go on", || c.count() > before + 5).await;
        }
    }
    assert_eq!(
        gateway.worker("a").await["in_flight"],
        1,
        "a switch keeps the counts"
    );
    a.release();
    for answer in held.await.unwrap() {
        answer.assert_ok();
    }
    assert!(load.stop().await > 75);
    put_policy(&gateway, "weighted").await;
    gateway
        .admin
        .put("/admin/workers/a", &json!({"drain": false}))
        .await
        .assert_ok();
    let who = gateway.client.who_answers(10).await;
    assert!("abacaabacaabaca".contains(&who), "{who}");
}

#[tokio::test]
async fn weights_change_live() {
    let [a, b] = &FakeWorker::start_many().await;
    let gateway = Setup::over(&[a, b])
        .set("gateway.policy", "weighted")
        .start()
        .await;
    let set_weight = async |id: &str, weight: u32| {
        gateway
            .admin
            .put(&format!("/admin/workers/{id}"), &json!({"weight": weight}))
            .await
    };
    let shown = set_weight("a", 4).await.assert_ok().json();
    assert_eq!(shown["workers"][0]["weight"], 4);
    assert_eq!(gateway.client.who_answers(10).await.matches('a').count(), 8);
    set_weight("a", 0).await.assert_ok();
    assert_eq!(gateway.client.who_answers(4).await, "bbbb");

    let refused = set_weight("b", 0).await;
    refused.assert_error(400, "invalid_input");
    assert!(
        refused.message().contains("no worker would be left"),
        "{}",
        refused.message()
    );
    assert_eq!(
        gateway.client.who_answers(4).await,
        "bbbb",
        "a refused change changes nothing"
    );

    set_weight("b", 1001).await.assert_error(400, "invalid_input");
    set_weight("nobody", 1).await.assert_error(404, "not_found");
}

#[tokio::test]
async fn a_drained_worker_keeps_its_requests_and_gets_no_more() {
    let [a, b] = &FakeWorker::start_many().await;
    let gateway = Setup::over(&[a, b]).start().await;
    a.hold();
    let client = gateway.client.clone();
    let held =
        tokio::spawn(async move { futures_util::future::join(client.predict(), client.predict()).await });
    until("one request is held", || a.inside() == 1).await;
    gateway
        .admin
        .put("/admin/workers/a", &json!({"drain": true}))
        .await
        .assert_ok();
    let shown = gateway.worker("a").await;
    assert_eq!(
        (&shown["state"], &shown["in_flight"]),
        (&json!("drained"), &json!(1))
    );
    assert_eq!(gateway.client.who_answers(4).await, "bbbb");
    a.release();
    let (first, second) = held.await.unwrap();
    assert!(
        [first, second]
            .iter()
            .any(|answer| answer.assert_ok().worker() == "a")
    );
    gateway
        .admin
        .put("/admin/workers/a", &json!({"drain": false}))
        .await
        .assert_ok();
    assert_eq!(gateway.client.who_answers(4).await.matches('a').count(), 2);
}

#[tokio::test]
async fn changes_that_make_no_sense_are_refused_with_what_was_expected() {
    let worker = FakeWorker::start("a").await;
    let gateway = Setup::over(&[&worker]).start().await;
    let put = async |path: &str, body: Value| gateway.admin.put(path, &body).await;
    let answer = put("/admin/policy", json!({"policy": "fastest"})).await;
    answer.assert_error(400, "invalid_input");
    assert!(answer.message().contains("round_robin") && answer.message().contains("fastest"));
    put("/admin/policy", json!({"polcy": "random"}))
        .await
        .assert_error(400, "invalid_input");
    put("/admin/policy", json!({"policy": "random", "now": true}))
        .await
        .assert_error(400, "invalid_input");
    put("/admin/workers/a", json!({"wieght": 3}))
        .await
        .assert_error(400, "invalid_input");
    put("/admin/workers/a", json!({"weight": -1}))
        .await
        .assert_error(400, "invalid_input");
    put("/admin/workers/a", json!({"weight": 1.5}))
        .await
        .assert_error(400, "invalid_input");
    let not_json = gateway
        .admin
        .request(Method::PUT, "/admin/policy", "policy=random");
    gateway
        .admin
        .send(not_json)
        .await
        .assert_error(400, "invalid_json");
    gateway.admin.get("/admin").await.assert_error(404, "not_found");
    gateway
        .admin
        .post("/admin/policy", "{}")
        .await
        .assert_error(405, "method_not_allowed");
    let large = json!({"policy": "x".repeat(100_000)});
    put("/admin/policy", large)
        .await
        .assert_error(413, "payload_too_large");
    assert_eq!(
        gateway.admin.get("/admin/policy").await.json()["policy"],
        "round_robin"
    );
}

#[tokio::test]
async fn the_workers_are_shown_as_the_gateway_sees_them() {
    let a = FakeWorker::start("a").await;
    a.serves(&[("iris", "1", "ready"), ("digits", "1", "loading")]);
    let absent = FakeWorker::start_down("b");
    let gateway = Setup::weighted(&[(&a, 3), (&absent, 1)]).start_at_once().await;
    gateway.until_up(1).await;
    gateway.client.predict().await.assert_ok();
    let seen = gateway.worker("a").await;
    assert_eq!(seen["url"], format!("http://{}", a.address));
    assert_eq!(
        (&seen["state"], &seen["weight"], &seen["drain"]),
        (&json!("up"), &json!(3), &json!(false))
    );
    assert_eq!(
        (&seen["models"], &seen["in_flight"]),
        (&json!(["iris"]), &json!(0))
    );
    assert!(seen["mean_latency_ms"].as_f64().unwrap() > 0.0);
    until("b was probed", || {
        let members = gateway.gateway.pool.members();
        members.iter().any(|member| member.reason.is_some())
    })
    .await;
    let seen = gateway.worker("b").await;
    assert_eq!(seen["state"], "unknown");
    assert!(seen["reason"].as_str().unwrap().contains("refused"), "{seen}");
    assert!(seen.get("mean_latency_ms").is_none());
}

#[tokio::test]
async fn the_configuration_in_force_is_shown() {
    let worker = FakeWorker::start("a").await;
    let gateway = Setup::over(&[&worker])
        .set("gateway.max_in_flight", 77)
        .start()
        .await;
    put_policy(&gateway, "random").await;
    gateway
        .admin
        .put("/admin/workers/a", &json!({"weight": 5}))
        .await
        .assert_ok();
    let shown = gateway.admin.get("/admin/config").await.assert_ok().json();
    assert_eq!(shown["max_in_flight"], 77);
    assert_eq!(shown["policy"], "random");
    assert_eq!(shown["deadline"], "10s");
    let expected = json!([{"id": "a", "url": format!("http://{}", worker.address), "weight": 5}]);
    assert_eq!(shown["workers"], expected);
}

#[tokio::test]
async fn what_operators_changed_of_workers_shows_in_the_configuration() {
    let [a, b] = &FakeWorker::start_many().await;
    let gateway = Setup::over(&[a, b]).start().await;
    let changed = async || {
        let shown = gateway.admin.get("/admin/config").await.assert_ok().json();
        shown["changed_by_admin"].clone()
    };
    assert_eq!(changed().await, json!([]));
    for (id, change) in [("a", json!({"drain": true})), ("b", json!({"weight": 7}))] {
        let path = format!("/admin/workers/{id}");
        gateway.admin.put(&path, &change).await.assert_ok();
    }
    let expected = json!([{"id": "a", "weight": 1, "drain": true}, {"id": "b", "weight": 7, "drain": false}]);
    assert_eq!(changed().await, expected);
    for (id, change) in [("a", json!({"drain": false})), ("b", json!({"weight": 1}))] {
        let path = format!("/admin/workers/{id}");
        gateway.admin.put(&path, &change).await.assert_ok();
    }
    assert_eq!(changed().await, json!([]));
}

#[tokio::test]
async fn clients_cannot_reach_admin() {
    let worker = FakeWorker::start("a").await;
    let gateway = Setup::over(&[&worker]).start().await;
    for path in ["/admin/workers", "/admin/policy", "/admin/config"] {
        gateway.client.get(path).await.assert_error(404, "not_found");
    }
}

#[tokio::test]
async fn operators_present_their_token_where_one_is_set() {
    let worker = FakeWorker::start("a").await;
    let gateway = Setup::over(&[&worker])
        .set("gateway.admin_token", "0123456789abcdef")
        .start()
        .await;
    for path in ["/admin/workers", "/admin/policy", "/admin/config"] {
        let refused = gateway.admin.get(path).await;
        refused.assert_error(401, "unauthorized");
        assert_eq!(refused.header("www-authenticate"), "Bearer");
    }
    let ask = async |token| {
        let request = gateway.admin.request(Method::GET, "/admin/config", "");
        gateway
            .admin
            .send_with(request, &[("authorization", token)])
            .await
    };
    for wrong in [
        "Bearer 0123456789abcdeX",
        "Basic 0123456789abcdef",
        "0123456789abcdef",
    ] {
        ask(wrong).await.assert_error(401, "unauthorized");
    }
    let config = ask("bearer 0123456789abcdef").await;
    assert_eq!(config.assert_ok().json()["admin_token"], "hidden");
    gateway.client.predict().await.assert_ok();
}

#[tokio::test]
async fn picks_are_explained_for_every_policy() {
    let [a, b, c] = &FakeWorker::start_many().await;
    let gateway = Setup::over(&[a, b, c])
        .set("gateway.policy", "least_request")
        .set("gateway.balancing.key", "header:x-user")
        .start()
        .await;
    gateway
        .admin
        .put("/admin/workers/c", &json!({"drain": true}))
        .await
        .assert_ok();
    for worker in [a, b] {
        worker.hold();
    }
    let client = gateway.client.clone();
    let held = tokio::spawn(async move { client.predict().await });
    until("one waits", || a.inside() + b.inside() == 1).await;
    let (busy, idle) = if a.inside() == 1 { (0, "b") } else { (1, "a") };
    let question = json!({"model": "iris", "key": "ann"}).to_string();
    let told = gateway
        .admin
        .post("/admin/explain", question)
        .await
        .assert_ok()
        .json();
    assert_eq!(told["policy"], "least_request");
    let standing = |id: &str| {
        told["workers"]
            .as_array()
            .unwrap()
            .iter()
            .find(|worker| worker["worker"] == id)
            .unwrap()
    };
    assert_eq!(standing("c")["why"], "an operator drained it");
    assert_eq!(standing("a")["is_candidate"], true);
    let policies = told["policies"].as_array().unwrap();
    assert_eq!(policies.len(), 8);
    for policy in policies {
        assert!(
            ["a", "b"].contains(&policy["picks"].as_str().unwrap()),
            "{policy}"
        );
        assert_eq!(policy["candidates"].as_array().unwrap().len(), 2, "{policy}");
        assert_eq!(policy["in_force"], policy["policy"] == "least_request");
    }
    let of = |name: &str| policies.iter().find(|policy| policy["policy"] == name).unwrap();
    assert_eq!(of("least_request")["picks"], idle);
    assert_eq!(
        of("least_request")["candidates"][busy]["why"],
        "1 in flight, with one more for a weight of 1: 2.00"
    );
    let shown = gateway.admin.get("/admin/workers").await.json();
    let heat = |id: &str| {
        let mut workers = shown["workers"].as_array().unwrap().iter();
        let worker = workers.find(|worker| worker["id"] == id).unwrap();
        worker["loads"][0]["heat"].clone()
    };
    let busy = if idle == "a" { "b" } else { "a" };
    assert_eq!(
        [heat(idle), heat(busy), heat("c")],
        [json!("cold"), json!("hot"), json!(null)]
    );
    for worker in [a, b] {
        worker.release();
    }
    held.await.unwrap().assert_ok();
    gateway
        .admin
        .put("/admin/policy", &json!({"policy": "consistent_hash"}))
        .await
        .assert_ok();
    let answer = gateway.client.predict_with("x-user", "ann").await;
    assert_eq!(answer.assert_ok().worker(), of("consistent_hash")["picks"]);
    let unknown = json!({"model": "nobody"}).to_string();
    gateway
        .admin
        .post("/admin/explain", unknown)
        .await
        .assert_error(404, "model_not_found");
}

#[tokio::test]
async fn an_answer_says_why_its_worker_was_picked_where_it_is_asked() {
    let [a, b] = &FakeWorker::start_many().await;
    let gateway = Setup::over(&[a, b])
        .set("gateway.policy", "peak_ewma")
        .start()
        .await;
    assert_eq!(gateway.client.predict().await.header("x-millrace-decision"), "");
    let answer = gateway.client.predict_with("x-millrace-debug", "1").await;
    let why = answer.header("x-millrace-decision");
    assert!(
        why.starts_with(&format!("peak_ewma -> {}: ", answer.worker())),
        "{why}"
    );
    a.go_away().await;
    b.go_away().await;
    let answer = gateway.client.predict_with("x-millrace-debug", "1").await;
    let why = answer.header("x-millrace-decision");
    assert!(
        why.contains("-> a: ") && why.contains("; then ") && why.contains("-> b: "),
        "{why}"
    );
}
