//! The thread that keeps what is served in step with what is wanted. It alone looks at the repository, decides (by
//! [`plan`]) and changes the state of versions; loaders, the unloader, the watch and requests only send it events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::catalogue::Slot;
use super::loader::{Job, Jobs, Loaded, Retired};
use super::plan::{Action, Disk, Known, Stage, is_any_on_its_way, plan};
use super::settle::{Settling, VersionId};
use super::upload::{Overrides, Taken, Uploaded};
use super::watch::Watching;
use super::{ControlError, Registry};
use crate::config::{VersionPolicy, Watch, WorkerConfig};
use crate::model::repository::{Contents, Fingerprint, VersionFiles, scan};
use crate::worker::served::{Place, Served};

/// The least time between two looks at the repository, however often the system says that something changed.
const LEAST_PAUSE: Duration = Duration::from_millis(20);

/// What the keeper is told.
pub(super) enum Event {
    /// Something in the repository may have changed.
    Changed,
    /// A loader is done with a version.
    Loaded(Box<Loaded>),
    /// A version that is to be gone has finished its work.
    Unloaded(VersionId),
    /// Somebody asks for a model to be loaded, now, and again if it serves.
    Load {
        model: Arc<str>,
        taken: Taken,
        reply: Reply,
    },
    /// Somebody asks for a model to be taken down.
    Unload { model: Arc<str>, reply: Reply },
    /// The configuration has changed.
    Configured(Arc<WorkerConfig>),
    /// The worker ends.
    Closed,
}

/// Resolves when what was asked for is done, or refused.
pub(super) type Reply = oneshot::Sender<Result<(), ControlError>>;

/// Keeps the versions of one worker.
pub(super) struct Keeper {
    registry: Weak<Registry>,
    config: Arc<WorkerConfig>,
    events: Receiver<Event>,
    sender: Sender<Event>,
    jobs: Jobs,
    retired: Sender<Retired>,
    watching: Option<Watching>,
    /// What the last scan found.
    contents: Contents,
    /// Oddities, or the trouble with the whole repository, that were told: nobody wants to read them every time.
    told: BTreeSet<String>,
    settling: Settling,
    known: BTreeMap<Arc<str>, BTreeMap<u64, Known>>,
    uploaded: BTreeMap<Arc<str>, Uploaded>,
    overrides: BTreeMap<Arc<str>, Overrides>,
    down: BTreeSet<Arc<str>>,
    waiting: Vec<Waiting>,
    last_look: Option<Instant>,
    /// None: only a request makes it look.
    next_look: Option<Instant>,
}

/// Somebody who waits until a model is loaded, or gone.
struct Waiting {
    model: Arc<str>,
    reply: Reply,
}

/// What threads a keeper needs, and what it starts from.
pub(super) struct Parts {
    pub(super) config: Arc<WorkerConfig>,
    pub(super) contents: Contents,
    pub(super) events: Receiver<Event>,
    pub(super) sender: Sender<Event>,
    pub(super) jobs: Jobs,
    pub(super) retired: Sender<Retired>,
}

impl Keeper {
    pub(super) fn new(registry: &Arc<Registry>, parts: Parts) -> Self {
        let mut keeper = Self {
            registry: Arc::downgrade(registry),
            config: parts.config,
            events: parts.events,
            sender: parts.sender,
            jobs: parts.jobs,
            retired: parts.retired,
            watching: None,
            told: parts.contents.oddities.iter().cloned().collect(),
            contents: parts.contents,
            settling: Settling::default(),
            known: BTreeMap::new(),
            uploaded: BTreeMap::new(),
            overrides: BTreeMap::new(),
            down: BTreeSet::new(),
            waiting: Vec::new(),
            last_look: None,
            next_look: None,
        };
        // What lies there at the start is taken as it is; a copy under way shows at the next look.
        for (model, versions) in &keeper.contents.models {
            let versions = versions
                .iter()
                .map(|(&number, files)| (number, files.fingerprint));
            keeper.settling.trust(&model.as_str().into(), versions);
        }
        keeper
    }

    pub(super) fn run(mut self) {
        let config = Arc::clone(&self.config);
        self.take_over(&config);
        loop {
            let Some(registry) = self.registry.upgrade() else {
                return;
            };
            if registry.is_closed() {
                return;
            }
            if self.next_look.is_some_and(|at| at <= Instant::now()) {
                self.look(&registry);
            }
            self.act(&registry);
            self.answer();
            drop(registry);
            let Some(event) = self.next_event() else { continue };
            let Some(registry) = self.registry.upgrade() else {
                return;
            };
            self.take_in(&registry, event);
            // A copy makes thousands of notices; one look is enough for all of them.
            while let Ok(event) = self.events.try_recv() {
                self.take_in(&registry, event);
            }
        }
    }

