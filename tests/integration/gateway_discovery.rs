//! Workers that are found: by a real DNS server, and in a file that is written while the gateway runs.

use std::fmt::Write;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use serde_json::json;
use tempfile::TempDir;

use crate::support::dns::{DnsServer, Mood};
use crate::support::fake_worker::FakeWorker;
use crate::support::gateway::{Setup, TestGateway};
use crate::support::load::Load;
use crate::support::wait::{until, until_equal, until_some};

const ADDRESSES: [RecordType; 2] = [RecordType::A, RecordType::AAAA];

/// A source that looks up `workers.test` all the time.
fn looked_up(dns: &DnsServer, workers: &[FakeWorker]) -> String {
    let port = workers[0].address.port();
    format!(
        "[[gateway.discovery]]\ndns = \"workers.test:{port}\"\ninterval = \"20ms\"\nnameserver = \"{}\"\n",
        dns.address
    )
}

/// Says where the workers are from now on.
fn name(dns: &DnsServer, workers: &[&FakeWorker]) {
    let addresses: Vec<IpAddr> = workers.iter().map(|worker| worker.address.ip()).collect();
    dns.host("workers.test", &addresses);
}

/// A gateway without a fixed list over `workers`, all of which the DNS server names.
async fn over(dns: &DnsServer, workers: &[FakeWorker]) -> TestGateway {
    name(dns, &workers.iter().collect::<Vec<_>>());
    let gateway = Setup::over(&[])
        .with_tables(&looked_up(dns, workers))
        .start_at_once()
        .await;
    gateway.until_up(workers.len()).await;
    gateway
}

fn ids(gateway: &TestGateway) -> Vec<String> {
    let members = gateway.gateway.pool.members();
    members
        .iter()
        .map(|member| member.endpoint.id.to_string())
        .collect()
}

fn ids_of(workers: &[&FakeWorker]) -> Vec<String> {
    workers.iter().map(|worker| worker.address.to_string()).collect()
}

async fn until_members(gateway: &TestGateway, workers: &[&FakeWorker]) {
    until_equal("the members", ids_of(workers), || ids(gateway)).await;
}

/// Waits until the DNS server was asked so many times more.
async fn until_asked(dns: &DnsServer, more: usize) {
    let before = dns.asked();
    until("the gateway looks again", || dns.asked() >= before + more).await;
}

async fn until_failures(gateway: &TestGateway, source: &str, more: f64) {
    let series = format!("millrace_gateway_discovery_failures_total{{source=\"{source}\"}}");
    let before = gateway.metric(&series).await;
    until_some("the source fails", async || {
        (gateway.metric(&series).await >= before + more).then_some(())
    })
    .await;
}

#[tokio::test]
async fn addresses_come_and_go_while_requests_run() {
    let workers: [_; 5] = FakeWorker::start_side_by_side();
    let dns = DnsServer::start().await;
    name(&dns, &[&workers[0], &workers[1]]);
    let gateway = Setup::over(&[])
        .with_tables(&looked_up(&dns, &workers))
        .start_at_once()
        .await;
    gateway.until_up(2).await;
    let stays = ids_of(&[&workers[1]]).remove(0);
    let path = format!("/admin/workers/{stays}");
    gateway.admin.put(&path, &json!({"weight": 3})).await.assert_ok();
    let load = Load::on(&gateway.client);
    for present in [&[0, 1, 2, 3, 4][..], &[1, 3, 4], &[1], &[0, 1, 2], &[1, 4]] {
        let present: Vec<_> = present.iter().map(|&index| &workers[index]).collect();
        name(&dns, &present);
        until_members(&gateway, &present).await;
        gateway.until_up(present.len()).await;
        let before: Vec<_> = present.iter().map(|worker| worker.count()).collect();
        until("each of them answers", || {
            let counts = present.iter().zip(&before);
            counts
                .into_iter()
                .all(|(worker, before)| worker.count() > *before)
        })
        .await;
    }
    assert!(load.stop().await > 0);
    assert_eq!(
        gateway.worker(&stays).await["weight"],
        3,
        "the operator's weight stays"
    );
    let port = workers[0].address.port();
    let series = format!("millrace_gateway_discovery_endpoints{{source=\"dns:workers.test:{port}\"}}");
    assert_eq!(gateway.metric(&series).await, 2.0);
    let answer = gateway.client.predict().await;
    assert!(ids(&gateway).contains(&answer.assert_ok().worker().to_owned()));
}

