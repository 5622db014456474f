//! Texts in requests, for graphs that take tokens: what stands in tokenizer.json and in `[text]` of model.toml makes the
//! tokens, and whoever else asks, an answer is that of the text alone.

use std::fs;
use std::os::unix::fs::symlink;

use base64::Engine;
use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::support::graph;
use crate::support::wait::until_some;
use crate::support::worker::{Setup, TestWorker};

/// An attention net with a mask, places for 32 tokens and forty words.
const NET: &[u8] = include_bytes!("../nets/dynamo_bert.onnx");
const TOKENIZER: &[u8] = include_bytes!("../nets/tokenizer.json");
const SECTION: &str = "[text]\nmax_length = 32\ntruncate = true\n";

fn encoder(setup: Setup, section: &str) -> Setup {
    setup
        // Each length has a plan for each size of a batch.
        .set("worker.batching.max_batch_size", 4)
        .model("encoder", NET)
        .file("encoder/1/tokenizer.json", TOKENIZER)
        .file("encoder/1/model.toml", section.as_bytes())
}

/// A graph that says of each token which it is.
fn tagger(setup: Setup) -> Setup {
    setup
        .model("tagger", &graph::tokens())
        .file("tagger/1/tokenizer.json", TOKENIZER)
        .file("tagger/1/model.toml", b"[text]\npadding = \"bucket\"\n")
}

impl TestWorker {
    async fn predictions(&self, model: &str, inputs: Value) -> Value {
        let body = json!({"inputs": inputs}).to_string();
        let answer = self.client.post(&format!("/models/{model}/predict"), body).await;
        answer.assert_ok().json()["predictions"].clone()
    }

    async fn refusal(&self, model: &str, inputs: Value) -> String {
        let body = json!({"inputs": inputs}).to_string();
        let answer = self.client.post(&format!("/models/{model}/predict"), body).await;
        answer.assert_error(400, "invalid_input").message()
    }

    async fn reason(&self, model: &str) -> String {
        let detail = self
            .client
            .get(&format!("/models/{model}"))
            .await
            .assert_ok()
            .json();
        assert_eq!(detail["versions"][0]["state"], "failed", "{detail}");
        detail["versions"][0]["reason"]
            .as_str()
            .expect("it has a reason")
            .to_owned()
    }
}

fn is_near(left: &Value, right: &Value) -> bool {
    let numbers = |value: &Value| -> Vec<f64> {
        let list = value.as_array().expect("a row is a list");
        list.iter().filter_map(Value::as_f64).collect()
    };
    let (left, right) = (numbers(left), numbers(right));
    left.len() == right.len() && left.iter().zip(&right).all(|(a, b)| (a - b).abs() <= 1e-5)
}

