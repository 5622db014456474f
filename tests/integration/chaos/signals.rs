//! Processes that are killed, stopped, and asked to end.

use std::time::Duration;

use tokio::time::sleep;

use super::Fleet;

const STOPPED: Duration = Duration::from_secs(5);
/// Than the ten seconds that a request may take: what waits that long at the worker is lost.
const LONGER: Duration = Duration::from_secs(12);

#[tokio::test]
async fn sigkill_of_a_worker_and_its_return() {
    let mut fleet = Fleet::start(2).await;
    let load = fleet.load().await;
    for _ in 0..2 {
        fleet.workers[0].kill().await;
        fleet.gateway.until_is_up("a", false).await;
        load.until_answered(100).await;
        fleet.workers[0].start_again().await;
        fleet.until_all_answer(&load).await;
    }
    load.end().await;
}

#[tokio::test]
async fn sigstop_of_a_worker_for_longer_than_a_request_may_take() {
    let fleet = Fleet::start(2).await;
    let load = fleet.load().await;
    fleet.workers[0].signal("STOP").await;
    // What it had answered is read.
    load.until_answered(20).await;
    let answered = load.so_far().answered_by["a"];
    sleep(LONGER).await;
    assert_eq!(load.so_far().answered_by["a"], answered, "it was stopped");
    fleet.workers[0].signal("CONT").await;
    fleet.until_all_answer(&load).await;
    load.end().await;
}

#[tokio::test]
async fn sigterm_of_a_worker_and_its_return() {
    let mut fleet = Fleet::start(2).await;
    let load = fleet.load().await;
    for _ in 0..2 {
        fleet.workers[0].terminate().await;
        fleet.gateway.until_is_up("a", false).await;
        load.until_answered(100).await;
        fleet.workers[0].start_again().await;
        fleet.until_all_answer(&load).await;
    }
    load.end().await;
}

#[tokio::test]
async fn rolling_restart_of_all_workers() {
    let mut fleet = Fleet::start(3).await;
    let load = fleet.load().await;
    for index in 0..3 {
        fleet.workers[index].terminate().await;
        fleet.workers[index].start_again().await;
        fleet.until_all_answer(&load).await;
    }
    load.end().await;
}

/// What the gateway's own clocks make of five seconds that its tasks never saw: no worker may be taken for lost.
#[tokio::test]
async fn sigstop_of_the_gateway_for_five_seconds() {
    let fleet = Fleet::start(2).await;
    let load = fleet.load().await;
    let lines = fleet.gateway.process.log().len();
    fleet.gateway.process.signal("STOP").await;
    sleep(STOPPED).await;
    fleet.gateway.process.signal("CONT").await;
    fleet.until_all_answer(&load).await;
    let record = load.end().await;
    assert!(record.slowest > STOPPED / 2, "{record:?}");
    fleet.assert_nobody_lost(lines);
}
