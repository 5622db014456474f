//! Deadlines, admission, clients that leave, large answers: what bounds a request, and what it leaves behind.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::client::RawConnection;
use crate::support::fake_worker::{Behaviour, FakeWorker};
use crate::support::gateway::{Setup, TestGateway};
use crate::support::wait::{until, until_equal};

async fn nothing_is_left_behind(gateway: &TestGateway) {
    until_equal("the number of requests in flight", 0, || gateway.in_flight()).await;
    let text = gateway.client.get("/metrics").await.text();
    for line in text
        .lines()
        .filter(|line| line.contains("in_flight_requests") && !line.starts_with('#'))
    {
        assert!(line.ends_with(" 0"), "{line}");
    }
}

#[tokio::test]
async fn a_worker_that_takes_too_long_costs_the_deadline_and_no_more() {
    let worker = FakeWorker::start("a").await;
    worker.hold();
    let gateway = Setup::over(&[&worker])
        .set("gateway.deadline", "300ms")
        .start()
        .await;
    let begun = Instant::now();
    gateway
        .client
        .predict()
        .await
        .assert_error(504, "deadline_exceeded");
    let took = begun.elapsed();
    assert!(
        (Duration::from_millis(300)..Duration::from_secs(3)).contains(&took),
        "{took:?}"
    );
    until_equal("requests that were given up", 1, || worker.abandoned()).await;
    assert_eq!(worker.count(), 1, "a request whose time is up is not tried again");
    nothing_is_left_behind(&gateway).await;
}

