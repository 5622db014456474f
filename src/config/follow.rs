//! Notices that a configuration file has changed.
//!
//! The file is read twice a second rather than watched: watches do not see a change through bind mounts of single
//! files, network file systems or the symbolic links of a Kubernetes ConfigMap, and a few kilobytes cost nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

/// Time between two looks at the file.
const INTERVAL: Duration = Duration::from_millis(500);
/// A file that changed is taken over once it stays the same this long: an editor may still be writing it, and the
/// first half of a file can be a valid configuration without workers.
const SETTLED: Duration = Duration::from_millis(200);

/// A file whose changes are waited for.
#[derive(Debug)]
pub struct FollowedFile {
    path: PathBuf,
    text: Option<String>,
    ticks: Interval,
}

/// What one look at a file told.
#[derive(Debug)]
pub enum Looked {
    /// It says what it said before.
    Unchanged,
    /// It says something else, and has stayed so.
    Changed,
    /// It cannot be read now; what it said before is still known.
    Unreadable(io::Error),
}

impl FollowedFile {
    /// The file at `path`, as it is now.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self {
            text: std::fs::read_to_string(&path).ok(),
            ..Self::unread(path)
        }
    }

    /// The file at `path`, of which nothing is known yet.
    #[must_use]
    pub fn unread(path: PathBuf) -> Self {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            path,
            text: None,
            ticks,
        }
    }

    /// What it said when it was last read; empty where it never was.
    #[must_use]
    pub fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until it says something else, and has stayed so. Nothing is lost where this is given up and begun again.
    pub async fn changed(&mut self) {
        while !matches!(self.look().await, Looked::Changed) {}
    }

    /// Looks once more, when it is time to. Nothing is lost where this is given up and begun again.
    pub async fn look(&mut self) -> Looked {
        self.ticks.tick().await;
        match settled(&self.path, self.text.as_deref()).await {
            Ok(now) if self.text.as_ref() == Some(&now) => Looked::Unchanged,
            Ok(now) => {
                self.text = Some(now);
                Looked::Changed
            }
            Err(error) => Looked::Unreadable(error),
        }
    }

    /// Takes what it says now as known: somebody reads it anyway.
    pub async fn take_note(&mut self) {
        self.text = tokio::fs::read_to_string(&self.path).await.ok();
    }
}

/// The text of the file, once it no longer changes from one look to the next.
async fn settled(path: &Path, known: Option<&str>) -> io::Result<String> {
    let mut text = tokio::fs::read_to_string(path).await?;
    if known == Some(text.as_str()) {
        return Ok(text);
    }
    loop {
        sleep(SETTLED).await;
        let again = tokio::fs::read_to_string(path).await?;
        if again == text {
            return Ok(text);
        }
        text = again;
    }
}
