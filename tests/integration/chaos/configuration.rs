//! Policies and configuration files that change all the time.

use std::fs;
use std::time::Duration;

use serde_json::json;
use tokio::time::interval;

use super::{Fleet, entries};
use crate::support::gateway_process::configuration;
use crate::support::wait::until_some;

const OFTEN: Duration = Duration::from_millis(100);

const POLICIES: [&str; 8] = [
    "round_robin",
    "random",
    "weighted",
    "least_request",
    "power_of_two",
    "peak_ewma",
    "prequal",
    "consistent_hash",
];

#[tokio::test]
async fn policies_switched_ten_times_a_second() {
    let fleet = Fleet::start(3).await;
    let load = fleet.load().await;
    let mut due = interval(OFTEN);
    for policy in POLICIES.iter().cycle().take(32) {
        due.tick().await;
        let change = json!({"policy": policy});
        fleet
            .gateway
            .admin
            .put("/admin/policy", &change)
            .await
            .assert_ok();
        let config = fleet.gateway.admin.get("/admin/config").await.assert_ok().json();
        assert_eq!(config["policy"], **policy);
    }
    let change = json!({"policy": "round_robin"});
    fleet
        .gateway
        .admin
        .put("/admin/policy", &change)
        .await
        .assert_ok();
    fleet.until_all_answer(&load).await;
    load.end().await;
}

#[tokio::test]
async fn a_file_rewritten_with_rubbish_ten_times_a_second() {
    let fleet = Fleet::start(2).await;
    let good = |policy: &str| configuration(&format!("policy = \"{policy}\""), &entries(&fleet.workers));
    let whole = good("random");
    let half = |share: usize| whole.as_bytes()[..whole.len() * share / 8].to_vec();
    let texts: [Vec<u8>; 12] = [
        b"[gateway".to_vec(),
        half(1),
        half(4),
        good("fastest").into_bytes(),
        half(6),
        half(7),
        b"\xff\xfe\x00".to_vec(),
        Vec::new(),
        whole.replace("policy", "polcy").into_bytes(),
        whole.replace("weight = 1", "weight = 0").into_bytes(),
        vec![b'['; 100_000],
        good("least_request").into_bytes(),
    ];
    let load = fleet.load().await;
    let mut due = interval(OFTEN);
    for text in texts.iter().cycle().take(3 * texts.len()) {
        due.tick().await;
        // In place, so that the gateway may come upon a file that is half written; it would wait for one that keeps still.
        fs::write(&fleet.gateway.file, text).expect("a file can be written");
        fleet.gateway.process.signal("HUP").await;
    }
    fleet.gateway.until_reloads("refused", 10.0).await;
    fleet.gateway.rewrite(&good("power_of_two"));
    let policy = async || fleet.gateway.admin.get("/admin/policy").await.assert_ok().json();
    until_some("the last file is in force", async || {
        (policy().await["policy"] == "power_of_two").then_some(())
    })
    .await;
    fleet.until_all_answer(&load).await;
    load.end().await;
}
