//! Notices that a configuration file has changed.
//!
//! The file is read twice a second rather than watched: watches do not see a change through bind mounts of single
//! files, network file systems or the symbolic links of a Kubernetes ConfigMap, and a few kilobytes cost nothing.

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

impl FollowedFile {
    /// The file at `path`, as it is now.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            text: std::fs::read_to_string(&path).ok(),
            path,
            ticks,
        }
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until it says something else, and has stayed so. Nothing is lost where this is given up and begun again.
    pub async fn changed(&mut self) {
        loop {
            self.ticks.tick().await;
            let now = settled(&self.path, self.text.as_deref()).await;
            if now.is_some() && now != self.text {
                self.text = now;
                return;
            }
        }
    }

    /// Takes what it says now as known: somebody reads it anyway.
    pub async fn take_note(&mut self) {
        self.text = tokio::fs::read_to_string(&self.path).await.ok();
    }
}

/// The text of the file, once it no longer changes from one look to the next.
async fn settled(path: &Path, known: Option<&str>) -> Option<String> {
    let mut text = tokio::fs::read_to_string(path).await.ok()?;
    if known == Some(text.as_str()) {
        return Some(text);
    }
    loop {
        sleep(SETTLED).await;
        let again = tokio::fs::read_to_string(path).await.ok()?;
        if again == text {
            return Some(text);
        }
        text = again;
    }
}
