//! What a worker says of its own load: the header `endpoint-load-metrics` in the text format of Open Request Cost
//! Aggregation (ORCA), as `TEXT key=value, key=value`.

/// The load of one worker, as one of its answers tells it. Each figure is there where the worker told it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoadReport {
    /// Requests inside the worker, over all models (`named_metrics.in_flight`).
    pub in_flight: Option<u32>,
    /// What a request for this model takes at that load, in microseconds (`named_metrics.latency_us`).
    pub latency_micros: Option<u32>,
    /// The share of time in which the engine of this model was at work, 0 to 1 (`application_utilization`).
    pub utilization: Option<f64>,
    /// Requests for this model per second (`rps_fractional`).
    pub requests_per_second: Option<f64>,
}

impl LoadReport {
    /// Reads a header's value. What is unknown in it is left out, and so is a figure that is none, negative or not
    /// finite: a report is advice, never a reason to fail a request. None where it is no report in this format.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let pairs = value.strip_prefix("TEXT")?;
        let mut report = Self::default();
        for pair in pairs.split(',') {
            let Some((key, figure)) = pair.split_once('=') else {
                continue;
            };
            let figure = figure
                .trim()
                .parse()
                .ok()
                .filter(|&it: &f64| it.is_finite() && it >= 0.0);
            match key.trim() {
                "named_metrics.in_flight" => report.in_flight = figure.map(|it| it as u32),
                "named_metrics.latency_us" => report.latency_micros = figure.map(|it| it as u32),
                "application_utilization" => report.utilization = figure,
                "rps_fractional" => report.requests_per_second = figure,
                _ => {}
            }
        }
        Some(report)
    }

    /// Requests per second that the worker could answer if it did nothing else: those that it answers, by the share of
    /// time in which it is at work. It is what gRPC's weighted round robin goes by (gRFC A58).
    #[must_use]
    pub fn capacity(&self) -> Option<f64> {
        let (rate, utilization) = (self.requests_per_second?, self.utilization?);
        (rate > 0.0 && utilization > 0.0).then(|| rate / utilization)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_figures_are_read_and_others_left_out() {
        let report = LoadReport::parse(
            "TEXT application_utilization=0.25, rps_fractional=100,named_metrics.in_flight=3, named_metrics.latency_us=2100, cpu=x",
        )
        .unwrap();
        assert_eq!(
            report,
            LoadReport {
                in_flight: Some(3),
                latency_micros: Some(2100),
                utilization: Some(0.25),
                requests_per_second: Some(100.0),
            }
        );
        assert_eq!(report.capacity(), Some(400.0));
    }

    #[test]
    fn what_is_no_figure_is_left_out() {
        for text in [
            "TEXT",
            "TEXT named_metrics.in_flight",
            "TEXT rps_fractional=-1, named_metrics.in_flight=NaN, application_utilization=inf",
        ] {
            assert_eq!(LoadReport::parse(text), Some(LoadReport::default()), "{text}");
        }
        for text in ["", "JSON {}", "BIN Zm9v"] {
            assert_eq!(LoadReport::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_breaks_the_reader(text in "(TEXT )?[ -~]{0,80}") {
            let _ = LoadReport::parse(&text);
        }
    }
}
