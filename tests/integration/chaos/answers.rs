//! Workers that break off, fail, and talk nonsense, beside others that are well.

use std::net::SocketAddr;

use super::entries;
use crate::support::fake_worker::{Behaviour, FakeWorker};
use crate::support::gateway::entry;
use crate::support::gateway_process::{GatewayProcess, configuration};
use crate::support::load::Load;
use crate::support::resetting_proxy::ResettingProxy;
use crate::support::wait::until;
use crate::support::worker_process::WorkerProcess;

/// A gateway over workers that are well and one more.
async fn gateway_over(well: &[WorkerProcess], id: &str, address: SocketAddr) -> GatewayProcess {
    let all = entries(well) + &entry(id, address, 1);
    let gateway = GatewayProcess::start(&configuration("", &all)).await;
    gateway.until_up(well.len() + 1).await;
    gateway
}

#[tokio::test]
async fn connections_reset_half_way_through_an_answer() {
    let workers = WorkerProcess::start_many(3).await;
    let (well, behind) = workers.split_at(2);
    let proxy = ResettingProxy::before(behind[0].address).await;
    let gateway = gateway_over(well, "proxy", proxy.address).await;
    let load = Load::steady(&gateway.client).await;
    load.until_answered_by("proxy").await;
    proxy.cut();
    until("answers were cut off at every place", || proxy.resets() >= 5).await;
    load.until_answered(100).await;
    load.end().await;
}

#[tokio::test]
async fn errors_and_garbage_for_answers() {
    let well = WorkerProcess::start_many(2).await;
    for behaviour in [
        Behaviour::Refuse(500, "internal"),
        Behaviour::Reply(500, "<html>Internal Server Error</html>"),
        Behaviour::Reply(502, ""),
        Behaviour::Reply(200, "<html>It works!</html>"),
        Behaviour::Reply(200, r#"{"model":"iris","version":"1","predictions":["set"#),
        Behaviour::Reply(200, ""),
        Behaviour::CutBefore,
        Behaviour::CutHalfway,
    ] {
        let odd = FakeWorker::start("odd").await;
        let gateway = gateway_over(&well, odd.id, odd.address).await;
        let load = Load::steady(&gateway.client).await;
        load.until_answered_by("odd").await;
        odd.behave(behaviour.clone());
        let before = odd.count();
        until(&format!("some get {behaviour:?}"), || odd.count() >= before + 3).await;
        load.until_answered(100).await;
        load.end().await;
    }
}

#[tokio::test]
async fn something_else_than_http_for_answers() {
    let well = WorkerProcess::start_many(2).await;
    let odd = FakeWorker::start("odd").await;
    let gateway = gateway_over(&well, odd.id, odd.address).await;
    let load = Load::steady(&gateway.client).await;
    odd.go_away().await;
    odd.come_back_as_something_else();
    gateway.until_is_up("odd", false).await;
    load.until_answered(100).await;
    odd.go_away().await;
    odd.come_back();
    load.until_answered_by("odd").await;
    load.end().await;
}
