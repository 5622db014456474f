//! The model repository extension.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::request::parse_optional;
use crate::api::error::ApiError;
use crate::api::models::{ModelList, VersionState};

/// The body of `POST /v2/repository/index`, which may be empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct IndexRequest {
    /// Whether only what answers is asked for.
    #[serde(default)]
    pub ready: bool,
}

impl IndexRequest {
    /// Reads a body.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        parse_optional(body)
    }
}

/// One version in the answer to `POST /v2/repository/index`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexEntry {
    /// The model.
    pub name: String,
    /// The version.
    pub version: String,
    /// Whether it answers.
    pub state: State,
    /// Why it does not; empty where it does.
    #[serde(default)]
    pub reason: String,
    /// On a gateway, what each worker says of it, by the id of the worker.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub workers: BTreeMap<String, WorkerEntry>,
}

/// What one worker says of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerEntry {
    /// Whether it answers there.
    pub state: State,
    /// Why it does not; empty where it does.
    pub reason: String,
}

/// The life of a version, in the words of the extension. The best state stands first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// Answers.
    Ready,
    /// Will answer soon.
    Loading,
    /// Will not answer for long.
    Unloading,
    /// Does not answer.
    Unavailable,
    /// Nobody can say.
    #[serde(other)]
    Unknown,
}

impl From<VersionState> for State {
    fn from(state: VersionState) -> Self {
        match state {
            VersionState::Ready => Self::Ready,
            VersionState::Loading => Self::Loading,
            VersionState::Unloading => Self::Unloading,
            VersionState::Failed => Self::Unavailable,
        }
    }
}

/// The index of one worker.
#[must_use]
pub fn index(list: ModelList, request: IndexRequest) -> Vec<IndexEntry> {
    let mut entries = Vec::new();
    for model in list.models {
        for version in model.versions {
            entries.push(IndexEntry {
                name: model.name.clone(),
                version: version.version,
                state: version.state.into(),
                reason: version.reason.unwrap_or_default(),
                workers: BTreeMap::new(),
            });
        }
    }
    if request.ready {
        entries.retain(|entry| entry.state == State::Ready);
    }
    entries
}

/// The indices of many workers in one, by the ids of the workers. A version is in the best state that it has anywhere;
/// `workers` has what each of them says, and those that could not be asked or do not have it as well.
#[must_use]
pub fn put_together(answers: &BTreeMap<String, Result<Vec<IndexEntry>, String>>) -> Vec<IndexEntry> {
    let mut versions: BTreeMap<(&str, u64), IndexEntry> = BTreeMap::new();
    for (worker, answer) in answers {
        for entry in answer.iter().flatten() {
            let key = (entry.name.as_str(), entry.version.parse().unwrap_or_default());
            let whole = versions.entry(key).or_insert_with(|| IndexEntry {
                state: State::Unknown,
                ..entry.clone()
            });
            whole.state = whole.state.min(entry.state);
            let seen = WorkerEntry {
                state: entry.state,
                reason: entry.reason.clone(),
            };
            whole.workers.insert(worker.clone(), seen);
        }
    }
    let mut entries: Vec<IndexEntry> = versions.into_values().collect();
    for entry in &mut entries {
        for (worker, answer) in answers {
            let absent = || match answer {
                Ok(_) => (State::Unavailable, "it does not have this version".to_owned()),
                Err(reason) => (State::Unknown, reason.clone()),
            };
            entry.workers.entry(worker.clone()).or_insert_with(|| {
                let (state, reason) = absent();
                WorkerEntry { state, reason }
            });
        }
        entry.reason = reason_of(&entry.workers);
    }
    entries
}

/// What is wrong, and where.
fn reason_of(workers: &BTreeMap<String, WorkerEntry>) -> String {
    let wrong = workers.iter().filter(|(_, entry)| entry.state != State::Ready);
    let told = wrong.map(|(worker, entry)| match entry.reason.as_str() {
        "" => format!("{worker}: {:?}", entry.state),
        reason => format!("{worker}: {reason}"),
    });
    told.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::error::ErrorCode;

    fn entry(version: &str, state: State, reason: &str) -> IndexEntry {
        IndexEntry {
            name: "iris".into(),
            version: version.into(),
            state,
            reason: reason.into(),
            workers: BTreeMap::new(),
        }
    }

    #[test]
    fn an_empty_body_asks_for_everything() {
        assert_eq!(IndexRequest::parse(b" \n"), Ok(IndexRequest { ready: false }));
        assert_eq!(
            IndexRequest::parse(b"{\"ready\": true}"),
            Ok(IndexRequest { ready: true })
        );
        assert_eq!(
            IndexRequest::parse(b"[true]").unwrap_err().code,
            ErrorCode::InvalidInput
        );
    }

    #[test]
    fn an_index_of_many_workers_says_what_each_has() {
        let answers = BTreeMap::from([
            (
                "a".to_owned(),
                Ok(vec![entry("10", State::Ready, ""), entry("9", State::Ready, "")]),
            ),
            (
                "b".to_owned(),
                Ok(vec![entry("9", State::Unavailable, "broken file")]),
            ),
            ("c".to_owned(), Err("no connection".to_owned())),
        ]);
        let index = put_together(&answers);
        let told: Vec<_> = index
            .iter()
            .map(|entry| (entry.version.as_str(), entry.state))
            .collect();
        assert_eq!(told, [("9", State::Ready), ("10", State::Ready)]);
        assert_eq!(index[0].reason, "b: broken file; c: no connection");
        assert_eq!(index[0].workers["a"].state, State::Ready);
        assert_eq!(index[1].workers["b"].state, State::Unavailable);
        assert_eq!(index[1].workers["c"].state, State::Unknown);
    }
}
