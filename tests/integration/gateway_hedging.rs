//! Predictions that take long are sent to a second worker as well.

use crate::support::fake_worker::{Behaviour, FakeWorker};
use crate::support::gateway::{Setup, TestGateway};
use crate::support::wait::{until, until_equal};

/// A gateway that knows how long predictions take: next to no time.
async fn hedging(setup: Setup) -> TestGateway {
    let gateway = setup.start().await;
    gateway.client.who_answers(100).await;
    gateway
}

async fn count(gateway: &TestGateway, outcome: &str) -> f64 {
    let series = format!("millrace_gateway_hedges_total{{outcome=\"{outcome}\"}}");
    gateway.metric(&series).await
}

fn refused(gateway: &TestGateway, reason: &str) -> u64 {
    let refused = &gateway.gateway.metrics.hedges_refused;
    refused.with_label_values(&[reason]).get()
}

/// Asks until the worker that holds has a request; the others are answered. What became of it in the end.
async fn ask_the_slow_one(gateway: &TestGateway, slow: &FakeWorker) -> tokio::task::JoinHandle<String> {
    let client = gateway.client.clone();
    let before = slow.count();
    loop {
        let asking = tokio::spawn({
            let client = client.clone();
            async move {
                let answer = client.predict().await;
                answer.assert_ok();
                answer.worker().to_owned()
            }
        });
        until("the request is answered or there", || {
            asking.is_finished() || slow.count() > before
        })
        .await;
        if slow.count() > before {
            return asking;
        }
    }
}

#[tokio::test]
async fn a_slow_worker_does_not_make_its_client_slow_and_need_not_compute_the_request() {
    let [slow, good] = &FakeWorker::start_many().await;
    let gateway = hedging(Setup::over(&[slow, good])).await;
    slow.hold();
    let asking = ask_the_slow_one(&gateway, slow).await;
    assert_eq!(asking.await.unwrap(), "b");
    until_equal("requests that the slow worker need not compute", 1, || {
        slow.abandoned()
    })
    .await;
    assert_eq!(count(&gateway, "won").await, 1.0);
    until_equal("requests in flight", 0, || gateway.in_flight()).await;
    let answer = loop {
        let answer = gateway.client.predict_with("x-millrace-debug", "1").await;
        if answer.attempts() == "2" {
            break answer;
        }
    };
    let decision = answer.header("x-millrace-decision");
    assert!(
        decision.contains("; then hedged after ") && decision.contains(" -> b: "),
        "{decision}"
    );
}

#[tokio::test]
async fn whoever_fails_first_does_not_win() {
    let [slow, failing] = &FakeWorker::start_many().await;
    let gateway = hedging(Setup::over(&[slow, failing])).await;
    slow.hold();
    failing.behave(Behaviour::Refuse(500, "internal"));
    let before = failing.count();
    let asking = tokio::spawn({
        let client = gateway.client.clone();
        async move { client.predict().await.assert_ok().worker().to_owned() }
    });
    until("both have it", || slow.inside() == 1 && failing.count() > before).await;
    slow.release();
    assert_eq!(asking.await.unwrap(), "a");
}

#[tokio::test]
async fn nothing_is_sent_twice_while_the_others_have_work() {
    let [slow, busy] = &FakeWorker::start_many().await;
    let gateway = hedging(Setup::over(&[slow, busy]).set("gateway.balancing.concurrency", 1)).await;
    slow.hold();
    busy.hold();
    let asking = [(); 2].map(|()| {
        let client = gateway.client.clone();
        tokio::spawn(async move { client.predict().await.assert_ok().attempts().to_owned() })
    });
    until("hedges were refused", || refused(&gateway, "loaded") >= 2).await;
    slow.release();
    busy.release();
    for asking in asking {
        assert_eq!(asking.await.unwrap(), "1");
    }
    assert_eq!(count(&gateway, "won").await + count(&gateway, "lost").await, 0.0);
}

#[tokio::test]
async fn hedges_stay_within_their_budget() {
    let [slow, good] = &FakeWorker::start_many().await;
    let gateway = hedging(Setup::over(&[slow, good]).set("gateway.hedging.budget", 0.0)).await;
    slow.hold();
    for _ in 0..3 {
        let asking = ask_the_slow_one(&gateway, slow).await;
        assert_eq!(asking.await.unwrap(), "b", "three are always allowed");
    }
    let asking = ask_the_slow_one(&gateway, slow).await;
    until("a hedge was refused", || refused(&gateway, "budget") > 0).await;
    slow.release();
    assert_eq!(asking.await.unwrap(), "a");
    assert_eq!(count(&gateway, "won").await, 3.0);
}

#[tokio::test]
async fn who_switches_it_off_waits() {
    let [slow, good] = &FakeWorker::start_many().await;
    let setup = Setup::over(&[slow, good]).set("gateway.hedging.percentile", 0.0);
    let gateway = hedging(setup).await;
    slow.hold();
    let asking = ask_the_slow_one(&gateway, slow).await;
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert!(!asking.is_finished());
    slow.release();
    assert_eq!(asking.await.unwrap(), "a");
}