#[tokio::test]
async fn a_text_is_as_good_as_its_tokens() {
    let worker = encoder(Setup::new(), SECTION).start().await;
    let texts = worker
        .predictions("encoder", json!(["The mill turns!", ["water"], ""]))
        .await;
    let ids = json!([{"input_ids": [2, 4, 5, 11, 20, 28, 3], "attention_mask": [1, 1, 1, 1, 1, 1, 1]}]);
    let tokens = worker.predictions("encoder", ids).await;
    assert!(is_near(&texts[0], &tokens[0]), "{} {}", texts[0], tokens[0]);
    let lists = worker
        .predictions("encoder", json!([[[2, 3], [1, 1]], [[2, 3], [1, 1]]]))
        .await;
    assert!(is_near(&texts[2], &lists[1]));
    let pair = worker
        .predictions("encoder", json!([["the mill", "water"]]))
        .await;
    let tokens = worker
        .predictions("encoder", json!([[[2, 4, 5, 3, 6, 3], [1, 1, 1, 1, 1, 1]]]))
        .await;
    assert!(is_near(&pair[0], &tokens[0]));
    let detail = worker.client.get("/models/encoder").await.json();
    assert_eq!(
        detail["text"],
        json!({"max_length": 32, "truncate": true, "padding": "bucket"})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_that_of_the_text_alone_whoever_asks_beside() {
    let worker = encoder(Setup::new(), SECTION).start().await;
    let words = [
        "the", "mill", "water", "wheels", "turning", "river", "水", ".", "", "unknown",
    ];
    let mut chance = StdRng::seed_from_u64(5);
    let mut text = || -> String {
        let count = chance.random_range(0..40);
        let chosen: Vec<&str> = (0..count)
            .map(|_| words[chance.random_range(0..words.len())])
            .collect();
        chosen.join(" ")
    };
    let requests: Vec<Vec<String>> = (0..40)
        .map(|request| (0..1 + request % 4).map(|_| text()).collect())
        .collect();
    let together = join_all(
        requests
            .iter()
            .map(|texts| worker.predictions("encoder", json!(texts))),
    );
    let together = together.await;
    for (texts, answers) in requests.iter().zip(&together) {
        for (row, text) in texts.iter().enumerate() {
            let alone = worker.predictions("encoder", json!([text])).await;
            assert!(is_near(&answers[row], &alone[0]), "{text:?} in {texts:?}");
        }
    }
}

#[tokio::test]
async fn what_is_no_text_or_too_long_is_told_with_its_place() {
    let worker = encoder(Setup::new(), "[text]\nmax_length = 8\n").start().await;
    let long = "the mill and the water wheel of the river";
    let told = worker.refusal("encoder", json!(["mill", long])).await;
    assert_eq!(
        told,
        "inputs[1] has 11 tokens; 8 are taken at most; this is what model encoder takes of texts"
    );
    for (row, described) in [
        (json!(7), "the number 7"),
        (json!(["a", "b", "c"]), "a list of 3 values"),
        (json!({"input_ids": [2]}), "an object"),
    ] {
        let told = worker.refusal("encoder", json!(["mill", row])).await;
        let expected = format!("inputs[1] is {described}; model encoder takes a text there");
        assert!(told.starts_with(&expected), "{told}");
    }
    assert!(worker.refusal("encoder", json!([])).await.contains("no rows"));
    let many = worker.refusal("encoder", json!(vec!["a"; 10_001])).await;
    assert!(many.contains("10001 rows"), "{many}");
    let cut = encoder(Setup::new(), "[text]\nmax_length = 8\ntruncate = true\n")
        .start()
        .await;
    let whole = cut.predictions("encoder", json!([long])).await;
    let beginning = cut
        .predictions("encoder", json!(["the mill and the water wheel"]))
        .await;
    assert!(is_near(&whole[0], &beginning[0]));
}

#[tokio::test]
async fn an_answer_for_each_token_is_as_long_as_its_text() {
    let worker = tagger(Setup::new()).start().await;
    let found = worker
        .predictions("tagger", json!(["mill", "the mill turns"]))
        .await;
    let expected = json!([
        [[2., 3.], [5., 6.], [3., 4.]],
        [[2., 3.], [4., 5.], [5., 6.], [11., 12.], [20., 21.], [3., 4.]]
    ]);
    assert_eq!(found, expected);
    let input =
        json!({"name": "text", "shape": [2], "datatype": "BYTES", "data": ["mill", "the mill turns"]});
    let body = json!({"inputs": [input]}).to_string();
    let answer = worker.client.post("/v2/models/tagger/infer", body).await;
    assert_eq!(answer.assert_ok().json()["outputs"][0]["shape"], json!([2, 6, 2]));
}

#[tokio::test]
async fn v2_takes_texts_under_one_name_and_tensors_under_theirs() {
    let worker = encoder(Setup::new(), SECTION).start().await;
    let infer = async |inputs: Value| {
        let body = json!({"inputs": inputs}).to_string();
        worker.client.post("/v2/models/encoder/infer", body).await
    };
    let text = |shape: Value, data: Value| json!([{"name": "text", "shape": shape, "datatype": "BYTES", "data": data}]);
    let native = worker.predictions("encoder", json!(["mill", "water"])).await;
    for shape in [json!([2]), json!([2, 1])] {
        let answer = infer(text(shape, json!(["mill", "water"])))
            .await
            .assert_ok()
            .json();
        let data: Vec<f64> = answer["outputs"][0]["data"]
            .as_array()
            .expect("it has data")
            .iter()
            .filter_map(Value::as_f64)
            .collect();
        assert!(is_near(&json!(&data[16..]), &native[1]));
    }
    infer(text(json!([1, 2]), json!(["mill", "water"])))
        .await
        .assert_ok();
    let tensor = |name: &str| json!({"name": name, "shape": [1, 3], "datatype": "INT64", "data": [2, 1, 1]});
    infer(json!([tensor("attention_mask"), tensor("input_ids")]))
        .await
        .assert_ok();
    for (inputs, told) in [
        (
            text(json!([1, 3]), json!(["a", "b", "c"])),
            "expected [-1], or [-1, 2]",
        ),
        (text(json!([0]), json!([])), "got [0]"),
        (
            json!([{"name": "text", "shape": [1], "datatype": "INT64", "data": [1]}]),
            "'INT64', model expects 'BYTES'",
        ),
        (
            json!([tensor("text"), tensor("input_ids")]),
            "unexpected inference input 'text'",
        ),
    ] {
        let answer = infer(inputs).await;
        answer.assert_v2_error(400, "invalid_input");
        assert!(answer.text().contains(told), "{}", answer.text());
    }
    let metadata = worker.client.get("/v2/models/encoder").await.assert_ok().json();
    let names: Vec<&str> = metadata["inputs"]
        .as_array()
        .expect("it has inputs")
        .iter()
        .filter_map(|input| input["name"].as_str())
        .collect();
    assert_eq!(names, ["input_ids", "attention_mask"], "the graph's own");
}

#[tokio::test]
async fn what_does_not_fit_the_graph_is_told_of_the_version() {
    let worker = encoder(Setup::new(), "[text]\nmask = \"is_real\"\n")
        .model("floats", &graph::identity(2))
        .file("floats/1/tokenizer.json", TOKENIZER)
        .model("alone", NET)
        .file("alone/1/model.toml", SECTION.as_bytes())
        .start()
        .await;
    let named = worker.reason("encoder").await;
    assert!(named.contains("none of its inputs is is_real"), "{named}");
    let floats = worker.reason("floats").await;
    assert!(floats.contains("input x is FP32"), "{floats}");
    let alone = worker.reason("alone").await;
    assert!(alone.contains("no tokenizer.json"), "{alone}");
}

#[tokio::test]
async fn tokenizers_that_nobody_should_read_are_refused_and_others_serve() {
    let mut hungry: Value = serde_json::from_slice(TOKENIZER).expect("it is JSON");
    let double = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aaaaaaaaaaaaaaaa"});
    hungry["normalizer"] = json!({"type": "Sequence", "normalizers": vec![double; 12]});
    let elsewhere = tempfile::NamedTempFile::new().expect("a file can be made");
    fs::write(elsewhere.path(), TOKENIZER).expect("a file can be written");
    let setup = encoder(Setup::new(), SECTION)
        .set("worker.loading.max_memory", "1GiB")
        .model("broken", NET)
        .file("broken/1/tokenizer.json", &TOKENIZER[..500])
        .model("hungry", NET)
        .file("hungry/1/tokenizer.json", hungry.to_string().as_bytes())
        .model("huge", NET)
        .file("huge/1/tokenizer.json", b"")
        .model("link", NET);
    let huge = fs::File::options()
        .write(true)
        .open(setup.repository().join("huge/1/tokenizer.json"))
        .expect("it is there");
    huge.set_len(1 << 32).expect("it can grow");
    symlink(elsewhere.path(), setup.repository().join("link/1/tokenizer.json")).expect("a link can be made");
    let worker = setup.start().await;
    worker.predictions("encoder", json!(["mill"])).await;
    for (model, told) in [
        ("broken", "tokenizer.json is not valid"),
        ("hungry", "worker.loading.max_memory"),
        ("huge", "tokenizer.json has more than"),
        ("link", "tokenizer.json is a link that leads out"),
    ] {
        let reason = worker.reason(model).await;
        assert!(reason.contains(told), "{model}: {reason}");
    }
}

#[tokio::test]
async fn a_new_tokenizer_is_taken_while_requests_run() {
    let setup = tagger(Setup::new())
        .set("worker.repository.settle", "60ms")
        .set("worker.repository.poll_interval", "10s");
    let worker = setup.start().await;
    let mut other: Value = serde_json::from_slice(TOKENIZER).expect("it is JSON");
    other["post_processor"] = Value::Null;
    let path = worker.repository().join("tagger/1/tokenizer.json");
    fs::write(path, other.to_string()).expect("a file can be written");
    until_some("the new tokenizer adds no marks", async || {
        let found = worker.predictions("tagger", json!(["mill"])).await;
        (found == json!([[[5., 6.]]])).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_tokenizer_comes_with_an_upload() {
    let worker = Setup::new()
        .model("copy", &graph::identity(1))
        .set("worker.repository.allow_uploads", true)
        .start()
        .await;
    let encoded = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let parameters = json!({
        "config": "{}",
        "file:1/model.onnx": encoded(&graph::tokens()),
        "file:1/tokenizer.json": encoded(TOKENIZER),
        "file:1/model.toml": encoded(b"[text]\npadding = \"bucket\"\n"),
    });
    let body = json!({"parameters": parameters}).to_string();
    let answer = worker
        .client
        .post("/v2/repository/models/tagger/load", body)
        .await;
    answer.assert_ok();
    let found = worker.predictions("tagger", json!(["mill"])).await;
    assert_eq!(found, json!([[[2., 3.], [5., 6.], [3., 4.]]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_of_four_megabytes_holds_nobody_up() {
    let worker = encoder(Setup::new(), SECTION).start().await;
    for text in ["the mill ", " ", "a", "水"] {
        let text = text.repeat((4 << 20) / text.len() - 20);
        let other = worker.predictions("encoder", json!(["mill"]));
        let (long, _) = tokio::join!(worker.predictions("encoder", json!([text])), other);
        assert_eq!(long[0].as_array().map(Vec::len), Some(16));
    }
}
