//! `[[gateway.discovery]]`: where else workers are found, and the lists of workers that files hold.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};
use toml::{Table, Value};

use super::gateway::{EndpointConfig, read_workers, weight};
use super::layers::one;
use super::section::{ConfigErrors, Problems, Section};
use super::setting::{Setting, duration_text};
use super::worker::positive;

/// The longest name that the DNS can hold, in bytes and without a final dot (RFC 1035).
const MAX_NAME: usize = 253;
/// The longest part of a name between two dots.
const MAX_LABEL: usize = 63;

/// A source of workers beside the fixed list.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum DiscoveryConfig {
    /// `dns` or `srv`
    Dns(DnsConfig),
    /// `file`
    File {
        /// Holds `[[workers]]` as the fixed list does.
        file: PathBuf,
    },
}

/// A name that is looked up again and again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DnsConfig {
    /// What is asked for.
    #[serde(flatten)]
    pub wanted: Wanted,
    /// Time between two looks.
    #[serde(serialize_with = "duration_text")]
    pub interval: Duration,
    /// The weight of each worker, where no SRV record tells one.
    pub weight: u32,
    /// Whom to ask; none: as the system does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nameserver: Option<SocketAddr>,
}

/// Which records of a name tell the workers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Wanted {
    /// A and AAAA: each address is a worker, at this port.
    #[serde(rename = "dns")]
    Addresses(HostPort),
    /// SRV: each record names hosts, a port and a weight.
    #[serde(rename = "srv")]
    Services(DnsName),
}

/// A name in the DNS; with a final dot it is complete, without one the system's search domains hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DnsName(pub String);

/// A name in the DNS, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Whose addresses are asked for.
    pub name: DnsName,
    /// Where workers listen, at every address.
    pub port: u16,
}

impl DiscoveryConfig {
    fn read(mut section: Section<'_>) -> Option<Self> {
        let named = ["dns", "srv", "file"].map(|key| section.holds(key));
        let addresses = section.optional("dns").map(Wanted::Addresses);
        let services = section.optional("srv").map(Wanted::Services);
        let file: Option<PathBuf> = section.optional("file");
        if named.into_iter().filter(|&is_named| is_named).count() != 1 {
            section.report_whole("expected exactly one of dns, srv and file");
        }
        let config = match addresses.or(services) {
            Some(wanted) => Some(Self::Dns(DnsConfig::read(wanted, &mut section))),
            None => file.map(|file| Self::File { file }),
        };
        section.finish();
        config
    }
}

impl DnsConfig {
    fn read(wanted: Wanted, section: &mut Section<'_>) -> Self {
        Self {
            wanted,
            interval: positive(section, "interval", Duration::from_secs(5)),
            weight: weight(section),
            nameserver: section.optional("nameserver"),
        }
    }
}

/// As metrics and logs name it.
impl fmt::Display for DiscoveryConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(config) => config.wanted.fmt(formatter),
            Self::File { file } => write!(formatter, "file:{}", file.display()),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addresses(host) => write!(formatter, "dns:{host}"),
            Self::Services(name) => write!(formatter, "srv:{}", name.0),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.name.0, self.port)
    }
}

