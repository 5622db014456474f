//! The models of a worker, live: versions come, change and go while requests run.
//!
//! Requests read one immutable [`Catalogue`] without a lock. One thread, the [`keeper`], decides what is loaded and
//! unloaded: it scans the repository, waits until what changed has settled ([`settle`]), and does what the [`plan`]
//! says, with [`loader`] threads for the work. A new version takes the old one's place in one step, and the old one
//! finishes what it has.

mod catalogue;
mod keeper;
mod loader;
mod plan;
mod settle;
mod upload;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, thread};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{oneshot, watch as watch_channel};
use tokio::task::spawn_blocking;

pub(super) use self::catalogue::{Catalogue, Labels, Slot, Versions, newest_ready};
use self::keeper::{Event, Keeper, Parts};
use self::loader::{start_loaders, start_unloader};
use self::plan::{Action, Disk, plan};
use self::settle::VersionId;
use self::upload::Taken;
pub use self::upload::{Upload, UploadError};
use super::load::ModelLoad;
use super::served::Served;
use super::trial::Trial;
use crate::api::error::ApiError;
use crate::api::models::VersionState;
use crate::config::WorkerConfig;
use crate::model::name::{is_model_name, parse_version};
use crate::model::repository::{Contents, RepositoryError, scan};
use crate::telemetry::worker_metrics::WorkerMetrics;

/// All models and versions of a worker.
pub(super) struct Registry {
    catalogue: ArcSwap<Catalogue>,
    events: Sender<Event>,
    /// What the keeper starts from, until it does.
    start: Mutex<Option<(Contents, Receiver<Event>)>>,
    /// The models that lay in the repository at the start: a worker is not ready before those answer.
    expected: BTreeSet<Arc<str>>,
    allow_uploads: bool,
    trial: Trial,
    metrics: WorkerMetrics,
    is_closed: AtomicBool,
    is_settled: watch_channel::Sender<bool>,
}

/// Why a model was not loaded or unloaded as somebody asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nothing of that name is there.
    #[error("there is no model {0:?} in the repository")]
    NoSuchModel(String),
    /// The configuration does not allow files in requests.
    #[error(
        "files and configurations in load requests are not allowed here (worker.repository.allow_uploads)"
    )]
    UploadsForbidden,
    /// The files or the configuration in the request are wrong.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// The repository cannot be read.
    #[error("{0}")]
    Repository(String),
    /// The worker is shutting down.
    #[error("this worker is shutting down")]
    Closed,
}

/// One version of a model, as the repository index shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The model's name.
    pub model: Arc<str>,
    /// The version's number; none for a model that was taken down as a whole.
    pub version: Option<u64>,
    /// Whether it answers.
    pub state: IndexState,
    /// Why its files could not be loaded, or why it is not there; empty where there is nothing to say.
    pub reason: String,
}

/// The states of the model repository extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexState {
    /// It answers.
    Ready,
    /// It is being loaded, and nothing answers yet.
    Loading,
    /// It finishes what it has.
    Unloading,
    /// It could not be loaded, or was taken down.
    Unavailable,
}

impl Registry {
    /// Looks what there is; nothing is loaded yet.
    pub(super) fn scan(
        config: &WorkerConfig,
        trial: Trial,
        metrics: &WorkerMetrics,
    ) -> Result<Self, RepositoryError> {
        let contents = scan(&config.models)?;
        for oddity in &contents.oddities {
            tracing::warn!("model repository: {oddity}");
        }
        let mut catalogue = Catalogue {
            labels: configured_labels(config),
            ..Catalogue::default()
        };
        let mut expected = BTreeSet::new();
        for (name, versions) in &contents.models {
            let model: Arc<str> = name.as_str().into();
            expected.insert(Arc::clone(&model));
            let there = versions
                .iter()
                .map(|(&number, files)| (number, Disk::Settled(files.fingerprint)))
                .collect();
            for action in plan(&there, &BTreeMap::new(), &config.serving_of(name).versions) {
                let Action::Load(number, _) = action else { continue };
                show_state(metrics, &model, number, VersionState::Loading);
                let versions = catalogue.models.entry(Arc::clone(&model)).or_default();
                versions.insert(number, Slot::Loading);
            }
        }
        let (sender, receiver) = mpsc::channel();
        Ok(Self {
            catalogue: ArcSwap::from_pointee(catalogue),
            events: sender,
            start: Mutex::new(Some((contents, receiver))),
            expected,
            allow_uploads: config.repository.allow_uploads,
            trial,
            metrics: metrics.clone(),
            is_closed: AtomicBool::new(false),
            is_settled: watch_channel::Sender::new(false),
        })
    }

