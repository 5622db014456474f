//! The files of one model version: `model.onnx`, and `model.toml` with what the graph itself cannot say.
//!
//! `model.toml` is optional; a bare `model.onnx` is served from its own signature. What `millrace train` writes and
//! what the worker reads is one type, [`Metadata`], so the two cannot drift apart.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::preprocessing::image::ImageInput;
use super::preprocessing::text::TextInput;

/// File name of the graph inside a version's folder.
pub const GRAPH_FILE: &str = "model.onnx";
/// File name of the metadata inside a version's folder.
pub const METADATA_FILE: &str = "model.toml";

/// File name of what cuts texts into tokens, in the format of Hugging Face's tokenizers.
pub const TOKENIZER_FILE: &str = "tokenizer.json";

/// What a model's answers mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// One number a row.
    Regression,
    /// One class a row, with a probability for each class.
    Classification,
    /// The next values of a series a row.
    Forecast,
    /// Whatever the graph puts out, answered as it is.
    Generic,
}

/// The contents of `model.toml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// What the answers mean; guessed from the signature where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
    /// One line for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Names of the values of one row, in the order in which the graph takes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// Whether values may be missing: `null` in a row, or a member that is not there, then becomes not-a-number for a
    /// floating-point input and an empty text for one of texts, and the graph knows what to do with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub missing_values: bool,
    /// Names of the classes, in the order of the graph's probabilities.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// Says that the model's only input is images, and how they become numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageInput>,
    /// How texts become the tokens that the graph takes, where it takes tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<TextInput>,
    /// Where the data came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// How the model was fitted: the algorithm, its seed and its options.
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    pub training: toml::Table,
    /// Held-out figures, by name.
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    pub metrics: toml::Table,
}

/// The data a model was fitted on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// File name of the data, without its folder (a path would differ between machines).
    pub data: String,
    /// The column that the model predicts.
    pub target: String,
    /// Rows in the file, the held-out ones included.
    pub rows: usize,
}

/// Why the files of a version could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The folder has no graph.
    #[error("{GRAPH_FILE} is missing")]
    MissingGraph,
    /// A file is there and cannot be read.
    #[error("{file} cannot be read: {source}")]
    Unreadable {
        /// Which file of the version.
        file: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// `model.toml` is not what it should be.
    #[error("{METADATA_FILE} is not valid: {0}")]
    InvalidMetadata(String),
}

/// One version's files, read but not yet understood by an engine.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// Where the graph lies, for engines that read it themselves and for tensors kept beside it.
    pub graph_path: PathBuf,
    /// What `model.toml` says; empty where there is none.
    pub metadata: Metadata,
    /// Where the tokenizer of its texts lies; none where its rows are no texts.
    pub tokenizer_path: Option<PathBuf>,
}

impl Artifact {
    /// Reads the metadata of the version in `folder` and makes sure that its graph is there.
    pub fn read(folder: &Path) -> Result<Self, ArtifactError> {
        let graph_path = folder.join(GRAPH_FILE);
        if !graph_path.is_file() {
            return Err(ArtifactError::MissingGraph);
        }
        let metadata = match std::fs::read_to_string(folder.join(METADATA_FILE)) {
            Ok(text) => {
                toml::from_str(&text).map_err(|error| ArtifactError::InvalidMetadata(error.to_string()))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Metadata::default(),
            Err(source) => {
                return Err(ArtifactError::Unreadable {
                    file: METADATA_FILE,
                    source,
                });
            }
        };
        let tokenizer_path = folder.join(TOKENIZER_FILE);
        Ok(Self {
            graph_path,
            metadata,
            tokenizer_path: tokenizer_path.is_file().then_some(tokenizer_path),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::preprocessing::text::Padding;

    #[test]
    fn a_bare_graph_has_empty_metadata() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(GRAPH_FILE), b"").unwrap();
        let artifact = Artifact::read(folder.path()).unwrap();
        assert_eq!(artifact.metadata, Metadata::default());
    }

    #[test]
    fn a_misspelt_key_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(GRAPH_FILE), b"").unwrap();
        std::fs::write(folder.path().join(METADATA_FILE), "clases = []").unwrap();
        let error = Artifact::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("clases"), "{error}");
    }

    #[test]
    fn metadata_survives_a_round_trip() {
        let metadata = Metadata {
            task: Some(Task::Classification),
            features: vec!["a".into(), "b".into()],
            classes: vec!["no".into(), "yes".into()],
            source: Some(Source {
                data: "d.csv".into(),
                target: "t".into(),
                rows: 3,
            }),
            text: Some(TextInput {
                max_length: Some(64),
                padding: Some(Padding::MaxLength),
                ..TextInput::default()
            }),
            training: toml::Table::from_iter([("seed".to_owned(), toml::Value::Integer(1))]),
            ..Metadata::default()
        };
        let text = toml::to_string(&metadata).unwrap();
        assert_eq!(toml::from_str::<Metadata>(&text).unwrap(), metadata);
    }
}
