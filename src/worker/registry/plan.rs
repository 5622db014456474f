//! What is to be done about one model: the pure decision, from what lies in the repository, what the worker has, and
//! which versions are wanted.
//!
//! Two rules keep a model from being without a version that answers. What serves is only ever replaced by what has
//! been loaded; and nothing is unloaded while a wanted version is still on its way, so that renaming `1` to `2`, or
//! `latest` moving on, never leaves a gap.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::VersionPolicy;
use crate::model::repository::Fingerprint;

/// The files of a version that is there. One that is gone for good is not in the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disk {
    /// They have stayed the same long enough.
    Settled(Fingerprint),
    /// They change, or vanished a moment ago.
    Unsettled,
}

/// What the worker has of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) stage: Stage,
    /// The files that were last loaded, or tried in vain, or are being loaded. None: load whatever there is.
    pub(super) tried: Option<Fingerprint>,
}

/// Where a version is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// On a loader thread; nothing answers yet.
    Loading,
    /// Answers.
    Serving,
    /// Answers, while a loader thread has its new files.
    Reloading,
    /// Could not be loaded.
    Failed,
    /// Finishes what it has.
    Unloading,
}

/// What to do with one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Load these files of it, beside what serves.
    Load(u64, Fingerprint),
    /// Stop to serve it once its work is done.
    Unload(u64),
    /// There is nothing to stop.
    Forget(u64),
}

/// What is to be done now. Whoever does it moves the stages on; doing it and asking again ends in no action.
pub(super) fn plan(
    there: &BTreeMap<u64, Disk>,
    known: &BTreeMap<u64, Known>,
    policy: &VersionPolicy,
) -> Vec<Action> {
    let wanted = wanted(there, known, policy);
    let mut actions = Vec::new();
    for &version in &wanted {
        if let Some(&Disk::Settled(files)) = there.get(&version)
            && may_load(known.get(&version), files)
        {
            actions.push(Action::Load(version, files));
        }
    }
    let is_any_on_its_way = is_any_on_its_way(there, known, policy);
    for (&version, known) in known {
        if wanted.contains(&version) {
            continue;
        }
        match known.stage {
            Stage::Failed => actions.push(Action::Forget(version)),
            Stage::Serving if !is_any_on_its_way => actions.push(Action::Unload(version)),
            Stage::Serving | Stage::Loading | Stage::Reloading | Stage::Unloading => {}
        }
    }
    actions
}

/// The versions that should serve, of those whose files have settled or that the worker already has.
pub(super) fn wanted(
    there: &BTreeMap<u64, Disk>,
    known: &BTreeMap<u64, Known>,
    policy: &VersionPolicy,
) -> BTreeSet<u64> {
    let is_candidate =
        |&(version, disk): &(&u64, &Disk)| *disk != Disk::Unsettled || known.contains_key(version);
    let candidates = there.iter().filter(is_candidate);
    match policy {
        VersionPolicy::All => candidates.map(|(&version, _)| version).collect(),
        VersionPolicy::These(listed) => candidates
            .map(|(&version, _)| version)
            .filter(|version| listed.contains(version))
            .collect(),
        VersionPolicy::Latest(count) => {
            let mut left = *count;
            candidates
                .rev()
                .take_while(|&(version, &disk)| {
                    let is_wanted = left > 0;
                    left = left.saturating_sub(usize::from(!has_failed(known.get(version), disk)));
                    is_wanted
                })
                .map(|(&version, _)| version)
                .collect()
        }
    }
}

/// Whether some version may yet begin to serve, or to serve newer files, without anything else happening.
pub(super) fn is_any_on_its_way(
    there: &BTreeMap<u64, Disk>,
    known: &BTreeMap<u64, Known>,
    policy: &VersionPolicy,
) -> bool {
    let wanted = wanted(there, known, policy);
    let is_new = |version: &u64| match policy {
        VersionPolicy::These(listed) => listed.contains(version),
        VersionPolicy::All | VersionPolicy::Latest(_) => true,
    };
    there.iter().any(|(version, &disk)| match known.get(version) {
        None => is_new(version) && (disk == Disk::Unsettled || wanted.contains(version)),
        Some(known) if wanted.contains(version) => match known.stage {
            Stage::Loading | Stage::Reloading | Stage::Unloading => true,
            Stage::Serving | Stage::Failed => match disk {
                Disk::Settled(files) => known.tried != Some(files),
                Disk::Unsettled => false,
            },
        },
        Some(_) => false,
    })
}

