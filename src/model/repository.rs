//! The model repository: `<name>/<version>/model.onnx`, the layout that Triton and TensorFlow Serving share.
//!
//! A scan only looks; what it finds is read and understood later, one version at a time. Nothing outside the
//! repository is ever looked at: names come from the listing itself and are checked, and links that lead out are
//! left alone.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::name::{is_model_name, parse_version};

/// What a scan found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Where it lies, without links on the way.
    pub root: PathBuf,
    /// The folder of every version of every model.
    pub models: BTreeMap<String, BTreeMap<u64, PathBuf>>,
    /// What lies there and is no model or version, each with what was expected.
    pub oddities: Vec<String>,
}

/// Why a repository could not be scanned.
#[derive(Debug, thiserror::Error)]
#[error("the model repository {path} cannot be read: {source}")]
pub struct RepositoryError {
    path: String,
    source: io::Error,
}

/// Lists the models under `root` and their versions.
pub fn scan(root: &Path) -> Result<Contents, RepositoryError> {
    let unreadable = |source| RepositoryError {
        path: root.display().to_string(),
        source,
    };
    let root = root.canonicalize().map_err(unreadable)?;
    let mut contents = Contents {
        root: root.clone(),
        ..Contents::default()
    };
    for model in folders(&root, &root).map_err(unreadable)? {
        if !is_model_name(&model.name) {
            contents.oddities.push(format!(
                "{:?} is no name for a model: expected letters, digits, '.', '_' and '-'",
                model.name
            ));
            continue;
        }
        match versions(&root, &model, &mut contents.oddities) {
            Ok(versions) if versions.is_empty() => contents.oddities.push(format!(
                "{} has no version: expected a folder such as {0}/1",
                model.name
            )),
            Ok(versions) => {
                contents.models.insert(model.name, versions);
            }
            Err(error) => contents
                .oddities
                .push(format!("{} cannot be read: {error}", model.name)),
        }
    }
    Ok(contents)
}

fn versions(root: &Path, model: &Folder, oddities: &mut Vec<String>) -> io::Result<BTreeMap<u64, PathBuf>> {
    let mut versions = BTreeMap::new();
    for folder in folders(root, &model.path)? {
        match parse_version(&folder.name) {
            Some(number) => {
                versions.insert(number, folder.path);
            }
            None => oddities.push(format!(
                "{}/{} is no version: expected a positive integer",
                model.name, folder.name
            )),
        }
    }
    Ok(versions)
}

struct Folder {
    name: String,
    path: PathBuf,
}

/// The folders in `parent` in the order of their names, without hidden and temporary ones, and without links that
/// lead out of `root`.
fn folders(root: &Path, parent: &Path) -> io::Result<Vec<Folder>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_hidden_or_temporary(&name) {
            continue;
        }
        // Gone since the listing, or a link to nowhere: not there.
        let Ok(path) = entry.path().canonicalize() else {
            continue;
        };
        if path.is_dir() && path.starts_with(root) && path != root {
            folders.push(Folder { name, path });
        }
    }
    folders.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(folders)
}

/// Hidden files, and the names under which editors and copying tools keep what is not finished.
fn is_hidden_or_temporary(name: &str) -> bool {
    name.starts_with(['.', '_', '~'])
        || name.ends_with('~')
        || name.ends_with(".tmp")
        || name.ends_with(".part")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn repository(folders: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for folder in folders {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        root
    }

    #[test]
    fn models_and_versions_are_found_in_order() {
        let root = repository(&["iris/1", "iris/10", "iris/2", "digits/7"]);
        let contents = scan(root.path()).unwrap();
        let iris: Vec<u64> = contents.models["iris"].keys().copied().collect();
        assert_eq!(iris, [1, 2, 10]);
        assert_eq!(contents.models.len(), 2);
        assert!(contents.oddities.is_empty());
    }

    #[test]
    fn odd_folders_are_told_and_the_others_found() {
        let root = repository(&["iris/1", "iris/v2", "my model/1", "empty"]);
        let contents = scan(root.path()).unwrap();
        assert_eq!(contents.models.len(), 1);
        assert_eq!(contents.oddities.len(), 3, "{:?}", contents.oddities);
    }

    #[test]
    fn hidden_and_temporary_folders_and_files_are_no_models() {
        let root = repository(&[".git/1", "iris/1", "iris/.2", "iris/3.tmp", "_copy/1", "old~/1"]);
        fs::write(root.path().join("README.md"), "x").unwrap();
        let contents = scan(root.path()).unwrap();
        assert_eq!(contents.models.len(), 1);
        assert_eq!(contents.models["iris"].len(), 1);
        assert!(contents.oddities.is_empty(), "{:?}", contents.oddities);
    }

    #[test]
    fn links_that_lead_out_are_left_alone_and_links_inside_are_followed() {
        let outside = repository(&["secret/1"]);
        let root = repository(&["iris/1"]);
        symlink(outside.path().join("secret"), root.path().join("stolen")).unwrap();
        symlink(outside.path(), root.path().join("iris/2")).unwrap();
        symlink(root.path(), root.path().join("loop")).unwrap();
        symlink(root.path().join("iris/1"), root.path().join("iris/3")).unwrap();
        let contents = scan(root.path()).unwrap();
        let iris: Vec<u64> = contents.models["iris"].keys().copied().collect();
        assert_eq!(iris, [1, 3]);
        assert_eq!(contents.models.len(), 1);
    }

    #[test]
    fn a_repository_that_is_not_there_is_named() {
        let error = scan(Path::new("/nowhere/models")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/models"), "{error}");
    }
}
