//! A model that came with a load request: its files, held in a folder that nobody else can read, and what its
//! configuration says over ours.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Deserialize;

use crate::config::{BatchingConfig, VersionPolicy};
use crate::model::name::parse_version;
use crate::model::repository::{RepositoryError, VersionFiles, scan};

/// Folders below a version's own.
const MAX_PARTS: usize = 6;

/// What a load request brings.
#[derive(Clone, Debug, Default)]
pub struct Upload {
    /// A model configuration in JSON, in the words of the Open Inference Protocol's repository extension.
    pub config: Option<String>,
    /// Files by their names, such as `1/model.onnx`. None: those of the repository.
    pub files: Vec<(String, Bytes)>,
}

/// Why an upload is not taken.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// A name that leads elsewhere than into a version's folder.
    #[error("file {0:?} is not expected: expected a version and a name, such as \"1/model.onnx\"")]
    FileName(String),
    /// Two files of one name.
    #[error("file {0:?} is given twice")]
    Twice(String),
    /// The configuration is no JSON object, or says something wrong.
    #[error("the configuration is not understood: {0}")]
    Config(String),
    /// The temporary folder cannot be written.
    #[error("the files could not be kept: {0}")]
    Unwritten(#[from] io::Error),
    /// The temporary folder cannot be read.
    #[error("the files could not be kept: {0}")]
    Unreadable(#[from] RepositoryError),
}

/// An upload that was taken.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) overrides: Overrides,
    pub(super) uploaded: Option<Uploaded>,
}

/// Files that were uploaded. They are removed with it.
#[derive(Debug)]
pub(super) struct Uploaded {
    folder: PrivateFolder,
    pub(super) versions: BTreeMap<u64, VersionFiles>,
}

/// What a request says over the worker's configuration.
#[derive(Debug, Default)]
pub(super) struct Overrides {
    max_batch_size: Option<usize>,
    instances: Option<usize>,
    pub(super) versions: Option<VersionPolicy>,
}

impl Overrides {
    pub(super) fn apply(&self, batching: &BatchingConfig) -> BatchingConfig {
        BatchingConfig {
            max_batch_size: self.max_batch_size.unwrap_or(batching.max_batch_size),
            instances: self.instances.unwrap_or(batching.instances),
            ..batching.clone()
        }
    }
}

impl Taken {
    /// Checks everything, then writes the files.
    pub(super) fn take(model: &str, upload: &Upload) -> Result<Self, UploadError> {
        let overrides = match &upload.config {
            None => Overrides::default(),
            Some(text) => overrides(model, text)?,
        };
        let mut names = BTreeSet::new();
        for (name, _) in &upload.files {
            if !is_file_name(name) {
                return Err(UploadError::FileName(name.clone()));
            }
            if !names.insert(name) {
                return Err(UploadError::Twice(name.clone()));
            }
        }
        if upload.files.is_empty() {
            return Ok(Self {
                overrides,
                uploaded: None,
            });
        }
        let folder = PrivateFolder::create()?;
        for (name, contents) in &upload.files {
            let path = folder.0.join(model).join(name);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(path, contents)?;
        }
        let versions = scan(&folder.0)?.models.remove(model).unwrap_or_default();
        Ok(Self {
            overrides,
            uploaded: Some(Uploaded { folder, versions }),
        })
    }
}

impl Uploaded {
    pub(super) fn root(&self) -> &Path {
        &self.folder.0
    }
}

/// A version, and a path below its folder that leads nowhere else.
fn is_file_name(name: &str) -> bool {
    let mut parts = name.split('/');
    let is_versioned = parts.next().and_then(parse_version).is_some();
    let parts: Vec<&str> = parts.collect();
    let is_plain = |part: &&str| {
        let is_allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'\\' || byte == b' ';
        !part.is_empty() && !part.starts_with('.') && part.len() < 256 && part.bytes().all(is_allowed)
    };
    is_versioned && (1..=MAX_PARTS).contains(&parts.len()) && parts.iter().all(is_plain)
}

/// A folder of this process alone, which goes when it is dropped.
#[derive(Debug)]
struct PrivateFolder(PathBuf);

impl PrivateFolder {
    fn create() -> io::Result<Self> {
        let name = format!("millrace-{:032x}", rand::random::<u128>());
        let path = std::env::temp_dir().canonicalize()?.join(name);
        // Fails where something of that name is there already.
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "uploaded files could not be removed");
        }
    }
}

