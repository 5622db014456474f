//! Cards of models over HTTP: as they are written, and as pages.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use axum::http::Method;

use crate::support::client::{Answer, Client};
use crate::support::{gateway, graph, worker};

const CARD: &str =
    "# copy\n\nGives back what it gets.\n\n![Loss](card/loss.svg)\n\n<script>alert(1)</script>\n";
const PICTURE: &[u8] = b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>";

fn setup() -> worker::Setup {
    worker::Setup::new()
        .model("copy", &graph::identity(1))
        .file("copy/1/card.md", CARD.as_bytes())
        .file("copy/1/card/loss.svg", PICTURE)
        .file("copy/1/card/notes.txt", b"for us alone")
        .file("secret.svg", b"not a picture of this version")
        .file("copy/2/model.onnx", &graph::identity(1))
        .model("bare", &graph::identity(1))
}

async fn start(setup: worker::Setup) -> (worker::TestWorker, gateway::TestGateway) {
    let worker = setup.start().await;
    let gateway = gateway::Setup::before(&worker).start().await;
    (worker, gateway)
}

async fn page(client: &Client, path: &str) -> Answer {
    let request = client.request(Method::GET, path, "");
    let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    client.send_with(request, &[("accept", accept)]).await
}

#[tokio::test]
async fn a_card_is_served_as_it_is_written_and_its_links_lead_to_its_pictures() {
    let (worker, gateway) = start(setup()).await;
    for client in [&worker.client, &gateway.client] {
        let card = client.get("/models/copy/versions/1/card").await;
        assert_eq!(card.assert_ok().text(), CARD);
        assert_eq!(card.header("content-type"), "text/markdown; charset=utf-8");
        assert_eq!(card.header("vary"), "accept");
        let picture = client.get("/models/copy/versions/1/card/loss.svg").await;
        assert_eq!(&*picture.assert_ok().body, PICTURE);
        assert_eq!(picture.header("content-type"), "image/svg+xml");
        assert!(picture.header("content-security-policy").contains("sandbox"));
        assert_eq!(picture.header("x-content-type-options"), "nosniff");
    }
    let told = worker.client.get("/models/copy/versions/1/card").await;
    assert!(told.header("endpoint-load-metrics").contains("in_flight"));
}

#[tokio::test]
async fn a_browser_gets_a_page_that_runs_nothing() {
    let (worker, gateway) = start(setup()).await;
    for client in [&worker.client, &gateway.client] {
        let page = page(client, "/models/copy/versions/1/card").await;
        assert_eq!(
            page.assert_ok().header("content-type"),
            "text/html; charset=utf-8"
        );
        let policy = page.header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && !policy.contains("script-src"),
            "{policy}"
        );
        let text = page.text();
        assert!(
            text.contains("<h1>copy</h1>") && text.contains("src=\"card/loss.svg\""),
            "{text}"
        );
        assert!(!text.contains("<script"), "{text}");
    }
}

#[tokio::test]
async fn without_a_version_the_newest_one_tells() {
    let (worker, gateway) = start(setup()).await;
    for client in [&worker.client, &gateway.client] {
        // Version 2 has none.
        let answer = client.get("/models/copy/card").await;
        let message = answer.assert_error(404, "not_found").message();
        assert_eq!(message, "model copy version 2 has no card.md");
    }
    let newest = setup().file("copy/2/card.md", b"# two").start().await;
    assert_eq!(
        newest.client.get("/models/copy/card").await.assert_ok().text(),
        "# two"
    );
}

#[tokio::test]
async fn what_has_no_card_is_told() {
    let (worker, gateway) = start(setup()).await;
    for client in [&worker.client, &gateway.client] {
        for (path, code) in [
            ("/models/bare/card", "not_found"),
            ("/models/bare/card/loss.svg", "not_found"),
            ("/models/copy/versions/1/card/roc.svg", "not_found"),
            ("/models/rose/card", "model_not_found"),
            ("/models/copy/versions/7/card", "version_not_found"),
        ] {
            client.get(path).await.assert_error(404, code);
        }
        page(client, "/models/bare/card")
            .await
            .assert_error(404, "not_found");
        let put = client.request(Method::PUT, "/models/copy/card", "{}");
        client.send(put).await.assert_error(405, "method_not_allowed");
    }
}

