//! When a version's files are whole: once they have stayed the same for a while.
//!
//! Nobody says when a copy is finished. Its files grow, their times change, their names come and go; what has looked
//! the same from scan to scan for the settle time is taken for whole. The same holds for what is gone: `rm` and `cp`
//! of one version, or a file system that is away for a moment, must not unload what serves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::plan::Disk;
use crate::model::repository::Fingerprint;

/// A model and the number of its version.
pub(super) type VersionId = (Arc<str>, u64);

/// The files of every version of every model.
pub(super) type Disks = BTreeMap<Arc<str>, BTreeMap<u64, Disk>>;

/// What was seen of every version.
#[derive(Debug, Default)]
pub(super) struct Settling {
    versions: BTreeMap<VersionId, Seen>,
    /// The last scan: what nobody looked at since cannot have settled since.
    scanned: Option<Instant>,
}

#[derive(Debug)]
struct Seen {
    /// None: its folder is gone.
    files: Option<Fingerprint>,
    /// Since when it has been so; none: nobody has to wait for it.
    since: Option<Instant>,
}

impl Settling {
    /// Takes in what a scan found at `now`.
    pub(super) fn observe(&mut self, scanned: &BTreeMap<VersionId, Fingerprint>, now: Instant) {
        self.scanned = Some(now);
        for (id, &files) in scanned {
            self.see(id, Some(files), now);
        }
        let gone: Vec<VersionId> = self
            .versions
            .keys()
            .filter(|id| !scanned.contains_key(*id))
            .cloned()
            .collect();
        for id in gone {
            self.see(&id, None, now);
        }
    }

    fn see(&mut self, id: &VersionId, files: Option<Fingerprint>, now: Instant) {
        let is_as_before = self.versions.get(id).is_some_and(|seen| seen.files == files);
        if !is_as_before {
            let since = Some(now);
            self.versions.insert(id.clone(), Seen { files, since });
        }
    }

    /// Takes the versions of one model for what they are now, without waiting: somebody says that they are whole.
    pub(super) fn trust(&mut self, model: &Arc<str>, versions: impl IntoIterator<Item = (u64, Fingerprint)>) {
        self.versions.retain(|(name, _), _| name != model);
        for (number, files) in versions {
            let seen = Seen {
                files: Some(files),
                since: None,
            };
            self.versions.insert((Arc::clone(model), number), seen);
        }
    }

    /// The versions of every model as the last scan left them, and when the next of them may have settled.
    pub(super) fn versions(&mut self, settle: Duration) -> (Disks, Option<Instant>) {
        let scanned = self.scanned;
        let has_settled = |seen: &Seen| seen.since.is_none_or(|since| Some(since + settle) <= scanned);
        self.versions
            .retain(|_, seen| seen.files.is_some() || !has_settled(seen));
        let mut models = Disks::new();
        for ((model, number), seen) in &self.versions {
            let disk = match seen.files {
                Some(files) if has_settled(seen) => Disk::Settled(files),
                _ => Disk::Unsettled,
            };
            models.entry(Arc::clone(model)).or_default().insert(*number, disk);
        }
        let unsettled = self.versions.values().filter(|seen| !has_settled(seen));
        let next = unsettled.filter_map(|seen| seen.since).min();
        (models, next.map(|since| since + settle))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTLE: Duration = Duration::from_millis(10);

    fn scan_of(files: Option<u64>) -> BTreeMap<VersionId, Fingerprint> {
        files
            .into_iter()
            .map(|files| (("m".into(), 1), Fingerprint(files)))
            .collect()
    }

    fn disk(settling: &mut Settling) -> Option<Disk> {
        settling.versions(SETTLE).0.get("m").map(|versions| versions[&1])
    }

    #[test]
    fn what_nobody_looked_at_again_has_not_settled() {
        let begun = Instant::now();
        let mut settling = Settling::default();
        settling.observe(&scan_of(Some(7)), begun);
        assert_eq!(disk(&mut settling), Some(Disk::Unsettled));
        assert_eq!(settling.versions(SETTLE).1, Some(begun + SETTLE));
        settling.observe(&scan_of(Some(7)), begun + SETTLE);
        assert_eq!(disk(&mut settling), Some(Disk::Settled(Fingerprint(7))));
    }

    #[test]
    fn what_somebody_vouches_for_is_settled_at_once() {
        let begun = Instant::now();
        let mut settling = Settling::default();
        settling.observe(&scan_of(Some(7)), begun);
        settling.trust(&"m".into(), [(1, Fingerprint(8))]);
        assert_eq!(disk(&mut settling), Some(Disk::Settled(Fingerprint(8))));
        settling.observe(&scan_of(Some(8)), begun);
        assert_eq!(disk(&mut settling), Some(Disk::Settled(Fingerprint(8))));
        settling.trust(&"m".into(), []);
        assert_eq!(disk(&mut settling), None);
    }

    proptest! {
        /// Settled means: every scan of the settle time before saw the same. And it wakes up when that comes true.
        #[test]
        fn a_version_is_settled_when_it_looked_the_same_for_the_settle_time(
            scans in prop::collection::vec((prop::option::weighted(0.8, 0_u64..3), 1_u64..8), 1..40),
        ) {
            let begun = Instant::now();
            let mut now = begun;
            let mut settling = Settling::default();
            let mut seen: Vec<(Option<u64>, Instant)> = Vec::new();
            for (files, pause) in scans {
                now += Duration::from_millis(pause);
                settling.observe(&scan_of(files), now);
                seen.push((files, now));
                let same_since = seen.iter().rev().take_while(|(other, _)| *other == files).last().unwrap().1;
                let is_settled = now - same_since >= SETTLE;
                let was_ever = seen.iter().any(|(files, _)| files.is_some());
                let expected = match files {
                    Some(files) if is_settled => Some(Disk::Settled(Fingerprint(files))),
                    None if is_settled || !was_ever => None,
                    _ => Some(Disk::Unsettled),
                };
                let (_, next) = settling.versions(SETTLE);
                prop_assert_eq!(disk(&mut settling), expected);
                prop_assert_eq!(next, (expected == Some(Disk::Unsettled)).then(|| same_since + SETTLE));
            }
        }
    }
}
