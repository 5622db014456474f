//! The threads that load: reading, optimising and warming up a large model is seconds of work for a whole core.
//!
//! A version answers as soon as it can run single rows. What it takes to run batches of every size is prepared after that,
//! when nothing else is to be loaded.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::{fs, io, thread};

use tokio::time::Instant;

use super::keeper::Event;
use super::settle::VersionId;
use crate::config::ModelConfig;
use crate::model::artifact::GRAPH_FILE;
use crate::model::repository::{VersionFiles, fingerprint};
use crate::system::{stand_back, unmap_idle_code};
use crate::worker::served::{LoadError, Prepared, Rest, Served};
use crate::worker::trial::{Trial, Trials};

/// One version to be loaded.
#[derive(Clone)]
pub(super) struct Job {
    pub(super) id: VersionId,
    /// What its files must not lead out of.
    pub(super) root: PathBuf,
    pub(super) files: VersionFiles,
    pub(super) config: ModelConfig,
}

impl Job {
    /// What was read while somebody wrote may be half of this and half of that.
    fn check_unchanged(&self) -> Result<(), LoadError> {
        match fingerprint(&self.root, &self.files.folder) {
            Ok(now) if now == self.files.fingerprint => Ok(()),
            _ => Err(LoadError::Changed),
        }
    }
}

/// What came of a [`Job`].
pub(super) struct Loaded {
    pub(super) job: Job,
    pub(super) begun: Instant,
    pub(super) outcome: Result<Prepared, LoadError>,
}

/// What loaders have to do. They end once this is gone.
pub(super) struct Jobs(Arc<Backlog>);

#[derive(Default)]
struct Backlog {
    waiting: Mutex<Waiting>,
    has_changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// Each with the bytes of its graph.
    jobs: Vec<(u64, Job)>,
    rests: VecDeque<(Job, Rest)>,
    is_closed: bool,
}

/// What a loader does next.
enum Work {
    Load(Job),
    Finish(Job, Rest),
}

impl Jobs {
    /// Has a version loaded.
    pub(super) fn send(&self, job: Job) {
        // One that cannot be read fails soon.
        let bytes = fs::metadata(job.files.folder.join(GRAPH_FILE)).map_or(0, |file| file.len());
        self.0.change(|waiting| waiting.jobs.push((bytes, job)));
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        self.0.change(|waiting| waiting.is_closed = true);
    }
}

impl Waiting {
    /// Versions that do not answer yet come first, and of these the largest: all are there sooner when it does not come last.
    fn next(&mut self) -> Option<Work> {
        let jobs = self.jobs.iter().enumerate();
        let largest = jobs.max_by_key(|(position, (bytes, _))| (*bytes, Reverse(*position)));
        let largest = largest.map(|(position, _)| position);
        let job = largest.map(|position| Work::Load(self.jobs.remove(position).1));
        job.or_else(|| self.rests.pop_front().map(|(job, rest)| Work::Finish(job, rest)))
    }
}

impl Backlog {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        change(&mut self.lock());
        self.has_changed.notify_all();
    }

    /// Waits for work; `pause` is called before that. None: there will be no more.
    fn take(&self, pause: impl FnOnce()) -> Option<Work> {
        let work = self.lock().next();
        if work.is_some() {
            return work;
        }
        pause();
        let mut waiting = self.lock();
        loop {
            if waiting.is_closed {
                return None;
            }
            if let Some(work) = waiting.next() {
                return Some(work);
            }
            waiting = self
                .has_changed
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Starts as many loaders as there are cores.
pub(super) fn start_loaders(events: &Sender<Event>, trial: &Trial) -> io::Result<Jobs> {
    let backlog = Arc::new(Backlog::default());
    let jobs = Jobs(Arc::clone(&backlog));
    let loaders = thread::available_parallelism().map_or(1, NonZero::get);
    for number in 0..loaders {
        let loader = Loader {
            backlog: Arc::clone(&backlog),
            events: events.clone(),
            trials: Trials::new(trial.clone()),
        };
        thread::Builder::new()
            .name(format!("load#{number}"))
            .spawn(move || loader.run())?;
    }
    Ok(jobs)
}

/// What one loader has.
struct Loader {
    backlog: Arc<Backlog>,
    events: Sender<Event>,
    trials: Trials,
}

impl Loader {
    fn run(mut self) {
        stand_back();
        let mut has_worked = false;
        loop {
            let pause = || {
                self.trials.rest();
                if has_worked {
                    unmap_idle_code();
                }
            };
            match self.backlog.take(pause) {
                Some(Work::Load(job)) => self.load(job),
                Some(Work::Finish(job, rest)) => self.finish(&job, rest),
                None => return,
            }
            has_worked = true;
        }
    }

    fn load(&mut self, job: Job) {
        let begun = Instant::now();
        let prepared = Served::prepare(&job.root, &job.files.folder, &job.config, &mut self.trials);
        let (outcome, rest) = match prepared.and_then(|prepared| job.check_unchanged().map(|()| prepared)) {
            Ok((prepared, rest)) => (Ok(prepared), rest),
            Err(error) => (Err(error), None),
        };
        if let Some(rest) = rest {
            let job = job.clone();
            self.backlog
                .change(|waiting| waiting.rests.push_back((job, rest)));
        }
        // The keeper may have ended: then these end as well.
        let _ = self
            .events
            .send(Event::Loaded(Box::new(Loaded { job, begun, outcome })));
    }

    /// Prepares the batches of a version that answers by now. Where that fails, they go on in smaller ones.
    fn finish(&mut self, job: &Job, rest: Rest) {
        if rest.is_in_vain() {
            return;
        }
        let begun = Instant::now();
        let tried = rest.pass(&mut self.trials).and_then(|()| job.check_unchanged());
        let (model, number) = (&job.id.0, job.id.1);
        match tried.and_then(|()| rest.finish()) {
            Ok(()) => {
                let millis = begun.elapsed().as_millis();
                tracing::debug!(%model, version = number, millis, "a model version is prepared for batches of all sizes");
            }
            // A new version of it comes, and is prepared itself.
            Err(LoadError::Changed) => {}
            Err(error) => {
                tracing::warn!(%model, version = number, %error, "batches of some sizes cannot be prepared; they run as several");
            }
        }
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
