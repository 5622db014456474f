//! Who the members are: the fixed list, and what each source found last.

use std::collections::HashSet;

use crate::config::{DiscoveryConfig, EndpointConfig};

/// The workers of all lists.
#[derive(Debug, Default)]
pub struct Roster {
    fixed: Vec<EndpointConfig>,
    sources: Vec<Source>,
    /// The members before the sources changed. They stay until every source has told whom it knows, so that a worker
    /// that goes from one list to another is never missing.
    retained: Vec<EndpointConfig>,
}

#[derive(Debug)]
struct Source {
    config: DiscoveryConfig,
    /// None: it has not found anything yet.
    found: Option<Vec<EndpointConfig>>,
}

impl Roster {
    /// Replaces the fixed list.
    pub fn set_fixed(&mut self, fixed: &[EndpointConfig]) {
        self.fixed = fixed.to_vec();
    }

    /// Replaces the sources. One that stays as it is keeps what it found.
    pub fn set_sources(&mut self, configs: &[DiscoveryConfig]) {
        self.retained = self.members();
        let mut before = std::mem::take(&mut self.sources);
        let source = |config: &DiscoveryConfig| {
            let known = before.iter().position(|source| source.config == *config);
            known.map(|index| before.swap_remove(index)).unwrap_or(Source {
                config: config.clone(),
                found: None,
            })
        };
        self.sources = configs.iter().map(source).collect();
        self.release();
    }

    /// Takes in what a source found. One that is no longer there is not heard.
    pub fn set_found(&mut self, config: &DiscoveryConfig, found: &[EndpointConfig]) {
        if let Some(source) = self.sources.iter_mut().find(|source| source.config == *config) {
            source.found = Some(found.to_vec());
        }
        self.release();
    }

    /// All workers. Of two with one address or one id the first holds: the fixed list comes first.
    #[must_use]
    pub fn members(&self) -> Vec<EndpointConfig> {
        let (mut ids, mut addresses) = (HashSet::new(), HashSet::new());
        let all = self.listed().chain(&self.retained);
        all.filter(|worker| {
            let is_taken = ids.contains(&worker.id) || addresses.contains(&worker.authority);
            if !is_taken {
                ids.insert(&worker.id);
                addresses.insert(&worker.authority);
            }
            !is_taken
        })
        .cloned()
        .collect()
    }

    /// Those of which another worker has the id.
    #[must_use]
    pub fn left_out(&self) -> Vec<&EndpointConfig> {
        let members = self.members();
        let addresses: HashSet<_> = members.iter().map(|member| &member.authority).collect();
        self.listed()
            .filter(|worker| !addresses.contains(&worker.authority))
            .collect()
    }

    fn listed(&self) -> impl Iterator<Item = &EndpointConfig> {
        let found = self.sources.iter().filter_map(|source| source.found.as_ref());
        self.fixed.iter().chain(found.flatten())
    }

    fn release(&mut self) {
        if self.sources.iter().all(|source| source.found.is_some()) {
            self.retained.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn worker(id: &str, address: &str) -> EndpointConfig {
        EndpointConfig {
            id: id.into(),
            authority: address.parse().unwrap(),
            weight: 1,
        }
    }

    fn source(name: &str) -> DiscoveryConfig {
        DiscoveryConfig::File { file: name.into() }
    }

    fn ids(roster: &Roster) -> Vec<String> {
        roster.members().into_iter().map(|worker| worker.id).collect()
    }

    #[test]
    fn the_fixed_list_comes_first() {
        let mut roster = Roster::default();
        roster.set_fixed(&[worker("a", "10.0.0.1:9000")]);
        roster.set_sources(&[source("x"), source("y")]);
        roster.set_found(
            &source("x"),
            &[
                worker("10.0.0.1:9000", "10.0.0.1:9000"),
                worker("b", "10.0.0.2:9000"),
            ],
        );
        roster.set_found(
            &source("y"),
            &[worker("b", "10.0.0.3:9000"), worker("c", "10.0.0.4:9000")],
        );
        assert_eq!(ids(&roster), ["a", "b", "c"]);
        assert_eq!(roster.members()[1].authority, "10.0.0.2:9000");
        assert_eq!(roster.left_out(), [&worker("b", "10.0.0.3:9000")]);
    }

    #[test]
    fn who_goes_from_one_list_to_another_is_never_missing() {
        let mut roster = Roster::default();
        roster.set_fixed(&[worker("a", "10.0.0.1:9000")]);
        roster.set_fixed(&[]);
        assert!(ids(&roster).is_empty(), "no source could name it yet");

        roster.set_fixed(&[worker("a", "10.0.0.1:9000")]);
        roster.set_sources(&[source("x")]);
        roster.set_fixed(&[]);
        assert_eq!(ids(&roster), ["a"], "the source may yet name it");
        roster.set_found(&source("x"), &[worker("b", "10.0.0.2:9000")]);
        assert_eq!(ids(&roster), ["b"]);

        roster.set_sources(&[source("y")]);
        assert_eq!(ids(&roster), ["b"]);
        roster.set_found(&source("x"), &[]);
        assert_eq!(ids(&roster), ["b"], "a source that has gone is not heard");
        roster.set_found(&source("y"), &[]);
        assert!(ids(&roster).is_empty());
    }

    #[test]
    fn a_source_that_stays_keeps_what_it_found_and_one_that_goes_does_not() {
        let mut roster = Roster::default();
        roster.set_sources(&[source("x"), source("y")]);
        roster.set_found(&source("x"), &[worker("a", "10.0.0.1:9000")]);
        roster.set_found(&source("y"), &[worker("b", "10.0.0.2:9000")]);
        roster.set_sources(&[source("y")]);
        assert_eq!(ids(&roster), ["b"]);
    }

    fn workers() -> impl Strategy<Value = Vec<EndpointConfig>> {
        let one =
            (0..6u8, 0..6u8).prop_map(|(id, host)| worker(&format!("w{id}"), &format!("10.0.0.{host}:1")));
        prop::collection::vec(one, 0..6)
    }

    proptest! {
        #[test]
        fn no_two_members_share_an_id_or_an_address(fixed in workers(), x in workers(), y in workers()) {
            let mut roster = Roster::default();
            roster.set_fixed(&fixed);
            roster.set_sources(&[source("x"), source("y")]);
            roster.set_found(&source("x"), &x);
            roster.set_found(&source("y"), &y);
            let members = roster.members();
            let ids: HashSet<_> = members.iter().map(|worker| &worker.id).collect();
            let addresses: HashSet<_> = members.iter().map(|worker| &worker.authority).collect();
            prop_assert_eq!((ids.len(), addresses.len()), (members.len(), members.len()));
            for worker in fixed.iter().chain(&x).chain(&y) {
                prop_assert!(ids.contains(&worker.id) || addresses.contains(&worker.authority));
            }
        }
    }
}
