//! `GET /models` of a gateway: what its workers serve, put together.

use std::collections::BTreeMap;

use super::pool::Member;
use crate::api::models::{ModelEntry, ModelList, VersionEntry, VersionState};

/// All models of all members. A version is in the best state that it has anywhere: a client can use what one worker
/// has ready.
#[must_use]
pub fn put_together(members: &[Member]) -> ModelList {
    let mut models: BTreeMap<&str, (Option<&String>, BTreeMap<u64, VersionEntry>)> = BTreeMap::new();
    for member in members {
        for model in &member.models.models {
            let (task, versions) = models.entry(&model.name).or_default();
            *task = task.or(model.task.as_ref());
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
    let entry =
        |(name, (task, versions)): (&str, (Option<&String>, BTreeMap<u64, VersionEntry>))| ModelEntry {
            name: name.to_owned(),
            task: task.cloned(),
            versions: versions.into_values().collect(),
        };
    ModelList {
        models: models.into_iter().map(entry).collect(),
    }
}

/// What a member has ready is of no use while it takes no requests.
fn as_seen_through(member: &Member, version: &VersionEntry) -> VersionEntry {
    if version.state != VersionState::Ready || member.takes_requests() {
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
