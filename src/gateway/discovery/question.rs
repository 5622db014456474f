//! What is asked of the DNS, and what it answers: as much of both as finding workers takes.

use std::fmt;
use std::net::IpAddr;

/// One question.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Question {
    /// A complete name, with its final dot.
    pub name: String,
    /// Which of its records.
    pub kind: Kind,
}

/// A type of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Where a service runs (RFC 2782).
    Srv,
}

/// One record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A or AAAA
    Address(IpAddr),
    /// SRV
    Service(Service),
}

/// The data of one SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Those with the lowest are meant, the others stand by.
    pub priority: u16,
    /// Its share among those of one priority.
    pub weight: u16,
    /// Where it listens.
    pub port: u16,
    /// Its host: a complete name, with its final dot.
    pub target: String,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// At least one record of the kind that was asked for.
    Records(Vec<Record>),
    /// There is no such name, or it has no such record.
    Nothing,
    /// No server could tell.
    Failed(String),
}

impl Question {
    /// The questions for all addresses of a host.
    #[must_use]
    pub fn addresses(name: &str) -> [Self; 2] {
        [Kind::A, Kind::Aaaa].map(|kind| Self::new(name, kind))
    }

    /// The question for these records of `name`.
    #[must_use]
    pub fn new(name: &str, kind: Kind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::A => "A",
            Kind::Aaaa => "AAAA",
            Kind::Srv => "SRV",
        };
        write!(formatter, "{kind} {}", self.name)
    }
}

/// The complete names for which `name` may stand, in the order in which they are asked for, as resolv.conf(5) has it:
/// a name with a final dot is complete, one with fewer dots than `ndots` is first looked for in the search domains.
#[must_use]
pub fn complete_names(name: &str, search: &[String], ndots: usize) -> Vec<String> {
    if name.ends_with('.') {
        return vec![name.to_owned()];
    }
    let in_domains = search.iter().map(|domain| format!("{name}.{domain}."));
    let as_it_is = std::iter::once(format!("{name}."));
    let has_enough_dots = name.matches('.').count() >= ndots;
    if has_enough_dots {
        as_it_is.chain(in_domains).collect()
    } else {
        in_domains.chain(as_it_is).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(name: &str, ndots: usize) -> Vec<String> {
        let search = ["default.svc.cluster.local", "svc.cluster.local"].map(str::to_owned);
        complete_names(name, &search, ndots)
    }

    #[test]
    fn names_are_completed_as_the_resolver_of_the_system_does() {
        let kubernetes = [
            "worker.default.svc.cluster.local.",
            "worker.svc.cluster.local.",
            "worker.",
        ];
        assert_eq!(names("worker", 5), kubernetes);
        assert_eq!(complete_names("worker", &[], 0), ["worker."], "as Docker has it");
        assert_eq!(names("workers.example.org", 1)[0], "workers.example.org.");
        assert_eq!(names("workers.example.org", 1).len(), 3);
        assert_eq!(names("workers.example.org.", 5), ["workers.example.org."]);
    }
}