    fn next_event(&self) -> Option<Event> {
        let Some(at) = self.next_look else {
            return self.events.recv().ok();
        };
        let pause = at.saturating_duration_since(Instant::now());
        self.events.recv_timeout(pause).ok()
    }

    fn take_in(&mut self, registry: &Arc<Registry>, event: Event) {
        match event {
            Event::Changed => self.look_at(
                self.last_look
                    .map_or_else(Instant::now, |last| last + LEAST_PAUSE),
            ),
            Event::Loaded(loaded) => self.loaded(registry, *loaded),
            Event::Unloaded(id) => self.forget(registry, &id),
            Event::Load { model, taken, reply } => self.ask_for(registry, &model, taken, reply),
            Event::Unload { model, reply } => self.take_down(registry, &model, reply),
            Event::Configured(config) => self.take_over(&config),
            Event::Closed => {}
        }
    }

    fn take_over(&mut self, config: &WorkerConfig) {
        self.config = Arc::new(WorkerConfig {
            // Another repository takes another start.
            models: self.config.models.clone(),
            ..config.clone()
        });
        self.next_look = (self.config.repository.watch != Watch::Off).then(Instant::now);
        self.watch();
    }

    fn watch(&mut self) {
        let root = &self.contents.root;
        if self.config.repository.watch != Watch::Auto {
            self.watching = None;
        } else if !self
            .watching
            .as_ref()
            .is_some_and(|watching| watching.is_of(root))
        {
            self.watching = Some(Watching::start(root, self.sender.clone()));
        }
    }

    /// Looks no later than `at`.
    fn look_at(&mut self, at: Instant) {
        self.next_look = self.next_look.map(|next| next.min(at));
    }

    /// Scans the repository and takes in what changed.
    fn look(&mut self, registry: &Registry) {
        let scanned = self.scan();
        let outcome = if scanned.is_some() { "taken" } else { "refused" };
        registry.metrics.scans.with_label_values(&[outcome]).inc();
        let now = Instant::now();
        self.last_look = Some(now);
        self.next_look = Some(now + self.config.repository.poll_interval);
        let Some(contents) = scanned else { return };
        self.contents = contents;
        self.settling.observe(&self.fingerprints(), now);
        self.watch();
    }

    /// What lies in the repository. None where that cannot be known now: then everything stays as it is.
    fn scan(&mut self) -> Option<Contents> {
        let mut contents = match scan(&self.config.models) {
            Ok(contents) => contents,
            Err(error) => {
                self.tell(BTreeSet::from([format!("{error}; what serves stays")]));
                return None;
            }
        };
        let is_another = contents.identity != self.contents.identity;
        if is_another && contents.models.is_empty() && !self.contents.models.is_empty() {
            let trouble = "another folder without models is where it was (not mounted?); what serves stays";
            self.tell(BTreeSet::from([trouble.to_owned()]));
            return None;
        }
        self.tell(contents.oddities.iter().cloned().collect());
        for model in &contents.unreadable {
            let now = contents.models.entry(model.clone()).or_default();
            for (&number, files) in self.contents.models.get(model).into_iter().flatten() {
                now.entry(number).or_insert_with(|| files.clone());
            }
        }
        Some(contents)
    }

    fn tell(&mut self, oddities: BTreeSet<String>) {
        for oddity in oddities.difference(&self.told) {
            tracing::warn!("model repository: {oddity}");
        }
        self.told = oddities;
    }

    /// The versions that may be served: those of the repository, and those that were uploaded in the place of a model.
    fn files(&self) -> impl Iterator<Item = (VersionId, &VersionFiles)> {
        let ours = self.contents.models.iter().filter(|(model, _)| {
            !self.uploaded.contains_key(model.as_str()) && !self.down.contains(model.as_str())
        });
        let ours = ours.map(|(model, versions)| (Arc::from(model.as_str()), versions));
        let theirs = self
            .uploaded
            .iter()
            .map(|(model, uploaded)| (Arc::clone(model), &uploaded.versions));
        ours.chain(theirs).flat_map(|(model, versions)| {
            versions
                .iter()
                .map(move |(&number, files)| ((Arc::clone(&model), number), files))
        })
    }