impl Serialize for HostPort {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl DnsName {
    fn parse(text: &str) -> Option<Self> {
        let name = text.strip_suffix('.').unwrap_or(text);
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_label = |label: &str| (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(fits);
        let is_name = name.len() <= MAX_NAME && name.split('.').all(is_label);
        let is_address = name.parse::<IpAddr>().is_ok();
        (is_name && !is_address).then(|| Self(text.to_ascii_lowercase()))
    }
}

impl Setting for DnsName {
    fn expected() -> String {
        "a name in the DNS such as \"_http._tcp.workers.example.org\"".into()
    }
    fn read(value: &Value) -> Option<Self> {
        Self::parse(value.as_str()?)
    }
}

impl Setting for HostPort {
    fn expected() -> String {
        "a name in the DNS and a port such as \"workers.example.org:9000\"".into()
    }
    fn read(value: &Value) -> Option<Self> {
        let (name, port) = value.as_str()?.rsplit_once(':')?;
        Some(Self {
            name: DnsName::parse(name)?,
            port: port.parse().ok().filter(|&port| port > 0)?,
        })
    }
}

/// `[[gateway.discovery]]`
pub(super) fn read_discovery(section: &mut Section<'_>) -> Vec<DiscoveryConfig> {
    let mut sources: Vec<DiscoveryConfig> = Vec::new();
    for item in section.list("discovery") {
        let Some(source) = DiscoveryConfig::read(item) else {
            continue;
        };
        let label = source.to_string();
        if sources.iter().any(|other| other.to_string() == label) {
            section.report("discovery", format!("{label} is named twice"));
        }
        sources.push(source);
    }
    sources
}

/// The workers that a file lists: `[[workers]]`, as `[[gateway.workers]]` lists them. An empty list says so itself
/// (`workers = []`), because the first half of a file is empty too.
pub fn read_worker_list(text: &str) -> Result<Vec<EndpointConfig>, ConfigErrors> {
    let table: Table = text
        .parse()
        .map_err(|error: toml::de::Error| one(format!("not TOML: {}", error.to_string().trim_end())))?;
    let problems = Problems::default();
    let mut root = Section::root(table, &problems);
    if !root.holds("workers") {
        root.report(
            "workers",
            "is missing; expected [[workers]] with id and url, or workers = []",
        );
    }
    let workers = read_workers(&mut root);
    root.finish();
    problems.into_result(workers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Layers};

    fn check(text: &str) -> Result<Vec<DiscoveryConfig>, Vec<String>> {
        match Config::check(&Layers::new().with_text(text)) {
            Ok(config) => Ok(config.gateway.discovery),
            Err(errors) => Err(errors.0.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn sources_are_read_and_shown_as_they_were_written() {
        let sources = check(
            r#"
            [[gateway.discovery]]
            dns = "Worker:9000"
            [[gateway.discovery]]
            srv = "_http._tcp.workers.example.org."
            interval = "250ms"
            weight = 3
            nameserver = "127.0.0.1:5353"
            [[gateway.discovery]]
            file = "workers.toml"
            "#,
        )
        .unwrap();
        let labels: Vec<_> = sources.iter().map(ToString::to_string).collect();
        assert_eq!(
            labels,
            [
                "dns:worker:9000",
                "srv:_http._tcp.workers.example.org.",
                "file:workers.toml"
            ]
        );
        let shown = serde_json::to_value(&sources).unwrap();
        let expected = serde_json::json!([
            {"dns": "worker:9000", "interval": "5s", "weight": 1},
            {"srv": "_http._tcp.workers.example.org.", "interval": "250ms", "weight": 3, "nameserver": "127.0.0.1:5353"},
            {"file": "workers.toml"},
        ]);
        assert_eq!(shown, expected);
    }

    #[test]
    fn every_mistake_is_told_with_its_key() {
        let errors = check(
            r#"
            [[gateway.discovery]]
            interval = "1s"
            [[gateway.discovery]]
            dns = "worker"
            [[gateway.discovery]]
            dns = "10.0.0.3:9000"
            [[gateway.discovery]]
            file = "a.toml"
            interval = "1s"
            [[gateway.discovery]]
            dns = "w:1"
            srv = "w"
            interval = "0s"
            weight = 1001
            nameserver = "dns.example.org"
            [[gateway.discovery]]
            dns = "w:1"
            "#,
        )
        .unwrap_err();
        for start in [
            "gateway.discovery[0]: expected exactly one of dns, srv and file",
            "gateway.discovery[1].dns: expected a name in the DNS and a port",
            "gateway.discovery[2].dns: expected a name in the DNS and a port",
            "gateway.discovery[3].interval: unknown key",
            "gateway.discovery[4]: expected exactly one of dns, srv and file",
            "gateway.discovery[4].interval: ",
            "gateway.discovery[4].weight: expected a whole number from 0 to 1000",
            "gateway.discovery[4].nameserver: expected an address",
            "gateway.discovery: dns:w:1 is named twice",
        ] {
            assert!(
                errors.iter().any(|error| error.starts_with(start)),
                "{start}\nnot in\n{}",
                errors.join("\n")
            );
        }
    }

    #[test]
    fn names_are_those_that_the_dns_can_hold() {
        let long = format!("{}.org", "x".repeat(64));
        for name in ["", ".", "a..b", "a b", "ä", "10.0.0.3", "fd00::3", "a/b", &long] {
            assert_eq!(DnsName::parse(name), None, "{name}");
        }
        for name in ["worker", "worker.", "_http._tcp.w-1.example.org", "tasks.worker"] {
            assert!(DnsName::parse(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_list_of_workers_is_read_as_the_fixed_one() {
        let list = "[[workers]]\nid = \"a\"\nurl = \"http://worker-a:9000\"\nweight = 2\n";
        let workers = read_worker_list(list).unwrap();
        assert_eq!((workers[0].id.as_str(), workers[0].weight), ("a", 2));
        assert_eq!(read_worker_list("workers = []"), Ok(vec![]));
        for (text, part) in [
            ("", "workers: is missing"),
            ("[[workers]]\nid = \"a\"\n", "workers[0].url: is missing"),
            ("[[workers", "not TOML"),
            ("wrokers = []", "did you mean workers?"),
            ("workers = 3", "workers: expected tables"),
        ] {
            let errors = read_worker_list(text).unwrap_err().to_string();
            assert!(errors.contains(part), "{part} not in {errors}");
        }
    }
}
