//! `[gateway.rollout.MODEL]`: which versions share the requests that name none, and when one is taken back.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use toml::{Table, Value};

use super::balancing::HashKey;
use super::section::{ConfigErrors, Problems, Section};
use super::setting::{Setting, duration_text};
use crate::model::name::{is_label, is_model_name, parse_version};

/// Beyond so many, raising the share of one split could not leave the keys of the others where they are.
const MAX_KEYED_SPLITS: usize = 2;

/// What becomes of the requests for one model that name no version.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RolloutConfig {
    /// The version, by its number or a label, that gets all requests that no split gets.
    pub live: String,
    /// The share of the requests that goes to each of these versions; together at most 1.
    pub splits: BTreeMap<String, f64>,
    /// What a request stays with a version by; none: each split gets its share by turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<HashKey>,
    /// The version that gets copies of the requests that `live` has answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<String>,
    /// The share of those requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow_share: Option<f64>,
    /// When a split is taken back.
    pub rollback: RollbackConfig,
}

/// How much worse than `live` a split may be before its share becomes 0.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RollbackConfig {
    /// By so much its error rate may lie over that of `live`; 1: never taken back for that.
    pub max_error_rate: f64,
    /// So many times that of `live` its 95th percentile of latencies may be; 0: never taken back for that.
    pub max_latency_ratio: f64,
    /// So many of its requests within the window are needed before it is judged.
    pub min_requests: u32,
    /// How far the judgement looks back.
    #[serde(serialize_with = "duration_text")]
    pub window: Duration,
}

impl Default for RollbackConfig {
    fn default() -> Self {
        Self {
            max_error_rate: 0.05,
            max_latency_ratio: 2.0,
            min_requests: 50,
            window: Duration::from_secs(60),
        }
    }
}

impl RolloutConfig {
    /// Reads the rollout of one model from JSON in the shape of its section, as an operator sends it.
    pub fn from_json(json: serde_json::Value) -> Result<Self, ConfigErrors> {
        let problems = Problems::default();
        let table = Table::try_from(json).unwrap_or_else(|_| {
            problems.report(
                "",
                "expected an object like the section [gateway.rollout.MODEL], without null",
            );
            Table::new()
        });
        let config = Self::read(Section::root(table, &problems));
        // What was reported goes first: without it there would be an error, whatever stands here.
        problems.into_result(())?;
        config.ok_or(ConfigErrors(Vec::new()))
    }

    /// None where `live` is missing or wrong, which is reported.
    fn read(mut section: Section<'_>) -> Option<Self> {
        let live: Option<VersionName> = section.required("live");
        let splits = read_splits(section.section("splits"), live.as_ref());
        let key = section.optional("key");
        if key.is_some() && splits.len() > MAX_KEYED_SPLITS {
            let message = format!(
                "expected at most {MAX_KEYED_SPLITS} versions where there is a key; found {}",
                splits.len()
            );
            section.report("splits", message);
        }
        let shadow: Option<VersionName> = section.optional("shadow");
        if shadow.is_some() && shadow == live {
            section.report("shadow", "expected another version than live");
        }
        let shadow_share = section.optional("shadow_share");
        if shadow_share.is_some_and(|share| !is_share(share)) {
            section.report("shadow_share", "expected a share from 0 to 1");
        }
        if shadow_share.is_some() && shadow.is_none() {
            section.report("shadow_share", "is of no use without shadow");
        }
        let rollback = RollbackConfig::read(section.section("rollback"));
        section.finish();
        Some(Self {
            live: live?.0,
            splits,
            key,
            shadow: shadow.map(|VersionName(name)| name),
            shadow_share,
            rollback,
        })
    }
}

/// `[gateway.rollout]`: the rollout of each model.
pub(super) fn read_rollouts(mut section: Section<'_>) -> BTreeMap<String, RolloutConfig> {
    let mut rollouts = BTreeMap::new();
    for (model, rollout) in section.named() {
        if !is_model_name(&model) {
            rollout.report_whole("expected the name of a model: letters, digits, '.', '_' and '-'");
        }
        if let Some(config) = RolloutConfig::read(rollout) {
            rollouts.insert(model, config);
        }
    }
    rollouts
}

fn read_splits(mut section: Section<'_>, live: Option<&VersionName>) -> BTreeMap<String, f64> {
    let splits: BTreeMap<String, f64> = section
        .settings::<Share>()
        .into_iter()
        .map(|(name, Share(share))| (name, share))
        .collect();
    for name in splits.keys() {
        if !is_version(name) {
            section.report(name, format!("expected {}", VersionName::expected()));
        }
        if live.is_some_and(|VersionName(live)| live == name) {
            section.report(
                name,
                "is live, which gets what the splits leave; expected another version",
            );
        }
    }
    // Sums of decimal fractions are not exact: 0.7, 0.2 and 0.1 make a little more than 1.
    let sum: f64 = splits.values().sum();
    if sum > 1.0 + 1e-9 {
        let sum = (sum * 1e6).round() / 1e6;
        section.report_whole(format!("expected shares whose sum is at most 1; found {sum}"));
    }
    splits
}

