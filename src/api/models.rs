//! `GET /models` and `GET /models/{model}`: what is served, and in which state. This is also how a gateway learns
//! what a worker serves.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::model::preprocessing::image::ImageInput;
use crate::model::signature::TensorSpec;

/// The answer to `GET /models`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelList {
    /// In the order of their names.
    pub models: Vec<ModelEntry>,
}

impl ModelList {
    /// The model of this name.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&ModelEntry> {
        self.models.iter().find(|model| model.name == name)
    }
}

/// One model of a [`ModelList`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelEntry {
    /// Its name in the repository.
    pub name: String,
    /// `regression`, `classification` or `generic`; unknown where no version could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Oldest first.
    pub versions: Vec<VersionEntry>,
    /// Names for versions, such as `stable`, and the version behind each, which may not be there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl ModelEntry {
    /// Whether it has this version ready, by its number or a label; any version where none is named.
    #[must_use]
    pub fn has_ready(&self, version: Option<&str>) -> bool {
        let wanted = version.map(|version| self.labels.get(version).map_or(version, String::as_str));
        let mut ready = self.versions.iter().filter(|version| version.is_ready());
        ready.any(|ready| wanted.is_none_or(|wanted| ready.version == wanted))
    }
}

/// One version of a [`ModelEntry`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionEntry {
    /// Its number, as text.
    pub version: String,
    /// Whether it answers.
    pub state: VersionState,
    /// The engine that runs it; unknown until it is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// Why its files could not be loaded. A version that is ready all the same answers from the files before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl VersionEntry {
    /// Whether it answers predictions.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state == VersionState::Ready
    }
}

/// The life of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VersionState {
    /// Being read, optimised and warmed up.
    Loading,
    /// Answers predictions.
    Ready,
    /// Takes no new requests and finishes what it has; so are all versions of a worker that drains.
    Unloading,
    /// Could not be loaded; the entry says why.
    Failed,
}

impl VersionState {
    /// Every state there is.
    pub const ALL: [Self; 4] = [Self::Loading, Self::Ready, Self::Unloading, Self::Failed];

    /// As it stands in bodies and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Ready => "ready",
            Self::Unloading => "unloading",
            Self::Failed => "failed",
        }
    }
}

/// The answer to `GET /models/{model}`: its entry and what can be said of its newest ready version.
#[derive(Debug, Serialize, Deserialize)]
pub struct ModelDetail {
    /// As in the list.
    #[serde(flatten)]
    pub entry: ModelEntry,
    /// The engine that runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// What the graph takes.
    pub inputs: Vec<TensorEntry>,
    /// What it puts out.
    pub outputs: Vec<TensorEntry>,
    /// Names of the values of one row, in order; empty where nobody named them.
    pub features: Vec<String>,
    /// Names of the classes, in the order of the probabilities; empty where there are none.
    pub classes: Vec<String>,
    /// How images become rows, where rows are images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageInput>,
    /// Whether values of a row may be `null`, and members of one that is an object absent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub missing_values: bool,
    /// One line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Held-out figures of the training, as `model.toml` has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Box<RawValue>>,
}

/// One tensor of a signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorEntry {
    /// Its name in the graph.
    pub name: String,
    /// Its element type, in the words of the Open Inference Protocol: `FP32`, `INT64`, …
    pub datatype: String,
    /// Its shape; -1 where the size is free.
    pub shape: Vec<i64>,
}

impl TensorEntry {
    /// `spec` with the shape that clients are told.
    #[must_use]
    pub fn new(spec: &TensorSpec, shape: Vec<i64>) -> Self {
        Self {
            name: spec.name.clone(),
            datatype: spec.datatype.to_string(),
            shape,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_ready_by_its_number_or_a_label() {
        let version = |number: &str, state| VersionEntry {
            version: number.to_owned(),
            state,
            engine: None,
            reason: None,
        };
        let label = |name: &str, number: &str| (name.to_owned(), number.to_owned());
        let mut model = ModelEntry {
            name: "iris".to_owned(),
            task: None,
            versions: vec![
                version("1", VersionState::Ready),
                version("2", VersionState::Failed),
            ],
            labels: [label("stable", "1"), label("next", "2"), label("gone", "3")].into(),
        };
        for ready in [None, Some("1"), Some("stable")] {
            assert!(model.has_ready(ready), "{ready:?}");
        }
        for other in ["2", "3", "next", "gone", "unknown"] {
            assert!(!model.has_ready(Some(other)), "{other}");
        }
        model.versions.remove(0);
        assert!(!model.has_ready(None));
    }
}
