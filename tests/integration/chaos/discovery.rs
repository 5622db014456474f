//! A DNS whose answers change, fail, and stay away.

use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use crate::support::dns::{DnsServer, Mood};
use crate::support::gateway_process::{GatewayProcess, configuration};
use crate::support::load::Load;
use crate::support::wait::until;
use crate::support::worker_process::WorkerProcess;

const ADDRESSES: [RecordType; 2] = [RecordType::A, RecordType::AAAA];

#[tokio::test]
async fn dns_answers_that_change_and_fail() {
    let workers = WorkerProcess::start_side_by_side(3).await;
    let name = |dns: &DnsServer, present: &[usize]| {
        let addresses: Vec<IpAddr> = present.iter().map(|&index| workers[index].address.ip()).collect();
        dns.host("workers.test", &addresses);
    };
    let dns = DnsServer::start().await;
    name(&dns, &[0, 1, 2]);
    let source = format!(
        "[[gateway.discovery]]\ndns = \"workers.test:{}\"\nnameserver = \"{}\"\ninterval = \"50ms\"\n",
        workers[0].address.port(),
        dns.address
    );
    let gateway = GatewayProcess::start(&configuration("", &source)).await;
    gateway.until_up(3).await;
    let load = Load::steady(&gateway.client).await;
    // Somebody always stays: where all go at once, there is nobody until those who come have answered a first probe.
    for present in [&[0][..], &[0, 1], &[1, 2], &[2, 0], &[2], &[0, 1, 2]] {
        name(&dns, present);
        gateway.until_up(present.len()).await;
        for &index in present {
            load.until_answered_by(&workers[index].address.to_string()).await;
        }
    }
    for mood in [
        Mood::Fails(ResponseCode::ServFail),
        Mood::Fails(ResponseCode::Refused),
        Mood::Silent,
    ] {
        dns.be(mood, &ADDRESSES);
        let before = dns.asked();
        until("the gateway asks all the same", || dns.asked() >= before + 2).await;
        load.until_answered(100).await;
        assert_eq!(gateway.workers().await.len(), 3, "{mood:?}");
    }
    dns.be(Mood::Well, &ADDRESSES);
    name(&dns, &[0, 2]);
    gateway.until_up(2).await;
    load.end().await;
}
