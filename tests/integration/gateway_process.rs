//! The real `millrace gateway`: takes over its configuration while it runs, and ends without cutting anybody off.

use std::fs;

use axum::http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::support::client::RawConnection;
use crate::support::dns::DnsServer;
use crate::support::fake_worker::{Behaviour, FakeWorker};
use crate::support::gateway::entry;
use crate::support::gateway_process::{GatewayProcess, configuration};
use crate::support::load::Load;
use crate::support::process::Process;
use crate::support::wait::{in_time, until, until_some};

/// A configuration with these keys of `[gateway]` and these workers, which are probed often.
fn text(keys: &str, workers: &[(&FakeWorker, u32)]) -> String {
    let entry = |(worker, weight): &(&FakeWorker, u32)| entry(worker.id, worker.address, *weight);
    let entries: String = workers.iter().map(entry).collect();
    configuration(&format!("health.interval = \"50ms\"\n{keys}"), &entries)
}

async fn start(keys: &str, workers: &[(&FakeWorker, u32)]) -> GatewayProcess {
    let gateway = start_at_once(keys, workers).await;
    gateway.until_up(workers.len()).await;
    gateway
}

async fn start_at_once(keys: &str, workers: &[(&FakeWorker, u32)]) -> GatewayProcess {
    GatewayProcess::start(&text(keys, workers)).await
}

#[tokio::test]
async fn an_edit_of_the_file_takes_effect_without_a_restart() {
    let [a, b, c] = &FakeWorker::start_many().await;
    let gateway = start("policy = \"round_robin\"", &[(a, 1), (b, 1)]).await;
    assert_eq!(gateway.client.who_answers(10).await.matches('a').count(), 5);

    gateway.rewrite(&text("policy = \"weighted\"", &[(a, 3), (b, 1)]));
    gateway.until_reloads("applied", 1.0).await;
    assert_eq!(gateway.client.who_answers(8).await.matches('a').count(), 6);

    gateway.rewrite(&text("policy = \"weighted\"", &[(a, 3), (b, 1), (c, 1)]));
    gateway.until_reloads("applied", 2.0).await;
    gateway.until_up(3).await;
    let who = gateway.client.who_answers(10).await;
    assert!("abacaabacaabaca".contains(&who), "{who}");

    gateway.rewrite(&text("policy = \"weighted\"", &[(c, 1)]));
    gateway.until_reloads("applied", 3.0).await;
    assert_eq!(gateway.client.who_answers(3).await, "ccc");
    let probes = a.probes();
    until("c was probed on", {
        let before = c.probes();
        move || c.probes() > before + 3
    })
    .await;
    // One more may have been on its way.
    assert!(
        a.probes() <= probes + 1,
        "who is no member any more is not probed"
    );
    assert!(gateway.metric("millrace_gateway_config_generation").await >= 3.0);
}

#[tokio::test]
async fn the_rules_of_ejection_are_followed_too() {
    let [a, b] = &FakeWorker::start_many().await;
    a.behave(Behaviour::Refuse(500, "internal"));
    let rules = |in_a_row: u32| {
        format!("breaker = {{ consecutive_failures = {in_a_row}, ejection = \"1m\" }}\nretry.budget = 1.0")
    };
    let gateway = start(&rules(0), &[(a, 1), (b, 1)]).await;
    assert_eq!(gateway.client.who_answers(10).await, "b".repeat(10));
    assert_eq!(a.count(), 5, "it is never ejected");
    gateway.rewrite(&text(&rules(7), &[(a, 1), (b, 1)]));
    gateway.until_reloads("applied", 1.0).await;
    assert_eq!(gateway.client.who_answers(20).await, "b".repeat(20));
    assert_eq!(a.count(), 7);
    let config = gateway.admin.get("/admin/config").await.json();
    assert_eq!(config["breaker"]["consecutive_failures"], 7);
}

#[tokio::test]
async fn a_removed_worker_finishes_what_it_has() {
    let [a, b] = &FakeWorker::start_many().await;
    let gateway = start("", &[(a, 1), (b, 1)]).await;
    a.hold();
    let requests = [gateway.predict_meanwhile(), gateway.predict_meanwhile()];
    until("one request is held", || a.inside() == 1).await;
    gateway.rewrite(&text("", &[(b, 1)]));
    gateway.until_reloads("applied", 1.0).await;
    gateway.until_up(1).await;
    a.release();
    let mut who = Vec::new();
    for request in requests {
        who.push(request.await.unwrap().assert_ok().worker().to_owned());
    }
    who.sort_unstable();
    assert_eq!(who, ["a", "b"]);
    assert_eq!(a.abandoned(), 0);
}

