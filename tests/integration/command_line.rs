//! The commands that end by themselves: what they print, and their exit codes.

use std::path::PathBuf;
use std::process::Output;

use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::support::fake_worker::FakeWorker;
use crate::support::gateway::Setup;
use crate::support::process::{Process, run};

fn file(folder: &TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("millrace.toml");
    std::fs::write(&path, text).expect("a file can be written");
    path
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn check_says_that_a_valid_file_is_valid() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "[gateway]\npolicy = \"weighted\"\n");
    let output = run(&["check", "--config", path.to_str().unwrap()]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("is valid") && said.contains("weighted"), "{said}");
}

#[tokio::test]
async fn check_accepts_the_shipped_file() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/config/millrace.toml");
    let output = run(&["check", "--config", shipped]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[tokio::test]
async fn check_tells_every_error_at_once_with_its_key() {
    let folder = TempDir::new().unwrap();
    let path = file(
        &folder,
        "[gateway]\npolcy = \"random\"\ndeadline = \"soon\"\n[gateway.retry]\nbudget = 2\n[worker]\nlisten = 9000\n",
    );
    let output = run(&["check", "--config", path.to_str().unwrap()]).await;
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    for part in [
        "4 errors",
        "gateway.polcy: unknown key; did you mean policy?",
        "gateway.deadline: expected a duration",
        "gateway.retry.budget: expected a share from 0 to 1; found 2",
        "worker.listen: expected an address",
    ] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    assert!(output.stdout.is_empty());
}

#[tokio::test]
async fn times_that_no_clock_can_hold_are_refused() {
    let folder = TempDir::new().unwrap();
    for key in [
        "deadline",
        "connect_timeout",
        "header_timeout",
        "health.interval",
        "shutdown.grace",
    ] {
        let path = file(&folder, &format!("[gateway]\n{key} = \"500000000000years\"\n"));
        let output = run(&["check", "--config", path.to_str().unwrap()]).await;
        assert_eq!(output.status.code(), Some(2), "{key}");
        let said = stderr(&output);
        assert!(
            said.contains(&format!("gateway.{key}: expected a duration")),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_file_that_is_missing_or_no_toml_is_told() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("missing.toml");
    let output = run(&["check", "--config", missing.to_str().unwrap()]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("missing.toml"), "{}", stderr(&output));

    let path = file(&folder, "[gateway\n");
    let output = run(&["check", "--config", path.to_str().unwrap()]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("line 1"), "{}", stderr(&output));
}

#[tokio::test]
async fn a_library_that_cannot_be_loaded_is_told_before_anything_starts() {
    let folder = TempDir::new().unwrap();
    let library = folder.path().join("libonnxruntime.so");
    let models = folder.path().display();
    let path = file(
        &folder,
        &format!(
            "[worker]\nlisten = '127.0.0.1:0'\nmodels = '{models}'\nonnxruntime_library = '{}'\n",
            library.display()
        ),
    );
    for role in ["worker", "serve"] {
        let output = run(&[role, "--config", path.to_str().unwrap()]).await;
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        let said = stderr(&output);
        assert!(
            said.contains("worker.onnxruntime_library: ") && said.contains("expected"),
            "{said}"
        );
    }
    std::fs::write(&library, "no library").unwrap();
    let output = run(&["worker", "--config", path.to_str().unwrap()]).await;
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("cannot be loaded"),
        "{}",
        stderr(&output)
    );
}

#[tokio::test]
async fn wrong_use_exits_with_two() {
    for arguments in [
        &["fly"][..],
        &["check"],
        &["gateway", "--listen", "nowhere"],
        &["gateway", "--policy", "fastest"],
        &["gateway"],
        &["serve", "--workers", "0"],
        &["health", "--timeout", "soon"],
        &["health", "--url", "ftp://host"],
        &["health", "--url", "x://aa\u{e9}"],
    ] {
        let output = run(arguments).await;
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(
            !stderr(&output).contains("panicked"),
            "{arguments:?}: {}",
            stderr(&output)
        );
    }
}

#[tokio::test]
async fn health_tells_ready_from_not_ready_from_nobody() {
    let worker = FakeWorker::start_down("a");
    let gateway = Setup::over(&[&worker]).start_at_once().await;
    let address = gateway.address.to_string();
    let output = run(&["health", "--url", &address]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no_worker"), "{}", stderr(&output));

    worker.come_back();
    gateway.until_up(1).await;
    let output = run(&["health", "--url", &address]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));

    let nobody = FakeWorker::start_down("b").address.to_string();
    let output = run(&["health", "--url", &nobody]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("does not answer"), "{}", stderr(&output));

    let output = run(&["health", "--url", &nobody, "--url", &address]).await;
    assert_eq!(
        output.status.code(),
        Some(0),
        "the first at which somebody listens"
    );
    let output = run(&["health", "--url", &nobody, "--url", &nobody]).await;
    assert_eq!(
        stderr(&output).matches("does not answer").count(),
        2,
        "{}",
        stderr(&output)
    );

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let output = run(&["health", "--url", &address, "--timeout", "100ms"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("did not answer within 100ms"),
        "{}",
        stderr(&output)
    );
}

#[tokio::test]
async fn a_wrong_configuration_binds_no_port() {
    let folder = TempDir::new().unwrap();
    let free = FakeWorker::start_down("a");
    let path = file(
        &folder,
        &format!("[gateway]\nlisten = \"{}\"\npolicy = \"fastest\"\n", free.address),
    );
    let mut process = Process::start(&["gateway", "--config", path.to_str().unwrap()]);
    assert_eq!(process.end().await.code(), Some(2));
    let log = process.log().join("\n");
    assert!(
        log.contains("gateway.policy") && !log.contains("listens"),
        "{log}"
    );
}

#[tokio::test]
async fn an_address_in_use_is_told_and_exits_with_one() {
    let folder = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let path = file(
        &folder,
        "[[gateway.workers]]\nid = \"a\"\nurl = \"http://127.0.0.1:9\"\n",
    );
    let address = taken.local_addr().unwrap().to_string();
    for (key, other) in [("listen", "admin"), ("admin", "listen")] {
        let (flag, free) = (format!("--{key}"), format!("--{other}"));
        let arguments = [
            "gateway",
            "--config",
            path.to_str().unwrap(),
            &flag,
            &address,
            &free,
            "127.0.0.1:0",
        ];
        let output = run(&arguments).await;
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        let expected = format!("gateway.{key}: {address} cannot be bound: Address already in use");
        assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
    }
}

#[tokio::test]
async fn simulate_prints_a_table_and_marks_the_fastest_policy() {
    let output = run(&[
        "simulate",
        "--rate",
        "600",
        "--service-time",
        "2ms",
        "--slow",
        "25%",
        "--duration",
        "1s",
    ])
    .await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.starts_with("4 workers (1 of them 10 times as slow), 1 gateway, 600 requests/s for 1s (39 %"),
        "{said}"
    );
    for policy in [
        "round_robin",
        "weighted:measured",
        "peak_ewma",
        "prequal",
        "consistent_hash",
    ] {
        assert!(said.contains(policy), "{policy} is not in {said}");
    }
    let fastest: Vec<_> = said.lines().filter(|line| line.starts_with('*')).collect();
    assert!(
        !fastest.is_empty()
            && fastest
                .iter()
                .all(|line| line.contains("peak_ewma") || line.contains("prequal")),
        "{said}"
    );
}

#[tokio::test]
async fn simulate_gives_the_same_figures_for_the_same_seed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("fleet.svg");
    let arguments = [
        "simulate",
        "--rate",
        "900",
        "--service-time",
        "exp:2ms",
        "--duration",
        "1s",
        "--json",
        "--policy",
        "prequal",
    ];
    let with_plot = [&arguments[..], &["--plot", path.to_str().unwrap()]].concat();
    let (first, second) = (run(&arguments).await, run(&with_plot).await);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    assert_eq!(first.stdout, second.stdout);
    let figures: serde_json::Value = serde_json::from_slice(&first.stdout).unwrap();
    assert_eq!(figures[0]["policy"], "prequal");
    assert!(
        figures[0]["p99_ms"].as_f64().is_some_and(|p99| p99 > 2.0),
        "{figures}"
    );
    assert!(std::fs::read_to_string(path).unwrap().starts_with("<svg"));
}

#[tokio::test]
async fn simulate_says_what_is_wrong_with_an_option() {
    let cases = [
        (
            ["--rate", "-1"],
            "--rate: expected requests per second, above 0; found -1",
        ),
        (["--rate", "1e9"], "--rate and --duration: expected at most"),
        (
            ["--service-time", "gauss:2ms"],
            "--service-time: expected a time such as \"2ms\"",
        ),
        (
            ["--workers", "0"],
            "--workers: expected a number from 1 to 10000; found 0",
        ),
        (["--slow", "10%x0.5"], "--slow: expected a share and a factor"),
        (
            ["--fail", "101%"],
            "--fail: expected a share such as \"1%\"; found 101%",
        ),
        (
            ["--gateways", "1001"],
            "--gateways: expected a number from 1 to 1000",
        ),
        (["--duration", "soon"], "--duration: expected a time"),
        (["--policy", "fastest"], "--policy: expected one of round_robin"),
    ];
    for (wrong, message) in cases {
        let arguments = ["simulate", "--duration=1s", "--rate=10", "--service-time=1ms"].map(str::to_owned);
        let option = wrong.join("=");
        let kept = arguments
            .into_iter()
            .filter(|it| !it.starts_with(&format!("{}=", wrong[0])));
        let arguments: Vec<String> = kept.chain([option]).collect();
        let output = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await;
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(
            stderr(&output).contains(message),
            "{wrong:?}: {}",
            stderr(&output)
        );
    }
}

#[tokio::test]
async fn simulate_warns_where_queues_grow_for_ever() {
    let arguments = [
        "simulate",
        "--rate",
        "3000",
        "--service-time",
        "2ms",
        "--duration",
        "100ms",
        "--policy",
        "random",
    ];
    let output = run(&arguments).await;
    assert_eq!(output.status.code(), Some(0));
    assert!(
        stderr(&output).contains("queues grow for ever"),
        "{}",
        stderr(&output)
    );
}