#[tokio::test]
async fn a_worker_that_vanishes_finishes_what_it_has() {
    let workers: [_; 2] = FakeWorker::start_side_by_side();
    let [stays, goes] = &workers;
    let dns = DnsServer::start().await;
    let gateway = over(&dns, &workers).await;
    goes.hold();
    let client = gateway.client.clone();
    let held =
        tokio::spawn(async move { futures_util::future::join(client.predict(), client.predict()).await });
    until("one request is held", || goes.inside() == 1).await;

    name(&dns, &[stays]);
    until_members(&gateway, &[stays]).await;
    let only = ids_of(&[stays]).remove(0);
    for _ in 0..4 {
        assert_eq!(gateway.client.predict().await.assert_ok().worker(), only);
    }
    let probes = goes.probes();
    until_asked(&dns, 20).await;
    assert!(goes.probes() <= probes + 1, "whoever has gone is not probed");
    assert_eq!((goes.inside(), goes.abandoned()), (1, 0));

    goes.release();
    let (first, second) = held.await.expect("the requests are answered");
    let gone = ids_of(&[goes]).remove(0);
    assert!(
        [&first, &second]
            .iter()
            .any(|answer| answer.assert_ok().worker() == gone)
    );
    assert_eq!(first.attempts(), "1");
    assert_eq!(second.attempts(), "1");
}

#[tokio::test]
async fn a_dns_server_that_fails_changes_nothing() {
    let workers: [_; 2] = FakeWorker::start_side_by_side();
    let dns = DnsServer::start().await;
    let gateway = over(&dns, &workers).await;
    let source = format!("dns:workers.test:{}", workers[0].address.port());
    let all = [&workers[0], &workers[1]];
    for mood in [
        Mood::Fails(ResponseCode::ServFail),
        Mood::Fails(ResponseCode::Refused),
        Mood::Silent,
    ] {
        dns.be(mood, &ADDRESSES);
        until_failures(&gateway, &source, 1.0).await;
        assert_eq!(ids(&gateway), ids_of(&all), "{mood:?}");
        gateway.client.predict().await.assert_ok();
    }
    name(&dns, &[&workers[1]]);
    dns.be(Mood::Well, &ADDRESSES);
    until_members(&gateway, &[&workers[1]]).await;
}

#[tokio::test]
async fn one_kind_of_addresses_that_fails_does_not_hide_the_other() {
    let workers: [_; 2] = FakeWorker::start_side_by_side();
    let dns = DnsServer::start().await;
    dns.be(Mood::Fails(ResponseCode::ServFail), &[RecordType::AAAA]);
    let gateway = over(&dns, &workers).await;
    let source = format!("dns:workers.test:{}", workers[0].address.port());
    until_failures(&gateway, &source, 1.0).await;
    name(&dns, &[&workers[1]]);
    until_members(&gateway, &[&workers[1]]).await;
    dns.be(Mood::Fails(ResponseCode::ServFail), &[RecordType::A]);
    until_failures(&gateway, &source, 4.0).await;
    assert_eq!(ids(&gateway), ids_of(&[&workers[1]]));
}

#[tokio::test]
async fn a_name_that_stays_away_has_no_workers() {
    let workers: [_; 1] = FakeWorker::start_side_by_side();
    let dns = DnsServer::start().await;
    let gateway = over(&dns, &workers).await;
    gateway.client.get("/readyz").await.assert_ok();
    dns.forget("workers.test");
    until_members(&gateway, &[]).await;
    gateway.client.get("/readyz").await.assert_error(503, "no_worker");
    gateway.client.predict().await.assert_error(503, "no_worker");
    name(&dns, &[&workers[0]]);
    gateway.until_up(1).await;
    gateway.client.predict().await.assert_ok();
}

#[tokio::test]
async fn a_gateway_that_has_found_nobody_yet_waits() {
    let workers: [_; 2] = FakeWorker::start_side_by_side();
    let dns = DnsServer::start().await;
    let gateway = Setup::over(&[])
        .with_tables(&looked_up(&dns, &workers))
        .start_at_once()
        .await;
    until_asked(&dns, 8).await;
    gateway.client.get("/livez").await.assert_ok();
    gateway.client.get("/readyz").await.assert_error(503, "no_worker");
    name(&dns, &[&workers[0]]);
    gateway.until_up(1).await;
    gateway.client.get("/readyz").await.assert_ok();
}

#[tokio::test]
async fn services_tell_ports_and_weights() {
    let [a, b, c] = &FakeWorker::start_many().await;
    let dns = DnsServer::start().await;
    let port = |worker: &FakeWorker| worker.address.port();
    dns.host("host.test", &[a.address.ip()]);
    dns.service(
        "_http._tcp.workers.test",
        &[
            (1, 3, port(a), "host.test"),
            (1, 1, port(b), "host.test"),
            (2, 9, port(c), "host.test"),
        ],
    );
    let source = format!(
        "[[gateway.discovery]]\nsrv = \"_http._tcp.workers.test\"\ninterval = \"20ms\"\nnameserver = \"{}\"\n",
        dns.address
    );
    let gateway = Setup::over(&[])
        .with_tables(&source)
        .set("gateway.policy", "weighted")
        .start_at_once()
        .await;
    gateway.until_up(2).await;
    gateway.client.who_answers(8).await;
    assert_eq!((a.count(), b.count(), c.count()), (6, 2, 0));

    // The others stand by until nobody of the first priority is left.
    dns.service("_http._tcp.workers.test", &[(2, 0, port(c), "host.test")]);
    until_members(&gateway, &[c]).await;
    gateway.until_up(1).await;
    gateway.client.predict().await.assert_ok();
    assert_eq!(c.count(), 1);
}

