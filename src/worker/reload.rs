//! Takes over a changed configuration while requests run: versions, labels, and how the repository is followed.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::Signal;

use super::Worker;
use crate::config::{Config, ConfigErrors, FollowedFile, Layers, WorkerConfig};

/// Follows the file at `path`, and takes it over again on each `hangup` (SIGHUP, heard before anybody can send it),
/// until the task is dropped. `layers` are the sources without the file; `running` is the configuration that the
/// process started with.
pub async fn follow(
    worker: Arc<Worker>,
    path: PathBuf,
    layers: Layers,
    mut running: WorkerConfig,
    mut hangup: Signal,
) {
    let mut file = FollowedFile::new(path);
    loop {
        let by = tokio::select! {
            _ = hangup.recv() => {
                file.take_note().await;
                "SIGHUP"
            }
            () = file.changed() => "file",
        };
        let path = file.path().display();
        match read(&layers, &file) {
            Ok(config) => {
                tracing::info!(by, %path, "the configuration was taken over");
                warn_of_restart(&running, &config);
                let config = Arc::new(config);
                worker.take_over(&running, &config);
                running = WorkerConfig::clone(&config);
            }
            Err(errors) => {
                tracing::error!(by, %path, %errors, "the configuration was refused; the one before stays in force");
            }
        }
    }
}

fn read(layers: &Layers, file: &FollowedFile) -> Result<WorkerConfig, ConfigErrors> {
    let layers = layers.clone().with_file(Some(file.path()))?;
    Ok(Config::check(&layers)?.worker)
}

fn warn_of_restart(before: &WorkerConfig, after: &WorkerConfig) {
    let per_model = (&before.common, &before.per_model);
    if per_model != (&after.common, &after.per_model) {
        tracing::warn!("a change of batching or engine takes effect when a model version is loaded again");
    }
    let mut rest = after.clone();
    rest.models_serving.clone_from(&before.models_serving);
    rest.per_model.clone_from(&before.per_model);
    rest.common = before.common.clone();
    rest.repository = before.repository.clone();
    rest.repository.allow_uploads = after.repository.allow_uploads;
    rest.repository.max_upload = after.repository.max_upload;
    if rest != *before {
        tracing::warn!("changes of other keys of [worker] take effect at the next start");
    }
}