#[tokio::test]
async fn sighup_reads_the_file_again() {
    let [a, b] = &FakeWorker::start_many().await;
    let gateway = start("", &[(a, 1), (b, 1)]).await;
    gateway.process.signal("HUP").await;
    gateway.until_reloads("applied", 1.0).await;
    gateway.rewrite(&text("policy = \"weighted\"", &[(a, 1), (b, 0)]));
    gateway.process.signal("HUP").await;
    gateway.until_reloads("applied", 2.0).await;
    assert_eq!(gateway.client.who_answers(4).await, "aaaa");
}

#[tokio::test]
async fn sighup_right_after_the_start_ends_nobody() {
    let worker = FakeWorker::start("a").await;
    for _ in 0..5 {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("millrace.toml");
        fs::write(&file, text("", &[(&worker, 1)])).unwrap();
        let mut process = Process::start(&["gateway", "--config", file.to_str().unwrap()]);
        process.line("the gateway listens").await;
        process.signal("HUP").await;
        process.line("the configuration was taken over").await;
        assert!(process.is_running());
    }
}

#[tokio::test]
async fn a_wrong_file_keeps_the_old_one_in_force_and_says_why() {
    let [a, b] = &FakeWorker::start_many().await;
    let gateway = start("policy = \"weighted\"", &[(a, 3), (b, 1)]).await;
    let wrong = [
        (
            text("policy = \"fastest\"", &[(a, 1), (b, 1)]),
            "gateway.policy: expected one of",
        ),
        (text("polcy = \"random\"", &[(a, 1)]), "did you mean policy?"),
        (text("", &[(a, 0), (b, 0)]), "every weight is 0"),
        (text("", &[]), "gateway.workers: is empty"),
        ("[gateway".to_owned(), "not TOML"),
    ];
    for (index, (text, reason)) in wrong.iter().enumerate() {
        let lines = gateway.process.log().len();
        gateway.rewrite(text);
        gateway.until_reloads("refused", (index + 1) as f64).await;
        gateway.process.line_after(lines, "stays in force").await;
        gateway.process.line_after(lines, reason).await;
        assert_eq!(
            gateway.client.who_answers(8).await.matches('a').count(),
            6,
            "{reason}"
        );
    }
    let lines = gateway.process.log().len();
    fs::remove_file(&gateway.file).unwrap();
    gateway.process.signal("HUP").await;
    gateway.process.line_after(lines, "cannot be read").await;

    gateway.rewrite(&text("policy = \"round_robin\"", &[(a, 3), (b, 1)]));
    gateway.until_reloads("applied", 1.0).await;
    assert_eq!(
        gateway.client.who_answers(8).await.matches('a').count(),
        4,
        "a good one is taken over again"
    );
}

#[tokio::test]
async fn what_an_operator_has_set_survives_an_edit_of_something_else() {
    let [a, b, c] = &FakeWorker::start_many().await;
    let gateway = start("", &[(a, 1), (b, 1)]).await;
    let put = async |path: &str, change: Value| {
        gateway.admin.put(path, &change).await.assert_ok();
    };
    put("/admin/policy", json!({"policy": "weighted"})).await;
    put("/admin/workers/a", json!({"weight": 3})).await;
    put("/admin/workers/b", json!({"weight": 3})).await;
    gateway.rewrite(&text("max_in_flight = 99", &[(a, 1), (b, 2), (c, 1)]));
    gateway.until_reloads("applied", 1.0).await;
    gateway.until_up(3).await;
    let shown = gateway.admin.get("/admin/config").await.json();
    assert_eq!(
        (&shown["max_in_flight"], &shown["policy"]),
        (&json!(99), &json!("weighted"))
    );
    let weight = |index: usize| shown["workers"][index]["weight"].as_u64().unwrap();
    assert_eq!(
        [weight(0), weight(1), weight(2)],
        [3, 2, 1],
        "only the weight of b was edited"
    );
    assert_eq!(gateway.client.who_answers(12).await.matches('a').count(), 6);
}