    fn fingerprints(&self) -> BTreeMap<VersionId, Fingerprint> {
        self.files().map(|(id, files)| (id, files.fingerprint)).collect()
    }

    fn policy_of(&self, model: &str) -> &VersionPolicy {
        let asked = self
            .overrides
            .get(model)
            .and_then(|overrides| overrides.versions.as_ref());
        asked.unwrap_or(&self.config.serving_of(model).versions)
    }

    /// Does what the plan says for every model.
    fn act(&mut self, registry: &Arc<Registry>) {
        let (there, next) = self.settling.versions(self.config.repository.settle);
        if let (Some(next), Some(last)) = (next, self.last_look) {
            self.look_at(next.max(last + LEAST_PAUSE));
        }
        let nothing = BTreeMap::new();
        let models: BTreeSet<Arc<str>> = there.keys().chain(self.known.keys()).cloned().collect();
        for model in models {
            let disk = there.get(&model).unwrap_or(&BTreeMap::new()).clone();
            let known = self.known.get(&model).unwrap_or(&nothing);
            for action in plan(&disk, known, self.policy_of(&model)) {
                self.begin(registry, &model, action);
            }
        }
        registry.note_settled();
    }

    fn begin(&mut self, registry: &Arc<Registry>, model: &Arc<str>, action: Action) {
        match action {
            Action::Load(number, fingerprint) => {
                let id = (Arc::clone(model), number);
                let Some(files) = self
                    .files()
                    .find(|(other, _)| *other == id)
                    .map(|(_, files)| files.clone())
                else {
                    return;
                };
                let before = self.known.get(model).and_then(|versions| versions.get(&number));
                let stage = if before.is_some_and(|known| known.stage == Stage::Serving) {
                    Stage::Reloading
                } else {
                    registry.set(&id, &Slot::Loading);
                    Stage::Loading
                };
                let tried = Some(fingerprint);
                self.known
                    .entry(Arc::clone(model))
                    .or_default()
                    .insert(number, Known { stage, tried });
                self.send_to_loaders(id, files);
            }
            Action::Unload(number) => {
                let id = (Arc::clone(model), number);
                tracing::info!(%model, version = number, "a model version is being unloaded");
                self.set_stage(&id, Stage::Unloading);
                match registry.set(&id, &Slot::Unloading) {
                    Some(served) => self.retire(id, served, true),
                    None => self.forget(registry, &id),
                }
            }
            Action::Forget(number) => self.forget(registry, &(Arc::clone(model), number)),
        }
    }

    fn send_to_loaders(&self, id: VersionId, files: VersionFiles) {
        let model = &*id.0;
        let root = self
            .uploaded
            .get(model)
            .map_or(&*self.contents.root, Uploaded::root);
        let mut config = self.config.model(model).clone();
        if let Some(overrides) = self.overrides.get(model) {
            config.batching = overrides.apply(&config.batching);
        }
        let job = Job {
            root: root.to_owned(),
            files,
            config,
            id,
        };
        self.jobs.send(job);
    }

    fn retire(&self, id: VersionId, served: Arc<Served>, is_gone: bool) {
        // The unloader ends after this thread does.
        let _ = self.retired.send(Retired { id, served, is_gone });
    }

    fn set_stage(&mut self, (model, number): &VersionId, stage: Stage) {
        if let Some(known) = self
            .known
            .get_mut(model)
            .and_then(|versions| versions.get_mut(number))
        {
            known.stage = stage;
        }
    }

    /// Puts a version into service, in one step; or says why it stays as it was.
    fn loaded(&mut self, registry: &Arc<Registry>, loaded: Loaded) {
        let Loaded { job, begun, outcome } = loaded;
        let (model, number) = (&job.id.0, job.id.1);
        let metrics = &registry.metrics;
        // On this thread, because engines must not inherit the low priority of a loader.
        let load = registry.load_of(model);
        let place = Place {
            root: job.root.clone(),
            folder: job.files.folder.clone(),
        };
        let batching = &job.config.batching;
        let started =
            outcome.and_then(|prepared| prepared.start(model, number, batching, metrics, &load, place));
        match started {
            Ok(served) => {
                let task = served.schema.task();
                let before = registry.set(&job.id, &Slot::Ready(Arc::new(served)));
                let millis = begun.elapsed().as_millis();
                let is_reload = before.is_some();
                tracing::info!(%model, version = number, task, %millis, is_reload, "a model version is ready");
                metrics.loads.with_label_values(&[model, "loaded"]).inc();
                self.set_stage(&job.id, Stage::Serving);
                if let Some(before) = before {
                    self.retire(job.id, before, false);
                }
            }
            Err(error) => {
                // Clients read the reason, and where the repository lies is none of their business.
                let reason = error
                    .to_string()
                    .replace(&*job.files.folder.to_string_lossy(), ".");
                metrics.loads.with_label_values(&[model, "failed"]).inc();
                let stage = match registry.served(&job.id) {
                    Some(served) => {
                        tracing::error!(%model, version = number, reason, "a changed model version could not be loaded; the one before serves on");
                        registry.set(&job.id, &Slot::Outdated(served, reason.into()));
                        Stage::Serving
                    }
                    None => {
                        tracing::error!(%model, version = number, reason, "a model version could not be loaded");
                        registry.set(&job.id, &Slot::Failed(reason.into()));
                        Stage::Failed
                    }
                };
                self.set_stage(&job.id, stage);
                // Its files may have changed meanwhile.
                self.look_at(Instant::now());
            }
        }
    }