    /// Loads what the scan found, and follows the repository from now on, on threads of its own.
    pub(super) fn load(self: &Arc<Self>, config: &Arc<WorkerConfig>) -> io::Result<()> {
        let start = self.start.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((contents, events)) = start else {
            return Ok(());
        };
        let parts = Parts {
            config: Arc::clone(config),
            contents,
            events,
            sender: self.events.clone(),
            jobs: start_loaders(&self.events, &self.trial)?,
            retired: start_unloader(&self.events)?,
        };
        let keeper = Keeper::new(self, parts);
        thread::Builder::new()
            .name("repository".to_owned())
            .spawn(move || keeper.run())?;
        Ok(())
    }

    /// Everything as it is now.
    pub(super) fn catalogue(&self) -> Guard<Arc<Catalogue>> {
        self.catalogue.load()
    }

    /// Waits until what lay there at the start is loaded or has failed.
    pub(super) async fn settled(&self) {
        // The sender lives in self, so that waiting cannot fail.
        let _ = self
            .is_settled
            .subscribe()
            .wait_for(|is_settled| *is_settled)
            .await;
    }

    /// Whether what lay there at the start is loaded or has failed.
    pub(super) fn is_settled(&self) -> bool {
        *self.is_settled.borrow()
    }

    /// The models that lay there at the start.
    pub(super) fn expected(&self) -> &BTreeSet<Arc<str>> {
        &self.expected
    }

    /// The name of a model that exists, whatever its state: safe to be a metric's label.
    pub(super) fn known(&self, model: &str) -> Option<Arc<str>> {
        let catalogue = self.catalogue.load();
        catalogue
            .models
            .get_key_value(model)
            .map(|(name, _)| Arc::clone(name))
    }

    /// What answers a request for `model`: the version asked for, by its number or a label, or the newest ready one.
    pub(super) fn find(&self, model: &str, version: Option<&str>) -> Result<Arc<Served>, ApiError> {
        self.catalogue.load().find(model, version)
    }

    /// Loads a model, or loads it again, and waits until that is done; from then on it is followed in the repository.
    /// With an upload, its files stand in the place of those in the repository until the next call. Gives what came of
    /// each version.
    pub(super) async fn load_model(
        &self,
        model: &str,
        upload: Option<Upload>,
    ) -> Result<Vec<IndexEntry>, ControlError> {
        if !is_model_name(model) {
            return Err(ControlError::NoSuchModel(model.to_owned()));
        }
        let name: Arc<str> = model.into();
        let taken = match upload {
            None => Taken::default(),
            Some(_) if !self.allow_uploads => return Err(ControlError::UploadsForbidden),
            Some(upload) => {
                let name = Arc::clone(&name);
                // Writing files is no work for the network's threads.
                spawn_blocking(move || Taken::take(&name, &upload))
                    .await
                    .map_err(|_| ControlError::Closed)??
            }
        };
        let (reply, done) = oneshot::channel();
        let model = Arc::clone(&name);
        self.ask(Event::Load { model, taken, reply }, done).await?;
        let mut outcome = self.index_of(&name);
        // Versions that made room may still be busy with what they had.
        outcome.retain(|entry| entry.state != IndexState::Unloading);
        Ok(outcome)
    }

