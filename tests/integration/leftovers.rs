//! What a training run leaves behind that is killed, and what becomes of it.

use std::path::Path;

use tempfile::TempDir;

use crate::support::process::{Process, data, run, said};
use crate::support::wait::until;

/// The folders in that of the model.
fn entries(folder: &TempDir) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder.path().join("m")) else {
        return Vec::new();
    };
    let names = entries.map(|entry| entry.expect("the folder can be read").file_name());
    let names = names.map(|name| name.into_string().expect("names are text"));
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// A fit that goes on until somebody ends it.
fn endless(repository: &Path) -> Process {
    let (digits, repository) = (data("digits.csv"), repository.to_str().expect("the path is text"));
    Process::start(&[
        "train",
        "neural-network",
        "--data",
        &digits,
        "--target",
        "digit",
        "--model",
        "m",
        "--repository",
        repository,
        "--epochs",
        "1000000",
        "--patience",
        "1000000",
    ])
}

async fn train(repository: &Path) {
    let (iris, repository) = (data("iris.csv"), repository.to_str().expect("the path is text"));
    let line = [
        "train",
        "logistic-regression",
        "--data",
        &iris,
        "--target",
        "species",
        "--model",
        "m",
        "--repository",
        repository,
    ];
    said(&run(&line).await);
}

#[tokio::test]
async fn the_next_run_removes_what_a_killed_one_left_and_nothing_of_one_that_lives() {
    let folder = TempDir::new().unwrap();
    let mut killed = endless(folder.path());
    let left = format!(".1.new.{}", killed.pid());
    until("a run has begun to write", || entries(&folder) == [left.clone()]).await;
    killed.signal("KILL").await;
    killed.end().await;
    assert_eq!(entries(&folder), [left]);

    let mut alive = endless(folder.path());
    let kept = format!(".1.new.{}", alive.pid());
    // It removes what it finds before it begins itself.
    until("the next run has cleaned up", || {
        entries(&folder) == [kept.clone()]
    })
    .await;
    train(folder.path()).await;
    assert_eq!(entries(&folder), [kept.clone(), "1".to_owned()]);

    alive.signal("KILL").await;
    alive.end().await;
    train(folder.path()).await;
    assert_eq!(entries(&folder), ["1", "2"]);
}
