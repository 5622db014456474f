//! One look at the DNS: which questions it takes, and which workers follow from the answers. Pure: who asks the
//! questions settles them and calls [`next_step`] again, until no answer is missing.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use super::question::{Kind, Question, Record, Service};
use crate::config::{DnsConfig, EndpointConfig, MAX_WEIGHT, Wanted};

/// The records that hold for each question of one look; none where nothing reliable is known.
pub type Settled = HashMap<Question, Option<Vec<Record>>>;

/// What a look does next.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// It asks these.
    Ask(Vec<Question>),
    /// It is over.
    Found(Found),
}

/// What a look found.
#[derive(Debug, PartialEq)]
pub struct Found {
    /// In the order of their addresses, whatever the order of the answers.
    pub endpoints: Vec<EndpointConfig>,
    /// Whether every answer is known, so that none found means that there are none.
    pub is_certain: bool,
}

/// The weight of the worker at each address.
type Weights = BTreeMap<SocketAddr, u32>;

/// The next step of a look for what `config` wants, under `names`: the complete names for which the configured one may
/// stand. The first that has any record is the one.
#[must_use]
pub fn next_step(config: &DnsConfig, names: &[String], settled: &Settled) -> Step {
    let mut look = Look {
        settled,
        missing: Vec::new(),
        is_certain: true,
    };
    for name in names {
        let weights = match &config.wanted {
            Wanted::Addresses(host) => look.host(name, host.port, config.weight),
            Wanted::Services(_) => look.services(name, config.weight),
        };
        if !look.missing.is_empty() {
            return Step::Ask(look.missing);
        }
        if !weights.is_empty() {
            return look.found(weights);
        }
    }
    look.found(Weights::new())
}

struct Look<'a> {
    settled: &'a Settled,
    missing: Vec<Question>,
    is_certain: bool,
}

impl<'a> Look<'a> {
    fn records(&mut self, question: Question) -> &'a [Record] {
        match self.settled.get(&question) {
            Some(Some(records)) => records,
            Some(None) => {
                self.is_certain = false;
                &[]
            }
            None => {
                self.missing.push(question);
                &[]
            }
        }
    }

    /// All addresses of a host, each at this port.
    fn host(&mut self, name: &str, port: u16, weight: u32) -> Weights {
        let mut weights = Weights::new();
        for question in Question::addresses(name) {
            for record in self.records(question) {
                if let &Record::Address(address) = record
                    && can_be_a_worker(address)
                {
                    weights.insert(SocketAddr::new(address.to_canonical(), port), weight);
                }
            }
        }
        weights
    }

    /// All addresses of all hosts of a service.
    fn services(&mut self, name: &str, weight: u32) -> Weights {
        let records = self.records(Question::new(name, Kind::Srv));
        let mut weights = Weights::new();
        for (service, weight) in in_use(records, weight) {
            for (address, weight) in self.host(&service.target, service.port, weight) {
                let known = weights.entry(address).or_default();
                *known = weight.max(*known);
            }
        }
        weights
    }

    fn found(self, weights: Weights) -> Step {
        let endpoint = |(address, weight): (SocketAddr, u32)| {
            let id = address.to_string();
            let authority = id.parse().expect("an address with its port is an authority");
            EndpointConfig {
                id,
                authority,
                weight,
            }
        };
        Step::Found(Found {
            endpoints: weights.into_iter().map(endpoint).collect(),
            is_certain: self.is_certain,
        })
    }
}

/// Whether a connection to `address` can reach one certain machine. Filters answer 0.0.0.0 for what they block.
fn can_be_a_worker(address: IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !address.is_unspecified() && !address.is_multicast() && !is_broadcast
}

