//! `[gateway.hedging]`: when a prediction that takes long is sent to a second worker as well.

use std::time::Duration;

use serde::Serialize;

use super::section::Section;
use super::setting::duration_text;

/// When a prediction is hedged.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HedgingConfig {
    /// After a time in which this share of the predictions of the model is answered; 0: never.
    pub percentile: f64,
    /// And no sooner than that.
    #[serde(serialize_with = "duration_text")]
    pub min_delay: Duration,
    /// Hedges per request over the last ten seconds.
    pub budget: f64,
}

impl Default for HedgingConfig {
    fn default() -> Self {
        Self {
            percentile: 0.95,
            min_delay: Duration::from_millis(10),
            budget: 0.05,
        }
    }
}

impl HedgingConfig {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let default = Self::default();
        let config = Self {
            percentile: section.checked(
                "percentile",
                default.percentile,
                |share| (0.0..1.0).contains(share),
                "a share from 0 (never hedge) to less than 1",
            ),
            min_delay: section.value("min_delay", default.min_delay),
            budget: section.checked(
                "budget",
                default.budget,
                |budget| (0.0..=1.0).contains(budget),
                "a share from 0 to 1",
            ),
        };
        section.finish();
        config
    }
}
