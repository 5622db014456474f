//! What a worker that fails costs: a retry elsewhere, within the budget, and no client a request.

use crate::support::client::Client;
use crate::support::fake_worker::{Behaviour, FakeWorker};
use crate::support::gateway::Setup;
use crate::support::wait::{until, until_equal};

/// Sends so many requests at once and one after the other; all must be answered well.
async fn all_succeed(client: &Client, count: usize) {
    let in_turn = client.who_answers(count);
    let at_once = futures_util::future::join_all((0..count).map(|_| client.predict()));
    let (_, answers) = futures_util::future::join(in_turn, at_once).await;
    for answer in answers {
        answer.assert_ok();
    }
}

#[tokio::test]
async fn a_worker_that_is_gone_costs_no_request() {
    let [a, b] = &FakeWorker::start_many().await;
    // Long enough that only requests can notice that the worker is gone.
    let gateway = Setup::over(&[a, b])
        .set("gateway.health.interval", "1h")
        .start()
        .await;
    all_succeed(&gateway.client, 5).await;
    a.go_away().await;
    all_succeed(&gateway.client, 20).await;
    assert_eq!(gateway.up(), 1, "one refused connection leaves no doubt");
}

#[tokio::test]
async fn workers_that_go_together_cost_no_request() {
    let workers: [_; 4] = FakeWorker::start_many().await;
    let gateway = Setup::over(&workers.each_ref())
        .set("gateway.health.interval", "1h")
        .set("gateway.retry.budget", 0.0)
        .start()
        .await;
    all_succeed(&gateway.client, 8).await;
    for worker in &workers[..3] {
        worker.go_away().await;
    }
    let answer = gateway.client.predict().await;
    assert_eq!(answer.assert_ok().worker(), "d");
    all_succeed(&gateway.client, 20).await;
    assert_eq!(
        gateway.metric("millrace_gateway_retries_refused_total").await,
        0.0
    );
}

