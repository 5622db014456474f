//! The model repository: `<name>/<version>/model.onnx`, the layout that Triton and TensorFlow Serving share.
//!
//! A scan only looks; what it finds is read and understood later, one version at a time. Nothing outside the
//! repository is ever looked at: names come from the listing itself and are checked, and links that lead out are
//! left alone. Links inside are followed, so that `1 -> ..data/1` and a swapped `current` are what they point at.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::card::{PICTURE_FOLDER, is_of_card};
use super::name::{is_model_name, parse_version};

/// Folders inside a version's folder are looked into so deep; weights lie one deep at most.
const MAX_DEPTH: usize = 4;
/// Files of one version that are looked at; more are left out of its fingerprint.
const MAX_FILES: usize = 10_000;

/// What a scan found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Where it lies, without links on the way.
    pub root: PathBuf,
    /// Device and inode of the root: another folder in its place is another repository.
    pub identity: (u64, u64),
    /// Every version of every model.
    pub models: BTreeMap<String, BTreeMap<u64, VersionFiles>>,
    /// Models that are there and could not be read whole: what `models` says of them may lack versions.
    pub unreadable: BTreeSet<String>,
    /// What lies there and is no model or version, each with what was expected.
    pub oddities: Vec<String>,
}

/// The files of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionFiles {
    /// Its folder, without links on the way.
    pub folder: PathBuf,
    /// What its files look like.
    pub fingerprint: Fingerprint,
}

/// Names, sizes, modification times and inodes of the files of a version. It changes when any of them is written,
/// replaced, added or removed; equal ones mean the same files, wherever the folder is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub u64);

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
    let metadata = fs::metadata(&root).map_err(unreadable)?;
    let mut contents = Contents {
        identity: (metadata.dev(), metadata.ino()),
        ..Contents::default()
    };
    for model in folders(&root, &root).map_err(unreadable)? {
        if is_model_name(&model.name) {
            contents.look_into(&root, model);
        } else {
            contents.oddities.push(format!(
                "{:?} is no name for a model: expected letters, digits, '.', '_' and '-'",
                model.name
            ));
        }
    }
    contents.root = root;
    Ok(contents)
}

impl Contents {
    fn look_into(&mut self, root: &Path, model: Folder) {
        match self.versions_of(root, &model) {
            Ok(versions) if versions.is_empty() => self.oddities.push(format!(
                "{} has no version: expected a folder such as {0}/1",
                model.name
            )),
            Ok(versions) => {
                self.models.insert(model.name, versions);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                self.oddities
                    .push(format!("{} cannot be read: {error}", model.name));
                self.unreadable.insert(model.name);
            }
        }
    }

    fn versions_of(&mut self, root: &Path, model: &Folder) -> io::Result<BTreeMap<u64, VersionFiles>> {
        let mut versions = BTreeMap::new();
        for Folder { name, path } in folders(root, &model.path)? {
            let Some(number) = parse_version(&name) else {
                self.oddities.push(format!(
                    "{}/{name} is no version: expected a positive integer",
                    model.name
                ));
                continue;
            };
            match fingerprint(root, &path) {
                Ok(fingerprint) => {
                    let files = VersionFiles {
                        folder: path,
                        fingerprint,
                    };
                    versions.insert(number, files);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    self.oddities
                        .push(format!("{}/{name} cannot be read: {error}", model.name));
                    self.unreadable.insert(model.name.clone());
                }
            }
        }
        Ok(versions)
    }
}

/// What the files of the version in `folder` look like now. Hidden ones do not count: copying tools and network file
/// systems keep there what is not meant to be seen. Neither do the card and its pictures: a word that is put right there is
/// no reason to load a model again.
pub fn fingerprint(root: &Path, folder: &Path) -> io::Result<Fingerprint> {
    let mut hasher = DefaultHasher::new();
    let mut files_left = MAX_FILES;
    hash_files(root, (folder, &[]), MAX_DEPTH, &mut files_left, &mut hasher)?;
    Ok(Fingerprint(hasher.finish()))
}

/// `parts` are the names of the folders from the version's own down to `folder`.
fn hash_files(
    root: &Path,
    (folder, parts): (&Path, &[&str]),
    depth: usize,
    files_left: &mut usize,
    hasher: &mut DefaultHasher,
) -> io::Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name());
    }
    names.retain(|name| !name.as_encoded_bytes().starts_with(b".") && !is_of_card(&below(parts, name)));
    names.sort();
    for name in names {
        if *files_left == 0 {
            return Ok(());
        }
        *files_left -= 1;
        let Some(path) = resolve(&folder.join(&name))? else {
            continue;
        };
        let below = below(parts, &name);
        // Whether there is a folder for pictures says nothing either; what else lies in it does.
        if below != [PICTURE_FOLDER] {
            name.hash(hasher);
        }
        if !path.starts_with(root) {
            continue;
        }
        let metadata = fs::metadata(&path)?;
        if metadata.is_file() {
            let modified = (metadata.mtime(), metadata.mtime_nsec());
            (metadata.len(), modified, metadata.dev(), metadata.ino()).hash(hasher);
        } else if metadata.is_dir() && depth > 0 {
            hash_files(root, (&path, &below), depth - 1, files_left, hasher)?;
        }
    }
    Ok(())
}

