//! `millrace evaluate` for every kind of model: labels alone, several outputs, several targets.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::graph::{FLOAT, Graph, INT64, label_and_probabilities};
use crate::support::process::{data, refused, run, said};

/// Rows of two numbers; what is true of them, and in `kind` something that no output says.
const ROWS: &str = "\
a,b,total,larger,kind
1,2,3,1,up
5,4,9,0,down
0,1,2,1,up
7,8,15,0,down
";

/// A repository with a model `m` of this graph, and a file with these rows.
fn setup(graph: &[u8], toml: &str, rows: &str) -> TempDir {
    let folder = TempDir::new().expect("a folder can be made");
    let version = folder.path().join("models/m/1");
    std::fs::create_dir_all(&version).expect("a folder can be made");
    std::fs::write(version.join("model.onnx"), graph).expect("a file can be written");
    std::fs::write(version.join("model.toml"), toml).expect("a file can be written");
    std::fs::write(folder.path().join("rows.csv"), rows).expect("a file can be written");
    folder
}

/// Four outputs: a number, a label, two numbers, and the probabilities of two classes.
fn several_outputs() -> TempDir {
    let graph = Graph::default()
        .input("x", FLOAT, &[-1, 2])
        .integers("axes", &[1], &[1])
        .node("ReduceSum", &["x", "axes"], "total")
        .node_with("ArgMax", &["x"], "larger", &[("axis", 1), ("keepdims", 0)])
        .node("Identity", &["x"], "both")
        .node_with("Softmax", &["x"], "shares", &[("axis", -1)])
        .output("total", FLOAT, &[-1, 1])
        .output("larger", INT64, &[-1])
        .output("both", FLOAT, &[-1, 2])
        .output("shares", FLOAT, &[-1, 2]);
    setup(&graph.bytes(), "features = [\"a\", \"b\"]", ROWS)
}

fn arguments<'a>(repository: &'a str, rows: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let start = [
        "evaluate",
        "--model",
        "m",
        "--repository",
        repository,
        "--data",
        rows,
    ];
    [&start, more].concat()
}

fn paths(folder: &Path) -> (String, String) {
    let path = |name: &str| folder.join(name).to_str().expect("the path is text").to_owned();
    (path("models"), path("rows.csv"))
}

async fn figures(folder: &TempDir, more: &[&str]) -> Value {
    let (repository, rows) = paths(folder.path());
    let more = [more, &["--json"]].concat();
    let told = said(&run(&arguments(&repository, &rows, &more)).await);
    serde_json::from_str(&told).expect("--json gives JSON")
}

async fn words(folder: &TempDir, more: &[&str]) -> String {
    let (repository, rows) = paths(folder.path());
    said(&run(&arguments(&repository, &rows, more)).await)
}

async fn refusal(folder: &TempDir, more: &[&str], code: i32) -> String {
    let (repository, rows) = paths(folder.path());
    refused(&run(&arguments(&repository, &rows, more)).await, code)
}

#[tokio::test]
async fn a_model_that_only_decides_has_the_figures_that_need_no_probabilities() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (repository, report, iris) = (path("models"), path("report.json"), data("iris.csv"));
    let train = [
        "train",
        "svm",
        "--no-probabilities",
        "--target",
        "species",
        "--model",
        "m",
        "--data",
        &iris,
        "--repository",
        &repository,
        "--report",
        &report,
    ];
    said(&run(&train).await);
    let report: Value = serde_json::from_str(&std::fs::read_to_string(report).unwrap()).unwrap();
    let text = std::fs::read_to_string(&iris).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let held_out = report["test_rows"].as_array().unwrap().iter();
    let held_out = held_out.map(|row| lines[1 + usize::try_from(row.as_u64().unwrap()).unwrap()]);
    let rows: Vec<&str> = [lines[0]].into_iter().chain(held_out).collect();
    std::fs::write(path("rows.csv"), rows.join("\n")).unwrap();

    let json = figures(&folder, &[]).await;
    assert_eq!(json["confusion"], report["metrics"]["confusion"]);
    assert_eq!(json["classes"][2], "virginica");
    assert_eq!(json["by_class"][0]["class"], "setosa");
    assert_eq!(json["by_class"][0]["recall"], 1.0);
    assert!(json.get("log_loss").is_none() && json.get("roc_auc").is_none());
    let words = words(&folder, &[]).await;
    assert!(words.contains("class"), "{words}");
    assert!(
        words.contains("log-loss and ROC AUC need probabilities, and this output holds labels only"),
        "{words}"
    );
}

