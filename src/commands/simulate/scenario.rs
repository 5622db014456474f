//! From options and configuration to a scenario.

use std::fmt::Display;
use std::time::Duration;

use super::Failure;
use crate::cli::{ArrivalPattern, SimulateArgs};
use crate::config::{Config, PolicyName, WeightSource};
use crate::simulation::{Arrivals, Scenario, ServiceTime, WorkerSpec};

/// Each worker has memory for what it measures, and each gateway for what it knows of each worker.
const MAX_WORKERS: usize = 10_000;
const MAX_GATEWAYS: usize = 1_000;
const MAX_KNOWN: usize = 1_000_000;
/// More take minutes.
const MAX_REQUESTS: f64 = 1e8;
const MAX_CONCURRENCY: u32 = 10_000;
/// The factor of workers that are slow, where none is given.
const SLOW_FACTOR: f64 = 10.0;
const DEFAULT_WORKERS: usize = 4;
/// Keys of requests, for `consistent_hash`.
const KEYS: u64 = 10_000;

/// What is to be simulated.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) scenario: Scenario,
    pub(super) duration: Duration,
    pub(super) contenders: Vec<Contender>,
}

/// One policy that is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Contender {
    pub(super) policy: PolicyName,
    pub(super) weights: WeightSource,
}

impl Contender {
    /// As the table calls it.
    pub(super) fn label(self) -> String {
        match (self.policy, self.weights) {
            (PolicyName::Weighted, WeightSource::Measured) => format!("{}{MEASURED}", self.policy),
            (policy, _) => policy.to_string(),
        }
    }

    /// `scenario` as this policy is to have it.
    pub(super) fn scenario(self, scenario: &Scenario) -> Scenario {
        let mut scenario = scenario.clone();
        scenario.balancing.weights = self.weights;
        scenario
    }

    fn read(name: &str, configured: WeightSource) -> Result<Self, Failure> {
        let (plain, weights) = match name.strip_suffix(MEASURED) {
            Some(plain) if plain == PolicyName::Weighted.as_str() => (plain, WeightSource::Measured),
            _ => (name, configured),
        };
        let policy = PolicyName::parse(plain).ok_or_else(|| {
            let choices = PolicyName::choices();
            wrong(
                "--policy",
                format!("one of {choices}, weighted{MEASURED}"),
                format!("{name:?}"),
            )
        })?;
        Ok(Self { policy, weights })
    }

    /// Every policy, and `weighted` both ways.
    fn all(configured: WeightSource) -> Vec<Self> {
        let mut all = Vec::new();
        for policy in PolicyName::ALL {
            all.push(Self {
                policy,
                weights: configured,
            });
            if policy == PolicyName::Weighted && configured == WeightSource::Configured {
                let weights = WeightSource::Measured;
                all.push(Self { policy, weights });
            }
        }
        all
    }
}

/// Follows the name of `weighted` where its weights are measured.
const MEASURED: &str = ":measured";

impl Plan {
    pub(super) fn read(arguments: &SimulateArgs, config: &Config) -> Result<Self, Failure> {
        let duration = time(
            "--duration",
            &arguments.duration,
            Duration::from_millis(10),
            Duration::from_secs(86_400),
        )?;
        let rate = arguments.rate;
        if !(rate.is_finite() && rate > 0.0) {
            return Err(wrong("--rate", "requests per second, above 0", rate));
        }
        let requests = rate * duration.as_secs_f64() * 1.1;
        if requests > MAX_REQUESTS {
            let expected =
                format!("at most {MAX_REQUESTS} requests in all (with a tenth before, to warm up)");
            return Err(wrong("--rate and --duration", expected, requests.round()));
        }
        let workers = workers(arguments, config)?;
        let gateways = count("--gateways", arguments.gateways, MAX_GATEWAYS)?;
        if gateways * workers.len() > MAX_KNOWN {
            let found = gateways * workers.len();
            return Err(wrong(
                "--gateways",
                format!("at most {MAX_KNOWN} gateways times workers"),
                found,
            ));
        }
        let service_time: ServiceTime = arguments
            .service_time
            .parse()
            .map_err(|error| Failure::usage(format!("--service-time: {error}")))?;
        let gateway = &config.gateway;
        let scenario = Scenario {
            workers,
            concurrency: count(
                "--concurrency",
                arguments.concurrency as usize,
                MAX_CONCURRENCY as usize,
            )? as u32,
            queue: config.worker.common.batching.queue,
            gateways,
            arrivals: match arguments.arrivals {
                ArrivalPattern::Poisson => Arrivals::Poisson,
                ArrivalPattern::Even => Arrivals::Even,
            },
            rate,
            service_time,
            network_delay: time(
                "--network",
                &arguments.network,
                Duration::ZERO,
                Duration::from_secs(10),
            )?,
            keys: KEYS,
            deadline: gateway.deadline,
            retry: gateway.retry.clone(),
            balancing: gateway.balancing.clone(),
            seed: arguments.seed,
        };
        let contenders = if arguments.policy.is_empty() {
            Contender::all(gateway.balancing.weights)
        } else {
            let read = |name: &String| Contender::read(name, gateway.balancing.weights);
            arguments.policy.iter().map(read).collect::<Result<_, _>>()?
        };
        Ok(Self {
            scenario,
            duration,
            contenders,
        })
    }

