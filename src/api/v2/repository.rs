//! The model repository extension.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::base64;
use super::request::parse_optional;
use crate::api::datum::shortened;
use crate::api::error::ApiError;

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

/// The body of `POST /v2/repository/models/{model}/load`, which may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadRequest {
    /// A model configuration in JSON, to stand over the worker's.
    pub config: Option<String>,
    /// Files by their names below the model's folder, to stand in the place of those in the repository. They only come
    /// with a configuration.
    pub files: Vec<(String, Vec<u8>)>,
}

#[derive(Default, Deserialize)]
struct LoadBody {
    #[serde(default)]
    parameters: Option<BTreeMap<String, Value>>,
}

impl LoadRequest {
    /// Reads a body. Parameters that mean nothing here are skipped.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let body: LoadBody = parse_optional(body)?;
        let mut request = Self::default();
        for (name, value) in body.parameters.unwrap_or_default() {
            let file = name.strip_prefix("file:");
            if file.is_none() && name != "config" {
                continue;
            }
            let Value::String(text) = value else {
                return Err(ApiError::invalid_input(format!(
                    "the parameter '{}' takes a text",
                    shortened(&name)
                )));
            };
            match file {
                None => request.config = Some(text),
                Some(file) => {
                    let bytes = base64::decode(&text).ok_or_else(|| {
                        ApiError::invalid_input(format!("the parameter '{}' is not base64", shortened(&name)))
                    })?;
                    request.files.push((file.to_owned(), bytes));
                }
            }
        }
        if request.config.is_none()
            && let Some((file, _)) = request.files.first()
        {
            let file = shortened(file);
            return Err(ApiError::invalid_input(format!(
                "the parameter 'file:{file}' needs 'config' beside it"
            )));
        }
        Ok(request)
    }
}

/// One version in the answer to `POST /v2/repository/index`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexEntry {
    /// The model.
    pub name: String,
    /// The version; none for a model that was taken down as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether it answers.
    pub state: State,
    /// Why it does not, or why it answers from files that have changed since; empty otherwise.
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
    /// As in [`IndexEntry`].
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

/// The indices of many workers in one, by the ids of the workers. A version is in the best state that it has anywhere;
/// `workers` has what each of them says, and those that could not be asked or do not have it as well.
#[must_use]
pub fn put_together(answers: &BTreeMap<String, Result<Vec<IndexEntry>, String>>) -> Vec<IndexEntry> {
    let mut versions: BTreeMap<(&str, u64), IndexEntry> = BTreeMap::new();
    for (worker, answer) in answers {
        for entry in answer.iter().flatten() {
            let key = (entry.name.as_str(), number_of(entry));
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

fn number_of(entry: &IndexEntry) -> u64 {
    let number = entry.version.as_deref().and_then(|version| version.parse().ok());
    number.unwrap_or_default()
}

/// What is wrong, and where.
fn reason_of(workers: &BTreeMap<String, WorkerEntry>) -> String {
    let is_wrong = |entry: &WorkerEntry| entry.state != State::Ready || !entry.reason.is_empty();
    let wrong = workers.iter().filter(|(_, entry)| is_wrong(entry));
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
            version: Some(version.into()),
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
    fn a_load_request_brings_configuration_and_files() {
        assert_eq!(LoadRequest::parse(b""), Ok(LoadRequest::default()));
        let body =
            br#"{"parameters": {"config": "{}", "file:1/model.onnx": "YWI=", "unload_dependents": true}}"#;
        let request = LoadRequest::parse(body).unwrap();
        assert_eq!(request.config.as_deref(), Some("{}"));
        assert_eq!(request.files, [("1/model.onnx".to_owned(), b"ab".to_vec())]);
        for wrong in [
            r#"{"parameters": {"config": 1}}"#,
            r#"{"parameters": {"config": "{}", "file:a": "!"}}"#,
            r#"{"parameters": {"file:1/model.onnx": "YWI="}}"#,
        ] {
            assert_eq!(
                LoadRequest::parse(wrong.as_bytes()).unwrap_err().code,
                ErrorCode::InvalidInput
            );
        }
    }

    #[test]
    fn an_index_of_many_workers_says_what_each_has() {
        let answers = BTreeMap::from([
            (
                "a".to_owned(),
                Ok(vec![
                    entry("10", State::Ready, ""),
                    entry("9", State::Ready, "new files are broken"),
                ]),
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
            .map(|entry| (entry.version.as_deref().unwrap(), entry.state))
            .collect();
        assert_eq!(told, [("9", State::Ready), ("10", State::Ready)]);
        assert_eq!(
            index[0].reason,
            "a: new files are broken; b: broken file; c: no connection"
        );
        assert_eq!(index[0].workers["a"].state, State::Ready);
        assert_eq!(index[1].workers["b"].state, State::Unavailable);
        assert_eq!(index[1].workers["c"].state, State::Unknown);
    }
}
