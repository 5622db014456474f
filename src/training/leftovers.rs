//! What a run left behind in a model's folder that was killed before it could publish or clean up.
//!
//! A run writes into hidden folders that bear its version and its process: `.2.new.4711` for what is to become version 2, and
//! `.2.old.4711` for the version 2 that it replaces. The first is locked for as long as the run lives, because a number alone says too
//! little: in another container there are other processes, and numbers are given again.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, test_kill_process};

use crate::model::name::parse_version;

/// The hidden folders of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Scratch {
    /// The version that it writes.
    pub(super) version: u64,
    /// The number of its process.
    pub(super) process: u32,
}

impl Scratch {
    /// Where the new version is written.
    pub(super) fn new_folder(self, model_folder: &Path) -> PathBuf {
        model_folder.join(format!(".{}.new.{}", self.version, self.process))
    }

    /// Where the version lies that is replaced, until it is removed.
    pub(super) fn old_folder(self, model_folder: &Path) -> PathBuf {
        model_folder.join(format!(".{}.old.{}", self.version, self.process))
    }

    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix('.')?.split('.');
        let (version, purpose, process) = (parts.next()?, parts.next()?, parts.next()?);
        let is_ours = matches!(purpose, "new" | "old") && parts.next().is_none();
        let process = process.parse().ok().filter(|&process| process > 0)?;
        let version = parse_version(version)?;
        is_ours.then_some(Self { version, process })
    }

    fn is_alive(self, model_folder: &Path) -> bool {
        // A container that is started again often gives the same number; then only the lock tells.
        (self.process != std::process::id() && process_lives(self.process))
            || is_locked(&self.new_folder(model_folder))
    }
}

/// Locks the folder of a run that begins; none where the file system knows no locks.
pub(super) fn lock(new_folder: &Path) -> Option<File> {
    let folder = File::open(new_folder).ok()?;
    folder.try_lock().ok()?;
    Some(folder)
}

/// Removes what runs left whose processes are no more. One that was killed between taking the old version away and putting the new
/// one in its place gets its old version back. What cannot be removed stays: it is in nobody's way.
pub(super) fn remove(model_folder: &Path) {
    for run in runs(model_folder) {
        if run.is_alive(model_folder) {
            continue;
        }
        let (new, old) = (run.new_folder(model_folder), run.old_folder(model_folder));
        let place = model_folder.join(run.version.to_string());
        let is_restored = !place.exists() && fs::rename(&old, &place).is_ok();
        if !is_restored && place.exists() {
            let _ = fs::remove_dir_all(&old);
        }
        let _ = fs::remove_dir_all(&new);
    }
}

fn runs(model_folder: &Path) -> BTreeSet<Scratch> {
    let Ok(entries) = fs::read_dir(model_folder) else {
        return BTreeSet::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    names.filter_map(|name| Scratch::parse(name.to_str()?)).collect()
}

fn process_lives(process: u32) -> bool {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    // One that may not be signalled lives as well.
    process.is_some_and(|process| test_kill_process(process) != Err(rustix::io::Errno::SRCH))
}

/// Whether somebody holds the lock of a folder, or may: that it cannot be told counts as yes. What is not there is not locked.
fn is_locked(folder: &Path) -> bool {
    match File::open(folder) {
        Ok(folder) => folder.try_lock().is_err(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No process has it: the largest number is far above what Linux gives.
    const NOBODY: u32 = i32::MAX as u32;

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    fn folder_of(entries: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for entry in entries {
            fs::create_dir_all(folder.path().join(entry)).unwrap();
            fs::write(folder.path().join(entry).join("file"), entry).unwrap();
        }
        folder
    }

    #[test]
    fn only_folders_of_runs_that_are_no_more_are_removed() {
        let mine = format!(".3.new.{}", std::process::id());
        let parent = format!(".4.new.{}", std::os::unix::process::parent_id());
        let dead = format!(".2.new.{NOBODY}");
        let kept = ["1", ".git", ".2.new", ".2.new.x", ".0.new.7", ".2.other.7"];
        let folder = folder_of(&[&kept[..], &[&dead, &mine, &parent]].concat());
        let lock = lock(&folder.path().join(&mine));
        assert!(lock.is_some());
        remove(folder.path());
        let mut expected: Vec<String> = kept.iter().map(|&name| name.to_owned()).collect();
        expected.extend([mine.clone(), parent]);
        expected.sort();
        assert_eq!(names(folder.path()), expected);
        // A process that had this number before left it.
        drop(lock);
        remove(folder.path());
        assert!(!names(folder.path()).contains(&mine));
    }

    #[test]
    fn a_lock_counts_more_than_a_number() {
        let run = Scratch {
            version: 2,
            process: NOBODY,
        };
        let folder = folder_of(&[".2.new.2147483647", ".2.old.2147483647"]);
        let lock = lock(&run.new_folder(folder.path()));
        remove(folder.path());
        assert_eq!(names(folder.path()).len(), 2);
        drop(lock);
        remove(folder.path());
        assert_eq!(names(folder.path()), ["2"]);
    }

    #[test]
    fn a_version_that_was_taken_away_comes_back() {
        let folder = folder_of(&["1", ".2.old.2147483647", ".2.new.2147483647", ".1.old.2147483647"]);
        remove(folder.path());
        assert_eq!(names(folder.path()), ["1", "2"]);
        let text = fs::read_to_string(folder.path().join("2/file")).unwrap();
        assert_eq!(text, ".2.old.2147483647");
        let text = fs::read_to_string(folder.path().join("1/file")).unwrap();
        assert_eq!(text, "1");
    }
}