/// What of a Triton model configuration means something here; the rest, such as inputs and outputs, the graph says.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ModelConfig {
    name: Option<String>,
    max_batch_size: Option<usize>,
    version_policy: Option<Policy>,
    instance_group: Vec<InstanceGroup>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Policy {
    All {},
    Latest { num_versions: usize },
    Specific { versions: BTreeSet<u64> },
}

#[derive(Deserialize)]
struct InstanceGroup {
    #[serde(default)]
    count: usize,
}

fn overrides(model: &str, text: &str) -> Result<Overrides, UploadError> {
    // serde takes a list for a struct as well.
    if !text.trim_start().starts_with('{') {
        return Err(UploadError::Config("expected a JSON object".to_owned()));
    }
    let config: ModelConfig =
        serde_json::from_str(text).map_err(|error| UploadError::Config(error.to_string()))?;
    if let Some(name) = config.name.filter(|name| !name.is_empty() && name != model) {
        return Err(UploadError::Config(format!(
            "it is for model {name:?}, not {model:?}"
        )));
    }
    let at_least_one = |number: usize| number.max(1);
    let instances: usize = config.instance_group.iter().map(|group| group.count).sum();
    Ok(Overrides {
        max_batch_size: config.max_batch_size.map(at_least_one),
        instances: (instances > 0).then_some(instances.min(64)),
        versions: config.version_policy.map(|policy| match policy {
            Policy::All {} => VersionPolicy::All,
            Policy::Latest { num_versions } => VersionPolicy::Latest(at_least_one(num_versions)),
            Policy::Specific { versions } => VersionPolicy::These(versions),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(files: &[&str]) -> Result<Taken, UploadError> {
        let files = files
            .iter()
            .map(|name| ((*name).to_owned(), Bytes::from_static(b"x")));
        let upload = Upload {
            config: None,
            files: files.collect(),
        };
        Taken::take("iris", &upload)
    }

    #[test]
    fn files_are_kept_as_long_as_they_are_needed() {
        let taken = take(&["1/model.onnx", "1/weights/w 1.bin", "3/model.onnx"]).unwrap();
        let uploaded = taken.uploaded.unwrap();
        let versions: Vec<u64> = uploaded.versions.keys().copied().collect();
        assert_eq!(versions, [1, 3]);
        let root = uploaded.root().to_owned();
        assert!(root.join("iris/1/weights/w 1.bin").is_file());
        drop(uploaded);
        assert!(!root.exists());
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in [
            "model.onnx",
            "0/model.onnx",
            "01/model.onnx",
            "-1/model.onnx",
            "v1/model.onnx",
            "/1/model.onnx",
            "../1/model.onnx",
            "1/../../model.onnx",
            "1/..",
            "1//model.onnx",
            "1/",
            "1",
            "",
            "1/.hidden",
            "1/a\\b",
            "1/a\0b",
            "1/a/b/c/d/e/f/g",
        ] {
            assert!(matches!(take(&[name]), Err(UploadError::FileName(_))), "{name:?}");
        }
        assert!(matches!(take(&["1/a", "1/a"]), Err(UploadError::Twice(_))));
    }

    #[test]
    fn a_configuration_says_batch_size_instances_and_versions() {
        let text = r#"{"name": "iris", "backend": "onnxruntime", "max_batch_size": 8,
            "instance_group": [{"count": 2, "kind": "KIND_CPU"}],
            "version_policy": {"specific": {"versions": [1, 3]}}, "input": [{"name": "x"}]}"#;
        let overrides = overrides("iris", text).unwrap();
        let batching = overrides.apply(&BatchingConfig::default());
        assert_eq!((batching.max_batch_size, batching.instances), (8, 2));
        assert_eq!(
            overrides.versions,
            Some(VersionPolicy::These(BTreeSet::from([1, 3])))
        );
    }

    #[test]
    fn a_configuration_that_is_none_or_of_another_model_is_refused() {
        for text in [
            "",
            "[]",
            "7",
            "{\"max_batch_size\": -1}",
            "{\"name\": \"rose\"}",
            "{\"version_policy\": {}}",
        ] {
            assert!(
                matches!(overrides("iris", text), Err(UploadError::Config(_))),
                "{text}"
            );
        }
    }
}
