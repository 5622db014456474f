//! `GET /models` of a gateway: what its workers serve, put together.

use std::collections::BTreeMap;

use super::pool::Member;
use crate::api::models::{ModelEntry, ModelList, VersionEntry, VersionState};

/// What all members together know of one model.
#[derive(Default)]
struct Known<'a> {
    task: Option<&'a String>,
    versions: BTreeMap<u64, VersionEntry>,
    labels: BTreeMap<String, String>,
}

/// All models of all members. A version is in the best state that it has anywhere: a client can use what one worker
/// has ready.
#[must_use]
pub fn put_together(members: &[Member]) -> ModelList {
    let mut models: BTreeMap<&str, Known<'_>> = BTreeMap::new();
    for member in members {
        for model in &member.models.models {
            let Known {
                task,
                versions,
                labels,
            } = models.entry(&model.name).or_default();
            *task = task.or(model.task.as_ref());
            // While a label moves, workers may tell different versions; the first of them is shown.
            for (label, version) in &model.labels {
                labels.entry(label.clone()).or_insert_with(|| version.clone());
            }
            for version in &model.versions {
                let seen = as_seen_through(member, version);
                let number = version.version.parse().unwrap_or_default();
                let known = versions.entry(number).or_insert_with(|| seen.clone());
                if rank(seen.state) < rank(known.state) {
                    *known = seen;
                }
            }
        }
    }
    let entry = |(name, known): (&str, Known<'_>)| ModelEntry {
        name: name.to_owned(),
        task: known.task.cloned(),
        versions: known.versions.into_values().collect(),
        labels: known.labels,
    };
    ModelList {
        models: models.into_iter().map(entry).collect(),
    }
}

/// What a member has ready is of no use while it takes no requests.
fn as_seen_through(member: &Member, version: &VersionEntry) -> VersionEntry {
    if !version.is_ready() || member.takes_requests() {
        return version.clone();
    }
    VersionEntry {
        state: VersionState::Unloading,
        ..version.clone()
    }
}

fn rank(state: VersionState) -> u8 {
    match state {
        VersionState::Ready => 0,
        VersionState::Loading => 1,
        VersionState::Unloading => 2,
        VersionState::Failed => 3,
    }
}