fn may_load(known: Option<&Known>, files: Fingerprint) -> bool {
    match known {
        None => true,
        Some(known) => matches!(known.stage, Stage::Serving | Stage::Failed) && known.tried != Some(files),
    }
}

/// Whether a version has failed and nothing about it has changed since.
fn has_failed(known: Option<&Known>, disk: Disk) -> bool {
    known.is_some_and(|known| {
        let is_as_tried = match disk {
            Disk::Settled(files) => known.tried == Some(files),
            Disk::Unsettled => true,
        };
        known.stage == Stage::Failed && is_as_tried
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILES: Fingerprint = Fingerprint(1);
    const OTHERS: Fingerprint = Fingerprint(2);

    fn settled(versions: &[u64]) -> BTreeMap<u64, Disk> {
        versions
            .iter()
            .map(|&version| (version, Disk::Settled(FILES)))
            .collect()
    }

    fn known(versions: &[(u64, Stage)]) -> BTreeMap<u64, Known> {
        let known = |&(version, stage)| {
            (
                version,
                Known {
                    stage,
                    tried: Some(FILES),
                },
            )
        };
        versions.iter().map(known).collect()
    }

    #[test]
    fn a_new_version_is_loaded_beside_the_old_one_which_goes_only_then() {
        let latest = VersionPolicy::Latest(1);
        let there = settled(&[1, 2]);
        let actions = plan(&there, &known(&[(1, Stage::Serving)]), &latest);
        assert_eq!(actions, [Action::Load(2, FILES)]);
        let both = known(&[(1, Stage::Serving), (2, Stage::Loading)]);
        assert_eq!(plan(&there, &both, &latest), []);
        let both = known(&[(1, Stage::Serving), (2, Stage::Serving)]);
        assert_eq!(plan(&there, &both, &latest), [Action::Unload(1)]);
    }

    #[test]
    fn a_new_version_that_fails_does_not_push_out_the_old_one() {
        let both = known(&[(1, Stage::Serving), (2, Stage::Failed)]);
        assert_eq!(plan(&settled(&[1, 2]), &both, &VersionPolicy::Latest(1)), []);
    }

    #[test]
    fn changed_files_are_loaded_while_the_old_ones_serve() {
        let there = BTreeMap::from([(1, Disk::Settled(OTHERS))]);
        for stage in [Stage::Serving, Stage::Failed] {
            let actions = plan(&there, &known(&[(1, stage)]), &VersionPolicy::All);
            assert_eq!(actions, [Action::Load(1, OTHERS)]);
        }
        let there = BTreeMap::from([(1, Disk::Unsettled)]);
        assert_eq!(
            plan(&there, &known(&[(1, Stage::Serving)]), &VersionPolicy::All),
            []
        );
    }

    #[test]
    fn a_renamed_version_serves_until_its_successor_does() {
        let there = settled(&[2]);
        let actions = plan(&there, &known(&[(1, Stage::Serving)]), &VersionPolicy::All);
        assert_eq!(actions, [Action::Load(2, FILES)]);
        let copied = BTreeMap::from([(2, Disk::Unsettled)]);
        assert_eq!(
            plan(&copied, &known(&[(1, Stage::Serving)]), &VersionPolicy::All),
            []
        );
    }

    #[test]
    fn what_is_gone_is_unloaded_and_what_failed_is_forgotten() {
        let actions = plan(
            &BTreeMap::new(),
            &known(&[(1, Stage::Serving), (2, Stage::Failed), (3, Stage::Unloading)]),
            &VersionPolicy::All,
        );
        assert_eq!(actions, [Action::Unload(1), Action::Forget(2)]);
    }

    fn policies() -> impl Strategy<Value = VersionPolicy> {
        prop_oneof![
            Just(VersionPolicy::All),
            (1_usize..4).prop_map(VersionPolicy::Latest),
            prop::collection::btree_set(1_u64..6, 1..4).prop_map(VersionPolicy::These),
        ]
    }

    fn disks() -> impl Strategy<Value = BTreeMap<u64, Disk>> {
        let disk = prop_oneof![
            3 => (0_u64..3).prop_map(|files| Disk::Settled(Fingerprint(files))),
            1 => Just(Disk::Unsettled),
        ];
        prop::collection::btree_map(1_u64..6, disk, 0..5)
    }

    /// A worker that does what the plan says; fingerprint 0 cannot be loaded.
    #[derive(Default)]
    struct World {
        known: BTreeMap<u64, Known>,
    }

    impl World {
        fn serving(&self) -> BTreeSet<u64> {
            let serves = |known: &Known| matches!(known.stage, Stage::Serving | Stage::Reloading);
            let serving = self.known.iter().filter(|(_, known)| serves(known));
            serving.map(|(&version, _)| version).collect()
        }

        fn begin(&mut self, action: Action) {
            match action {
                Action::Load(version, files) => {
                    let stage = match self.known.get(&version).map(|known| known.stage) {
                        None | Some(Stage::Failed) => Stage::Loading,
                        Some(Stage::Serving) => Stage::Reloading,
                        Some(stage) => panic!("version {version} is loaded though it is {stage:?}"),
                    };
                    self.known.insert(
                        version,
                        Known {
                            stage,
                            tried: Some(files),
                        },
                    );
                }
                Action::Unload(version) => {
                    let known = self
                        .known
                        .get_mut(&version)
                        .expect("only what is known is unloaded");
                    assert_eq!(known.stage, Stage::Serving);
                    known.stage = Stage::Unloading;
                }
                Action::Forget(version) => {
                    let known = self
                        .known
                        .remove(&version)
                        .expect("only what is known is forgotten");
                    assert_eq!(known.stage, Stage::Failed);
                }
            }
        }

        /// Ends what one version is busy with.
        fn end(&mut self, version: u64) {
            let Some(known) = self.known.get_mut(&version) else {
                return;
            };
            let fails = known.tried == Some(Fingerprint(0));
            known.stage = match known.stage {
                Stage::Loading if fails => Stage::Failed,
                Stage::Loading | Stage::Reloading => Stage::Serving,
                Stage::Unloading => {
                    self.known.remove(&version);
                    return;
                }
                stage => stage,
            };
        }
    }

    proptest! {
        /// However folders and loads are interleaved, no model that serves is left without a version as long as one
        /// of its versions is there, settled, wanted and sound.
        #[test]
        fn no_change_leaves_a_gap(
            policy in policies(),
            steps in prop::collection::vec((disks(), prop::collection::vec(1_u64..6, 0..6)), 1..12),
        ) {
            let mut world = World::default();
            for (there, ends) in steps {
                let plan_and_begin = |world: &mut World| {
                    let before = world.serving();
                    let is_sound = |disk: &Disk| matches!(disk, Disk::Settled(files) if files.0 != 0);
                    let sound = wanted(&there, &world.known, &policy).into_iter().any(|version| is_sound(&there[&version]));
                    for action in plan(&there, &world.known, &policy) {
                        world.begin(action);
                    }
                    assert!(before.is_empty() || !sound || !world.serving().is_empty());
                };
                plan_and_begin(&mut world);
                for version in ends {
                    world.end(version);
                    plan_and_begin(&mut world);
                }
            }
        }

        /// When nothing changes any more, what serves is what the policy says of what is there and sound.
        #[test]
        fn it_comes_to_rest_at_what_is_wanted(
            policy in policies(),
            before in disks(),
            after in prop::collection::btree_map(1_u64..6, (0_u64..3).prop_map(Fingerprint), 0..5),
        ) {
            let mut world = World::default();
            let after: BTreeMap<u64, Disk> =
                after.into_iter().map(|(version, files)| (version, Disk::Settled(files))).collect();
            for there in [&before, &after] {
                for _ in 0..40 {
                    let actions = plan(there, &world.known, &policy);
                    actions.into_iter().for_each(|action| world.begin(action));
                    (1..6).for_each(|version| world.end(version));
                }
            }
            prop_assert_eq!(plan(&after, &world.known, &policy), []);
            prop_assert!(!is_any_on_its_way(&after, &world.known, &policy));
            // One that serves its files of before, because the new ones cannot be loaded, is as good.
            let serves = world.serving();
            let is_sound = |version: &u64| after[version] != Disk::Settled(Fingerprint(0)) || serves.contains(version);
            let wanted: Vec<u64> = match &policy {
                VersionPolicy::All => after.keys().copied().filter(is_sound).collect(),
                VersionPolicy::These(listed) => {
                    after.keys().copied().filter(is_sound).filter(|version| listed.contains(version)).collect()
                }
                VersionPolicy::Latest(count) => {
                    after.keys().rev().copied().filter(is_sound).take(*count).collect()
                }
            };
            for version in wanted {
                prop_assert!(serves.contains(&version), "{} of {:?}", version, serves);
            }
            for version in &serves {
                prop_assert!(after.contains_key(version), "{} is gone", version);
            }
        }
    }
}