#[tokio::test]
async fn changes_that_need_a_restart_are_told() {
    let worker = FakeWorker::start("a").await;
    let gateway = start("", &[(&worker, 1)]).await;
    gateway.rewrite(&text("header_timeout = \"5s\"", &[(&worker, 1)]));
    let line = gateway
        .process
        .line("this change takes effect at the next start")
        .await;
    assert!(line.contains("gateway.header_timeout"), "{line}");
}

#[tokio::test]
async fn sources_of_workers_come_and_go_without_a_restart() {
    let workers: [_; 3] = FakeWorker::start_side_by_side();
    let [a, b, c] = &workers;
    let dns = DnsServer::start().await;
    dns.host("workers.test", &[a.address.ip(), b.address.ip()]);
    let source = |interval: &str| {
        format!(
            "[[gateway.discovery]]\ndns = \"workers.test:{}\"\nnameserver = \"{}\"\ninterval = \"{interval}\"",
            a.address.port(),
            dns.address
        )
    };
    let gateway = start("", &[(a, 1), (c, 1)]).await;
    let load = Load::on(&gateway.client);
    gateway.rewrite(&text(&source("1h"), &[(a, 1), (c, 1)]));
    gateway.until_up(3).await;
    // From the fixed list to the source, and the source itself is started anew.
    gateway.rewrite(&text(&source("20ms"), &[(c, 1)]));
    gateway.until_reloads("applied", 2.0).await;
    gateway.until_up(3).await;
    dns.host("workers.test", &[b.address.ip()]);
    gateway.until_up(2).await;
    gateway.rewrite(&text(&source("20ms"), &[]));
    gateway.until_up(1).await;
    assert_eq!(gateway.workers().await[0]["id"], b.address.to_string());

    gateway.rewrite(&text(&source("20ms"), &[(c, 1)]));
    gateway.until_up(2).await;
    gateway.rewrite(&text("", &[(c, 1)]));
    gateway.until_reloads("applied", 5.0).await;
    gateway.until_up(1).await;
    assert_eq!(gateway.workers().await[0]["id"], "c");
    assert!(load.stop().await > 0);
    let metrics = gateway.client.get("/metrics").await.assert_ok().text();
    assert!(
        !metrics.contains("millrace_gateway_discovery_endpoints{"),
        "{metrics}"
    );
}

#[tokio::test]
async fn the_only_worker_goes_from_the_fixed_list_to_a_source_without_a_failed_request() {
    let [worker] = &FakeWorker::start_side_by_side();
    let dns = DnsServer::start().await;
    dns.host("workers.test", &[worker.address.ip()]);
    let source = format!(
        "[[gateway.discovery]]\ndns = \"workers.test:{}\"\nnameserver = \"{}\"",
        worker.address.port(),
        dns.address
    );
    let gateway = start("", &[(worker, 1)]).await;
    let load = Load::on(&gateway.client);
    gateway.rewrite(&text(&source, &[]));
    let found = worker.address.to_string();
    until_some("the source names it", async || {
        (gateway.workers().await[0]["id"] == found).then_some(())
    })
    .await;
    assert!(load.stop().await > 0);
    assert_eq!(gateway.client.predict().await.assert_ok().worker(), found);
}

#[tokio::test]
async fn a_gateway_that_only_looks_for_workers_starts_without_any() {
    let dns = DnsServer::start().await;
    let source = format!(
        "[[gateway.discovery]]\ndns = \"workers.test:1\"\nnameserver = \"{}\"\ninterval = \"20ms\"",
        dns.address
    );
    let gateway = start_at_once(&source, &[]).await;
    gateway.client.get("/readyz").await.assert_error(503, "no_worker");
    gateway.rewrite(&text("", &[]));
    gateway.until_reloads("refused", 1.0).await;
    gateway.process.line("or a [[gateway.discovery]]").await;
}

