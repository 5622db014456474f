//! A live repository: versions come, change, break and go while requests run.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::http::Method;
use bytes::Bytes;
use millrace::config::{ServingConfig, VersionPolicy, WorkerConfig};
use millrace::http::observe::AccessLog;
use millrace::worker::{ControlError, IndexState, Upload};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::client::Client;
use crate::support::graph;
use crate::support::wait::{in_time, until, until_some};
use crate::support::worker::{Setup, TestWorker};

const ONE_ROW: &str = r#"{"inputs": [[0]]}"#;

/// A model that answers `value` to a row of zero.
fn answering(value: f32) -> Vec<u8> {
    graph::linear(&[1.0], value)
}

fn setup() -> Setup {
    Setup::new()
        .set("worker.repository.settle", "60ms")
        .set("worker.repository.poll_interval", "10s")
}

/// Version `version` of model m, put into place as a whole.
fn put(repository: &Path, version: &str, graph: &[u8]) {
    let folder = repository.join("m").join(version);
    fs::create_dir_all(&folder).expect("a folder can be made");
    fs::write(folder.join("model.onnx.tmp"), graph).expect("a file can be written");
    fs::rename(folder.join("model.onnx.tmp"), folder.join("model.onnx")).expect("a file can be moved");
}

impl TestWorker {
    async fn prediction(&self, path: &str) -> Option<f64> {
        let answer = self.client.post(path, ONE_ROW).await;
        answer.json()["predictions"][0].as_f64()
    }

    /// Waits until model m answers `value`.
    async fn until_answers(&self, value: f64) {
        let what = format!("the model answers {value}");
        until_some(&what, async || {
            (self.prediction("/models/m/predict").await == Some(value)).then_some(())
        })
        .await;
    }

    /// Waits until `GET /models/m` shows these versions, and gives the answer.
    async fn until_versions(&self, wanted: &[&str]) -> Value {
        let what = format!("the versions are {wanted:?}");
        until_some(&what, async || {
            let model = self.client.get("/models/m").await.json();
            let versions = model["versions"].as_array()?;
            let shown: Vec<&str> = versions
                .iter()
                .filter_map(|version| version["version"].as_str())
                .collect();
            (shown == wanted).then_some(model)
        })
        .await
    }

    /// Waits until no metric bears the label: what is gone is out of sight at once, its metrics stay until its threads ended.
    async fn until_nothing_is_counted_of(&self, label: &str) {
        until_some(&format!("nothing is counted of {label}"), async || {
            let metrics = self.client.get("/metrics").await.assert_ok().text();
            (!metrics.contains(label)).then_some(())
        })
        .await;
    }

    /// Waits until a version of model m has a reason why its files could not be loaded; the version's entry.
    async fn until_reason(&self, version: &str) -> Value {
        until_some("a reason is shown", async || {
            let model = self.client.get("/models/m").await.json();
            let mut versions = model["versions"].as_array()?.iter();
            let shown = versions.find(|entry| entry["version"] == version)?;
            shown["reason"].is_string().then(|| shown.clone())
        })
        .await
    }
}

/// Clients that ask model m again and again; each answer must be a success.
struct Hammer {
    is_over: Arc<AtomicBool>,
    clients: Vec<(SeenAnswers, JoinHandle<()>)>,
}

/// What one client was answered, without repetitions.
type SeenAnswers = Arc<Mutex<Vec<f64>>>;

