//! Which versions there are and which of them answer. Readers see one immutable snapshot; every change of a state
//! puts a new one in its place.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, thread};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::Instant;

use super::served::Served;
use super::trial::Trial;
use crate::api::datum::shortened;
use crate::api::error::{ApiError, ErrorCode};
use crate::api::models::VersionState;
use crate::config::WorkerConfig;
use crate::model::name::parse_version;
use crate::model::repository::{RepositoryError, scan};
use crate::telemetry::worker_metrics::WorkerMetrics;

/// Names that an error lists.
const LISTED_NAMES: usize = 20;

/// The state of one version.
#[derive(Clone)]
pub(super) enum Slot {
    /// Not there yet.
    Loading,
    /// Answers.
    Ready(Arc<Served>),
    /// Does not answer, for this reason.
    Failed(Arc<str>),
}

/// The versions of one model, by number.
pub(super) type Versions = BTreeMap<u64, Slot>;
/// All models, by name.
pub(super) type Models = BTreeMap<Arc<str>, Versions>;

/// All models and versions of a worker.
pub(super) struct Registry {
    models: ArcSwap<Models>,
    waiting: Mutex<Vec<Waiting>>,
    root: PathBuf,
    trial: Trial,
    metrics: WorkerMetrics,
    is_closed: AtomicBool,
    is_settled: watch::Sender<bool>,
}

/// A version that is to be loaded.
struct Waiting {
    model: Arc<str>,
    number: u64,
    folder: PathBuf,
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
        let mut models = Models::new();
        let mut waiting = Vec::new();
        for (name, versions) in contents.models {
            let model: Arc<str> = name.into();
            for (number, folder) in versions {
                show_state(metrics, &model, number, VersionState::Loading);
                models
                    .entry(Arc::clone(&model))
                    .or_default()
                    .insert(number, Slot::Loading);
                let model = Arc::clone(&model);
                waiting.push(Waiting {
                    model,
                    number,
                    folder,
                });
            }
        }
        Ok(Self {
            models: ArcSwap::from_pointee(models),
            waiting: Mutex::new(waiting),
            root: contents.root,
            trial,
            metrics: metrics.clone(),
            is_closed: AtomicBool::new(false),
            is_settled: watch::Sender::new(false),
        })
    }

    /// Loads everything that a scan found, on threads of its own: this is seconds of work for large models, and the
    /// network answers meanwhile.
    pub(super) fn load(self: &Arc<Self>, config: &Arc<WorkerConfig>) -> io::Result<()> {
        let loaders = thread::available_parallelism().map_or(1, NonZero::get);
        for loader in 0..loaders {
            let (registry, config) = (Arc::clone(self), Arc::clone(config));
            thread::Builder::new()
                .name(format!("load#{loader}"))
                .spawn(move || registry.work_off(&config))?;
        }
        Ok(())
    }

    fn work_off(&self, config: &WorkerConfig) {
        while let Some(next) = self.next_waiting() {
            if !self.is_closed() {
                self.load_one(&next, config);
            }
        }
        let is_loading = |slot: &Slot| matches!(slot, Slot::Loading);
        if !self
            .models
            .load()
            .values()
            .flat_map(BTreeMap::values)
            .any(is_loading)
        {
            self.is_settled.send_replace(true);
        }
    }

    fn next_waiting(&self) -> Option<Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn load_one(&self, next: &Waiting, config: &WorkerConfig) {
        let Waiting {
            model,
            number,
            folder,
        } = next;
        let begun = Instant::now();
        let model_config = config.model(model);
        match Served::load(
            &self.root,
            folder,
            model,
            *number,
            model_config,
            &self.trial,
            &self.metrics,
        ) {
            Ok(served) => {
                let (task, engine) = (served.schema.task(), served.engine);
                self.set(model, *number, Slot::Ready(Arc::new(served)));
                let millis = begun.elapsed().as_millis();
                tracing::info!(%model, version = number, task, engine, %millis, "a model version is ready");
            }
            Err(error) => {
                // Clients read the reason, and where the repository lies is none of their business.
                let reason = error.to_string().replace(&*folder.to_string_lossy(), ".");
                tracing::error!(%model, version = number, reason, "a model version could not be loaded");
                self.set(model, *number, Slot::Failed(reason.into()));
            }
        }
    }

    fn set(&self, model: &Arc<str>, number: u64, slot: Slot) {
        show_state(&self.metrics, model, number, slot.state());
        self.models.rcu(|models| {
            let mut models = Models::clone(models);
            models
                .entry(Arc::clone(model))
                .or_default()
                .insert(number, slot.clone());
            models
        });
        // Whoever closes raises the flag before it looks at the models: one of the two sees the other.
        if self.is_closed()
            && let Slot::Ready(served) = slot
        {
            served.batcher.close();
        }
    }

    /// All models as they are now.
    pub(super) fn models(&self) -> Arc<Models> {
        self.models.load_full()
    }

    /// Waits until nothing is loading any more.
    pub(super) async fn settled(&self) {
        // The sender lives in self, so that waiting cannot fail.
        let _ = self
            .is_settled
            .subscribe()
            .wait_for(|is_settled| *is_settled)
            .await;
    }

    /// The name of a model that exists, whatever its state: safe to be a metric's label.
    pub(super) fn known(&self, model: &str) -> Option<Arc<str>> {
        let models = self.models.load();
        models.get_key_value(model).map(|(name, _)| Arc::clone(name))
    }

    /// The version that answers a request for `model`: the one asked for, or the newest that is ready.
    pub(super) fn find(&self, model: &str, version: Option<&str>) -> Result<Arc<Served>, ApiError> {
        let models = self.models.load();
        let Some(versions) = models.get(model) else {
            return Err(unknown_model(model, &models));
        };
        let Some(version) = version else {
            return newest_ready(versions).ok_or_else(|| not_ready(model, versions));
        };
        let found = parse_version(version).and_then(|number| versions.get_key_value(&number));
        match found {
            None => {
                let known: Vec<String> = versions.keys().map(u64::to_string).collect();
                let version = shortened(version);
                let message = format!(
                    "model {model} has no version {version:?}; it has {}",
                    known.join(", ")
                );
                Err(ApiError::new(ErrorCode::VersionNotFound, message))
            }
            Some((_, Slot::Ready(served))) => Ok(Arc::clone(served)),
            Some((number, slot)) => Err(not_ready(model, &BTreeMap::from([(*number, slot.clone())]))),
        }
    }

    /// Refuses new work. What was accepted is still done.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
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
        for slot in self.models.load().values().flat_map(BTreeMap::values) {
            if let Slot::Ready(served) = slot {
                act(served);
            }
        }
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }
}