#[tokio::test]
async fn sigterm_finishes_what_was_accepted_and_says_so_first() {
    let worker = FakeWorker::start("a").await;
    let mut gateway = start(
        "shutdown.delay = \"600ms\"\nshutdown.grace = \"10s\"",
        &[(&worker, 1)],
    )
    .await;
    gateway.client.get("/readyz").await.assert_ok();
    worker.hold();
    let held: Vec<_> = (0..5).map(|_| gateway.predict_meanwhile()).collect();
    until("all are held", || worker.inside() == 5).await;

    gateway.process.signal("TERM").await;
    until_some("it says that it drains", async || {
        let answer = gateway.client.get("/readyz").await;
        (answer.status == 503).then(|| {
            answer.assert_error(503, "draining");
            assert_eq!(answer.header("retry-after"), "1");
        })
    })
    .await;
    // While balancers still notice, requests are still taken.
    let late = gateway.predict_meanwhile();
    until("the late one came through", || worker.inside() == 6).await;
    gateway.process.line("the gateway is shutting down").await;
    until_some("nobody is accepted any more", async || {
        let request = gateway.client.request(Method::GET, "/livez", "");
        gateway.client.try_send(request).await.is_err().then_some(())
    })
    .await;
    assert!(gateway.process.is_running(), "requests are still in flight");

    worker.release();
    for request in held {
        request.await.unwrap().assert_ok();
    }
    late.await.unwrap().assert_ok();
    assert_eq!(gateway.process.end().await.code(), Some(0));
}

