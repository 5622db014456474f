//! Inputs that people have: images, and records with missing values.

use std::io::Cursor;
use std::path::Path;
use std::process::Command;

use base64::prelude::{BASE64_STANDARD, Engine};
use futures_util::future::join_all;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use serde_json::{Value, json};

use crate::support::graph::{FLOAT, Graph};
use crate::support::worker::{Setup, TestWorker};

/// The values of grey images of 2 x 2 pixels, as they are.
fn small_grey() -> Vec<u8> {
    Graph::default()
        .input("x", FLOAT, &[-1, 1, 2, 2])
        .node("Flatten", &["x"], "y")
        .output("y", FLOAT, &[-1, 4])
        .bytes()
}

/// The mean colour of images of any size.
fn mean_colour() -> Vec<u8> {
    Graph::default()
        .input("x", FLOAT, &[-1, 3, -1, -1])
        .node("GlobalAveragePool", &["x"], "means")
        .node("Flatten", &["means"], "y")
        .output("y", FLOAT, &[-1, 3])
        .bytes()
}

async fn images() -> TestWorker {
    images_with(Setup::new()).await
}

async fn images_with(setup: Setup) -> TestWorker {
    setup
        .model("grey", &small_grey())
        .file(
            "grey/1/model.toml",
            b"[image]\nwidth = 2\nheight = 2\nchannels = 1\nmean = [0.5]\nstd = [0.5]",
        )
        .model("colour", &mean_colour())
        .file("colour/1/model.toml", b"[image]\nchannels = 3\nscale = 1")
        .start()
        .await
}

fn file(image: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    DynamicImage::from(image.clone())
        .write_to(&mut file, format)
        .expect("an image can be written");
    file.into_inner()
}

fn png(width: u32, height: u32, colour: [u8; 3]) -> String {
    let image = RgbImage::from_pixel(width, height, Rgb(colour));
    BASE64_STANDARD.encode(file(&image, ImageFormat::Png))
}

fn jpeg(width: u32, height: u32, colour: [u8; 3]) -> String {
    let image = RgbImage::from_pixel(width, height, Rgb(colour));
    BASE64_STANDARD.encode(file(&image, ImageFormat::Jpeg))
}

fn of(inputs: &Value) -> String {
    json!({ "inputs": inputs }).to_string()
}

#[tokio::test]
async fn images_are_decoded_resized_and_normalised() {
    let worker = images().await;
    let white = png(5, 7, [255; 3]);
    let inputs = json!([
        white,
        format!("data:image/jpeg;base64,{}", jpeg(16, 16, [0; 3])),
        {"b64": white},
        [[[0.25, 0.5], [-1, 7]]],
        [[0.25, 0.5], [-1, 7]],
    ]);
    let answer = worker.client.post("/models/grey/predict", of(&inputs)).await;
    let expected = json!([
        [1.0, 1.0, 1.0, 1.0],
        [-1.0, -1.0, -1.0, -1.0],
        [1.0, 1.0, 1.0, 1.0],
        [0.25, 0.5, -1.0, 7.0],
        [0.25, 0.5, -1.0, 7.0],
    ]);
    assert_eq!(answer.assert_ok().json()["predictions"], expected);

    let detail = worker.client.get("/models/grey").await.assert_ok().json();
    let declared =
        json!({"width": 2, "height": 2, "channels": 1, "scale": 1.0 / 255.0, "mean": [0.5], "std": [0.5]});
    assert_eq!(detail["image"]["width"], declared["width"]);
    assert_eq!(detail["image"]["mean"], declared["mean"]);
    assert_eq!(detail["inputs"][0]["shape"], json!([-1, 1, 2, 2]));
}

#[tokio::test]
async fn images_of_every_size_are_answered_and_batched_by_shape() {
    let setup = Setup::new().set("worker.batching.max_delay", "100ms");
    let worker = images_with(setup).await;
    let sizes = [(3, 2), (2, 3), (20, 10)];
    let requests = (0..24_u8).map(|request| {
        let worker = &worker;
        async move {
            let (width, height) = sizes[usize::from(request) % sizes.len()];
            let colour = [request, 100 + request, 200 + request];
            let grey = [request; 3];
            let inputs = json!([png(width, height, colour), png(width, height, grey)]);
            let answer = worker.client.post("/models/colour/predict", of(&inputs)).await;
            let expected = json!([colour.map(f64::from), grey.map(f64::from)]);
            assert_eq!(answer.assert_ok().json()["predictions"], expected);
        }
    });
    join_all(requests).await;
    let batches = r#"millrace_worker_batch_rows_count{model="colour",version="1"}"#;
    let batches = worker.metric(batches).await;
    // Each size by itself, and far fewer than there were requests.
    assert!((3.0..20.0).contains(&batches), "{batches}");

    let mixed = of(&json!([png(3, 2, [0; 3]), png(2, 3, [0; 3])]));
    let refused = worker.client.post("/models/colour/predict", mixed).await;
    let message = refused.assert_error(400, "invalid_input").message();
    assert!(
        message.starts_with("inputs[1] is an image of 2 x 3 pixels"),
        "{message}"
    );
}

