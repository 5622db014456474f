//! `[telemetry]`

use toml::Value;
use tracing_subscriber::EnvFilter;

use super::section::Section;
use super::setting::Setting;

/// What a process says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct TelemetryConfig {
    /// A level, or directives as `tracing-subscriber` reads them: `info,millrace::gateway=debug`.
    pub log: String,
    /// How a log line looks.
    pub log_format: LogFormat,
    /// Whether every request writes one line.
    pub access_log: bool,
    /// Whether there are metrics.
    pub metrics: bool,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For log collectors: one JSON object a line.
    Json,
}

impl Setting for LogFormat {
    fn expected() -> String {
        "\"text\" or \"json\"".into()
    }
    fn read(value: &Value) -> Option<Self> {
        match value.as_str()? {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

impl TelemetryConfig {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let config = Self {
            log: section.checked(
                "log",
                "info".to_owned(),
                |directives| EnvFilter::try_new(directives).is_ok(),
                "a level (error, warn, info, debug, trace) or directives like \"info,millrace::gateway=debug\"",
            ),
            log_format: section.value("log_format", LogFormat::Text),
            access_log: section.value("access_log", true),
            metrics: section.value("metrics", true),
        };
        section.finish();
        config
    }
}
