//! The real `millrace serve`: a gateway and worker processes with the models that come with the project.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::Client;
use super::process::Process;
use super::wait::until_some;

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models");
/// What most tests are content with: the others take longer to load.
const SMALL: [&str; 3] = ["diabetes", "digits", "iris"];

/// `millrace serve` with two workers.
pub(crate) struct Serving {
    pub(crate) process: Process,
    models: Vec<String>,
    /// Held as long as the process runs.
    _repository: Option<TempDir>,
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
    pub(crate) admin: Client,
}

impl Serving {
    /// Two workers with all models that come with the project, both of which take requests.
    pub(crate) async fn start_whole() -> Self {
        Self::start_on(Path::new(MODELS), None, &[]).await
    }

    /// Two workers with some small models, both of which take requests.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same, with more arguments.
    pub(crate) async fn start_with(more: &[&str]) -> Self {
        let repository = small_repository();
        let folder = repository.path().to_owned();
        Self::start_on(&folder, Some(repository), more).await
    }

    async fn start_on(folder: &Path, repository: Option<TempDir>, more: &[&str]) -> Self {
        let any = "127.0.0.1:0";
        let arguments = [
            "serve",
            "--workers",
            "2",
            "--models",
            folder.to_str().expect("the path is text"),
            "--listen",
            any,
            "--admin",
            any,
        ];
        let process = Process::start(&[&arguments, more].concat());
        let (address, admin) = process.listening().await;
        let serving = Self {
            process,
            models: models_in(folder),
            _repository: repository,
            address,
            client: Client::new(address),
            admin: Client::new(admin),
        };
        serving.until_both_are_up().await;
        serving
    }

    /// Waits until both workers take requests for every model; they are up before the last one is loaded.
    pub(crate) async fn until_both_are_up(&self) {
        let is_up = |worker: &Value| worker["state"] == "up" && worker["models"] == json!(self.models);
        until_some("both workers take requests", async || {
            let shown = self.admin.get("/admin/workers").await.assert_ok().json();
            let workers = shown["workers"].as_array()?;
            (workers.len() == 2 && workers.iter().all(is_up)).then_some(())
        })
        .await;
    }

    /// The process ids of every start of one worker, in order.
    pub(crate) fn pids(&self, id: &str) -> Vec<u32> {
        let of_it = format!("worker=\"{id}\"");
        let log = self.process.log();
        let starts = log
            .iter()
            .filter(|line| line.contains("the worker runs") && line.contains(&of_it));
        let pid = |line: &String| {
            line.split(' ')
                .find_map(|word| word.strip_prefix("pid=")?.parse().ok())
        };
        starts.filter_map(pid).collect()
    }
}

/// A repository with some small models of those that come with the project.
pub(crate) fn small_repository() -> TempDir {
    let repository = TempDir::new().expect("a folder can be made");
    for model in SMALL {
        let (from, to) = (
            Path::new(MODELS).join(model).join("1"),
            repository.path().join(model).join("1"),
        );
        fs::create_dir_all(&to).expect("a folder can be made");
        for file in ["model.onnx", "model.toml"] {
            fs::copy(from.join(file), to.join(file)).expect("the models are there");
        }
    }
    repository
}

/// The names of the models in a repository, in the order of their letters.
fn models_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder)
        .expect("the repository can be read")
        .flatten();
    let folders = entries.filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> = folders
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
