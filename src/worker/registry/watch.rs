//! What the system tells of changes in the repository.
//!
//! It only says *that* something changed; what, a scan finds out. So a lost or merged notice does no harm, and polling
//! covers what is never told: network file systems, and links that lead to folders which are not watched.

use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::keeper::Event;

/// Watches one folder and everything in it, as long as it lives.
pub(super) struct Watching {
    root: PathBuf,
    /// None: the system refused, and polling has to do.
    _watcher: Option<RecommendedWatcher>,
}

impl Watching {
    pub(super) fn start(root: &Path, events: Sender<Event>) -> Self {
        let watcher = watch(root, events).inspect_err(
            |error| tracing::warn!(%error, "the model repository cannot be watched; it is polled"),
        );
        Self {
            root: root.to_owned(),
            _watcher: watcher.ok(),
        }
    }

    pub(super) fn is_of(&self, root: &Path) -> bool {
        self.root == root
    }
}

fn watch(root: &Path, events: Sender<Event>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.map_or(true, |event| is_change(event.kind)) {
            // The keeper may have ended.
            let _ = events.send(Event::Changed);
        }
    })?;
    watcher.watch(root, RecursiveMode::Recursive)?;
    Ok(watcher)
}

/// Scans open and read what is watched: those must not lead to the next scan.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, ModifyKind};

    use super::*;

    #[test]
    fn looking_is_no_change() {
        assert!(!is_change(EventKind::Access(AccessKind::Open(AccessMode::Any))));
        assert!(!is_change(EventKind::Access(AccessKind::Close(AccessMode::Read))));
        assert!(is_change(EventKind::Access(AccessKind::Close(AccessMode::Write))));
        assert!(is_change(EventKind::Create(CreateKind::Folder)));
        assert!(is_change(EventKind::Modify(ModifyKind::Any)));
    }
}