#[tokio::test]
async fn a_worker_that_goes_while_it_has_requests_costs_none() {
    let [a, b] = &FakeWorker::start_many().await;
    let gateway = Setup::over(&[a, b])
        .set("gateway.retry.budget", 1.0)
        .start()
        .await;
    a.hold();
    let client = gateway.client.clone();
    let requests = tokio::spawn(async move { all_succeed(&client, 10).await });
    until("the worker that will go has requests", || a.inside() >= 5).await;
    a.go_away().await;
    requests.await.unwrap();
    until_equal("the number of requests in flight", 0, || gateway.in_flight()).await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_asked_of_another_worker() {
    for (behaviour, name) in [
        (Behaviour::CutBefore, "before its answer"),
        (Behaviour::CutHalfway, "half-way through its answer"),
    ] {
        let [a, b] = &FakeWorker::start_many().await;
        a.behave(behaviour);
        let gateway = Setup::over(&[a, b])
            .set("gateway.health.interval", "1h")
            .set("gateway.health.fall", 100)
            .start()
            .await;
        let mut attempts = Vec::new();
        for _ in 0..4 {
            let answer = gateway.client.predict().await;
            assert_eq!(answer.assert_ok().json()["worker"], "b", "cut {name}");
            assert_eq!(answer.worker(), "b");
            attempts.push(answer.attempts().to_owned());
        }
        assert!(
            attempts.contains(&"1".into()) && attempts.contains(&"2".into()),
            "{attempts:?}"
        );
        assert!(a.count() > 0 && b.count() == 4);
        assert_eq!(
            gateway
                .metric(r#"millrace_gateway_retries_total{reason="broken_off"}"#)
                .await,
            a.count() as f64
        );
    }
}

#[tokio::test]
async fn what_is_not_http_is_asked_of_another_worker() {
    let [a, b] = &FakeWorker::start_many().await;
    let gateway = Setup::over(&[a, b])
        .set("gateway.health.interval", "1h")
        .set("gateway.health.fall", 100)
        .start()
        .await;
    a.go_away().await;
    a.come_back_as_something_else();
    assert_eq!(gateway.client.who_answers(4).await, "bbbb");
}

#[tokio::test]
async fn a_worker_that_breaks_off_again_and_again_is_taken_out() {
    let [a, b] = &FakeWorker::start_many().await;
    let gateway = Setup::over(&[a, b])
        .set("gateway.health.interval", "1h")
        .set("gateway.health.fall", 3)
        .start()
        .await;
    a.behave(Behaviour::CutBefore);
    // Each failure asks for a probe, and a good one would start the count anew.
    a.answer_probes_with(500);
    assert_eq!(gateway.client.who_answers(6).await, "bbbbbb");
    until_equal("the number of workers up", 1, || gateway.up()).await;
    let tries = a.count();
    assert_eq!(gateway.client.who_answers(6).await, "bbbbbb");
    assert_eq!(a.count(), tries, "it gets nothing more");
}

#[tokio::test]
async fn refusals_that_another_worker_may_not_share_are_tried_elsewhere() {
    for (status, code) in [
        (503, "draining"),
        (503, "not_ready"),
        (404, "model_not_found"),
        (404, "version_not_found"),
    ] {
        let [a, b] = &FakeWorker::start_many().await;
        a.behave(Behaviour::Refuse(status, code));
        let gateway = Setup::over(&[a, b])
            .set("gateway.health.interval", "1h")
            .start()
            .await;
        assert_eq!(gateway.client.who_answers(4).await, "bbbb", "{code}");
        assert!(a.count() > 0);
        let series = format!(r#"millrace_gateway_retries_total{{reason="{code}"}}"#);
        assert_eq!(gateway.metric(&series).await, a.count() as f64);
        assert_eq!(gateway.up(), usize::from(code != "draining") + 1, "{code}");
    }
}

#[tokio::test]
async fn a_model_that_went_from_every_worker_is_not_found() {
    let [a, b] = &FakeWorker::start_many().await;
    for worker in [a, b] {
        worker.behave(Behaviour::Refuse(404, "model_not_found"));
    }
    let gateway = Setup::over(&[a, b])
        .set("gateway.health.interval", "1h")
        .start()
        .await;
    let answer = gateway.client.predict().await;
    answer.assert_error(404, "model_not_found");
    assert_eq!(answer.attempts(), "2");
    let counted = gateway.metric(r#"millrace_gateway_requests_total{code="model_not_found",model="iris"}"#);
    assert_eq!(counted.await, 1.0);
}

#[tokio::test]
async fn a_refusal_with_nowhere_else_to_go_is_the_answer() {
    let worker = FakeWorker::start("a").await;
    worker.behave(Behaviour::Refuse(503, "draining"));
    let gateway = Setup::over(&[&worker])
        .set("gateway.health.interval", "1h")
        .start()
        .await;
    let answer = gateway.client.predict().await;
    answer.assert_error(503, "draining");
    assert_eq!((answer.worker(), answer.attempts()), ("a", "1"));
    let counted = gateway.metric(r#"millrace_gateway_requests_total{code="draining",model="iris"}"#);
    assert_eq!(counted.await, 1.0);
}

#[tokio::test]
async fn refusals_that_every_worker_would_share_are_passed_on() {
    for (status, code) in [(400, "invalid_input"), (413, "payload_too_large")] {
        let [a, b] = &FakeWorker::start_many().await;
        for worker in [a, b] {
            worker.behave(Behaviour::Refuse(status, code));
        }
        let gateway = Setup::over(&[a, b]).start().await;
        for _ in 0..4 {
            let answer = gateway.client.predict().await;
            answer.assert_error(status, code);
            assert_eq!(answer.attempts(), "1");
        }
        assert_eq!((a.count(), b.count()), (2, 2), "{code} is not tried again");
        let series = format!(r#"millrace_gateway_requests_total{{code="{code}",model="iris"}}"#);
        assert_eq!(gateway.metric(&series).await, 4.0);
        assert_eq!(
            gateway.up(),
            2,
            "a refusal of a request is no fault of the worker"
        );
    }
}

#[tokio::test]
async fn a_worker_that_is_full_or_fails_costs_no_request() {
    for (status, code) in [(429, "overloaded"), (500, "internal")] {
        let [a, b] = &FakeWorker::start_many().await;
        a.behave(Behaviour::Refuse(status, code));
        let gateway = Setup::over(&[a, b])
            .set("gateway.retry.budget", 1.0)
            .set("gateway.breaker.consecutive_failures", 0)
            .start()
            .await;
        assert_eq!(gateway.client.who_answers(10).await, "bbbbbbbbbb");
        b.behave(Behaviour::Refuse(status, code));
        let answer = gateway.client.predict().await;
        answer.assert_error(status, code);
        assert_eq!(answer.attempts(), "2", "nobody else is left to ask");
    }
}

#[tokio::test]
async fn retries_of_a_failing_cluster_stay_within_their_budget() {
    let workers: [_; 3] = FakeWorker::start_many().await;
    for worker in &workers {
        worker.behave(Behaviour::CutBefore);
    }
    let gateway = Setup::over(&workers.each_ref())
        .set("gateway.retry.max_attempts", 3)
        .set("gateway.retry.budget", 0.2)
        .set("gateway.health.fall", 10_000)
        .start()
        .await;
    for _ in 0..100 {
        gateway
            .client
            .predict()
            .await
            .assert_error(502, "upstream_failed");
    }
    let sent: usize = workers.iter().map(FakeWorker::count).sum();
    assert!((101..=120).contains(&sent), "100 requests made {sent} tries");
    assert!(gateway.metric("millrace_gateway_retries_refused_total").await > 0.0);
}

#[tokio::test]
async fn a_request_is_tried_so_many_times_and_on_each_worker_once() {
    let workers: [_; 4] = FakeWorker::start_many().await;
    for worker in &workers {
        worker.behave(Behaviour::CutBefore);
    }
    for attempts in [1, 2, 3] {
        let before: usize = workers.iter().map(FakeWorker::count).sum();
        let gateway = Setup::over(&workers.each_ref())
            .set("gateway.retry.max_attempts", attempts)
            .set("gateway.health.fall", 10_000)
            .start()
            .await;
        let counts = workers.each_ref().map(FakeWorker::count);
        let answer = gateway.client.predict().await;
        answer.assert_error(502, "upstream_failed");
        assert_eq!(answer.attempts(), attempts.to_string());
        assert_eq!(answer.worker(), "", "nobody answered");
        let after: usize = workers.iter().map(FakeWorker::count).sum();
        assert_eq!(after - before, attempts as usize);
        let per_worker = workers
            .iter()
            .zip(counts)
            .map(|(worker, before)| worker.count() - before);
        assert!(per_worker.max() <= Some(1), "no worker is asked twice");
    }
}

#[tokio::test]
async fn a_retry_takes_nobody_elses_turn() {
    let [a, b, c] = &FakeWorker::start_many().await;
    a.behave(Behaviour::CutBefore);
    let gateway = Setup::over(&[a, b, c])
        .set("gateway.retry.max_attempts", 1)
        .set("gateway.health.fall", 10_000)
        .set("gateway.breaker.consecutive_failures", 0)
        .start()
        .await;
    for _ in 0..30 {
        gateway.client.predict().await;
    }
    assert_eq!([a, b, c].map(FakeWorker::count), [10, 10, 10]);
}

#[tokio::test]
async fn where_nobody_listens_any_more_the_client_is_told_when_to_come_back() {
    let workers: [_; 2] = FakeWorker::start_many().await;
    let gateway = Setup::over(&workers.each_ref())
        .set("gateway.health.interval", "1h")
        .start()
        .await;
    for worker in &workers {
        worker.go_away().await;
    }
    for _ in 0..3 {
        let answer = gateway.client.predict().await;
        answer.assert_error(503, "no_worker");
        assert_eq!(answer.header("retry-after"), "1");
    }
}

#[tokio::test]
async fn an_error_that_no_worker_would_give_is_asked_of_another_and_never_passed_on() {
    let [a, b] = &FakeWorker::start_many().await;
    a.behave(Behaviour::Reply(502, "<html>Bad Gateway</html>"));
    let gateway = Setup::over(&[a, b])
        .set("gateway.health.interval", "1h")
        .set("gateway.retry.budget", 1.0)
        .start()
        .await;
    all_succeed(&gateway.client, 10).await;
    assert_eq!(gateway.up(), 1, "so many failures in a row take it out");
    b.behave(Behaviour::Reply(500, "oops"));
    let answer = gateway.client.predict().await;
    answer.assert_error(502, "upstream_failed");
}

#[tokio::test]
async fn a_prediction_that_is_none_is_asked_of_another_and_never_passed_on() {
    for body in ["<html>It works!</html>", r#"{"predictions": ["set"#, ""] {
        let [a, b] = &FakeWorker::start_many().await;
        a.behave(Behaviour::Reply(200, body));
        let gateway = Setup::over(&[a, b])
            .set("gateway.health.interval", "1h")
            .set("gateway.retry.budget", 1.0)
            .start()
            .await;
        assert_eq!(gateway.client.who_answers(10).await, "b".repeat(10), "{body:?}");
        assert_eq!(gateway.up(), 1, "so many failures in a row take it out");
        b.behave(Behaviour::Reply(200, body));
        let answer = gateway.client.predict().await;
        answer.assert_error(502, "upstream_failed");
    }
}

#[tokio::test]
async fn a_request_that_no_handler_of_the_worker_saw_takes_nobody_out() {
    let [a, b] = &FakeWorker::start_many().await;
    let gateway = Setup::over(&[a, b]).start().await;
    for worker in [a, b] {
        worker.behave(Behaviour::Reply(431, ""));
    }
    for _ in 0..10 {
        gateway.client.predict().await.assert_error(400, "invalid_input");
    }
    assert_eq!(gateway.up(), 2);
}
