//! The real `millrace serve`: a gateway and worker processes with the models that come with the project.

use serde_json::json;

use crate::support::load::Load;
use crate::support::process::{is_running, signal};
use crate::support::serving::Serving;
use crate::support::wait::{until, until_equal};

#[tokio::test]
async fn the_shipped_models_are_served_by_both_workers() {
    let mut serving = Serving::start().await;
    let body = json!({"model": "iris", "inputs": [[5.1, 3.5, 1.4, 0.2]]}).to_string();
    let mut who = Vec::new();
    for _ in 0..4 {
        let answer = serving.client.post("/predict", body.clone()).await;
        assert_eq!(answer.assert_ok().json()["predictions"], json!(["setosa"]));
        who.push(answer.worker().to_owned());
    }
    who.sort_unstable();
    assert_eq!(who, ["w0", "w0", "w1", "w1"]);
    let log = serving.process.log();
    for label in ["[gateway] ", "[w0] ", "[w1] "] {
        assert!(
            log.iter().any(|line| line.starts_with(label)),
            "{label}: {log:#?}"
        );
    }
    let pids = [serving.pids("w0"), serving.pids("w1")].concat();
    serving.process.signal("TERM").await;
    assert_eq!(serving.process.end().await.code(), Some(0));
    assert!(
        pids.iter().all(|&pid| !is_running(pid)),
        "no worker is left behind"
    );
}

#[tokio::test]
async fn a_worker_killed_under_load_costs_no_request_and_comes_back() {
    let mut serving = Serving::start().await;
    let load = Load::on(&serving.client);
    load.until_answered(100).await;
    for kill in 0..2 {
        let pid = *serving.pids("w0").last().unwrap();
        signal(pid, "KILL").await;
        until_equal("starts of the worker", kill + 2, || serving.pids("w0").len()).await;
        serving.until_both_are_up().await;
        load.until_answered(100).await;
    }
    load.stop().await;
    serving.process.signal("INT").await;
    assert_eq!(serving.process.end().await.code(), Some(0));
}

#[tokio::test]
async fn workers_end_when_their_supervisor_is_killed() {
    let mut serving = Serving::start().await;
    let pids = [serving.pids("w0"), serving.pids("w1")].concat();
    assert_eq!(pids.len(), 2);
    serving.process.signal("KILL").await;
    serving.process.end().await;
    until("no worker is left", || !pids.iter().any(|&pid| is_running(pid))).await;
}

#[tokio::test]
async fn what_an_operator_has_set_outlives_the_restart_of_a_worker() {
    let serving = Serving::start().await;
    serving
        .admin
        .put("/admin/workers/w1", &json!({"weight": 7}))
        .await
        .assert_ok();
    signal(serving.pids("w0")[0], "KILL").await;
    until_equal("starts of the worker", 2, || serving.pids("w0").len()).await;
    serving.until_both_are_up().await;
    let shown = serving.admin.get("/admin/workers").await.json();
    let weights: Vec<_> = shown["workers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|worker| &worker["weight"])
        .collect();
    assert_eq!(weights, [1, 7]);
}