    /// A version that is no more.
    fn forget(&mut self, registry: &Arc<Registry>, id: &VersionId) {
        let (model, number) = id;
        if let Some(versions) = self.known.get_mut(model) {
            versions.remove(number);
            if versions.is_empty() {
                self.known.remove(model);
            }
        }
        registry.remove(id);
        tracing::info!(%model, version = number, "a model version is gone");
    }

    /// Somebody asks for a model: its files are whole, and it is loaded even if they are as before.
    fn ask_for(&mut self, registry: &Arc<Registry>, model: &Arc<str>, taken: Taken, reply: Reply) {
        let ours = match &taken.uploaded {
            Some(_) => None,
            None => match scan(&self.config.models) {
                Ok(mut contents) => contents.models.remove(&**model),
                Err(error) => {
                    let _ = reply.send(Err(ControlError::Repository(error.to_string())));
                    return;
                }
            },
        };
        let versions = match (&taken.uploaded, &ours) {
            (Some(uploaded), _) => &uploaded.versions,
            (None, Some(ours)) => ours,
            (None, None) => {
                let _ = reply.send(Err(ControlError::NoSuchModel(model.to_string())));
                return;
            }
        };
        let versions = versions
            .iter()
            .map(|(&number, files)| (number, files.fingerprint));
        self.settling.trust(model, versions);
        if let Some(ours) = ours {
            self.contents.models.insert(model.to_string(), ours);
        }
        self.down.remove(model);
        self.overrides.insert(Arc::clone(model), taken.overrides);
        match taken.uploaded {
            Some(uploaded) => self.uploaded.insert(Arc::clone(model), uploaded),
            None => self.uploaded.remove(model),
        };
        for known in self
            .known
            .get_mut(model)
            .into_iter()
            .flat_map(BTreeMap::values_mut)
        {
            known.tried = None;
        }
        registry.set_down(model, false);
        let model = Arc::clone(model);
        self.waiting.push(Waiting { model, reply });
    }

    /// Somebody takes a model down: all of it, at once, whatever lies in the repository.
    fn take_down(&mut self, registry: &Arc<Registry>, model: &Arc<str>, reply: Reply) {
        let is_here = self.known.contains_key(model) || self.contents.models.contains_key(&**model);
        if !is_here && !self.down.contains(model) {
            let _ = reply.send(Err(ControlError::NoSuchModel(model.to_string())));
            return;
        }
        self.down.insert(Arc::clone(model));
        self.uploaded.remove(model);
        self.overrides.remove(model);
        self.settling.trust(model, []);
        registry.set_down(model, true);
        let model = Arc::clone(model);
        self.waiting.push(Waiting { model, reply });
    }

    /// Tells those whose model is where they want it.
    fn answer(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let (there, _) = self.settling.versions(self.config.repository.settle);
        let nothing: BTreeMap<u64, Disk> = BTreeMap::new();
        let nobody = BTreeMap::new();
        let mut waiting = std::mem::take(&mut self.waiting);
        let is_done = |waiting: &mut Waiting| {
            let model = &waiting.model;
            let known = self.known.get(model).unwrap_or(&nobody);
            if self.down.contains(model) {
                return known.is_empty();
            }
            let disk = there.get(model).unwrap_or(&nothing);
            !is_any_on_its_way(disk, known, self.policy_of(model))
        };
        for done in waiting.extract_if(.., is_done) {
            // Who asked may have left meanwhile.
            let _ = done.reply.send(Ok(()));
        }
        self.waiting = waiting;
    }
}
