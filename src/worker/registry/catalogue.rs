//! Which versions there are, which of them answer, and under which labels: the immutable view that requests read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::api::datum::shortened;
use crate::api::error::{ApiError, ErrorCode};
use crate::api::models::VersionState;
use crate::model::name::parse_version;
use crate::worker::served::Served;

/// Names that an error lists.
const LISTED_NAMES: usize = 20;

/// The state of one version.
#[derive(Clone)]
pub(in crate::worker) enum Slot {
    /// Not there yet.
    Loading,
    /// Answers.
    Ready(Arc<Served>),
    /// Answers, though its files have changed since: the new ones could not be loaded, for this reason.
    Outdated(Arc<Served>, Arc<str>),
    /// Takes nothing new and finishes what it has.
    Unloading,
    /// Does not answer, for this reason.
    Failed(Arc<str>),
}

/// The versions of one model, by number.
pub(in crate::worker) type Versions = BTreeMap<u64, Slot>;
/// All models, by name.
pub(in crate::worker) type Models = BTreeMap<Arc<str>, Versions>;
/// The labels of one model, and the version behind each.
pub(in crate::worker) type Labels = BTreeMap<String, u64>;

/// All models, versions and labels at one moment.
#[derive(Clone, Default)]
pub(in crate::worker) struct Catalogue {
    /// Every model with a version that answers, is loaded or unloaded, or has failed.
    pub(in crate::worker) models: Models,
    /// The labels of every model that has some, whether its versions are there or not.
    pub(in crate::worker) labels: BTreeMap<Arc<str>, Labels>,
    /// Models that somebody took down; they stay so until somebody asks for them again.
    pub(in crate::worker) down: BTreeSet<Arc<str>>,
}

impl Slot {
    /// Its state, in the word of the API.
    pub(in crate::worker) fn state(&self) -> VersionState {
        match self {
            Self::Loading => VersionState::Loading,
            Self::Ready(_) | Self::Outdated(..) => VersionState::Ready,
            Self::Unloading => VersionState::Unloading,
            Self::Failed(_) => VersionState::Failed,
        }
    }

    /// What answers.
    pub(in crate::worker) fn served(&self) -> Option<&Arc<Served>> {
        match self {
            Self::Ready(served) | Self::Outdated(served, _) => Some(served),
            Self::Loading | Self::Unloading | Self::Failed(_) => None,
        }
    }

    /// Why its files could not be loaded.
    pub(in crate::worker) fn reason(&self) -> Option<&Arc<str>> {
        match self {
            Self::Failed(reason) | Self::Outdated(_, reason) => Some(reason),
            Self::Loading | Self::Ready(_) | Self::Unloading => None,
        }
    }
}

impl Catalogue {
    /// What answers a request for `model`: the version asked for, by its number or a label, or the newest ready one.
    pub(in crate::worker) fn find(
        &self,
        model: &str,
        version: Option<&str>,
    ) -> Result<Arc<Served>, ApiError> {
        let Some(versions) = self.models.get(model) else {
            return Err(self.unknown_model(model));
        };
        let Some(version) = version else {
            return newest_ready(versions).ok_or_else(|| not_ready(model, versions));
        };
        let number = self
            .labels_of(model)
            .and_then(|labels| labels.get(version))
            .copied();
        let found = number
            .or_else(|| parse_version(version))
            .and_then(|number| versions.get_key_value(&number));
        match found {
            None => Err(self.unknown_version(model, versions, version)),
            Some((number, slot)) => match slot.served() {
                Some(served) => Ok(Arc::clone(served)),
                None => Err(not_ready(model, &BTreeMap::from([(*number, slot.clone())]))),
            },
        }
    }

    /// The versions of one model that answer, the oldest first.
    pub(in crate::worker) fn answering(&self, model: &str) -> impl DoubleEndedIterator<Item = &Arc<Served>> {
        let versions = self.models.get(model).into_iter().flat_map(BTreeMap::values);
        versions.filter_map(Slot::served)
    }

    /// The labels of one model, where it has some.
    pub(in crate::worker) fn labels_of(&self, model: &str) -> Option<&Labels> {
        self.labels.get(model)
    }

    /// The refusal of a request for a model that is not there.
    pub(in crate::worker) fn unknown_model(&self, model: &str) -> ApiError {
        let names: Vec<&str> = self.models.keys().take(LISTED_NAMES).map(AsRef::as_ref).collect();
        let here = match (names.as_slice(), self.models.len()) {
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

    /// The refusal of a request for a version or label that is not there.
    pub(in crate::worker) fn unknown_version(
        &self,
        model: &str,
        versions: &Versions,
        version: &str,
    ) -> ApiError {
        let known: Vec<String> = versions.keys().map(u64::to_string).collect();
        let known = known.join(", ");
        let labels = self.labels_of(model);
        if let Some(number) = labels.and_then(|labels| labels.get(version)) {
            let message = format!(
                "label {version:?} of model {model} points at version {number}, which is not here; it has {known}"
            );
            return ApiError::new(ErrorCode::VersionNotFound, message);
        }
        let labels: String = labels
            .into_iter()
            .flatten()
            .map(|(label, number)| format!(", {label} = {number}"))
            .collect();
        let version = shortened(version);
        let message = format!("model {model} has no version {version:?}; it has {known}{labels}");
        ApiError::new(ErrorCode::VersionNotFound, message)
    }
}

/// The newest version that answers.
pub(in crate::worker) fn newest_ready(versions: &Versions) -> Option<Arc<Served>> {
    versions.values().rev().find_map(|slot| slot.served().cloned())
}

fn not_ready(model: &str, versions: &Versions) -> ApiError {
    let states: Vec<String> = versions.iter().map(describe).collect();
    let message = format!("model {model} is not ready: {}", states.join("; "));
    ApiError::new(ErrorCode::NotReady, message)
}

fn describe((number, slot): (&u64, &Slot)) -> String {
    match slot {
        Slot::Loading => format!("version {number} is loading"),
        Slot::Ready(_) | Slot::Outdated(..) => format!("version {number} is ready"),
        Slot::Unloading => format!("version {number} is unloading"),
        Slot::Failed(reason) => format!("version {number} could not be loaded: {reason}"),
    }
}