impl Slot {
    /// Its state, in the word of the API.
    pub(super) fn state(&self) -> VersionState {
        match self {
            Self::Loading => VersionState::Loading,
            Self::Ready(_) => VersionState::Ready,
            Self::Failed(_) => VersionState::Failed,
        }
    }
}

/// The newest version that answers.
pub(super) fn newest_ready(versions: &Versions) -> Option<Arc<Served>> {
    versions.values().rev().find_map(|slot| match slot {
        Slot::Ready(served) => Some(Arc::clone(served)),
        _ => None,
    })
}

/// The refusal of a request for a model that is not there.
pub(super) fn unknown_model(model: &str, models: &Models) -> ApiError {
    let names: Vec<&str> = models.keys().take(LISTED_NAMES).map(AsRef::as_ref).collect();
    let here = match (names.as_slice(), models.len()) {
        ([], _) => "there are none here".to_owned(),
        (_, count) if count > LISTED_NAMES => format!("here are {} and others", names.join(", ")),
        _ => format!("here are {}", names.join(", ")),
    };
    let model = shortened(model);
    ApiError::new(
        ErrorCode::ModelNotFound,
        format!("there is no model {model:?}; {here}"),
    )
}

fn not_ready(model: &str, versions: &Versions) -> ApiError {
    let states: Vec<String> = versions.iter().map(describe).collect();
    let message = format!("model {model} is not ready: {}", states.join("; "));
    ApiError::new(ErrorCode::NotReady, message)
}

fn describe((number, slot): (&u64, &Slot)) -> String {
    match slot {
        Slot::Loading => format!("version {number} is loading"),
        Slot::Ready(_) => format!("version {number} is ready"),
        Slot::Failed(reason) => format!("version {number} could not be loaded: {reason}"),
    }
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
