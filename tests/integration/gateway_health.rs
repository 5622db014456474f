//! Who takes requests: workers that are down at the start, fall, and come back.

use crate::support::fake_worker::FakeWorker;
use crate::support::gateway::Setup;
use crate::support::wait::{until, until_equal, until_some};

#[tokio::test]
async fn a_gateway_starts_with_workers_down_and_takes_them_in_when_they_come() {
    let [a, b] = ["a", "b"].map(FakeWorker::start_down);
    let gateway = Setup::over(&[&a, &b]).start_at_once().await;
    gateway.client.get("/livez").await.assert_ok();
    gateway.client.get("/readyz").await.assert_error(503, "no_worker");
    gateway.client.predict().await.assert_error(503, "no_worker");
    a.come_back();
    gateway.until_up(1).await;
    gateway.client.get("/readyz").await.assert_ok();
    assert_eq!(gateway.client.who_answers(2).await, "aa");
    b.come_back();
    gateway.until_up(2).await;
    assert_eq!(gateway.client.who_answers(10).await.matches('b').count(), 5);
}

#[tokio::test]
async fn a_worker_that_loads_its_models_gets_nothing_until_they_are_ready() {
    let worker = FakeWorker::start("a").await;
    worker.serves(&[("iris", "1", "loading")]);
    let gateway = Setup::over(&[&worker]).start_at_once().await;
    until("it was probed twice", || worker.probes() >= 2).await;
    gateway.client.get("/readyz").await.assert_error(503, "no_worker");
    gateway.client.predict().await.assert_error(503, "no_worker");
    assert_eq!(worker.count(), 0);
    worker.serves(&[("iris", "1", "ready")]);
    gateway.until_up(1).await;
    gateway.client.predict().await.assert_ok();
}

#[tokio::test]
async fn the_first_good_probe_takes_a_worker_in_however_long_it_loaded() {
    let worker = FakeWorker::start("a").await;
    worker.serves(&[("iris", "1", "loading")]);
    let gateway = Setup::over(&[&worker])
        .set("gateway.health.rise", 1000)
        .start_at_once()
        .await;
    until("it was probed twice", || worker.probes() >= 2).await;
    worker.serves(&[("iris", "1", "ready")]);
    gateway.until_up(1).await;
}

#[tokio::test]
async fn a_worker_falls_after_so_many_failed_probes_and_no_fewer() {
    let worker = FakeWorker::start("a").await;
    let gateway = Setup::over(&[&worker])
        .set("gateway.health.fall", 4)
        .set("gateway.health.interval", "100ms")
        .start()
        .await;
    worker.answer_probes_with(500);
    let before = worker.probes();
    until_equal("the number of workers up", 0, || gateway.up()).await;
    let failed = worker.probes() - before;
    // One more may have been on its way when the status changed.
    assert!((4..=5).contains(&failed), "it fell after {failed} failed probes");
    let seen = gateway.worker("a").await;
    assert_eq!(seen["state"], "down");
    assert!(seen["reason"].as_str().unwrap().contains("500"), "{seen}");
}

#[tokio::test]
async fn a_worker_rises_after_so_many_good_probes() {
    let worker = FakeWorker::start("a").await;
    let gateway = Setup::over(&[&worker])
        .set("gateway.health.rise", 5)
        .start()
        .await;
    worker.go_away().await;
    until_equal("the number of workers up", 0, || gateway.up()).await;
    let before = worker.probes();
    worker.come_back();
    gateway.until_up(1).await;
    assert!(
        worker.probes() - before >= 5,
        "{} good probes",
        worker.probes() - before
    );
    assert_eq!(gateway.worker("a").await["reason"], serde_json::Value::Null);
}

#[tokio::test]
async fn a_worker_that_came_back_takes_requests_again_within_seconds() {
    let [a, b] = &FakeWorker::start_many().await;
    // The times that are shipped.
    let gateway = Setup::over(&[a, b])
        .set("gateway.health.interval", "2s")
        .start()
        .await;
    a.go_away().await;
    gateway.client.who_answers(4).await;
    assert_eq!(gateway.up(), 1);
    a.come_back();
    let begun = tokio::time::Instant::now();
    gateway.until_up(2).await;
    assert!(begun.elapsed().as_secs_f64() < 5.0, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_worker_that_hangs_falls_by_its_probes() {
    let worker = FakeWorker::start("a").await;
    let gateway = Setup::over(&[&worker])
        .set("gateway.health.timeout", "50ms")
        .set("gateway.health.fall", 2)
        .start()
        .await;
    worker.go_away().await;
    // Connections are taken by the system and never by a process: the way a stopped process looks.
    let _silent = worker.listen_without_answering();
    let reason = until_some("it falls", async || {
        let seen = gateway.worker("a").await;
        (seen["state"] == "down").then(|| seen["reason"].to_string())
    })
    .await;
    assert!(!reason.is_empty());
}

#[tokio::test]
async fn a_worker_that_says_it_drains_gets_nothing_more() {
    let [a, b] = &FakeWorker::start_many().await;
    let gateway = Setup::over(&[a, b]).start().await;
    a.serves(&[("iris", "1", "unloading")]);
    gateway.until_up(1).await;
    assert_eq!(gateway.client.who_answers(4).await, "bbbb");
}