#[tokio::test]
async fn what_is_no_image_is_refused_with_its_row() {
    let worker = images().await;
    let good = png(4, 4, [1, 2, 3]);
    let mut bomb = file(&RgbImage::new(1, 1), ImageFormat::Png);
    bomb[16..24].copy_from_slice(&[0, 0, 0xc3, 0x50, 0, 0, 0xc3, 0x50]);
    bomb.resize(100_000, 0);
    let whole = file(&RgbImage::new(64, 64), ImageFormat::Jpeg);
    let encode = |bytes: &[u8]| json!(BASE64_STANDARD.encode(bytes));
    for (row, told) in [
        (
            encode(&bomb),
            "inputs[1] is an image of 50000 x 50000 pixels; the images of one request may have 16777216 together, and \
             those before it have 16 (max_image_pixels)",
        ),
        (
            encode(&whole[..whole.len() - 9]),
            "inputs[1] is a JPEG image that is cut off",
        ),
        (
            encode(b"GIF89a......"),
            "inputs[1] is a GIF image; expected a PNG or JPEG image",
        ),
        (encode(b"RIFF....WEBPVP8 "), "inputs[1] is a WebP image"),
        (encode(b"<svg xmlns=\"\"/>"), "inputs[1] is an SVG image"),
        (json!("not base64!"), "inputs[1] is not base64"),
        (json!(null), "inputs[1] is null; an image is the base64"),
        (
            json!([[1, 2, 3], [4, 5, 6]]),
            "inputs[1][0] has 3 values; model grey takes 2",
        ),
    ] {
        let answer = worker
            .client
            .post("/models/grey/predict", of(&json!([good, row])))
            .await;
        let message = answer.assert_error(400, "invalid_input").message();
        assert!(message.starts_with(told), "{message}");
    }
    // A declaration that contradicts its graph is told where the model is shown.
    let wrong = Setup::new()
        .model("grey", &small_grey())
        .file(
            "grey/1/model.toml",
            b"[image]\nwidth = 3\nheight = 2\nchannels = 1",
        )
        .start()
        .await;
    let detail = wrong.client.get("/models/grey").await.assert_ok().json();
    let reason = detail["versions"][0]["reason"].as_str().unwrap();
    assert!(
        reason.ends_with("width: 3 by [image], 2 by the graph"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_model_can_have_a_limit_of_its_own() {
    let setup = Setup::new()
        .set("worker.max_image_pixels", 100)
        .set("worker.model.colour.max_image_pixels", 50);
    let worker = images_with(setup).await;
    let image = of(&json!([png(9, 9, [7; 3])]));
    worker
        .client
        .post("/models/grey/predict", image.clone())
        .await
        .assert_ok();
    let refused = worker.client.post("/models/colour/predict", image).await;
    let message = refused.assert_error(400, "invalid_input").message();
    assert!(
        message.contains("9 x 9 pixels; the images of one request may have 50"),
        "{message}"
    );
}

/// Everything here runs on one thread, as a worker's network does: it answers others while a large image is read.
#[tokio::test]
async fn a_large_image_holds_up_nobody() {
    let worker = images().await;
    let large = of(&json!([png(4000, 4000, [10, 20, 30])]));
    let client = worker.client.clone();
    let slow = tokio::spawn(async move { client.post("/models/grey/predict", large).await });
    let mut meanwhile = 0;
    while !slow.is_finished() {
        worker.client.get("/livez").await.assert_ok();
        meanwhile += 1;
    }
    slow.await.unwrap().assert_ok();
    assert!(meanwhile > 5, "{meanwhile} answers while the image was read");
}

/// Two islands, some bills unknown, some islands too.
const PENGUINS: &str = "\
island,bill,species
Dream,39.1,Adelie
,40.2,Adelie
Dream,,Adelie
Torgersen,38.0,Adelie
Dream,37.2,Adelie
Biscoe,47.5,Gentoo
Biscoe,,Gentoo
Biscoe,49.1,Gentoo
,46.0,Gentoo
Biscoe,50.3,Gentoo
";

/// Trains a classifier of penguins with gaps into a repository.
fn train(folder: &Path, repository: &Path, unknown: &str, missing: &str, data: &str) {
    let file = folder.join("penguins.csv");
    std::fs::write(&file, data).expect("a file can be written");
    let output = Command::new(env!("CARGO_BIN_EXE_millrace"))
        .args([
            "train",
            "logistic-regression",
            "--target",
            "species",
            "--categorical",
            "island",
        ])
        .args(["--l2", "0.1", "--missing", missing, "--unknown-category", unknown])
        .args(["--model", unknown, "--data"])
        .arg(file)
        .arg("--repository")
        .arg(repository)
        .output()
        .expect("the program can be started");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn records_with_gaps_are_asked_as_they_were_learnt() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup::new();
    for unknown in ["refuse", "zero"] {
        train(folder.path(), setup.repository(), unknown, "median", PENGUINS);
    }
    let worker = setup.start().await;
    let detail = worker.client.get("/models/zero").await.assert_ok().json();
    assert_eq!(detail["missing_values"], true);
    assert_eq!(detail["features"], json!(["island", "bill"]));

    let rows = json!([
        {"island": "Dream", "bill": 38.5},
        {"bill": 49.0, "island": "Biscoe"},
        {"island": "Biscoe", "bill": null},
        {"island": "Dream"},
        {"bill": 50.0},
        [null, 37.5],
        ["Biscoe", null],
    ]);
    for model in ["refuse", "zero"] {
        let path = format!("/models/{model}/predict");
        let answer = worker.client.post(&path, of(&rows)).await.assert_ok().json();
        let expected = [
            "Adelie", "Gentoo", "Gentoo", "Adelie", "Gentoo", "Adelie", "Gentoo",
        ];
        assert_eq!(answer["predictions"], json!(expected), "{model}: {answer}");
    }
    // A gap is what the graph makes of it: the median.
    let bills = |bill: Value| of(&json!([{"island": "Dream", "bill": bill}]));
    let probabilities = async |body| {
        let answer = worker.client.post("/models/zero/predict", body).await;
        answer.assert_ok().json()["probabilities"].clone()
    };
    let gap = probabilities(bills(Value::Null)).await;
    assert_ne!(gap, probabilities(bills(json!(30.0))).await);

    let unknown = of(&json!([{"island": "Atlantis", "bill": 50.0}]));
    worker
        .client
        .post("/models/zero/predict", unknown.clone())
        .await
        .assert_ok();
    let refused = worker.client.post("/models/refuse/predict", unknown).await;
    let message = refused.assert_error(400, "invalid_input").message();
    assert!(message.contains("Atlantis"), "{message}");

    let misspelt = worker
        .client
        .post("/models/zero/predict", of(&json!([{"ilsand": "Dream"}])))
        .await;
    let message = misspelt.assert_error(400, "invalid_input").message();
    assert!(message.contains("did you mean island?"), "{message}");
}

#[tokio::test]
async fn without_gaps_in_training_a_null_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup::new();
    let whole: String = PENGUINS
        .lines()
        .filter(|line| !line.contains(",,") && !line.starts_with(','))
        .map(|line| format!("{line}\n"))
        .collect();
    train(folder.path(), setup.repository(), "zero", "refuse", &whole);
    let worker = setup.start().await;
    let path = "/models/zero/predict";
    let null = worker
        .client
        .post(path, of(&json!([{"island": "Dream", "bill": null}])))
        .await;
    let message = null.assert_error(400, "invalid_input").message();
    assert!(
        message.starts_with("inputs[0].bill is null; expected a number"),
        "{message}"
    );
    assert!(
        message.ends_with("none may be missing (missing_values in model.toml)"),
        "{message}"
    );
    let absent = worker.client.post(path, of(&json!([{"island": "Dream"}]))).await;
    let message = absent.assert_error(400, "invalid_input").message();
    assert!(message.starts_with("inputs[0] lacks bill"), "{message}");
    let detail = worker.client.get("/models/zero").await.assert_ok().json();
    assert_eq!(detail.get("missing_values"), None);
}