    /// Takes every version of a model down, and waits until their work is done. The model stays down until it is
    /// loaded again by [`load_model`](Self::load_model).
    pub(super) async fn unload_model(&self, model: &str) -> Result<(), ControlError> {
        let (reply, done) = oneshot::channel();
        let model = model.into();
        self.ask(Event::Unload { model, reply }, done).await
    }

    async fn ask(
        &self,
        event: Event,
        done: oneshot::Receiver<Result<(), ControlError>>,
    ) -> Result<(), ControlError> {
        self.events.send(event).map_err(|_| ControlError::Closed)?;
        done.await.map_err(|_| ControlError::Closed)?
    }

    /// Points a label at a version that is there, or takes the label away.
    pub(super) fn set_label(&self, model: &str, label: &str, version: Option<u64>) -> Result<(), ApiError> {
        let catalogue = self.catalogue.load();
        let Some((model, versions)) = catalogue.models.get_key_value(model) else {
            return Err(catalogue.unknown_model(model));
        };
        if let Some(version) = version
            && !versions.contains_key(&version)
        {
            return Err(catalogue.unknown_version(model, versions, &version.to_string()));
        }
        self.change(|catalogue| {
            let labels = catalogue.labels.entry(Arc::clone(model)).or_default();
            match version {
                Some(version) => labels.insert(label.to_owned(), version),
                None => labels.remove(label),
            };
        });
        Ok(())
    }

    /// Takes over what differs between two configurations: which versions are loaded, how the repository is followed,
    /// and labels. A label that an operator has moved stays where it is unless its model's labels differ.
    pub(super) fn take_over(&self, before: &WorkerConfig, after: &Arc<WorkerConfig>) {
        let (labels_before, labels) = (configured_labels(before), configured_labels(after));
        let models: BTreeSet<&Arc<str>> = labels_before.keys().chain(labels.keys()).collect();
        self.change(|catalogue| {
            for &model in &models {
                match labels.get(model) {
                    same if same == labels_before.get(model) => {}
                    Some(labels) => drop(catalogue.labels.insert(Arc::clone(model), labels.clone())),
                    None => drop(catalogue.labels.remove(model)),
                }
            }
        });
        // The keeper may have ended.
        let _ = self.events.send(Event::Configured(Arc::clone(after)));
    }

    /// Every version of every model, in order.
    pub(super) fn index(&self) -> Vec<IndexEntry> {
        let catalogue = self.catalogue.load();
        let names: BTreeSet<&Arc<str>> = catalogue.models.keys().chain(&catalogue.down).collect();
        names.into_iter().flat_map(|name| self.index_of(name)).collect()
    }

    /// Every version of one model.
    pub(super) fn index_of(&self, model: &str) -> Vec<IndexEntry> {
        let catalogue = self.catalogue.load();
        if let Some((name, versions)) = catalogue.models.get_key_value(model) {
            let entry = |(&number, slot): (&u64, &Slot)| IndexEntry::of(name, number, slot);
            return versions.iter().map(entry).collect();
        }
        let unloaded = |name: &Arc<str>| IndexEntry {
            model: Arc::clone(name),
            version: None,
            state: IndexState::Unavailable,
            reason: "unloaded".to_owned(),
        };
        catalogue.down.get(model).map(unloaded).into_iter().collect()
    }