impl RollbackConfig {
    fn read(mut section: Section<'_>) -> Self {
        let default = Self::default();
        let window_fits = |window: &Duration| (1..=3600).contains(&window.as_secs());
        let config = Self {
            max_error_rate: section.checked(
                "max_error_rate",
                default.max_error_rate,
                |&share| is_share(share),
                "a share from 0 to 1",
            ),
            max_latency_ratio: section.checked(
                "max_latency_ratio",
                default.max_latency_ratio,
                |&ratio| ratio == 0.0 || (1.0..=1000.0).contains(&ratio),
                "a number from 1 to 1000, or 0 (never)",
            ),
            min_requests: section.checked(
                "min_requests",
                default.min_requests,
                |&count| count >= 1,
                "a whole number, 1 or more",
            ),
            window: section.checked(
                "window",
                default.window,
                window_fits,
                "a duration from \"1s\" to \"1h\"",
            ),
        };
        section.finish();
        config
    }
}

fn is_share(share: f64) -> bool {
    (0.0..=1.0).contains(&share)
}

fn is_version(name: &str) -> bool {
    is_label(name) || parse_version(name).is_some()
}

/// A version's number or a label.
#[derive(Debug, PartialEq)]
struct VersionName(String);

impl Setting for VersionName {
    fn expected() -> String {
        "a version's number or a label (letters, digits, '.', '_' and '-')".into()
    }
    fn read(value: &Value) -> Option<Self> {
        let name = match value {
            Value::Integer(number) => number.to_string(),
            Value::String(name) => name.clone(),
            _ => return None,
        };
        is_version(&name).then_some(Self(name))
    }
}

/// A share of the requests.
struct Share(f64);

impl Setting for Share {
    fn expected() -> String {
        "a share from 0 to 1".into()
    }
    fn read(value: &Value) -> Option<Self> {
        f64::read(value).filter(|&share| is_share(share)).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::{Config, Layers};

    fn errors(text: &str) -> Vec<String> {
        let errors = Config::check(&Layers::new().with_text(text)).unwrap_err();
        errors.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_rollout_is_read_as_it_is_written() {
        let text = r#"
            [gateway.rollout.iris]
            live = 1
            splits = { canary = 0.05, "7" = 0.5 }
            key = "header:x-user"
            shadow = "3"
            [gateway.rollout.iris.rollback]
            max_latency_ratio = 0
            window = "10s"
        "#;
        let config = Config::check(&Layers::new().with_text(text)).unwrap();
        let rollout = &config.gateway.rollout["iris"];
        assert_eq!(
            (rollout.live.as_str(), rollout.shadow.as_deref()),
            ("1", Some("3"))
        );
        assert_eq!(rollout.splits["canary"] + rollout.splits["7"], 0.55);
        let expected = RollbackConfig {
            max_latency_ratio: 0.0,
            window: Duration::from_secs(10),
            ..RollbackConfig::default()
        };
        assert_eq!(rollout.rollback, expected);
        let told = serde_json::to_value(rollout).unwrap();
        assert_eq!(&RolloutConfig::from_json(told).unwrap(), rollout);
    }

    #[test]
    fn every_error_of_a_rollout_is_told_at_once() {
        let errors = errors(
            r#"
            [gateway.rollout."a/b"]
            live = "x"
            [gateway.rollout.iris]
            splits = { canary = 1.5, "07" = 0.1, b = 0.6, c = 0.6 }
            key = "cookie:a"
            shadow_share = 2
            colour = "red"
            [gateway.rollout.iris.rollback]
            max_latency_ratio = 0.5
            min_requests = 0
            window = "2h"
            [gateway.rollout.rose]
            live = "a"
            splits = { a = 0.1, b = 0.1, c = 0.1 }
            key = "client"
            shadow = "a"
            "#,
        );
        let expected = [
            "gateway.rollout.a/b: expected the name of a model",
            "gateway.rollout.iris.live: is missing; expected a version's number or a label",
            "gateway.rollout.iris.splits.canary: expected a share from 0 to 1; found 1.5",
            "gateway.rollout.iris.splits.07: expected a version's number or a label",
            "gateway.rollout.iris.splits: expected shares whose sum is at most 1; found 1.3",
            "gateway.rollout.iris.key: expected \"client\"",
            "gateway.rollout.iris.shadow_share: expected a share from 0 to 1",
            "gateway.rollout.iris.shadow_share: is of no use without shadow",
            "gateway.rollout.iris.rollback.max_latency_ratio: expected a number from 1 to 1000, or 0 (never); found 0.5",
            "gateway.rollout.iris.rollback.min_requests: expected a whole number, 1 or more; found 0",
            "gateway.rollout.iris.rollback.window: expected a duration from \"1s\" to \"1h\"; found \"2h\"",
            "gateway.rollout.iris.colour: unknown key",
            "gateway.rollout.rose.splits.a: is live",
            "gateway.rollout.rose.splits: expected at most 2 versions where there is a key; found 3",
            "gateway.rollout.rose.shadow: expected another version than live",
        ];
        for start in expected {
            assert!(
                errors.iter().any(|error| error.starts_with(start)),
                "{start}\nnot in\n{}",
                errors.join("\n")
            );
        }
        assert_eq!(errors.len(), expected.len(), "{}", errors.join("\n"));
    }

    #[test]
    fn what_an_operator_sends_is_told_in_the_same_words() {
        let message = |json| RolloutConfig::from_json(json).unwrap_err().to_string();
        for (json, part) in [
            (json!([]), "expected an object"),
            (json!({"live": null}), "expected an object"),
            (json!({"splits": {"a": 0.1}}), "live: is missing"),
            (
                json!({"live": "a", "split": {}}),
                "split: unknown key; did you mean splits?",
            ),
            (
                json!({"live": "a", "splits": {"b": 2}}),
                "splits.b: expected a share from 0 to 1; found 2",
            ),
        ] {
            let told = message(json);
            assert!(told.contains(part), "{told}");
        }
    }
}
