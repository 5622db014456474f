//! A network that swallows packets. The worker has a network namespace of its own, which goes with it; that takes root, and
//! `unshare`, `nsenter`, `ip` and `iptables`.

use std::env;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::sleep;

use super::entries;
use crate::support::gateway::entry;
use crate::support::gateway_process::{GatewayProcess, configuration};
use crate::support::load::Load;
use crate::support::process::{Command, Process};
use crate::support::wait::{in_time, until_some};
use crate::support::worker_process::{WorkerProcess, arguments, repository_of_iris};

/// Set where the test must not be skipped (in CI).
const REQUIRED: &str = "MILLRACE_CHAOS_NETWORK";
const PORT: u16 = 9000;
const CUT: Duration = Duration::from_secs(5);

/// A worker on the far side of a cable.
struct Remote {
    process: Process,
    address: SocketAddr,
    _repository: TempDir,
}

/// Runs a command; what it said where it failed.
async fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new(program);
    let output = in_time(program, command.args(arguments).output()).await;
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {}", arguments.join(" "), said.trim()))
}

/// A network of two addresses that no other run of this test has: of the block for benchmarks (RFC 2544).
fn addresses() -> (Ipv4Addr, Ipv4Addr) {
    let [.., a, b] = std::process::id().to_be_bytes();
    let first = u32::from_be_bytes([198, 18, 0, 0]) + (u32::from(a & 0x7f) << 10 | u32::from(b) << 2);
    (Ipv4Addr::from(first + 1), Ipv4Addr::from(first + 2))
}

impl Remote {
    /// Why there can be none, where this machine does not allow it.
    async fn start() -> Result<Self, String> {
        let (near, far) = addresses();
        let (near, far_text) = (format!("{near}/30"), format!("{far}/30"));
        run("iptables", &["--version"]).await?;
        run("ip", &["-V"]).await?;
        let repository = repository_of_iris();
        let address = SocketAddr::from((far, PORT));
        // It begins in its namespace, and waits there for its cable.
        let script =
            "until ip address show dev far 2>/dev/null | grep -q inet; do sleep 0.02; done; exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_millrace")]);
        command
            .args(arguments(address, repository.path()))
            .kill_on_drop(true);
        let mut process = Process::spawn(command);
        let remote = |process| Self {
            process,
            address,
            _repository: repository,
        };
        let pid = process.pid().to_string();
        let name = format!("mr{pid}");
        until_namespace(&mut process).await?;
        run(
            "ip",
            &[
                "link", "add", &name, "type", "veth", "peer", "name", "far", "netns", &pid,
            ],
        )
        .await?;
        run("ip", &["address", "add", &near, "dev", &name]).await?;
        run("ip", &["link", "set", &name, "up"]).await?;
        let remote = remote(process);
        remote.inside(&["ip", "link", "set", "far", "up"]).await?;
        remote
            .inside(&["ip", "address", "add", &far_text, "dev", "far"])
            .await?;
        remote.process.line("the worker listens").await;
        Ok(remote)
    }

    /// Runs a command in its namespace.
    async fn inside(&self, command: &[&str]) -> Result<(), String> {
        let pid = self.process.pid().to_string();
        run("nsenter", &[&["--net", "--target", &pid][..], command].concat()).await
    }

    /// From now on packets that come from the cable are swallowed, and so are those that go there.
    async fn cut(&self) {
        for chain in ["INPUT", "OUTPUT"] {
            self.inside(&["iptables", "--append", chain, "--jump", "DROP"])
                .await
                .expect("it is ours");
        }
    }

    async fn heal(&self) {
        self.inside(&["iptables", "--flush"]).await.expect("it is ours");
    }
}

/// Waits until the process has left the namespace of this one.
async fn until_namespace(process: &mut Process) -> Result<(), String> {
    let network = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let pid = process.pid().to_string();
    let left = until_some("it is in its namespace or has ended", async || {
        if !process.is_running() {
            return Some(false);
        }
        (network(&pid)? != network("self")?).then_some(true)
    })
    .await;
    if left {
        Ok(())
    } else {
        Err(process.log().join(" "))
    }
}

#[tokio::test]
async fn a_network_that_swallows_packets_for_five_seconds() {
    let remote = match Remote::start().await {
        Ok(remote) => remote,
        Err(reason) if env::var_os(REQUIRED).is_none() => {
            // Not by a macro: what those print is kept back where a test passes.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED chaos::network: needs root, namespaces and iptables: {reason}"
            );
            return;
        }
        Err(reason) => panic!("{REQUIRED} is set, and {reason}"),
    };
    let near = WorkerProcess::start_many(2).await;
    let all = entries(&near) + &entry("far", remote.address, 1);
    let gateway = GatewayProcess::start(&configuration("", &all)).await;
    gateway.until_up(3).await;
    let load = Load::steady(&gateway.client).await;
    load.until_answered_by("far").await;
    remote.cut().await;
    sleep(CUT).await;
    gateway.until_is_up("far", false).await;
    remote.heal().await;
    gateway.until_is_up("far", true).await;
    load.until_answered_by("far").await;
    load.end().await;
}