#[tokio::test]
async fn no_name_leads_out_of_the_folder_of_pictures() {
    let setup = setup();
    let folder = setup.repository().join("copy/1/card");
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret.svg"), "secret").unwrap();
    symlink(outside.path().join("secret.svg"), folder.join("stolen.svg")).unwrap();
    let (worker, gateway) = start(setup).await;
    for client in [&worker.client, &gateway.client] {
        for name in [
            "stolen.svg",
            "notes.txt",
            "..%2f..%2f..%2fsecret.svg",
            "%2e%2e%2f%2e%2e%2f%2e%2e%2fsecret.svg",
            "..%2fmodel.onnx",
            "..%5csecret.svg",
            "%2fetc%2fpasswd",
            "loss.svg%00",
            "%00loss.svg",
            ".%2floss.svg",
            "loss.svg%2f",
            "%252e%252e%252fsecret.svg",
            ".svg",
            "%2e%2e",
        ] {
            let path = format!("/models/copy/versions/1/card/{name}");
            client.get(&path).await.assert_error(404, "not_found");
        }
        let deeper = "/models/copy/versions/1/card/a/loss.svg";
        client.get(deeper).await.assert_error(404, "not_found");
    }
}

#[tokio::test]
async fn a_card_that_is_too_large_is_not_read_whole() {
    let large = vec![b'a'; (4 << 20) + 1];
    let worker = setup().file("bare/1/card.md", &large).start().await;
    let answer = worker.client.get("/models/bare/card").await;
    let message = answer.assert_error(500, "internal").message();
    assert_eq!(message, "card.md cannot be shown");
}

#[tokio::test]
async fn a_card_that_is_put_right_is_shown_and_its_model_is_not_loaded_again() {
    let worker = setup()
        .set("worker.repository.poll_interval", "50ms")
        .start()
        .await;
    let loads = r#"millrace_worker_model_loads_total{model="copy",outcome="loaded"}"#;
    let before = worker.metric(loads).await;
    assert_eq!(before, 2.0, "two versions");
    fs::write(worker.repository().join("copy/1/card.md"), "# in better words").unwrap();
    let answer = worker.client.get("/models/copy/versions/1/card").await;
    assert_eq!(answer.assert_ok().text(), "# in better words");
    // A model that comes after the change is loaded after it was seen.
    let graph = graph::identity(1);
    fs::create_dir_all(worker.repository().join("later/1")).unwrap();
    fs::write(worker.repository().join("later/1/model.onnx"), graph).unwrap();
    let state = r#"millrace_worker_model_state{model="later",state="ready",version="1"}"#;
    worker.until_metric(state, 1.0).await;
    assert_eq!(worker.metric(loads).await, before);
}

/// Trains on a file of this project into a repository.
fn train(arguments: &str, repository: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(env!("CARGO_BIN_EXE_millrace"))
        .current_dir(root)
        .arg("train")
        .args(arguments.split(' '))
        .arg("--repository")
        .arg(repository)
        .output()
        .expect("the program can be run");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// What a card tells to be asked, and what it tells to be answered, hold on a server; so do its links.
#[tokio::test]
async fn what_a_trained_card_says_is_so() {
    let setup = worker::Setup::new();
    let repository = setup.repository().to_owned();
    train(
        "logistic-regression --data data/iris.csv --target species --model iris",
        &repository,
    );
    let (worker, gateway) = start(setup).await;
    for client in [&worker.client, &gateway.client] {
        let card = client.get("/models/iris/card").await.assert_ok().text();
        let (_, asked) = card.split_once("curl localhost:8080").unwrap();
        let (path, asked) = asked.split_once(' ').unwrap();
        let (_, body) = asked.split_once("-d '").unwrap();
        let (body, rest) = body.split_once("'\n```").unwrap();
        let answer = client.post(path, body.to_owned()).await.assert_ok().json();
        let class = answer["predictions"][0].as_str().unwrap();
        let place = answer["classes"]
            .as_array()
            .unwrap()
            .iter()
            .position(|name| name == class)
            .unwrap();
        let probability = answer["probabilities"][0][place].as_f64().unwrap();
        let told = format!("It answers {class} with probability {probability:.4};");
        assert!(rest.trim_start().starts_with(&told), "{told} in {rest}");

        let links = card
            .split("](card/")
            .skip(1)
            .map(|rest| rest.split_once(')').unwrap().0);
        let mut count = 0;
        for link in links {
            let picture = client.get(&format!("/models/iris/card/{link}")).await;
            assert!(picture.assert_ok().text().starts_with("<svg"), "{link}");
            count += 1;
        }
        assert!(count >= 6, "{count} pictures");
        let again = "millrace train logistic-regression --data data/iris.csv --target species --model iris\n";
        assert!(card.contains(again), "{card}");
    }
}
