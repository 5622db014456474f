//! Writes one version's folder, whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::TrainingError;
use super::leftovers::{self, Scratch};
use crate::model::artifact::{GRAPH_FILE, METADATA_FILE, Metadata};
use crate::model::name::parse_version;

/// Where a version goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The model repository.
    pub repository: PathBuf,
    /// The model.
    pub model: String,
    /// The version; without one the next free number.
    pub version: Option<u64>,
    /// Replace the version where it exists.
    pub force: bool,
}

impl Destination {
    /// The version to write: the one asked for, or the number after the highest there is.
    pub fn choose_version(&self) -> Result<u64, TrainingError> {
        let Some(version) = self.version else {
            return Ok(self.highest_version()? + 1);
        };
        if self.version_folder(version).exists() && !self.force {
            return Err(TrainingError::Exists {
                model: self.model.clone(),
                version,
            });
        }
        Ok(version)
    }

    /// Begins a version: a folder beside its place, which [`Draft::publish`] puts there.
    pub fn draft(&self, version: u64) -> Result<Draft, TrainingError> {
        // A reader takes folders with a number for a name; these are none.
        let run = Scratch {
            version,
            process: std::process::id(),
        };
        let model_folder = self.model_folder();
        let new = run.new_folder(&model_folder);
        let folder = self.version_folder(version);
        fs::create_dir_all(&new).map_err(|error| write_error(&folder, error))?;
        Ok(Draft {
            _lock: leftovers::lock(&new),
            new,
            old: run.old_folder(&model_folder),
            folder,
            destination: self.clone(),
            version,
        })
    }

    /// Removes what runs left in the model's folder that were killed.
    pub fn remove_leftovers(&self) {
        leftovers::remove(&self.model_folder());
    }

    fn highest_version(&self) -> Result<u64, TrainingError> {
        let folder = self.model_folder();
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(write_error(&folder, error)),
        };
        let versions = entries
            .flatten()
            .filter_map(|entry| parse_version(entry.file_name().to_str()?));
        Ok(versions.max().unwrap_or(0))
    }

    fn model_folder(&self) -> PathBuf {
        self.repository.join(&self.model)
    }

    fn version_folder(&self, version: u64) -> PathBuf {
        self.model_folder().join(version.to_string())
    }
}

/// A version that is being written, and that nobody who reads the repository sees yet.
#[derive(Debug)]
pub struct Draft {
    new: PathBuf,
    old: PathBuf,
    folder: PathBuf,
    destination: Destination,
    version: u64,
    /// Says that this run lives, for as long as it does.
    _lock: Option<File>,
}

impl Draft {
    /// Where its graph lies until it is published.
    #[must_use]
    pub fn graph_path(&self) -> PathBuf {
        self.new.join(GRAPH_FILE)
    }

    /// Writes one of its files, which may lie in a folder of its own.
    pub fn write(&self, file: &str, contents: &[u8]) -> Result<(), TrainingError> {
        let path = self.new.join(file);
        let folder = path.parent().unwrap_or(&self.new);
        fs::create_dir_all(folder)
            .and_then(|()| write_file(&path, contents))
            .map_err(|error| write_error(&self.folder.join(file), error))
    }

    /// Writes `model.toml`.
    pub fn write_metadata(&self, metadata: &Metadata) -> Result<(), TrainingError> {
        let text = toml::to_string(metadata)
            .map_err(|error| write_error(&self.folder.join(METADATA_FILE), io::Error::other(error)))?;
        self.write(METADATA_FILE, text.as_bytes())
    }

    /// Puts it in its place, whole. (A replaced version is absent for the moment between two renames.)
    pub fn publish(self) -> Result<PathBuf, TrainingError> {
        self.put_in_place().map_err(|error| match error.kind() {
            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => TrainingError::Exists {
                model: self.destination.model.clone(),
                version: self.version,
            },
            _ => write_error(&self.folder, error),
        })?;
        Ok(self.folder.clone())
    }

    fn put_in_place(&self) -> io::Result<()> {
        if self.destination.force && self.folder.exists() {
            fs::rename(&self.folder, &self.old)?;
        }
        fs::rename(&self.new, &self.folder).inspect_err(|_| {
            // The replaced version must not be lost with the new one. If even this fails, the first error tells.
            let _ = fs::rename(&self.old, &self.folder);
        })
    }
}

impl Drop for Draft {
    /// What is left over is of no use to anyone.
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.new);
        let _ = fs::remove_dir_all(&self.old);
    }
}

/// Writes a file and waits until it is on the disk: the rename must not get there first.
fn write_file(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(contents)?;
    file.sync_all()
}

fn write_error(path: &Path, source: io::Error) -> TrainingError {
    TrainingError::Write {
        path: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::artifact::Artifact;

    fn destination(folder: &Path) -> Destination {
        Destination {
            repository: folder.to_owned(),
            model: "m".into(),
            version: None,
            force: false,
        }
    }

    fn metadata(description: &str) -> Metadata {
        Metadata {
            description: Some(description.into()),
            ..Metadata::default()
        }
    }

    fn write(
        destination: &Destination,
        version: u64,
        graph: &[u8],
        description: &str,
    ) -> Result<PathBuf, TrainingError> {
        let draft = destination.draft(version)?;
        draft.write(GRAPH_FILE, graph)?;
        draft.write_metadata(&metadata(description))?;
        draft.publish()
    }

    fn entries(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn versions_count_on_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let destination = destination(folder.path());
        for expected in [1, 2] {
            let version = destination.choose_version().unwrap();
            assert_eq!(version, expected);
            let written = write(&destination, version, b"graph", "d").unwrap();
            assert_eq!(Artifact::read(&written).unwrap().metadata, metadata("d"));
            assert_eq!(fs::read(written.join(GRAPH_FILE)).unwrap(), b"graph");
        }
        fs::create_dir(folder.path().join("m/notes")).unwrap();
        fs::create_dir(folder.path().join("m/10")).unwrap();
        assert_eq!(destination.choose_version().unwrap(), 11);
        assert_eq!(entries(&folder.path().join("m")), ["1", "10", "2", "notes"]);
    }

    #[test]
    fn a_version_is_replaced_only_by_force() {
        let folder = tempfile::tempdir().unwrap();
        let once = Destination {
            version: Some(3),
            ..destination(folder.path())
        };
        write(&once, 3, b"one", "one").unwrap();
        assert!(matches!(
            once.choose_version(),
            Err(TrainingError::Exists { version: 3, .. })
        ));
        // Somebody else was faster, after the number was chosen.
        assert!(matches!(
            write(&once, 3, b"two", "two"),
            Err(TrainingError::Exists { .. })
        ));
        assert_eq!(
            fs::read(folder.path().join("m/3").join(GRAPH_FILE)).unwrap(),
            b"one"
        );

        let again = Destination { force: true, ..once };
        write(&again, again.choose_version().unwrap(), b"two", "two").unwrap();
        assert_eq!(
            fs::read(folder.path().join("m/3").join(GRAPH_FILE)).unwrap(),
            b"two"
        );
        assert_eq!(entries(&folder.path().join("m")), ["3"]);
    }

    #[test]
    fn a_repository_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = write(&destination(&file), 1, b"", "d").unwrap_err().to_string();
        assert!(error.contains("file/m/1"), "{error}");
    }
}