#[tokio::test]
async fn a_worker_that_two_lists_name_is_one() {
    let workers: [_; 2] = FakeWorker::start_side_by_side();
    let dns = DnsServer::start().await;
    name(&dns, &[&workers[0], &workers[1]]);
    let gateway = Setup::over(&[&workers[0]])
        .with_tables(&looked_up(&dns, &workers))
        .start_at_once()
        .await;
    gateway.until_up(2).await;
    let found = workers[1].address.to_string();
    assert_eq!(ids(&gateway), ["a", &found]);
    dns.forget("workers.test");
    until_equal("the members", vec!["a".to_owned()], || ids(&gateway)).await;
}

#[tokio::test]
async fn workers_are_called_by_their_addresses_also_in_the_paths_of_admin() {
    let dns = DnsServer::start().await;
    let addresses = ["fd00::3", "10.0.0.3"].map(|text| text.parse::<IpAddr>().expect("an address"));
    dns.host("workers.test", &addresses);
    let source = format!(
        "[[gateway.discovery]]\ndns = \"workers.test:9000\"\ninterval = \"20ms\"\nnameserver = \"{}\"\n",
        dns.address
    );
    let gateway = Setup::over(&[]).with_tables(&source).start_at_once().await;
    let wanted = ["10.0.0.3:9000", "[fd00::3]:9000"].map(str::to_owned);
    until_equal("the members", wanted.to_vec(), || ids(&gateway)).await;
    for (path, weight) in [
        ("10.0.0.3:9000", 2),
        ("[fd00::3]:9000", 3),
        ("%5Bfd00::3%5D:9000", 4),
    ] {
        let change = json!({"weight": weight});
        gateway
            .admin
            .put(&format!("/admin/workers/{path}"), &change)
            .await
            .assert_ok();
    }
    let seen = gateway.worker("[fd00::3]:9000").await;
    assert_eq!(
        (&seen["weight"], &seen["url"]),
        (&json!(4), &json!("http://[fd00::3]:9000"))
    );
    assert_eq!(gateway.worker("10.0.0.3:9000").await["weight"], 2);
    let weight = gateway.metric("millrace_gateway_endpoint_weight{worker=\"[fd00::3]:9000\"}");
    assert_eq!(weight.await, 4.0);
}

/// A file that lists these workers.
fn list(workers: &[&FakeWorker]) -> String {
    let mut text = String::new();
    for FakeWorker { id, address, .. } in workers {
        write!(text, "[[workers]]\nid = \"{id}\"\nurl = \"http://{address}\"\n").expect("a text takes all");
    }
    text
}

/// Writes a file in one step, as whoever keeps such a list should.
fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).expect("a file can be written");
    fs::rename(new, file).expect("a file can be replaced");
}

#[tokio::test]
async fn a_file_is_followed_and_rubbish_in_it_changes_nothing() {
    let [a, b] = &FakeWorker::start_many().await;
    let folder = TempDir::new().expect("a folder can be made");
    let file = folder.path().join("workers.toml");
    let path = file.to_str().expect("its path is text");
    let gateway = Setup::over(&[])
        .with_tables(&format!("[[gateway.discovery]]\nfile = '{path}'\n"))
        .start_at_once()
        .await;
    let source = format!("file:{path}");
    until_failures(&gateway, &source, 1.0).await;

    replace(&file, &list(&[a]));
    gateway.until_up(1).await;
    let load = Load::on(&gateway.client);
    replace(&file, &list(&[a, b]));
    gateway.until_up(2).await;
    let both = ["a", "b"].map(str::to_owned);
    let halves = list(&[a, b]);
    for rubbish in [
        "",
        "\0\u{1}[[[",
        "workers = 3",
        &halves[..halves.len() - 9],
        "[[workers]]\nid = \"a\"\nurl = \"http://x:1\"\nwieght = 2",
        "[[workers]]\nid = \"a b\"\nurl = \"http://x:1\"",
    ] {
        replace(&file, rubbish);
        // The first may still be that of what was there before.
        until_failures(&gateway, &source, 2.0).await;
        assert_eq!(ids(&gateway), both, "{rubbish:?}");
    }
    fs::remove_file(&file).expect("the file is there");
    until_failures(&gateway, &source, 1.0).await;
    assert_eq!(ids(&gateway), both);

    replace(&file, &list(&[b]));
    until_equal("the members", vec!["b".to_owned()], || ids(&gateway)).await;
    assert!(load.stop().await > 0);
    replace(&file, "workers = []");
    until_equal("the members", Vec::<String>::new(), || ids(&gateway)).await;
}