impl Hammer {
    fn start(client: &Client) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let clients = (0..4).map(|_| {
            let (client, is_over) = (client.clone(), Arc::clone(&is_over));
            let seen = SeenAnswers::default();
            let own = Arc::clone(&seen);
            let asking = tokio::spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    let answer = client.post("/models/m/predict", ONE_ROW).await;
                    let answer = answer.assert_ok().json();
                    let value = answer["predictions"][0].as_f64();
                    let mut seen = own.lock().expect("nobody panics here");
                    seen.push(value.expect("a prediction is a number"));
                    seen.dedup();
                }
            });
            (seen, asking)
        });
        Self {
            clients: clients.collect(),
            is_over,
        }
    }

    /// Waits until every client has seen these answers, in this order, and no others; the last one may be seen again.
    async fn until_all_saw(&self, answers: &[f64]) {
        let what = format!("every client has seen {answers:?}");
        until(&what, || {
            self.clients.iter().all(|(seen, asking)| {
                assert!(!asking.is_finished(), "a request failed");
                *seen.lock().expect("no request failed") == answers
            })
        })
        .await;
    }

    async fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        for (_, asking) in self.clients {
            in_time("a client", asking).await.expect("no request failed");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_come_change_break_and_go_and_no_request_fails() {
    let worker = setup().model("m", &answering(1.0)).start().await;
    let repository = worker.repository().to_owned();
    let hammer = Hammer::start(&worker.client);

    hammer.until_all_saw(&[1.0]).await;
    put(&repository, "2", &answering(2.0));
    hammer.until_all_saw(&[1.0, 2.0]).await;
    put(&repository, "2", &answering(3.0));
    hammer.until_all_saw(&[1.0, 2.0, 3.0]).await;

    let whole = answering(4.0);
    fs::write(repository.join("m/2/model.onnx"), &whole[..whole.len() / 2]).unwrap();
    let entry = worker.until_reason("2").await;
    assert_eq!(entry["state"], "ready");
    assert!(
        entry["reason"]
            .as_str()
            .unwrap()
            .contains("not a whole ONNX graph"),
        "{entry}"
    );
    assert_eq!(worker.prediction("/models/m/predict").await, Some(3.0));
    let failed = r#"millrace_worker_model_loads_total{model="m",outcome="failed"}"#;
    assert_eq!(worker.metric(failed).await, 1.0);
    worker.client.get("/readyz").await.assert_ok();

    fs::write(repository.join("m/2/model.onnx"), &whole).unwrap();
    hammer.until_all_saw(&[1.0, 2.0, 3.0, 4.0]).await;
    let model = worker.until_versions(&["1", "2"]).await;
    assert!(model["versions"][1]["reason"].is_null(), "{model}");

    fs::remove_dir_all(repository.join("m/1")).unwrap();
    worker.until_versions(&["2"]).await;
    fs::rename(repository.join("m/2"), repository.join("m/3")).unwrap();
    worker.until_versions(&["3"]).await;
    fs::remove_dir_all(repository.join("m/3")).unwrap();
    put(&repository, "3", &answering(5.0));
    hammer.until_all_saw(&[1.0, 2.0, 3.0, 4.0, 5.0]).await;
    hammer.end().await;
    let ready = r#"millrace_worker_model_state{model="m",state="ready",version="3"}"#;
    assert_eq!(worker.metric(ready).await, 1.0);
    worker.until_nothing_is_counted_of(r#"version="1""#).await;
    worker.until_nothing_is_counted_of(r#"version="2""#).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_reloads_lose_no_request_and_leave_no_thread() {
    let worker = setup()
        .set("worker.repository.watch", "off")
        .model("m", &answering(1.0))
        .file("thread-count/1/model.onnx", &answering(1.0))
        .start()
        .await;
    let hammer = Hammer::start(&worker.client);
    for reload in 0..200 {
        let graph = answering(reload as f32);
        fs::write(worker.repository().join("m/1/model.onnx"), graph).unwrap();
        fs::write(
            worker.repository().join("thread-count/1/model.onnx"),
            answering(2.0),
        )
        .unwrap();
        let outcome = worker.worker.load_model("m", None).await.unwrap();
        assert_eq!(
            (outcome[0].state, outcome[0].reason.as_str()),
            (IndexState::Ready, "")
        );
        worker.worker.load_model("thread-count", None).await.unwrap();
    }
    hammer.end().await;
    let loads = r#"millrace_worker_model_loads_total{model="m",outcome="loaded"}"#;
    assert_eq!(worker.metric(loads).await, 201.0);
    // Names of threads have 15 characters; no other test has a model of this name.
    until_some("one engine thread is left", async || {
        (threads_called("thread-count/1#") == 1).then_some(())
    })
    .await;
    worker.worker.unload_model("thread-count").await.unwrap();
    until_some("no engine thread is left", async || {
        (threads_called("thread-count/1#") == 0).then_some(())
    })
    .await;
}

fn threads_called(name: &str) -> usize {
    let threads = fs::read_dir("/proc/self/task")
        .expect("threads are listed")
        .flatten();
    let names = threads.filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok());
    names.filter(|found| found.starts_with(name)).count()
}

#[tokio::test]
async fn a_half_copied_version_is_not_taken_up() {
    let worker = setup()
        .set("worker.repository.settle", "400ms")
        .model("m", &answering(1.0))
        .start()
        .await;
    let graph = answering(2.0);
    let folder = worker.repository().join("m/2");
    fs::create_dir(&folder).unwrap();
    // Every part parses as far as a protobuf does; each comes well before the one before it has settled.
    for end in (8..graph.len()).step_by(8).chain([graph.len()]) {
        fs::write(folder.join("model.onnx"), &graph[..end]).unwrap();
        worker.client.get("/readyz").await.assert_ok();
        let model = worker.client.get("/models/m").await.json();
        assert_eq!(model["versions"].as_array().unwrap().len(), 1, "{model}");
    }
    worker.until_answers(2.0).await;
    let failed = r#"millrace_worker_model_loads_total{model="m",outcome="failed"}"#;
    assert_eq!(worker.metric(failed).await, 0.0);
}

#[tokio::test]
async fn polling_finds_what_nobody_tells() {
    let worker = setup()
        .set("worker.repository.watch", "poll")
        .set("worker.repository.poll_interval", "20ms")
        .model("m", &answering(1.0))
        .start()
        .await;
    put(worker.repository(), "1", &answering(2.0));
    worker.until_answers(2.0).await;
    fs::remove_dir_all(worker.repository().join("m")).unwrap();
    until_some("the model is gone", async || {
        (worker.client.get("/models/m").await.status == 404).then_some(())
    })
    .await;
    let models = worker.client.get("/models").await.assert_ok().json();
    assert_eq!(models, json!({"models": []}));
    worker.until_nothing_is_counted_of(r#"model="m""#).await;
}

#[tokio::test]
async fn a_swapped_link_is_a_new_version() {
    let setup = setup()
        .file("m/..old/1/model.onnx", &answering(1.0))
        .file("m/..new/1/model.onnx", &answering(2.0));
    let folder = setup.repository().join("m");
    symlink("..old", folder.join("..data")).unwrap();
    symlink("..data/1", folder.join("1")).unwrap();
    let worker = setup.start().await;
    assert_eq!(worker.prediction("/models/m/predict").await, Some(1.0));
    symlink("..new", folder.join("..swap")).unwrap();
    fs::rename(folder.join("..swap"), folder.join("..data")).unwrap();
    worker.until_answers(2.0).await;
}

#[tokio::test]
async fn a_repository_that_is_away_for_a_while_unloads_nothing() {
    let base = tempfile::tempdir().unwrap();
    let root = base.path().join("models");
    put(&root, "1", &answering(1.0));
    let worker = setup()
        .set("worker.repository.poll_interval", "10ms")
        .set("worker.repository.settle", "0ms")
        .set("worker.models", root.to_str().unwrap())
        .start()
        .await;
    let away = base.path().join("away");
    fs::rename(&root, &away).unwrap();
    let refused = r#"millrace_worker_repository_scans_total{outcome="refused"}"#;
    let refuses_two_scans = async || {
        let before = worker.metric(refused).await;
        until_some("two scans more are refused", async || {
            (worker.metric(refused).await >= before + 2.0).then_some(())
        })
        .await;
    };
    refuses_two_scans().await;
    assert_eq!(worker.prediction("/models/m/predict").await, Some(1.0));
    // What is left of a mount whose file system is gone: an empty folder.
    fs::create_dir(&root).unwrap();
    refuses_two_scans().await;
    assert_eq!(worker.prediction("/models/m/predict").await, Some(1.0));
    fs::remove_dir(&root).unwrap();
    fs::rename(&away, &root).unwrap();
    put(&root, "1", &answering(2.0));
    worker.until_answers(2.0).await;
}

#[tokio::test]
async fn the_newest_versions_serve_and_an_older_one_until_they_do() {
    let worker = setup()
        .set("worker.model.m.versions", "latest")
        .file("m/1/model.onnx", &answering(1.0))
        .file("m/2/model.onnx", &answering(2.0))
        .start()
        .await;
    worker.until_versions(&["2"]).await;
    put(worker.repository(), "3", b"broken");
    let entry = worker.until_reason("3").await;
    assert_eq!(entry["state"], "failed");
    worker.until_versions(&["2", "3"]).await;
    assert_eq!(worker.prediction("/models/m/predict").await, Some(2.0));
    worker.client.get("/readyz").await.assert_ok();
    put(worker.repository(), "3", &answering(3.0));
    worker.until_answers(3.0).await;
    worker.until_versions(&["3"]).await;

    let mut config = WorkerConfig::clone(&worker.config);
    let serving = ServingConfig {
        versions: VersionPolicy::These(BTreeSet::from([1, 3])),
        ..ServingConfig::default()
    };
    config.models_serving.insert("m".to_owned(), serving);
    worker.worker.take_over(&worker.config, &Arc::new(config));
    worker.until_versions(&["1", "3"]).await;
    until_some("version 1 answers", async || {
        let answer = worker.prediction("/models/m/versions/1/predict").await;
        (answer == Some(1.0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn labels_point_at_versions_and_can_be_moved() {
    let worker = setup()
        .set("worker.model.m.labels.stable", 1)
        .set("worker.model.m.labels.next", 7)
        .file("m/1/model.onnx", &answering(1.0))
        .file("m/2/model.onnx", &answering(2.0))
        .start()
        .await;
    let stable = "/models/m/versions/stable/predict";
    assert_eq!(worker.prediction(stable).await, Some(1.0));
    let body = r#"{"model": "m", "version": "stable", "inputs": [[0]]}"#;
    let answer = worker.client.post("/predict", body).await.assert_ok().json();
    assert_eq!(
        (&answer["version"], &answer["predictions"]),
        (&json!("1"), &json!([1.0]))
    );
    let models = worker.client.get("/models").await.assert_ok().json();
    assert_eq!(models["models"][0]["labels"], json!({"next": "7", "stable": "1"}));
    let answer = worker
        .client
        .post("/models/m/versions/next/predict", ONE_ROW)
        .await;
    let message = answer.assert_error(404, "version_not_found").message();
    assert!(message.contains("points at version 7"), "{message}");
    let answer = worker
        .client
        .post("/models/m/versions/canary/predict", ONE_ROW)
        .await;
    let message = answer.assert_error(404, "version_not_found").message();
    assert!(message.contains("it has 1, 2, next = 7, stable = 1"), "{message}");

    worker.worker.set_label("m", "stable", Some(2)).unwrap();
    assert_eq!(worker.prediction(stable).await, Some(2.0));
    assert!(worker.worker.set_label("m", "stable", Some(3)).is_err());
    let same = Arc::new(WorkerConfig::clone(&worker.config));
    worker.worker.take_over(&worker.config, &same);
    assert_eq!(
        worker.prediction(stable).await,
        Some(2.0),
        "the configuration says what it said before"
    );
    let mut config = WorkerConfig::clone(&worker.config);
    config.models_serving.clear();
    worker.worker.take_over(&worker.config, &Arc::new(config));
    worker
        .client
        .post(stable, ONE_ROW)
        .await
        .assert_error(404, "version_not_found");
}

#[tokio::test]
async fn operators_move_labels_on_a_listener_of_their_own() {
    let worker = setup().model("m", &answering(1.0)).start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = Client::new(listener.local_addr().unwrap());
    let serving = Arc::clone(&worker.worker).serve_admin(listener, AccessLog(false), worker.drain.clone());
    tokio::spawn(serving);
    let path = "/admin/models/m/labels/stable";
    let answer = admin.put(path, &json!({"version": "1"})).await;
    assert_eq!(answer.assert_ok().json(), json!({"labels": {"stable": "1"}}));
    assert_eq!(
        worker.prediction("/models/m/versions/stable/predict").await,
        Some(1.0)
    );
    let two = json!({"version": "2"});
    admin.put(path, &two).await.assert_error(404, "version_not_found");
    admin
        .put("/admin/models/m/labels/7", &two)
        .await
        .assert_error(400, "invalid_input");
    admin
        .put(path, &json!({"version": "x"}))
        .await
        .assert_error(400, "invalid_input");
    let nobody = "/admin/models/nobody/labels/stable";
    admin.put(nobody, &two).await.assert_error(404, "model_not_found");
    let request = admin.request(Method::DELETE, path, "");
    assert_eq!(
        admin.send(request).await.assert_ok().json(),
        json!({"labels": {}})
    );
    let client = &worker.client;
    client
        .get("/admin/models/m/labels")
        .await
        .assert_error(404, "not_found");
}

#[tokio::test]
async fn a_model_that_was_taken_down_stays_down_until_it_is_asked_for() {
    let worker = setup()
        .model("m", &answering(1.0))
        .file("other/1/model.onnx", &answering(9.0))
        .start()
        .await;
    worker.worker.unload_model("m").await.unwrap();
    worker
        .client
        .post("/models/m/predict", ONE_ROW)
        .await
        .assert_error(404, "model_not_found");
    worker.client.get("/readyz").await.assert_ok();
    put(worker.repository(), "2", &answering(2.0));
    fs::create_dir_all(worker.repository().join("new/1")).unwrap();
    fs::write(worker.repository().join("new/1/model.onnx"), answering(3.0)).unwrap();
    until_some("the other new model is there", async || {
        (worker.client.get("/models/new").await.status == 200).then_some(())
    })
    .await;
    worker
        .client
        .get("/models/m")
        .await
        .assert_error(404, "model_not_found");
    let index = worker.worker.index();
    let m = index.iter().find(|entry| &*entry.model == "m").unwrap();
    assert_eq!(
        (m.version, m.state, m.reason.as_str()),
        (None, IndexState::Unavailable, "unloaded")
    );

    let outcome = worker.worker.load_model("m", None).await.unwrap();
    let versions: Vec<_> = outcome.iter().map(|entry| (entry.version, entry.state)).collect();
    assert_eq!(
        versions,
        [(Some(1), IndexState::Ready), (Some(2), IndexState::Ready)]
    );
    assert_eq!(worker.prediction("/models/m/predict").await, Some(2.0));
    let error = worker.worker.load_model("nobody", None).await.unwrap_err();
    assert!(matches!(error, ControlError::NoSuchModel(_)), "{error}");
    let error = worker.worker.unload_model("nobody").await.unwrap_err();
    assert!(matches!(error, ControlError::NoSuchModel(_)), "{error}");
}

#[tokio::test]
async fn what_was_accepted_before_an_unload_is_finished() {
    let worker = setup()
        .set("worker.batching.max_batch_size", 1)
        .model("slow", &graph::slow())
        .start()
        .await;
    let client = worker.client.clone();
    let body = json!({"inputs": vec![[0.5]; 4]}).to_string();
    let request = tokio::spawn(async move { client.post("/models/slow/predict", body).await });
    worker
        .until_metric("millrace_worker_in_flight_requests", 1.0)
        .await;
    until_some("it runs or is answered", async || {
        let batches = worker
            .metric(r#"millrace_worker_batch_rows_count{model="slow",version="1"}"#)
            .await;
        (batches > 0.0).then_some(())
    })
    .await;
    in_time("unloading", worker.worker.unload_model("slow"))
        .await
        .unwrap();
    in_time("the request", request).await.unwrap().assert_ok();
}

#[tokio::test]
async fn an_upload_serves_in_the_place_of_the_repository() {
    let worker = setup()
        .set("worker.repository.allow_uploads", true)
        .model("m", &answering(1.0))
        .start()
        .await;
    let upload = Upload {
        config: Some(r#"{"max_batch_size": 4}"#.to_owned()),
        files: vec![("5/model.onnx".to_owned(), Bytes::from(answering(5.0)))],
    };
    let outcome = worker.worker.load_model("m", Some(upload.clone())).await.unwrap();
    assert_eq!(outcome.len(), 1, "{outcome:?}");
    worker.until_versions(&["5"]).await;
    put(worker.repository(), "1", &answering(2.0));
    let fresh = worker.worker.load_model("fresh", Some(upload)).await.unwrap();
    assert_eq!(fresh[0].state, IndexState::Ready);
    assert_eq!(worker.prediction("/models/m/predict").await, Some(5.0));
    let broken = Upload {
        config: None,
        files: vec![("5/model.onnx".to_owned(), Bytes::from_static(b"broken"))],
    };
    let outcome = worker.worker.load_model("m", Some(broken)).await.unwrap();
    assert!(
        outcome[0].reason.contains("not a whole ONNX graph"),
        "{outcome:?}"
    );
    assert_eq!(
        worker.prediction("/models/m/predict").await,
        Some(5.0),
        "the one before serves on"
    );
    worker.worker.load_model("m", None).await.unwrap();
    worker.until_versions(&["1"]).await;
    assert_eq!(worker.prediction("/models/m/predict").await, Some(2.0));
}

#[tokio::test]
async fn uploads_need_leave() {
    let worker = setup().model("m", &answering(1.0)).start().await;
    let upload = Some(Upload::default());
    let error = worker.worker.load_model("m", upload).await.unwrap_err();
    assert!(matches!(error, ControlError::UploadsForbidden), "{error}");
}
