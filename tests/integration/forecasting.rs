//! `millrace predict` and `evaluate` for models of series, which take the series itself.

use serde_json::Value;
use tempfile::TempDir;

use crate::support::process::{data, refused, run, said, shipped_models};

const WINDOW: usize = 48;
const HORIZON: usize = 24;

/// A command on the model of sunspots.
async fn sunspots(command: &str, file: &str, more: &[&str]) -> std::process::Output {
    let repository = shipped_models();
    let start = [
        command,
        "--model",
        "sunspots",
        "--repository",
        &repository,
        "--data",
        file,
    ];
    run(&[&start, more].concat()).await
}

fn series() -> Vec<f64> {
    let text = std::fs::read_to_string(data("sunspots.csv")).expect("the file is there");
    let values = text
        .lines()
        .skip(1)
        .map(|line| line.split(',').nth(1).expect("there are two columns"));
    values
        .map(|value| value.parse().expect("the series is of numbers"))
        .collect()
}

fn numbers(line: &str) -> Vec<f64> {
    line.split(',')
        .map(|value| value.parse().expect("forecasts are numbers"))
        .collect()
}

/// A file with a series in the column `sunspots`.
fn file_of(folder: &TempDir, values: &[String]) -> String {
    let path = folder.path().join("series.csv");
    std::fs::write(&path, format!("year,sunspots\n{}\n", values.join("\n"))).expect("a file can be written");
    path.to_str().expect("the path is text").to_owned()
}

#[tokio::test]
async fn what_comes_after_the_end_of_a_series_is_a_line_for_each_step() {
    let told = said(&sunspots("predict", &data("sunspots.csv"), &[]).await);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0], "step,forecast");
    assert_eq!(lines.len(), 1 + HORIZON);
    let forecast: Vec<f64> = lines[1..].iter().map(|line| numbers(line)[1]).collect();
    assert_eq!(numbers(lines[HORIZON])[0], 24.0);

    // The same window with a column for each of its values.
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("window.csv");
    let names: Vec<String> = (1..=WINDOW).rev().map(|lag| format!("lag_{lag}")).collect();
    let all = series();
    let last: Vec<String> = all[all.len() - WINDOW..].iter().map(f64::to_string).collect();
    std::fs::write(&path, format!("{}\n{}\n", names.join(","), last.join(","))).unwrap();
    let told = said(&sunspots("predict", path.to_str().unwrap(), &[]).await);
    let lines: Vec<&str> = told.lines().collect();
    assert!(
        lines[0].starts_with("prediction_1,") && lines.len() == 2,
        "{told}"
    );
    assert_eq!(numbers(lines[1]), forecast);
}

#[tokio::test]
async fn a_rolling_forecast_stands_beside_each_row_that_has_a_window() {
    let output = sunspots("predict", &data("sunspots.csv"), &["--rolling", "--keep"]).await;
    let told = said(&output);
    let lines: Vec<&str> = told.lines().collect();
    let series = series();
    assert_eq!(lines.len(), 1 + series.len());
    assert!(
        lines[0].starts_with("month,sunspots,forecast_1,forecast_2,"),
        "{}",
        lines[0]
    );
    assert_eq!(lines[1], format!("1749-01,58{}", ",".repeat(HORIZON)));
    assert!(lines[WINDOW - 1].ends_with(",,"), "{}", lines[WINDOW - 1]);
    let noted = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        noted.contains("the first 47 rows have no forecast: it is made from 48 values"),
        "{noted}"
    );
    let forecasts: Vec<Vec<f64>> = lines[WINDOW..]
        .iter()
        .map(|line| numbers(line.split_once(',').unwrap().1.split_once(',').unwrap().1))
        .collect();

    // What the figures say of all windows is what these forecasts come to.
    let json = said(&sunspots("evaluate", &data("sunspots.csv"), &["--json"]).await);
    let json: Value = serde_json::from_str(&json).unwrap();
    let windows = series.len() - WINDOW - HORIZON + 1;
    assert_eq!(json["rows"], windows);
    for step in [0, HORIZON - 1] {
        let errors = forecasts.iter().take(windows).enumerate();
        let squares: f64 = errors
            .map(|(window, forecast)| (forecast[step] - series[window + WINDOW + step]).powi(2))
            .sum();
        let rmse = (squares / windows as f64).sqrt();
        let told = json["rmse_by_step"][step].as_f64().unwrap();
        assert!((told - rmse).abs() < 1e-3, "step {step}: {told} and {rmse}");
    }
}

#[tokio::test]
async fn only_the_values_that_a_forecast_is_made_from_must_be_there() {
    let folder = TempDir::new().unwrap();
    let mut values: Vec<String> = (0..60)
        .map(|year| format!("{},{}", 1900 + year, 50 + year % 11))
        .collect();
    values[3] = "1903,".to_owned();
    let file = file_of(&folder, &values);
    said(&sunspots("predict", &file, &[]).await);
    let told = refused(&sunspots("predict", &file, &["--rolling"]).await, 1);
    assert!(
        told.contains("line 5, column sunspots: the value is missing"),
        "{told}"
    );

    let file = file_of(&folder, &values[20..]);
    let told = refused(&sunspots("predict", &file, &[]).await, 1);
    assert!(
        told.contains("a forecast takes 48 values with model sunspots, and the series has 40"),
        "{told}"
    );
    let told = refused(&sunspots("evaluate", &file, &[]).await, 1);
    assert!(
        told.contains("a window and what comes after it takes 72 values"),
        "{told}"
    );
    // Another column, and one that is not there.
    let told = refused(&sunspots("predict", &file, &["--column", "month"]).await, 1);
    assert!(
        told.contains("the data has no column month with the series"),
        "{told}"
    );
    let file = file_of(&folder, &values[4..]);
    let by_year = said(&sunspots("predict", &file, &["--column", "year"]).await);
    assert_ne!(by_year, said(&sunspots("predict", &file, &[]).await));
}

#[tokio::test]
async fn options_that_do_not_fit_are_wrong_use() {
    let told = refused(&sunspots("predict", &data("sunspots.csv"), &["--keep"]).await, 2);
    assert!(told.contains("--keep goes with --rolling"), "{told}");
    let several = ["--target", "sunspots", "--target", "month"];
    let told = refused(&sunspots("evaluate", &data("sunspots.csv"), &several).await, 2);
    assert!(
        told.contains("forecasts one series, and 2 targets are named"),
        "{told}"
    );
    let (repository, iris) = (shipped_models(), data("iris.csv"));
    let line = [
        "predict",
        "--model",
        "iris",
        "--repository",
        &repository,
        "--data",
        &iris,
        "--rolling",
    ];
    let told = refused(&run(&line).await, 2);
    assert!(
        told.contains("the task of model iris is classification"),
        "{told}"
    );
}