#[tokio::test]
async fn of_several_outputs_one_is_chosen() {
    let folder = several_outputs();
    let told = refusal(&folder, &["--target", "total"], 2).await;
    assert!(
        told.contains("several outputs: total (FP32 [-1, 1]), larger (INT64 [-1]), both (FP32 [-1, 2]), "),
        "{told}"
    );
    assert!(told.contains("say with --output"), "{told}");
    let told = refusal(&folder, &["--output", "nothing", "--target", "total"], 2).await;
    assert!(
        told.contains("has no output nothing; its outputs are total"),
        "{told}"
    );
    let told = refusal(&folder, &["--output", "total"], 2).await;
    assert!(told.contains("give --target"), "{told}");
}

#[tokio::test]
async fn an_output_is_judged_by_what_it_and_the_target_hold() {
    let folder = several_outputs();
    // Only the third row's total is off, by 1.
    let json = figures(&folder, &["--output", "total", "--target", "total"]).await;
    assert_eq!(json["mae"], 0.25);
    assert_eq!(json["rows"], 4);

    // Labels: only the last row is not what it says.
    let json = figures(&folder, &["--output", "larger", "--target", "larger"]).await;
    assert_eq!(json["accuracy"], 0.75);
    assert_eq!(json["confusion"], serde_json::json!([[1, 1], [0, 2]]));
    assert!(json["note"].as_str().unwrap().contains("labels only"));

    // Probabilities of the same classes: of four pairs two are in order, and two have the same probability.
    let json = figures(&folder, &["--output", "shares", "--target", "larger"]).await;
    assert_eq!(json["accuracy"], 0.75);
    assert!(json["log_loss"].as_f64().unwrap() > 0.0);
    assert_eq!(json["roc_auc"], 0.75);

    // Numbers for each class that are no probabilities.
    let json = figures(&folder, &["--output", "both", "--target", "larger"]).await;
    assert_eq!(json["accuracy"], 0.75);
    assert!(json.get("log_loss").is_none());
    assert!(json["note"].as_str().unwrap().contains("1.0000, 2.0000"));
}

#[tokio::test]
async fn several_numbers_a_row_have_a_target_each() {
    let folder = several_outputs();
    let more = ["--output", "both", "--target", "a", "--target", "total"];
    let json = figures(&folder, &more).await;
    let targets = json["targets"].as_array().unwrap();
    assert_eq!(targets.len(), 2);
    assert_eq!(
        (&targets[0]["target"], &targets[0]["r2"]),
        (&"a".into(), &1.0.into())
    );
    assert_eq!(targets[1]["target"], "total");
    assert_eq!(targets[1]["mae"], (1.0 + 5.0 + 1.0 + 7.0) / 4.0);
    let words = words(&folder, &more).await;
    assert!(
        words.contains("\na: R² 1.0000") && words.contains("\ntotal: R²"),
        "{words}"
    );
}

#[tokio::test]
async fn what_does_not_fit_is_told() {
    let folder = several_outputs();
    for (output, targets, expected) in [
        (
            "total",
            &["kind"][..],
            "line 2, column kind: expected a number, found \"up\"",
        ),
        ("larger", &["kind"], "expected a number, found \"up\""),
        (
            "both",
            &["total"],
            "it holds 2 numbers a row, and column total holds no classes from 0 to 1; name 2 columns with --target",
        ),
        (
            "both",
            &["a", "b", "total"],
            "it holds 2 numbers a row, and 3 targets are named; name one for each",
        ),
        (
            "larger",
            &["larger", "total"],
            "it holds one label a row, and 2 targets are named; expected one",
        ),
        ("total", &["nope"], "there is no column nope to predict"),
    ] {
        let targets = targets.iter().flat_map(|target| ["--target", target]);
        let more: Vec<&str> = ["--output", output].into_iter().chain(targets).collect();
        let told = refusal(&folder, &more, 1).await;
        assert!(told.contains(expected), "{told}");
    }
}

#[tokio::test]
async fn labels_beside_probabilities_are_the_prediction() {
    let rows = "a,b,c,truth\n3,1,0,0\n0,2,1,2\n1,0,4,2.0\n";
    let toml = "features = [\"a\", \"b\", \"c\"]\n";
    let folder = setup(&label_and_probabilities(), toml, rows);
    let json = figures(&folder, &["--target", "truth"]).await;
    assert_eq!(json["accuracy"], 2.0 / 3.0);
    assert!(json["log_loss"].is_number(), "{json}");
    let json = figures(&folder, &["--target", "truth", "--output", "label"]).await;
    assert_eq!(json["accuracy"], 2.0 / 3.0);
    assert!(json.get("log_loss").is_none(), "{json}");
}
