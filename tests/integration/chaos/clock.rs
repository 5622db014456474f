//! A wall clock that jumps by years under gateway and workers. What has a duration goes by the monotonic one, so that nothing may
//! come of it. (The lint `disallowed-methods` in `clippy.toml` keeps it so; the processes show that their libraries do, too.)

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use tokio::process::Command;

use super::{Fleet, entries};
use crate::support::gateway_process::{GatewayProcess, configuration};
use crate::support::wait::{in_time, until_some};
use crate::support::worker_process::WorkerProcess;

const YEAR: i64 = 365 * 24 * 3600;

/// The library that stands before the system's `clock_gettime`, built with the compiler that links this test.
async fn jumping_clock(folder: &Path) -> String {
    let library = folder.join("jumping_clock.so");
    let source = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/integration/chaos/jumping_clock.c"
    );
    let mut compiler = Command::new("cc");
    compiler
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(source);
    let status = in_time("the compiler", compiler.status()).await;
    assert!(status.expect("there is a C compiler").success());
    library.to_str().expect("its path is text").to_owned()
}

#[tokio::test]
async fn jumps_of_the_wall_clock() {
    let folder = TempDir::new().expect("a folder can be made");
    let library = jumping_clock(folder.path()).await;
    let offset = folder.path().join("offset");
    let jump_to =
        |seconds: i64| fs::write(&offset, format!("{seconds:+020}")).expect("a file can be written");
    jump_to(0);
    let jumping = |command: &mut Command| {
        command.env("LD_PRELOAD", &library).env("CLOCK_OFFSET", &offset);
    };
    let workers = WorkerProcess::start_many_as(2, jumping).await;
    let text = configuration("", &entries(&workers));
    let gateway = GatewayProcess::start_as(&text, jumping).await;
    gateway.until_up(2).await;
    let fleet = Fleet { gateway, workers };
    let load = fleet.load().await;
    let begun = fleet.gateway.process.log().len();
    for years in [10, -10, 1, 0] {
        let lines = fleet.gateway.process.log().len();
        jump_to(years * YEAR);
        // Every change is logged, and log lines carry the time.
        let year = (2026 + years).to_string();
        until_some("the clock has jumped", async || {
            for policy in ["random", "round_robin"] {
                let change = serde_json::json!({"policy": policy});
                fleet
                    .gateway
                    .admin
                    .put("/admin/policy", &change)
                    .await
                    .assert_ok();
            }
            let log = fleet.gateway.process.log();
            log.iter()
                .skip(lines)
                .any(|line| line.starts_with(&year))
                .then_some(())
        })
        .await;
        load.until_answered(200).await;
        fleet.until_all_answer(&load).await;
    }
    load.end().await;
    fleet.assert_nobody_lost(begun);
}
