//! `millrace evaluate` and `millrace predict`: whole files through a model.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::process::{data, refused, run, said, shipped_models};

/// Trains on iris and gives the repository and what the report says.
async fn trained(folder: &Path) -> (String, Value) {
    let (repository, report) = (folder.join("models"), folder.join("report.json"));
    let text = |path: &PathBuf| path.to_str().expect("a temporary path is text").to_owned();
    let (repository_text, report_text) = (text(&repository), text(&report));
    let arguments = [
        "train",
        "logistic-regression",
        "--target",
        "species",
        "--model",
        "iris",
    ];
    let iris = data("iris.csv");
    let places = [
        "--data",
        &iris,
        "--repository",
        &repository_text,
        "--report",
        &report_text,
    ];
    said(&run(&[arguments.as_slice(), places.as_slice()].concat()).await);
    let report = std::fs::read_to_string(report).expect("the report is written");
    (
        repository_text,
        serde_json::from_str(&report).expect("the report is JSON"),
    )
}

#[tokio::test]
async fn evaluating_the_rows_held_out_gives_the_figures_of_the_training_run() {
    let folder = TempDir::new().unwrap();
    let (repository, report) = trained(folder.path()).await;
    let text = std::fs::read_to_string(data("iris.csv")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let held_out = report["test_rows"].as_array().unwrap();
    let mut rows = vec![lines[0]];
    rows.extend(
        held_out
            .iter()
            .map(|row| lines[1 + usize::try_from(row.as_u64().unwrap()).unwrap()]),
    );
    let file = folder.path().join("held_out.csv");
    std::fs::write(&file, rows.join("\n")).unwrap();

    let place = file.to_str().unwrap();
    let arguments = [
        "evaluate",
        "--model",
        "iris",
        "--data",
        place,
        "--repository",
        &repository,
    ];
    let json: Value =
        serde_json::from_str(&said(&run(&[&arguments[..], &["--json"]].concat()).await)).unwrap();
    assert_eq!(json["confusion"], report["metrics"]["confusion"]);
    let loss = |figures: &Value| figures["log_loss"].as_f64().unwrap();
    assert!((loss(&json) - loss(&report["metrics"])).abs() < 1e-6, "{json}");
    let words = said(&run(&arguments).await);
    assert!(
        words.starts_with("iris version 1 on 30 rows: accuracy"),
        "{words}"
    );
}

#[tokio::test]
async fn every_row_is_predicted_in_order() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("predictions.csv");
    let models = shipped_models();
    let (iris, place) = (data("iris.csv"), file.to_str().unwrap());
    let arguments = [
        "predict",
        "--model",
        "iris/1",
        "--data",
        &iris,
        "--repository",
        &models,
    ];
    said(&run(&[&arguments[..], &["--keep", "--output", place]].concat()).await);
    let kept = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = kept.lines().collect();
    assert_eq!(lines.len(), 151);
    assert!(
        lines[0]
            .ends_with("species,prediction,probability_setosa,probability_versicolor,probability_virginica")
    );
    assert!(
        lines[1].starts_with("5.1,3.5,1.4,0.2,setosa,setosa,0.98"),
        "{}",
        lines[1]
    );
    assert!(
        lines[150].starts_with("5.9,3,5.1,1.8,virginica,virginica,"),
        "{}",
        lines[150]
    );

    let alone = said(&run(&arguments).await);
    let prediction = |line: &&str| line.split(',').nth(5).unwrap().to_owned();
    let kept: Vec<String> = lines.iter().map(prediction).collect();
    let alone: Vec<&str> = alone
        .lines()
        .map(|line| line.split(',').next().unwrap())
        .collect();
    assert_eq!(alone, kept);
}

#[tokio::test]
async fn a_bad_row_is_named_and_no_half_file_is_left() {
    let folder = TempDir::new().unwrap();
    let models = shipped_models();
    let (input, output) = (folder.path().join("rows.csv"), folder.path().join("out.csv"));
    let header = "sepal_length,sepal_width,petal_length,petal_width";
    for (rows, expected) in [
        (
            "1,2,3,4\n1,x,3,4",
            "line 3, column sepal_width: expected a number, found \"x\"",
        ),
        (
            "1,2,3,4\n1,,3,4",
            "line 3, column sepal_width: the value is missing",
        ),
        (
            "1,2,3,4\n1,2,3,4\n1,2,3,1e39",
            "line 4: the row[3] (petal_width) is the number 1000",
        ),
    ] {
        std::fs::write(&input, format!("{header}\n{rows}\n")).unwrap();
        let (from, to) = (input.to_str().unwrap(), output.to_str().unwrap());
        let arguments = [
            "predict",
            "--model",
            "iris",
            "--data",
            from,
            "--repository",
            &models,
            "-o",
            to,
        ];
        let error = refused(&run(&arguments).await, 1);
        assert!(error.contains(expected), "{error}");
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_with_what_is() {
    let models = shipped_models();
    let iris = data("iris.csv");
    let digits = data("digits.csv");
    for (model, data, code, expected) in [
        ("nope", &iris, 2, "there is no model nope"),
        (
            "iris/9",
            &iris,
            2,
            "model iris has no version 9; the versions are 1",
        ),
        ("iris/x", &iris, 2, "not \"x\""),
        ("iris", &digits, 1, "the data has no column sepal_length"),
    ] {
        let arguments = [
            "predict",
            "--model",
            model,
            "--data",
            data,
            "--repository",
            &models,
        ];
        let error = refused(&run(&arguments).await, code);
        assert!(error.contains(expected), "{error}");
    }
    let arguments = [
        "evaluate",
        "--model",
        "iris",
        "--data",
        &iris,
        "--repository",
        &models,
        "--target",
        "sepal_width",
    ];
    let error = refused(&run(&arguments).await, 1);
    assert!(
        error.contains("line 2: column sepal_width is \"3.5\", and the model knows the classes setosa"),
        "{error}"
    );
}
