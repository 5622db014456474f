//! `[gateway.balancing]`: what the policies go by.

use std::fmt;
use std::time::Duration;

use axum::http::HeaderName;
use serde::{Serialize, Serializer};
use toml::Value;

use super::section::Section;
use super::setting::{Setting, duration_text};
use super::worker::positive;

/// Names of the balancing policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyName {
    /// One after the other.
    RoundRobin,
    /// Each with the same chance.
    Random,
    /// One after the other, in proportion to the weights, evenly spread.
    Weighted,
    /// Whoever has the fewest requests in flight.
    LeastRequest,
    /// The one of two drawn ones that has fewer requests in flight.
    PowerOfTwo,
    /// Whoever is expected to be done first, by its latency and its requests in flight.
    PeakEwma,
    /// The fastest of those that are not too busy, by what workers say of themselves.
    Prequal,
    /// The same key to the same worker.
    ConsistentHash,
}

impl PolicyName {
    /// Every policy there is.
    pub const ALL: [Self; 8] = [
        Self::RoundRobin,
        Self::Random,
        Self::Weighted,
        Self::LeastRequest,
        Self::PowerOfTwo,
        Self::PeakEwma,
        Self::Prequal,
        Self::ConsistentHash,
    ];

    /// As it is written in configurations and labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::Random => "random",
            Self::Weighted => "weighted",
            Self::LeastRequest => "least_request",
            Self::PowerOfTwo => "power_of_two",
            Self::PeakEwma => "peak_ewma",
            Self::Prequal => "prequal",
            Self::ConsistentHash => "consistent_hash",
        }
    }

    /// The policy of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == name)
    }

    /// All names, as an error lists them.
    #[must_use]
    pub fn choices() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Setting for PolicyName {
    fn expected() -> String {
        format!("one of {}", Self::choices())
    }
    fn read(value: &Value) -> Option<Self> {
        Self::parse(value.as_str()?)
    }
}

/// What the policies go by.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BalancingConfig {
    /// How fast latency estimates forget: after this time without news, 1/e of one is left.
    #[serde(serialize_with = "duration_text")]
    pub decay: Duration,
    /// The latency that a failed request counts as.
    #[serde(serialize_with = "duration_text")]
    pub failure_penalty: Duration,
    /// For how long a worker that comes (back) gets less than its share.
    #[serde(serialize_with = "duration_text")]
    pub slow_start: Duration,
    /// `prequal`: above this quantile of all requests in flight a worker is hot.
    pub hot_quantile: f64,
    /// `consistent_hash`: how many times its fair share of the requests in flight a worker may have.
    pub load_bound: f64,
    /// `consistent_hash`: what stays with the same worker.
    pub key: HashKey,
    /// `weighted`: whose weights.
    pub weights: WeightSource,
    /// How many requests a worker has at once for one model; the others wait in the gateway.
    pub concurrency: Concurrency,
}

/// What a request is to stay with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address.
    Client,
    /// The value of this header.
    Header(HeaderName),
    /// The value at this path in the JSON body, as it is written there: `["parameters", "user"]`.
    Field(Box<[String]>),
}

/// How many requests a worker has at once for one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concurrency {
    /// What does it good, as its own answers show.
    Adaptive,
    /// All that come.
    Unlimited,
    /// So many, 1 or more.
    Limit(u32),
}

/// Whose weights `weighted` goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightSource {
    /// Those of the configuration and of operators.
    Configured,
    /// What each worker was measured to be able to do, times those.
    Measured,
}

impl Default for BalancingConfig {
    fn default() -> Self {
        Self {
            decay: Duration::from_secs(2),
            failure_penalty: Duration::from_secs(1),
            slow_start: Duration::ZERO,
            hot_quantile: 0.75,
            load_bound: 1.25,
            key: HashKey::Client,
            weights: WeightSource::Configured,
            concurrency: Concurrency::Adaptive,
        }
    }
}

impl BalancingConfig {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let default = Self::default();
        let config = Self {
            decay: positive(&mut section, "decay", default.decay),
            failure_penalty: positive(&mut section, "failure_penalty", default.failure_penalty),
            slow_start: section.value("slow_start", default.slow_start),
            hot_quantile: section.checked(
                "hot_quantile",
                default.hot_quantile,
                |share| (0.0..=1.0).contains(share),
                "a share from 0 to 1",
            ),
            load_bound: section.checked(
                "load_bound",
                default.load_bound,
                |bound| (1.0..=100.0).contains(bound),
                "a number from 1 to 100",
            ),
            key: section.value("key", default.key),
            weights: section.value("weights", default.weights),
            concurrency: section.value("concurrency", default.concurrency),
        };
        section.finish();
        config
    }
}

impl HashKey {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            None if text == "client" => Some(Self::Client),
            Some(("header", name)) => name.parse().ok().map(Self::Header),
            Some(("field", path)) => {
                let names: Box<[String]> = path.split('.').map(str::to_owned).collect();
                let is_whole = names.iter().all(|name| !name.is_empty());
                is_whole.then_some(Self::Field(names))
            }
            _ => None,
        }
    }
}

impl fmt::Display for HashKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => formatter.write_str("client"),
            Self::Header(name) => write!(formatter, "header:{name}"),
            Self::Field(names) => write!(formatter, "field:{}", names.join(".")),
        }
    }
}

impl Serialize for HashKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Setting for HashKey {
    fn expected() -> String {
        "\"client\", \"header:NAME\" or \"field:NAME\" (with dots where it lies deeper)".into()
    }
    fn read(value: &Value) -> Option<Self> {
        Self::parse(value.as_str()?)
    }
}

impl Setting for Concurrency {
    fn expected() -> String {
        "\"adaptive\", \"unlimited\" or a whole number, 1 or more".into()
    }
    fn read(value: &Value) -> Option<Self> {
        match value.as_str() {
            Some("adaptive") => Some(Self::Adaptive),
            Some("unlimited") => Some(Self::Unlimited),
            Some(text) => Self::limit(text.parse().ok()?),
            None => Self::limit(value.as_integer()?),
        }
    }
}

impl Concurrency {
    /// How many requests a worker may have for which `adaptive` was found out.
    #[must_use]
    pub const fn most(self, adaptive: u32) -> u32 {
        match self {
            Self::Adaptive => adaptive,
            Self::Unlimited => u32::MAX,
            Self::Limit(most) => most,
        }
    }

    fn limit(number: i64) -> Option<Self> {
        let number = u32::try_from(number).ok()?;
        (number > 0).then_some(Self::Limit(number))
    }
}

impl Serialize for Concurrency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Adaptive => serializer.serialize_str("adaptive"),
            Self::Unlimited => serializer.serialize_str("unlimited"),
            Self::Limit(number) => serializer.serialize_u32(*number),
        }
    }
}

impl Setting for WeightSource {
    fn expected() -> String {
        "\"configured\" or \"measured\"".into()
    }
    fn read(value: &Value) -> Option<Self> {
        match value.as_str()? {
            "configured" => Some(Self::Configured),
            "measured" => Some(Self::Measured),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written() {
        for text in ["client", "header:x-user", "field:id", "field:parameters.user"] {
            assert_eq!(HashKey::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "Client",
            "header:",
            "header:a b",
            "field:",
            "field:a..b",
            "cookie:a",
            "x",
        ] {
            assert_eq!(HashKey::parse(text), None, "{text}");
        }
    }
}