#[tokio::test]
async fn connections_that_wait_for_nothing_do_not_hold_up_the_end() {
    let worker = FakeWorker::start("a").await;
    let mut gateway = start("shutdown.grace = \"15s\"", &[(&worker, 1)]).await;
    let address = gateway.address;
    let mut never_used = RawConnection::open(address).await;
    let mut idle = RawConnection::open(address).await;
    idle.write("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(idle.read_answer().await.0.starts_with("HTTP/1.1 200"));
    let mut begun = RawConnection::open(address).await;
    begun.write("POST /predict HTTP/1.1\r\nHo").await;

    let signalled = Instant::now();
    gateway.process.signal("TERM").await;
    assert_eq!(gateway.process.end().await.code(), Some(0));
    assert!(
        signalled.elapsed().as_secs_f64() < 5.0,
        "{:?}",
        signalled.elapsed()
    );
    for connection in [&mut never_used, &mut idle, &mut begun] {
        assert_eq!(connection.read_to_end().await, "");
    }
}

#[tokio::test]
async fn what_does_not_finish_within_the_grace_period_is_cut_off() {
    let worker = FakeWorker::start("a").await;
    let mut gateway = start("shutdown.grace = \"300ms\"", &[(&worker, 1)]).await;
    worker.hold();
    let address = gateway.address;
    let mut connection = RawConnection::open(address).await;
    connection
        .write("POST /models/iris/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        .await;
    until("it is held", || worker.inside() == 1).await;
    gateway.process.signal("TERM").await;
    assert_eq!(
        gateway.process.end().await.code(),
        Some(1),
        "a request that was accepted is lost"
    );
    gateway
        .process
        .line("the grace period was over; 1 connections")
        .await;
    assert_eq!(connection.read_to_end().await, "");
}

#[tokio::test]
async fn whoever_asks_a_second_time_does_not_have_to_wait() {
    let worker = FakeWorker::start("a").await;
    let mut gateway = start("shutdown.grace = \"1h\"", &[(&worker, 1)]).await;
    worker.hold();
    let held = gateway.predict_meanwhile();
    until("it is held", || worker.inside() == 1).await;
    gateway.process.signal("INT").await;
    gateway.process.line("the gateway is shutting down").await;
    gateway.process.signal("INT").await;
    assert_eq!(in_time("its end", gateway.process.end()).await.code(), Some(1));
    held.abort();
}

#[tokio::test]
async fn a_rollout_in_the_file_is_applied_at_once_and_only_where_it_differs() {
    let [a] = FakeWorker::start_many().await;
    a.serves(&[("iris", "1", "ready"), ("iris", "2", "ready")]);
    let gateway = start("", &[(&a, 1)]).await;
    let rollout = |share: f64| {
        format!("[gateway.rollout.iris]\nlive = 1\nsplits = {{ 2 = {share} }}\nrollback.min_requests = 10\n")
    };
    let write = |keys: &str, share: f64| {
        gateway.rewrite(&(text(keys, &[(&a, 1)]) + "\n" + &rollout(share)));
    };
    let until_chosen = async |version: &str| {
        until_some(&format!("version {version} is chosen"), async || {
            let answer = gateway.client.predict().await;
            (answer.assert_ok().header("x-millrace-rollout") == version).then_some(())
        })
        .await;
    };
    write("", 1.0);
    until_chosen("2").await;
    let line = gateway.process.line("a rollout was changed").await;
    assert!(
        line.contains("by=\"config\"") && line.contains("after="),
        "{line}"
    );

    let operators = serde_json::json!({"live": 1, "splits": {"2": 0}});
    gateway
        .admin
        .put("/admin/rollouts/iris", &operators)
        .await
        .assert_ok();
    let known = gateway.process.log().len();
    write("policy = \"random\"", 1.0);
    gateway
        .process
        .line_after(known, "the configuration was taken over")
        .await;
    until_chosen("1").await;
    let shown = gateway.admin.get("/admin/rollouts/iris").await.assert_ok().json();
    assert_eq!(
        shown["config"]["splits"]["2"], 0.0,
        "an edit of something else leaves it"
    );

    // What has judged itself comes back by an edit of its own section only.
    a.behave_at(
        "/models/iris/versions/2/predict",
        Behaviour::Refuse(500, "internal"),
    );
    write("policy = \"random\"", 0.9);
    let taken_back = async || {
        gateway.client.predict().await;
        let log = gateway.process.log();
        log.into_iter()
            .find(|line| line.contains("a split was taken back"))
    };
    let line = until_some("the split is taken back", taken_back).await;
    let parts = [
        "WARN",
        "version=\"2\"",
        "before=0.9",
        "after=0.0",
        "requests failed",
    ];
    assert!(parts.iter().all(|part| line.contains(part)), "{line}");
    let known = gateway.process.log().len();
    write("policy = \"weighted\"", 0.9);
    gateway
        .process
        .line_after(known, "the configuration was taken over")
        .await;
    for _ in 0..20 {
        let answer = gateway.client.predict().await;
        assert_eq!(answer.assert_ok().header("x-millrace-rollout"), "1");
    }
    let shown = gateway.admin.get("/admin/rollouts/iris").await.assert_ok().json();
    assert_eq!(shown["config"]["splits"]["2"], 0.0, "{shown}");
    a.behave_at("/models/iris/versions/2/predict", Behaviour::Answer);
    write("policy = \"weighted\"", 0.8);
    until_chosen("2").await;

    gateway.rewrite(&text("", &[(&a, 1)]));
    until_chosen("").await;
}

#[tokio::test]
async fn a_changed_admin_token_holds_at_once_and_none_lets_nobody_in() {
    let worker = FakeWorker::start("a").await;
    let token = |token: &str| format!("admin_token = \"{token}\"");
    let gateway = start_at_once(&token("0123456789abcdef"), &[(&worker, 1)]).await;
    let ask = async |token: &str| {
        let request = gateway.admin.request(Method::GET, "/admin/policy", "");
        let authorization = format!("Bearer {token}");
        gateway
            .admin
            .send_with(request, &[("authorization", authorization.as_str())])
            .await
    };
    ask("0123456789abcdef").await.assert_ok();
    gateway.rewrite(&text(&token("fedcba9876543210"), &[(&worker, 1)]));
    gateway.until_reloads("applied", 1.0).await;
    ask("0123456789abcdef").await.assert_error(401, "unauthorized");
    ask("fedcba9876543210").await.assert_ok();
    gateway.rewrite(&text("", &[(&worker, 1)]));
    gateway.until_reloads("applied", 2.0).await;
    let refused = gateway.admin.get("/admin/policy").await;
    refused.assert_error(401, "unauthorized");
}

#[tokio::test]
async fn without_metrics_a_gateway_answers_and_has_nothing_to_scrape() {
    let worker = FakeWorker::start("a").await;
    let with_none = text("", &[(&worker, 1)]).replace("[telemetry]", "[telemetry]\nmetrics = false");
    let gateway = GatewayProcess::start(&with_none).await;
    gateway.until_up(1).await;
    gateway.client.predict().await.assert_ok();
    let metrics = gateway.client.get("/metrics").await;
    metrics.assert_error(404, "not_found");
    assert!(
        metrics.message().contains("telemetry.metrics"),
        "{}",
        metrics.message()
    );
}