#[tokio::test]
async fn a_client_can_ask_for_less_time_and_the_worker_is_told_what_is_left() {
    let worker = FakeWorker::start("a").await;
    let gateway = Setup::over(&[&worker])
        .set("gateway.deadline", "5s")
        .start()
        .await;
    let told = || {
        worker
            .last_seen()
            .header("x-request-timeout-ms")
            .concat()
            .parse::<u64>()
            .unwrap()
    };

    gateway
        .client
        .predict_with("x-request-timeout-ms", "1500")
        .await
        .assert_ok();
    assert!((1..=1500).contains(&told()), "{}", told());
    gateway.client.predict().await.assert_ok();
    assert!((1501..=5000).contains(&told()), "{}", told());
    gateway
        .client
        .predict_with("x-request-timeout-ms", "600000")
        .await
        .assert_ok();
    assert!(
        (1501..=5000).contains(&told()),
        "a client cannot ask for more: {}",
        told()
    );

    worker.hold();
    let begun = Instant::now();
    let answer = gateway.client.predict_with("x-request-timeout-ms", "100").await;
    answer.assert_error(504, "deadline_exceeded");
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_timeout_that_is_no_number_is_told() {
    let worker = FakeWorker::start("a").await;
    let gateway = Setup::over(&[&worker]).start().await;
    for value in ["soon", "-5", "0", "1.5", ""] {
        let answer = gateway.client.predict_with("x-request-timeout-ms", value).await;
        answer.assert_error(400, "invalid_input");
        assert!(
            answer.message().contains("x-request-timeout-ms"),
            "{}",
            answer.message()
        );
    }
    assert_eq!(worker.count(), 0);
}

#[tokio::test]
async fn time_that_a_first_try_took_is_not_given_again_to_the_second() {
    let [a, b] = &FakeWorker::start_many().await;
    let gateway = Setup::over(&[a, b])
        .set("gateway.health.interval", "1h")
        .start()
        .await;
    for worker in [a, b] {
        worker.hold();
    }
    let client = gateway.client.clone();
    let request = tokio::spawn(async move { client.predict_with("x-request-timeout-ms", "10000").await });
    until("the first try is at a worker", || a.inside() + b.inside() == 1).await;
    let begun = Instant::now();
    let (first, second) = if a.inside() == 1 { (a, b) } else { (b, a) };
    until("some of its time is gone", || {
        begun.elapsed() > Duration::from_millis(50)
    })
    .await;
    first.go_away().await;
    second.release();
    request.await.unwrap().assert_ok();
    let told: u64 = second
        .last_seen()
        .header("x-request-timeout-ms")
        .concat()
        .parse()
        .unwrap();
    assert!(told <= 9950, "{told}");
}

#[tokio::test]
async fn what_a_client_gave_up_is_given_up_at_the_worker() {
    let worker = FakeWorker::start("a").await;
    worker.hold();
    let gateway = Setup::over(&[&worker]).start().await;
    let mut connection = RawConnection::open(gateway.address).await;
    connection
        .write("POST /models/iris/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        .await;
    until("the worker has it", || worker.inside() == 1).await;
    assert_eq!(gateway.worker("a").await["in_flight"], 1);
    drop(connection);
    until_equal("requests that were given up", 1, || worker.abandoned()).await;
    nothing_is_left_behind(&gateway).await;
    let left = r#"millrace_gateway_requests_total{code="client_left",model="_unknown"}"#;
    assert_eq!(gateway.metric(left).await, 1.0);
}

#[tokio::test]
async fn more_requests_than_fit_are_refused_at_once_and_room_comes_back() {
    let worker = FakeWorker::start("a").await;
    worker.hold();
    let gateway = Setup::over(&[&worker])
        .set("gateway.max_in_flight", 3)
        .start()
        .await;
    let held: Vec<_> = (0..3)
        .map(|_| {
            let client = gateway.client.clone();
            tokio::spawn(async move { client.predict().await })
        })
        .collect();
    until("the worker has three", || worker.inside() == 3).await;
    let refused = gateway.client.predict().await;
    refused.assert_error(429, "overloaded");
    let asked = gateway.client.get("/models/iris").await;
    asked.assert_error(429, "overloaded");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(gateway.metric("millrace_gateway_in_flight_requests").await, 3.0);
    worker.release();
    for request in held {
        request.await.unwrap().assert_ok();
    }
    gateway.client.predict().await.assert_ok();
    assert_eq!(worker.count(), 4, "the refused one never came to a worker");
    nothing_is_left_behind(&gateway).await;
}

#[tokio::test]
async fn a_held_worker_does_not_hold_up_the_others() {
    let [a, b] = &FakeWorker::start_many().await;
    a.hold();
    let gateway = Setup::over(&[a, b]).start().await;
    let requests: Vec<_> = (0..20)
        .map(|_| {
            let client = gateway.client.clone();
            tokio::spawn(async move { client.predict().await })
        })
        .collect();
    until("b answered its half", || b.count() == 10 && b.inside() == 0).await;
    assert_eq!(gateway.worker("a").await["in_flight"], 10);
    until_equal("in flight at a alone", 10, || gateway.in_flight()).await;
    a.release();
    for request in requests {
        request.await.unwrap().assert_ok();
    }
    nothing_is_left_behind(&gateway).await;
}

#[tokio::test]
async fn large_answers_come_through_whole() {
    let worker = FakeWorker::start("a").await;
    let gateway = Setup::over(&[&worker]).start().await;
    for size in [0, 1, 1 << 20, (1 << 20) + 1, 20 << 20] {
        worker.behave(Behaviour::AnswerWith(size));
        let answer = gateway.client.predict().await;
        assert_eq!(answer.assert_ok().body.len(), size);
        assert_eq!(answer.header("content-length"), size.to_string());
        assert!(answer.body.iter().all(|&byte| byte == b'x'));
    }
    nothing_is_left_behind(&gateway).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_its_large_answer_is_counted_until_it_leaves() {
    let worker = FakeWorker::start("a").await;
    worker.behave(Behaviour::AnswerWith(64 << 20));
    let gateway = Setup::over(&[&worker])
        .set("gateway.max_in_flight", 1)
        .start()
        .await;
    let mut connection = RawConnection::open(gateway.address).await;
    connection
        .write("POST /models/iris/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        .await;
    until("the worker has answered", || {
        worker.count() == 1 && worker.inside() == 0
    })
    .await;
    assert_eq!(gateway.in_flight(), 1);
    gateway.client.predict().await.assert_error(429, "overloaded");
    drop(connection);
    nothing_is_left_behind(&gateway).await;
    worker.behave(Behaviour::Answer);
    gateway.client.predict().await.assert_ok();
}
