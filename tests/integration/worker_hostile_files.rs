//! Files that nobody should serve: each is refused with its reason, and the models beside it answer.

use tract_onnx::pb::tensor_proto::DataType;

use crate::support::client::Client;
use crate::support::fake_worker::reserve;
use crate::support::graph::{self, Graph};
use crate::support::process::Process;
use crate::support::worker::{Setup, TestWorker};
use crate::support::worker_process;

async fn reason(worker: &TestWorker, model: &str) -> String {
    let detail = worker.client.get(&format!("/models/{model}")).await;
    let detail = detail.assert_ok().json();
    assert_eq!(detail["versions"][0]["state"], "failed", "{detail}");
    detail["versions"][0]["reason"]
        .as_str()
        .expect("it has a reason")
        .to_owned()
}

/// A few bytes that ask for so many values.
fn enormous(values: f32) -> Vec<u8> {
    Graph::default()
        .input("x", DataType::Float, &[-1, 1])
        .floats("start", &[], &[0.0])
        .floats("step", &[], &[1.0])
        .floats("end", &[], &[values])
        .node("Range", &["start", "end", "step"], "numbers")
        .node("ReduceMax", &["numbers"], "largest")
        .node("Add", &["x", "largest"], "y")
        .output("y", DataType::Float, &[-1, 1])
        .bytes()
}

/// A thousand values, a thousand times as many with every step.
fn growing(steps: usize) -> Vec<u8> {
    let mut graph = Graph::default()
        .input("x", DataType::Float, &[-1, 1])
        .floats("v0", &[1], &[0.0])
        .integers("times", &[1], &[1000]);
    for step in 0..steps {
        let (from, to) = (format!("v{step}"), format!("v{}", step + 1));
        graph = graph.node("Tile", &[&from, "times"], &to);
    }
    graph
        .node("ReduceMax", &[&format!("v{steps}")], "zero")
        .node("Add", &["x", "zero"], "y")
        .output("y", DataType::Float, &[-1, 1])
        .bytes()
}

/// Minutes of multiplications.
fn endless() -> Vec<u8> {
    let mut graph = Graph::default()
        .input("x", DataType::Float, &[-1, 1])
        .integers("shape", &[2], &[3000, 3000])
        .node("ConstantOfShape", &["shape"], "v0");
    for step in 0..300 {
        let (from, to) = (format!("v{step}"), format!("v{}", step + 1));
        graph = graph.node("MatMul", &[&from, &from], &to);
    }
    graph
        .node("ReduceMax", &["v300"], "zero")
        .node("Add", &["x", "zero"], "y")
        .output("y", DataType::Float, &[-1, 1])
        .bytes()
}

fn circle() -> Vec<u8> {
    Graph::default()
        .input("x", DataType::Float, &[-1, 1])
        .node("Add", &["x", "b"], "a")
        .node("Relu", &["a"], "b")
        .output("b", DataType::Float, &[-1, 1])
        .bytes()
}

#[tokio::test]
async fn files_that_ask_for_too_much_are_refused_and_the_others_serve() {
    let worker = Setup::new()
        .set("worker.loading.max_memory", "1GiB")
        .set("worker.loading.timeout", "5s")
        .model("good", &graph::identity(1))
        .model("enormous", &enormous(1e12))
        .model("overflowing", &enormous(f32::MAX))
        .model("growing", &growing(5))
        .model("endless", &endless())
        .model("circle", &circle())
        .start()
        .await;
    for (model, part) in [
        ("enormous", "worker.loading.max_memory"),
        ("growing", "worker.loading.max_memory"),
        ("endless", "worker.loading.timeout"),
        ("circle", "cycle"),
    ] {
        let reason = reason(&worker, model).await;
        assert!(reason.contains(part), "{model}: {reason}");
    }
    reason(&worker, "overflowing").await;
    let answer = worker
        .client
        .post("/predict", r#"{"model": "good", "inputs": [[1]]}"#)
        .await;
    answer.assert_ok();
}

/// Asks for a thousand times a gigabyte when so many rows run together, and for nothing otherwise.
fn enormous_at(rows: f32) -> Vec<u8> {
    let casts: &[(&str, i64)] = &[("to", DataType::Float as i64)];
    Graph::default()
        .input("x", DataType::Float, &[-1, 1])
        .integers("first", &[], &[0])
        .floats("rows", &[], &[rows])
        .floats("start", &[], &[0.0])
        .floats("step", &[], &[1.0])
        .floats("many", &[], &[1e12])
        .node("Shape", &["x"], "shape")
        .node_with("Gather", &["shape", "first"], "found", &[])
        .node_with("Cast", &["found"], "number", casts)
        .node("Equal", &["number", "rows"], "is_it")
        .node_with("Cast", &["is_it"], "one_or_zero", casts)
        .node("Mul", &["one_or_zero", "many"], "most")
        .node("Add", &["most", "step"], "end")
        .node("Range", &["start", "end", "step"], "numbers")
        .node("ReduceMax", &["numbers"], "largest")
        .node("Add", &["x", "largest"], "y")
        .output("y", DataType::Float, &[-1, 1])
        .bytes()
}

#[tokio::test]
async fn a_file_that_asks_for_too_much_in_its_largest_batch_is_refused() {
    let worker = Setup::new().model("enormous", &enormous_at(32.0)).start().await;
    let reason = reason(&worker, "enormous").await;
    assert!(reason.contains("worker.loading.max_memory"), "{reason}");
}

#[tokio::test]
async fn a_batch_that_would_take_too_much_runs_as_several_and_the_worker_lives() {
    let repository = tempfile::tempdir().expect("a folder can be made");
    let version = repository.path().join("model/1");
    std::fs::create_dir_all(&version).expect("a folder can be made");
    std::fs::write(version.join("model.onnx"), enormous_at(4.0)).expect("a file can be written");
    let socket = reserve();
    let address = socket.local_addr().expect("a bound socket has an address");
    drop(socket);
    let arguments = worker_process::arguments(address, repository.path());
    let worker = Process::start(&arguments.each_ref().map(String::as_str));
    worker.line("a model version is ready").await;
    let client = Client::new(address);
    let four = r#"{"model": "model", "inputs": [[1], [2], [3], [4]]}"#;
    client.post("/predict", four).await.assert_ok();
    let told = worker.line("batches of some sizes cannot be prepared").await;
    assert!(told.contains("worker.loading.max_memory"), "{told}");
    let answer = client.post("/predict", four).await.assert_ok().json();
    assert_eq!(answer["predictions"], serde_json::json!([1.0, 2.0, 3.0, 4.0]));
}

#[tokio::test]
async fn weights_outside_the_folder_are_never_read() {
    use prost::Message;
    use tract_onnx::pb::tensor_proto::DataLocation;
    use tract_onnx::pb::{ModelProto, StringStringEntryProto};

    let mut model = ModelProto::decode(graph::linear(&[1.0], 0.0).as_slice()).expect("it is a graph");
    let weight = &mut model.graph.as_mut().expect("it has a graph").initializer[0];
    weight.raw_data.clear();
    weight.float_data.clear();
    weight.data_location = Some(DataLocation::External as i32);
    weight.external_data = vec![StringStringEntryProto {
        key: "location".into(),
        value: "../../secret".into(),
    }];
    let worker = Setup::new()
        .file("secret", &[0; 4])
        .model("thief", &model.encode_to_vec())
        .start()
        .await;
    let reason = reason(&worker, "thief").await;
    assert!(reason.contains("own folder"), "{reason}");
}
