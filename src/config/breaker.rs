//! `[gateway.breaker]`: when an endpoint gets no requests for a model, because of how it answered them.

use std::time::Duration;

use serde::Serialize;

use super::section::Section;
use super::setting::duration_text;
use super::worker::positive;

/// When an endpoint is ejected for a model, and for how long. Each of the three rules is switched off by 0.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BreakerConfig {
    /// So many failures in a row eject.
    pub consecutive_failures: u32,
    /// This share of failures, over the window, ejects.
    pub failure_rate: f64,
    /// So many requests within the window are needed before shares are compared.
    pub min_requests: u32,
    /// Who succeeds less often than the mean of all by so many standard deviations is ejected.
    pub outlier_factor: f64,
    /// The first ejection; the second in a row takes twice as long, and so on.
    #[serde(serialize_with = "duration_text")]
    pub ejection: Duration,
    /// The longest ejection.
    #[serde(serialize_with = "duration_text")]
    pub max_ejection: Duration,
    /// The share of a model's endpoints that may be ejected at once, rounded down.
    pub max_ejected: f64,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_rate: 0.5,
            min_requests: 20,
            outlier_factor: 1.9,
            ejection: Duration::from_secs(5),
            max_ejection: Duration::from_secs(120),
            max_ejected: 0.5,
        }
    }
}

impl BreakerConfig {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let default = Self::default();
        let share = "a share from 0 to 1";
        let is_share = |share: &f64| (0.0..=1.0).contains(share);
        let config = Self {
            consecutive_failures: section.value("consecutive_failures", default.consecutive_failures),
            failure_rate: section.checked("failure_rate", default.failure_rate, is_share, share),
            min_requests: section.checked(
                "min_requests",
                default.min_requests,
                |&count| count >= 1,
                "a whole number, 1 or more",
            ),
            outlier_factor: section.checked(
                "outlier_factor",
                default.outlier_factor,
                |factor| (0.0..=100.0).contains(factor),
                "a number from 0 to 100",
            ),
            ejection: positive(&mut section, "ejection", default.ejection),
            max_ejection: positive(&mut section, "max_ejection", default.max_ejection),
            max_ejected: section.checked("max_ejected", default.max_ejected, is_share, share),
        };
        if config.max_ejection < config.ejection {
            section.report(
                "max_ejection",
                format!(
                    "expected at least ejection, {}; found {}",
                    humantime::format_duration(config.ejection),
                    humantime::format_duration(config.max_ejection)
                ),
            );
        }
        section.finish();
        config
    }
}