/// The services of the lowest priority, with their weights in the range of ours. Where no record has one, they share
/// alike, each with `weight`; where some have one, 0 takes nothing, as everywhere.
fn in_use(records: &[Record], weight: u32) -> Vec<(&Service, u32)> {
    let services = records.iter().filter_map(|record| match record {
        // A target that is the root says that there is no such service (RFC 2782).
        Record::Service(service) if service.target != "." && service.port > 0 => Some(service),
        _ => None,
    });
    let services: Vec<_> = services.collect();
    let lowest = services.iter().map(|service| service.priority).min();
    let in_use = services
        .into_iter()
        .filter(|service| Some(service.priority) == lowest);
    let in_use: Vec<_> = in_use.collect();
    let heaviest = in_use.iter().map(|service| service.weight).max().unwrap_or(0);
    let weight_of = |service: &Service| match u32::from(service.weight) {
        _ if heaviest == 0 => weight,
        0 => 0,
        own if u32::from(heaviest) <= MAX_WEIGHT => own,
        own => (own * MAX_WEIGHT / u32::from(heaviest)).max(1),
    };
    in_use
        .into_iter()
        .map(|service| (service, weight_of(service)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::config::{DnsName, HostPort};

    fn config(wanted: Wanted) -> DnsConfig {
        DnsConfig {
            wanted,
            interval: Duration::from_secs(5),
            weight: 7,
            nameserver: None,
        }
    }

    fn worker_at_9000() -> DnsConfig {
        config(Wanted::Addresses(HostPort {
            name: DnsName("worker".into()),
            port: 9000,
        }))
    }

    fn some_service() -> DnsConfig {
        config(Wanted::Services(DnsName("_http._tcp.worker".into())))
    }

    fn addresses(texts: &[&str]) -> Option<Vec<Record>> {
        let record = |text: &&str| Record::Address(text.parse().unwrap());
        Some(texts.iter().map(record).collect())
    }

    fn service(priority: u16, weight: u16, port: u16, target: &str) -> Record {
        let target = target.to_owned();
        Record::Service(Service {
            priority,
            weight,
            port,
            target,
        })
    }

    fn settled(answers: &[(&str, Kind, Option<Vec<Record>>)]) -> Settled {
        let answer = |(name, kind, records): &(&str, Kind, Option<Vec<Record>>)| {
            (Question::new(name, *kind), records.clone())
        };
        answers.iter().map(answer).collect()
    }

    fn step(config: &DnsConfig, names: &[&str], answers: &[(&str, Kind, Option<Vec<Record>>)]) -> Step {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        next_step(config, &names, &settled(answers))
    }

    /// The ids and weights that were found, and whether that is certain.
    fn found(step: Step) -> (Vec<(String, u32)>, bool) {
        let Step::Found(found) = step else {
            panic!("an answer is missing: {step:?}")
        };
        let endpoints = found.endpoints.into_iter();
        let seen = endpoints.map(|endpoint| {
            assert_eq!(endpoint.authority.as_str(), endpoint.id);
            (endpoint.id, endpoint.weight)
        });
        (seen.collect(), found.is_certain)
    }

    fn weighted(all: &[(&str, u32)]) -> Vec<(String, u32)> {
        all.iter().map(|&(id, weight)| (id.to_owned(), weight)).collect()
    }

    #[test]
    fn each_address_is_a_worker_at_the_port() {
        let config = worker_at_9000();
        let asks = step(&config, &["worker."], &[]);
        assert_eq!(asks, Step::Ask(Question::addresses("worker.").into()));
        let v4 = addresses(&["10.0.0.3", "10.0.0.20", "10.0.0.3", "0.0.0.0", "255.255.255.255"]);
        let v6 = addresses(&["fd00::3", "::ffff:10.0.0.20", "ff02::1", "::"]);
        let answers = [("worker.", Kind::A, v4), ("worker.", Kind::Aaaa, v6)];
        let wanted = weighted(&[("10.0.0.3:9000", 7), ("10.0.0.20:9000", 7), ("[fd00::3]:9000", 7)]);
        assert_eq!(found(step(&config, &["worker."], &answers)), (wanted, true));
    }

    #[test]
    fn the_first_name_with_an_address_is_the_one() {
        let config = worker_at_9000();
        let names = ["worker.a.", "worker.b.", "worker."];
        let nothing = [
            ("worker.a.", Kind::A, Some(vec![])),
            ("worker.a.", Kind::Aaaa, None),
        ];
        let asks = step(&config, &names, &nothing);
        assert_eq!(asks, Step::Ask(Question::addresses("worker.b.").into()));
        let [a, aaaa] = nothing;
        let second = ("worker.b.", Kind::A, addresses(&["10.0.0.3"]));
        let answers = [a, aaaa, second, ("worker.b.", Kind::Aaaa, Some(vec![]))];
        let wanted = (weighted(&[("10.0.0.3:9000", 7)]), false);
        assert_eq!(found(step(&config, &names, &answers)), wanted);
    }

    #[test]
    fn services_tell_hosts_ports_and_weights() {
        let config = some_service();
        let name = "_http._tcp.worker.";
        let records = Some(vec![
            service(10, 3, 9000, "a."),
            service(10, 1, 9001, "b."),
            service(10, 0, 9002, "b."),
            service(20, 9, 9000, "standby."),
        ]);
        let asks = step(&config, &[name], &[(name, Kind::Srv, records.clone())]);
        let Step::Ask(questions) = asks else {
            panic!("{asks:?}")
        };
        assert!(questions.contains(&Question::new("a.", Kind::Aaaa)));
        assert!(!questions.iter().any(|question| question.name == "standby."));
        let answers = [
            (name, Kind::Srv, records),
            ("a.", Kind::A, addresses(&["10.0.0.2", "10.0.0.1"])),
            ("a.", Kind::Aaaa, Some(vec![])),
            ("b.", Kind::A, addresses(&["10.0.0.1"])),
            ("b.", Kind::Aaaa, Some(vec![])),
        ];
        let wanted = weighted(&[
            ("10.0.0.1:9000", 3),
            ("10.0.0.1:9001", 1),
            ("10.0.0.1:9002", 0),
            ("10.0.0.2:9000", 3),
        ]);
        assert_eq!(found(step(&config, &[name], &answers)), (wanted, true));
    }

    #[test]
    fn weights_of_services_come_into_our_range() {
        let weights = |own: &[u16]| {
            let records: Vec<_> = own.iter().map(|&own| service(1, own, 1, "a.")).collect();
            let in_use = in_use(&records, 7);
            in_use.into_iter().map(|(_, weight)| weight).collect::<Vec<_>>()
        };
        assert_eq!(weights(&[0, 0]), [7, 7]);
        assert_eq!(weights(&[1000, 10, 0]), [1000, 10, 0]);
        assert_eq!(weights(&[65535, 32768, 1, 0]), [1000, 500, 1, 0]);
    }

    #[test]
    fn a_service_that_is_said_not_to_be_there_has_no_workers() {
        let answers = [("s.", Kind::Srv, Some(vec![service(0, 0, 0, ".")]))];
        assert_eq!(found(step(&some_service(), &["s."], &answers)), (vec![], true));
    }

    proptest! {
        #[test]
        fn the_order_of_answers_changes_nothing(
            mut hosts in prop::collection::vec(any::<u32>(), 0..20), rotation in any::<usize>()
        ) {
            let look = |hosts: &[u32]| {
                let records = hosts.iter().map(|&host| Record::Address(IpAddr::V4(host.into()))).collect();
                let answers = [("w.", Kind::A, Some(records)), ("w.", Kind::Aaaa, Some(vec![]))];
                found(step(&worker_at_9000(), &["w."], &answers))
            };
            let before = look(&hosts);
            let rotation = rotation % hosts.len().max(1);
            hosts.rotate_left(rotation);
            prop_assert_eq!(look(&hosts), before);
        }
    }
}