    /// One line that says what was simulated.
    pub(super) fn title(&self) -> String {
        let scenario = &self.scenario;
        let workers = &scenario.workers;
        let mut fleet = plural(workers.len(), "worker");
        let slow: Vec<f64> = workers
            .iter()
            .map(|worker| worker.factor)
            .filter(|&it| it > 1.0)
            .collect();
        if let Some(factor) = slow.first() {
            fleet += &format!(" ({} of them {factor} times as slow)", slow.len());
        }
        let failing = workers.iter().filter(|worker| worker.is_failing).count();
        if failing > 0 {
            fleet += &format!(" ({failing} of them failing)");
        }
        let capacity = scenario.capacity();
        format!(
            "{fleet}, {}, {} requests/s for {} ({:.0} % of the capacity of {capacity:.0}/s), service time {}",
            plural(scenario.gateways, "gateway"),
            scenario.rate,
            humantime::format_duration(self.duration),
            scenario.rate / capacity * 100.0,
            scenario.service_time,
        )
    }
}

fn plural(count: usize, thing: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{ending}")
}

/// The healthy first, then the slow ones, the failing ones last.
fn workers(arguments: &SimulateArgs, config: &Config) -> Result<Vec<WorkerSpec>, Failure> {
    let configured = &config.gateway.workers;
    let number = match arguments.workers {
        Some(number) => count("--workers", number, MAX_WORKERS)?,
        None if configured.is_empty() => DEFAULT_WORKERS,
        None => configured.len(),
    };
    let (slow, factor) = match &arguments.slow {
        None => (0, 1.0),
        Some(text) => {
            let (share, factor) = text.split_once('x').unwrap_or((text, ""));
            let factor = if factor.is_empty() {
                Some(SLOW_FACTOR)
            } else {
                factor.parse().ok()
            };
            let known = share_of(share, number).zip(factor.filter(|it| (1.0..=1e6).contains(it)));
            known.ok_or_else(|| {
                wrong(
                    "--slow",
                    "a share and a factor from 1 on, such as \"1%\" or \"1%x3\"",
                    text,
                )
            })?
        }
    };
    let failing = match &arguments.fail {
        None => 0,
        Some(text) => {
            share_of(text, number).ok_or_else(|| wrong("--fail", "a share such as \"1%\"", text))?
        }
    };
    if slow + failing > number {
        let found = format!("{slow} slow and {failing} failing ones of {number}");
        return Err(wrong(
            "--slow and --fail",
            "no more than all workers together",
            found,
        ));
    }
    let worker = |index: usize| WorkerSpec {
        weight: if arguments.workers.is_some() {
            1
        } else {
            configured.get(index).map_or(1, |it| it.weight)
        },
        factor: if (number - failing - slow..number - failing).contains(&index) {
            factor
        } else {
            1.0
        },
        is_failing: index >= number - failing,
    };
    Ok((0..number).map(worker).collect())
}

/// So many of all; at least one, where the share is not nothing.
fn share_of(text: &str, all: usize) -> Option<usize> {
    let percent: f64 = text.strip_suffix('%')?.parse().ok()?;
    let share = (0.0..=100.0).contains(&percent).then_some(percent / 100.0)?;
    Some(((share * all as f64).round() as usize).max(usize::from(share > 0.0)))
}

fn count(option: &'static str, found: usize, most: usize) -> Result<usize, Failure> {
    if (1..=most).contains(&found) {
        return Ok(found);
    }
    Err(wrong(option, format!("a number from 1 to {most}"), found))
}

fn time(option: &'static str, text: &str, least: Duration, most: Duration) -> Result<Duration, Failure> {
    let found = humantime::parse_duration(text)
        .ok()
        .filter(|time| (least..=most).contains(time));
    let range = || {
        let [least, most] = [least, most].map(humantime::format_duration);
        wrong(
            option,
            format!("a time from {least} to {most}, such as \"10s\""),
            format!("{text:?}"),
        )
    };
    found.ok_or_else(range)
}

fn wrong(option: &str, expected: impl Display, found: impl Display) -> Failure {
    Failure::usage(format!("{option}: expected {expected}; found {found}"))
}
