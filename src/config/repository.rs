//! `[worker.repository]`, and which versions of a model are served under which labels.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use toml::Value;

use super::check::body_size;
use super::section::Section;
use super::setting::Setting;
use super::worker::positive;
use crate::model::name::is_label;

/// How a worker follows its model repository.
#[derive(Clone, Debug, PartialEq)]
pub struct RepositoryConfig {
    /// How changes are noticed.
    pub watch: Watch,
    /// Time between two looks at the whole repository.
    pub poll_interval: Duration,
    /// A version is taken up, or given up, once its files have stayed the same this long.
    pub settle: Duration,
    /// Whether a load request may bring files of its own.
    pub allow_uploads: bool,
    /// The largest body of a load request where it may, in bytes.
    pub max_upload: usize,
}

/// How changes of the repository are noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// The system tells, where it can; polling finds what it does not tell.
    Auto,
    /// Polling only.
    Poll,
    /// Not at all: only load and unload requests change what is served.
    Off,
}

/// Which versions of one model are served, and how they may be called.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServingConfig {
    /// Which versions are loaded.
    pub versions: VersionPolicy,
    /// The version behind each label.
    pub labels: BTreeMap<String, u64>,
}

/// Which of the versions that are there are loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum VersionPolicy {
    /// Every one.
    #[default]
    All,
    /// So many of the newest; one that cannot be loaded does not count.
    Latest(usize),
    /// These, and no others.
    These(BTreeSet<u64>),
}

impl Default for RepositoryConfig {
    fn default() -> Self {
        Self {
            watch: Watch::Auto,
            poll_interval: Duration::from_secs(5),
            settle: Duration::from_secs(1),
            allow_uploads: false,
            max_upload: 512 << 20,
        }
    }
}

impl RepositoryConfig {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let default = Self::default();
        let config = Self {
            watch: section.value("watch", default.watch),
            poll_interval: positive(&mut section, "poll_interval", default.poll_interval),
            settle: section.checked(
                "settle",
                default.settle,
                |&settle| settle <= Duration::from_secs(600),
                "a duration up to \"10m\"",
            ),
            allow_uploads: section.value("allow_uploads", default.allow_uploads),
            max_upload: body_size(&mut section, "max_upload", default.max_upload),
        };
        section.finish();
        config
    }
}

impl ServingConfig {
    /// Reads its keys from the model's own section: they stand beside those of its batching.
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let versions = section.value("versions", VersionPolicy::default());
        let mut labels = section.section("labels");
        let mut config = Self {
            versions,
            labels: BTreeMap::new(),
        };
        for (label, version) in labels.settings::<VersionNumber>() {
            if !is_label(&label) {
                labels.report(
                    &label,
                    "expected a label: letters, digits, '.', '_' and '-', and not a number",
                );
            }
            config.labels.insert(label, version.0);
        }
        config
    }
}

/// The number of a version.
struct VersionNumber(u64);

impl Setting for VersionNumber {
    fn expected() -> String {
        "the number of a version, 1 or more".into()
    }
    fn read(value: &Value) -> Option<Self> {
        let number = u64::try_from(value.as_integer()?).ok()?;
        (number > 0).then_some(Self(number))
    }
}

impl Setting for Watch {
    fn expected() -> String {
        "one of auto, poll, off".into()
    }
    fn read(value: &Value) -> Option<Self> {
        match value.as_str()? {
            "auto" => Some(Self::Auto),
            "poll" => Some(Self::Poll),
            "off" => Some(Self::Off),
            _ => None,
        }
    }
}

impl Setting for VersionPolicy {
    fn expected() -> String {
        "\"all\", \"latest\", { latest = 2 } or a list of versions such as [1, 3]".into()
    }
    fn read(value: &Value) -> Option<Self> {
        let numbers = |values: &Vec<Value>| {
            let numbers = values
                .iter()
                .map(|value| VersionNumber::read(value).map(|number| number.0));
            numbers.collect::<Option<BTreeSet<u64>>>()
        };
        match value {
            Value::String(text) if text == "all" => Some(Self::All),
            Value::String(text) if text == "latest" => Some(Self::Latest(1)),
            Value::Table(table) if table.len() == 1 => {
                let count = usize::try_from(table.get("latest")?.as_integer()?).ok()?;
                (count > 0).then_some(Self::Latest(count))
            }
            Value::Array(values) if !values.is_empty() => numbers(values).map(Self::These),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Layers};

    fn serving(text: &str) -> Result<ServingConfig, String> {
        let text = format!("[worker.model.iris]\n{text}");
        let config = Config::check(&Layers::new().with_text(text)).map_err(|errors| errors.to_string())?;
        Ok(config.worker.serving_of("iris").clone())
    }

    #[test]
    fn a_policy_is_a_word_a_number_of_versions_or_a_list() {
        for (text, policy) in [
            ("", VersionPolicy::All),
            ("versions = \"all\"", VersionPolicy::All),
            ("versions = \"latest\"", VersionPolicy::Latest(1)),
            ("versions = { latest = 2 }", VersionPolicy::Latest(2)),
            ("versions = [3, 1]", VersionPolicy::These(BTreeSet::from([1, 3]))),
        ] {
            assert_eq!(serving(text).unwrap().versions, policy, "{text}");
        }
        for text in [
            "\"newest\"",
            "{ latest = 0 }",
            "{ last = 1 }",
            "[]",
            "[0]",
            "[\"1\"]",
            "3",
        ] {
            let error = serving(&format!("versions = {text}")).unwrap_err();
            assert!(
                error.contains("worker.model.iris.versions: expected \"all\""),
                "{error}"
            );
        }
    }

    #[test]
    fn labels_point_at_versions_and_are_no_numbers() {
        let config = serving("[worker.model.iris.labels]\nstable = 1\ncanary = 2").unwrap();
        let labels = [("canary".to_owned(), 2), ("stable".to_owned(), 1)];
        assert_eq!(config.labels, BTreeMap::from(labels));
        for (text, problem) in [
            ("7 = 1", "worker.model.iris.labels.7: expected a label"),
            ("\"a/b\" = 1", "worker.model.iris.labels.a/b: expected a label"),
            (
                "stable = \"one\"",
                "worker.model.iris.labels.stable: expected the number of a version",
            ),
            (
                "stable = 0",
                "worker.model.iris.labels.stable: expected the number of a version",
            ),
        ] {
            let error = serving(&format!("[worker.model.iris.labels]\n{text}")).unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
    }
}