    /// Refuses new work. What was accepted is still done.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        // The keeper may never have started, or have ended.
        let _ = self.events.send(Event::Closed);
        self.each_ready(|served| served.batcher.close());
    }

    /// Shows every version that answers as one that will soon not.
    pub(super) fn show_unloading(&self) {
        self.each_ready(|served| {
            let number = parse_version(&served.version).unwrap_or_default();
            show_state(&self.metrics, &served.model, number, VersionState::Unloading);
        });
    }

    /// Closes, and waits until all accepted work is done.
    pub(super) fn join(&self) {
        self.close();
        self.each_ready(|served| served.batcher.join());
    }

    fn each_ready(&self, act: impl Fn(&Served)) {
        let catalogue = self.catalogue.load_full();
        for slot in catalogue.models.values().flat_map(BTreeMap::values) {
            if let Some(served) = slot.served() {
                act(served);
            }
        }
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    /// What is known of the load of a model, where a version of it answers; nothing yet where none does.
    fn load_of(&self, model: &str) -> Arc<ModelLoad> {
        let catalogue = self.catalogue.load();
        let any = catalogue.answering(model).next();
        any.map(|served| Arc::clone(served.batcher.load()))
            .unwrap_or_default()
    }

    /// What serves as this version.
    fn served(&self, (model, number): &VersionId) -> Option<Arc<Served>> {
        let catalogue = self.catalogue.load();
        catalogue.models.get(model)?.get(number)?.served().cloned()
    }

    /// Puts a version into another state, in one step. Gives what served as it before and does no longer.
    fn set(&self, id: &VersionId, slot: &Slot) -> Option<Arc<Served>> {
        let (model, number) = id;
        let before = self.served(id);
        show_state(&self.metrics, model, *number, slot.state());
        self.change(|catalogue| {
            let versions = catalogue.models.entry(Arc::clone(model)).or_default();
            versions.insert(*number, slot.clone());
        });
        // Whoever closes raises the flag before it looks at the models: one of the two sees the other.
        if self.is_closed()
            && let Some(served) = slot.served()
        {
            served.batcher.close();
        }
        before.filter(|before| !slot.served().is_some_and(|served| Arc::ptr_eq(before, served)))
    }

    fn remove(&self, (model, number): &VersionId) {
        self.change(|catalogue| {
            if let Some(versions) = catalogue.models.get_mut(model) {
                versions.remove(number);
                if versions.is_empty() {
                    catalogue.models.remove(model);
                }
            }
        });
        self.metrics.forget_version(model, &number.to_string());
        if self.known(model).is_none() {
            self.metrics.forget_model(model);
        }
    }

    fn set_down(&self, model: &Arc<str>, is_down: bool) {
        self.change(|catalogue| {
            if is_down {
                catalogue.down.insert(Arc::clone(model));
            } else {
                catalogue.down.remove(model);
            }
        });
    }

    /// Puts a changed catalogue in the place of the one before.
    fn change(&self, change: impl Fn(&mut Catalogue)) {
        self.catalogue.rcu(|catalogue| {
            let mut catalogue = Catalogue::clone(catalogue);
            change(&mut catalogue);
            catalogue
        });
    }

    /// Takes note if nothing is loading any more for the first time.
    fn note_settled(&self) {
        let is_loading = |slot: &Slot| matches!(slot, Slot::Loading);
        let catalogue = self.catalogue.load();
        if !self.is_settled()
            && !catalogue
                .models
                .values()
                .flat_map(BTreeMap::values)
                .any(is_loading)
        {
            self.is_settled.send_replace(true);
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Wakes the keeper, which then finds nobody to keep for.
        let _ = self.events.send(Event::Closed);
    }
}

impl IndexEntry {
    fn of(model: &Arc<str>, number: u64, slot: &Slot) -> Self {
        Self {
            model: Arc::clone(model),
            version: Some(number),
            state: match slot {
                Slot::Loading => IndexState::Loading,
                Slot::Ready(_) | Slot::Outdated(..) => IndexState::Ready,
                Slot::Unloading => IndexState::Unloading,
                Slot::Failed(_) => IndexState::Unavailable,
            },
            reason: slot.reason().map(ToString::to_string).unwrap_or_default(),
        }
    }
}

fn configured_labels(config: &WorkerConfig) -> BTreeMap<Arc<str>, Labels> {
    let labels = config.models_serving.iter();
    let labels = labels.filter(|(_, serving)| !serving.labels.is_empty());
    labels
        .map(|(model, serving)| (model.as_str().into(), serving.labels.clone()))
        .collect()
}

fn show_state(metrics: &WorkerMetrics, model: &str, number: u64, current: VersionState) {
    let number = number.to_string();
    for state in VersionState::ALL {
        let gauge = metrics
            .model_state
            .with_label_values(&[model, &number, state.as_str()]);
        gauge.set(i64::from(state == current));
    }
}
