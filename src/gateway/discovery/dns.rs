//! Asks the DNS: a stub resolver without a cache, so that each look sees what is so now.
//!
//! It keeps to `/etc/resolv.conf` as the system's own resolver does (servers, search domains, `ndots`), and reads it
//! again when it changes. The system's resolver itself would not do: it knows no SRV records, and does not tell a name
//! that is gone from a server that is.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use tokio::task::JoinSet;

use super::look::{Found, Settled, Step, next_step};
use super::memory::Memory;
use super::question::{Answer, Kind, Question, Record, Service, complete_names};
use super::source::Outcome;
use crate::config::{DnsConfig, EndpointConfig, Wanted};

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How long one server may take to answer, even where the system waits longer: a look that failed is made again soon.
const PATIENCE: Duration = Duration::from_secs(2);
/// Questions that are under way at once: a service of many hosts must not flood its server.
const AT_ONCE: usize = 32;

/// Looks for the workers of one name, again and again.
#[derive(Debug)]
pub struct DnsSource {
    config: DnsConfig,
    memory: Memory,
    resolver: Option<Arc<Resolver>>,
}

/// Whom to ask, and how names are completed.
#[derive(Debug)]
struct Resolver {
    /// Asks for complete names only.
    client: TokioResolver,
    search: Vec<String>,
    ndots: usize,
    /// The file from which it was made; empty where the configuration says whom to ask.
    resolv_conf: String,
}

impl DnsSource {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(config: DnsConfig) -> Self {
        Self {
            config,
            memory: Memory::default(),
            resolver: None,
        }
    }

    /// Looks once.
    pub async fn look(&mut self) -> Outcome {
        let resolver = match self.resolver().await {
            Ok(resolver) => resolver,
            Err(failure) => return Outcome::failed(failure),
        };
        let name = match &self.config.wanted {
            Wanted::Addresses(host) => &host.name.0,
            Wanted::Services(name) => &name.0,
        };
        let names = complete_names(name, &resolver.search, resolver.ndots);
        let (mut settled, mut failures) = (Settled::new(), Vec::new());
        let found = loop {
            match next_step(&self.config, &names, &settled) {
                Step::Found(found) => break found,
                Step::Ask(questions) => {
                    for (question, answer) in resolver.ask_all(questions).await {
                        if let Answer::Failed(reason) = &answer {
                            failures.push(format!("{question}: {reason}"));
                        }
                        let records = self.memory.settle(&question, answer);
                        settled.insert(question, records);
                    }
                }
            }
        };
        self.memory.retain(|question| settled.contains_key(question));
        failures.sort();
        Outcome {
            found: reliable(found),
            failure: (!failures.is_empty()).then(|| failures.join("; ")),
        }
    }

    async fn resolver(&mut self) -> Result<Arc<Resolver>, String> {
        let resolv_conf = match self.config.nameserver {
            Some(_) => String::new(),
            None => tokio::fs::read_to_string(RESOLV_CONF)
                .await
                .map_err(|error| format!("{RESOLV_CONF}: {error}"))?,
        };
        if let Some(resolver) = &self.resolver
            && resolver.resolv_conf == resolv_conf
        {
            return Ok(resolver.clone());
        }
        let made = Resolver::new(self.config.nameserver, resolv_conf).map_err(|error| error.to_string())?;
        let resolver = Arc::new(made);
        self.resolver = Some(resolver.clone());
        Ok(resolver)
    }
}

/// What a look can vouch for: where some answer is unknown and nothing was found, it knows nothing.
fn reliable(found: Found) -> Option<Vec<EndpointConfig>> {
    (found.is_certain || !found.endpoints.is_empty()).then_some(found.endpoints)
}

impl Resolver {
    fn new(nameserver: Option<SocketAddr>, resolv_conf: String) -> Result<Self, NetError> {
        let (config, mut options) = match nameserver {
            Some(address) => (only(address), ResolverOpts::default()),
            None => read_system_conf()?,
        };
        // Where no search list is given, the domain of the host is it.
        let domain = config.domain().filter(|_| config.search().is_empty());
        let search = config.search().iter().chain(domain).map(ToString::to_string);
        let search = search.map(|domain| domain.trim_matches('.').to_owned());
        let search = search.filter(|domain| !domain.is_empty()).collect();
        let ndots = options.ndots;
        options.timeout = options.timeout.min(PATIENCE);
        options.attempts = options.attempts.min(1);
        options.cache_size = 0;
        for limit in [&mut options.positive_max_ttl, &mut options.negative_max_ttl] {
            *limit = Some(Duration::ZERO);
        }
        let mut builder = TokioResolver::builder_with_config(config, Default::default());
        *builder.options_mut() = options;
        Ok(Self {
            client: builder.build()?,
            search,
            ndots,
            resolv_conf,
        })
    }

    /// The answer to each of `questions`.
    async fn ask_all(self: &Arc<Self>, questions: Vec<Question>) -> HashMap<Question, Answer> {
        let given_up = || Answer::Failed("the question was given up".into());
        let mut answers: HashMap<_, _> = questions
            .iter()
            .map(|question| (question.clone(), given_up()))
            .collect();
        let mut waiting = questions.into_iter();
        let mut under_way = JoinSet::new();
        loop {
            while under_way.len() < AT_ONCE
                && let Some(question) = waiting.next()
            {
                let resolver = self.clone();
                under_way.spawn(async move {
                    let answer = resolver.ask(&question).await;
                    (question, answer)
                });
            }
            match under_way.join_next().await {
                None => return answers,
                Some(answered) => answers.extend(answered.ok()),
            }
        }
    }

    async fn ask(&self, question: &Question) -> Answer {
        let kind = match question.kind {
            Kind::A => RecordType::A,
            Kind::Aaaa => RecordType::AAAA,
            Kind::Srv => RecordType::SRV,
        };
        let name = match Name::from_ascii(&question.name) {
            Ok(name) => name,
            Err(error) => return Answer::Failed(error.to_string()),
        };
        match self.client.lookup(name, kind).await {
            Ok(lookup) => understand(&lookup, kind),
            Err(error) if error.is_no_records_found() => Answer::Nothing,
            Err(NetError::Dns(DnsError::ResponseCode(code))) => {
                Answer::Failed(format!("the server says: {code}"))
            }
            Err(NetError::Timeout) => Answer::Failed("no answer in time".into()),
            Err(error) => Answer::Failed(error.to_string()),
        }
    }
}

/// This server, and no search domains.
fn only(address: SocketAddr) -> ResolverConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    let server = NameServerConfig::new(address.ip(), true, connections.into());
    ResolverConfig::from_name_servers(vec![server])
}

fn understand(lookup: &Lookup, kind: RecordType) -> Answer {
    let answers = lookup.answers().iter();
    let of_kind = answers.filter(|record| record.record_type() == kind);
    let records: Vec<_> = of_kind.filter_map(|record| read(&record.data)).collect();
    match lookup.message().metadata.response_code {
        _ if !records.is_empty() => Answer::Records(records),
        ResponseCode::NoError | ResponseCode::NXDomain => Answer::Nothing,
        code => Answer::Failed(format!("the server says: {code}")),
    }
}

fn read(data: &RData) -> Option<Record> {
    match data {
        RData::A(address) => Some(Record::Address(address.0.into())),
        RData::AAAA(address) => Some(Record::Address(address.0.into())),
        RData::SRV(service) => Some(Record::Service(Service {
            priority: service.priority,
            weight: service.weight,
            port: service.port,
            target: service.target.to_ascii().to_ascii_lowercase(),
        })),
        _ => None,
    }
}
