//! The threads that load: reading, optimising and warming up a large model is seconds of work for a whole core.

use std::num::NonZero;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, thread};

use tokio::time::Instant;

use super::keeper::Event;
use super::settle::VersionId;
use crate::config::ModelConfig;
use crate::model::repository::{VersionFiles, fingerprint};
use crate::system::stand_back;
use crate::worker::served::{LoadError, Prepared, Served};
use crate::worker::trial::Trial;

/// One version to be loaded.
pub(super) struct Job {
    pub(super) id: VersionId,
    /// What its files must not lead out of.
    pub(super) root: PathBuf,
    pub(super) files: VersionFiles,
    pub(super) config: ModelConfig,
}

/// What came of a [`Job`].
pub(super) struct Loaded {
    pub(super) job: Job,
    pub(super) begun: Instant,
    pub(super) outcome: Result<Prepared, LoadError>,
}

/// Starts as many loaders as there are cores. They end once the sender of their jobs is dropped.
pub(super) fn start_loaders(events: &Sender<Event>, trial: &Trial) -> io::Result<Sender<Job>> {
    let (sender, jobs) = mpsc::channel();
    let jobs = Arc::new(Mutex::new(jobs));
    let loaders = thread::available_parallelism().map_or(1, NonZero::get);
    for loader in 0..loaders {
        let (jobs, events, trial) = (Arc::clone(&jobs), events.clone(), trial.clone());
        thread::Builder::new()
            .name(format!("load#{loader}"))
            .spawn(move || work_off(&jobs, &events, &trial))?;
    }
    Ok(sender)
}

fn work_off(jobs: &Mutex<Receiver<Job>>, events: &Sender<Event>, trial: &Trial) {
    stand_back();
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        let begun = Instant::now();
        let outcome = load(&job, trial);
        let loaded = Loaded { job, begun, outcome };
        if events.send(Event::Loaded(Box::new(loaded))).is_err() {
            return;
        }
    }
}

fn load(job: &Job, trial: &Trial) -> Result<Prepared, LoadError> {
    let prepared = Served::prepare(&job.root, &job.files.folder, &job.config, trial)?;
    // What was read while somebody wrote may be half of this and half of that.
    match fingerprint(&job.root, &job.files.folder) {
        Ok(now) if now == job.files.fingerprint => Ok(prepared),
        _ => Err(LoadError::Changed),
    }
}

/// A version that was replaced, or is to be gone.
pub(super) struct Retired {
    pub(super) id: VersionId,
    pub(super) served: Arc<Served>,
    /// Whether nothing took its place.
    pub(super) is_gone: bool,
}

/// Starts the thread that waits for the work of versions that were replaced or taken down.
pub(super) fn start_unloader(events: &Sender<Event>) -> io::Result<Sender<Retired>> {
    let (sender, retired) = mpsc::channel::<Retired>();
    let events = events.clone();
    thread::Builder::new().name("unload".to_owned()).spawn(move || {
        stand_back();
        while let Ok(Retired { id, served, is_gone }) = retired.recv() {
            served.batcher.join();
            drop(served);
            if is_gone {
                // Nobody is left to be told once the worker has ended.
                let _ = events.send(Event::Unloaded(id));
            }
        }
    })?;
    Ok(sender)
}