fn below<'n>(parts: &[&'n str], name: &'n OsStr) -> Vec<&'n str> {
    let mut longer = parts.to_vec();
    longer.push(name.to_str().unwrap_or_default());
    longer
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
        let Some(path) = resolve(&entry.path())? else {
            continue;
        };
        if path.is_dir() && path.starts_with(root) && path != root {
            folders.push(Folder { name, path });
        }
    }
    folders.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(folders)
}

/// `path` without links on the way. None: it is gone since the listing, or a link to nowhere, in circles, or to where
/// nobody may look; all of that is not there. Any other error is one of the disk or the network, and says nothing.
fn resolve(path: &Path) -> io::Result<Option<PathBuf>> {
    const TOO_MANY_LINKS: i32 = 40;
    match path.canonicalize() {
        Ok(path) => Ok(Some(path)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
            ) =>
        {
            Ok(None)
        }
        Err(error) if error.raw_os_error() == Some(TOO_MANY_LINKS) => Ok(None),
        Err(error) => Err(error),
    }
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

    fn fingerprint_of(root: &tempfile::TempDir) -> Fingerprint {
        scan(root.path()).unwrap().models["iris"][&1].fingerprint
    }

    #[test]
    fn any_change_of_a_file_changes_the_fingerprint() {
        let root = repository(&["iris/1/weights"]);
        let file = root.path().join("iris/1/weights/w.bin");
        let mut seen = vec![fingerprint_of(&root)];
        fs::write(&file, "abc").unwrap();
        seen.push(fingerprint_of(&root));
        fs::write(&file, "abcd").unwrap();
        seen.push(fingerprint_of(&root));
        fs::write(root.path().join("iris/1/model.toml"), "").unwrap();
        seen.push(fingerprint_of(&root));
        fs::copy(&file, root.path().join("other")).unwrap();
        fs::rename(root.path().join("other"), &file).unwrap();
        seen.push(fingerprint_of(&root));
        let hashes: BTreeSet<u64> = seen.iter().map(|fingerprint| fingerprint.0).collect();
        assert_eq!(hashes.len(), seen.len(), "{seen:?}");
        fs::write(root.path().join("iris/1/.model.onnx.swp"), "x").unwrap();
        assert_eq!(fingerprint_of(&root), seen[4], "hidden files do not count");
        fs::rename(root.path().join("iris"), root.path().join("rose")).unwrap();
        let moved = scan(root.path()).unwrap();
        assert_eq!(moved.models["rose"][&1].fingerprint, seen[4]);
    }

    #[test]
    fn a_card_comes_and_changes_without_another_fingerprint() {
        let root = repository(&["iris/1"]);
        fs::write(root.path().join("iris/1/model.onnx"), "x").unwrap();
        let before = fingerprint_of(&root);
        fs::write(root.path().join("iris/1/card.md"), "# iris").unwrap();
        fs::create_dir(root.path().join("iris/1/card")).unwrap();
        assert_eq!(fingerprint_of(&root), before);
        fs::write(root.path().join("iris/1/card/loss.svg"), "<svg/>").unwrap();
        fs::write(root.path().join("iris/1/card.md"), "# iris, in better words").unwrap();
        assert_eq!(fingerprint_of(&root), before);
        // A graph may keep its weights anywhere.
        fs::write(root.path().join("iris/1/card/weights.bin"), "x").unwrap();
        assert_ne!(fingerprint_of(&root), before);
    }

    #[test]
    fn a_swapped_link_is_what_it_points_at() {
        let root = repository(&["iris/..a/1", "iris/..b/1"]);
        fs::write(root.path().join("iris/..a/1/model.onnx"), "a").unwrap();
        fs::write(root.path().join("iris/..b/1/model.onnx"), "b").unwrap();
        symlink("..a", root.path().join("iris/..data")).unwrap();
        symlink("..data/1", root.path().join("iris/1")).unwrap();
        let before = fingerprint_of(&root);
        symlink("..b", root.path().join("iris/..new")).unwrap();
        fs::rename(root.path().join("iris/..new"), root.path().join("iris/..data")).unwrap();
        assert_ne!(fingerprint_of(&root), before);
        let contents = scan(root.path()).unwrap();
        assert!(contents.models["iris"][&1].folder.ends_with("iris/..b/1"));
    }

    #[test]
    fn links_in_circles_and_to_nowhere_are_not_there() {
        let root = repository(&["iris/1"]);
        symlink("b", root.path().join("iris/a")).unwrap();
        symlink("a", root.path().join("iris/b")).unwrap();
        symlink("nowhere", root.path().join("iris/1/model.toml")).unwrap();
        let contents = scan(root.path()).unwrap();
        assert_eq!(contents.models["iris"].len(), 1);
        assert!(contents.unreadable.is_empty() && contents.oddities.is_empty());
    }
}
