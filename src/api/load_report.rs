//! What a worker says of its own load: the header `endpoint-load-metrics` in the text format of Open Request Cost
//! Aggregation (ORCA), as `TEXT key=value, key=value`. Workers write it, gateways read it.

use std::fmt::{self, Write};

use memchr::memchr;

const FORMAT: &str = "TEXT";
const IN_FLIGHT: &str = "named_metrics.in_flight";
const QUEUE_DEPTH: &str = "named_metrics.queue_depth";
const LATENCY_MICROS: &str = "named_metrics.latency_us";
const CONCURRENCY: &str = "named_metrics.concurrency";
const UTILIZATION: &str = "application_utilization";
const REQUESTS_PER_SECOND: &str = "rps_fractional";

/// The load of one worker, as one of its answers tells it. Each figure is there where the worker told it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoadReport {
    /// Requests inside the worker, over all models, besides the one that is answered (`named_metrics.in_flight`).
    pub in_flight: Option<u32>,
    /// Requests for this model that wait for an engine (`named_metrics.queue_depth`).
    pub queue_depth: Option<u32>,
    /// What a request for this model takes at that load, in microseconds (`named_metrics.latency_us`).
    pub latency_micros: Option<u32>,
    /// Requests for this model that its engines can work on at once (`named_metrics.concurrency`).
    pub concurrency: Option<u32>,
    /// The share of time in which the engines of this model were at work, 0 to 1 (`application_utilization`).
    pub utilization: Option<f64>,
    /// Requests for this model per second (`rps_fractional`).
    pub requests_per_second: Option<f64>,
}

impl LoadReport {
    /// The header's value: [`parse`](Self::parse) reads the same figures out of it.
    #[must_use]
    pub fn to_header(&self) -> String {
        // Room for all of them: one allocation.
        let mut text = String::with_capacity(192);
        text.push_str(FORMAT);
        push(&mut text, IN_FLIGHT, self.in_flight);
        push(&mut text, QUEUE_DEPTH, self.queue_depth);
        push(&mut text, LATENCY_MICROS, self.latency_micros);
        push(&mut text, CONCURRENCY, self.concurrency);
        push(&mut text, UTILIZATION, self.utilization);
        push(&mut text, REQUESTS_PER_SECOND, self.requests_per_second);
        text
    }

    /// Reads a header's value. What is unknown in it is left out, and so is a figure that is none, negative or not
    /// finite: a report is advice, never a reason to fail a request. None where it is no report in this format.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let mut rest = value.strip_prefix(FORMAT)?;
        let mut report = Self::default();
        while !rest.is_empty() {
            let (pair, behind) = cut(rest, b',');
            let (key, figure) = cut(pair, b'=');
            let figure = number(figure.trim_ascii());
            match key.trim_ascii() {
                IN_FLIGHT => report.in_flight = figure.map(|it| it as u32),
                QUEUE_DEPTH => report.queue_depth = figure.map(|it| it as u32),
                LATENCY_MICROS => report.latency_micros = figure.map(|it| it as u32),
                CONCURRENCY => report.concurrency = figure.map(|it| it as u32),
                UTILIZATION => report.utilization = figure,
                REQUESTS_PER_SECOND => report.requests_per_second = figure,
                _ => {}
            }
            rest = behind;
        }
        Some(report)
    }

    /// Requests per second that the worker could answer if it did nothing else: those that it answers, by the share of
    /// time in which it is at work. It is what gRPC's weighted round robin goes by (gRFC A58). None where that is no number to
    /// reckon with: what is beyond all numbers would stay so in every mean that it enters.
    #[must_use]
    pub fn capacity(&self) -> Option<f32> {
        let capacity = (self.requests_per_second? / self.utilization?) as f32;
        (capacity.is_finite() && capacity > 0.0).then_some(capacity)
    }
}

/// What stands before the first `separator`, which is one of ASCII, and what behind it.
fn cut(text: &str, separator: u8) -> (&str, &str) {
    match memchr(separator, text.as_bytes()) {
        Some(position) => (&text[..position], &text[position + 1..]),
        None => (text, ""),
    }
}

/// A figure that is finite and not negative.
fn number(text: &str) -> Option<f64> {
    let figure = plain_number(text).or_else(|| text.parse().ok());
    figure.filter(|it| it.is_finite() && *it >= 0.0)
}

/// The number that is written as nothing but up to 15 digits and perhaps a point, as workers write them. Both the digits and
/// the power of ten are exact, so that the quotient is the nearest number there is.
fn plain_number(text: &str) -> Option<f64> {
    if !(1..=16).contains(&text.len()) {
        return None;
    }
    let (mut digits, mut tens, mut is_behind_point) = (0_u64, 1_u64, false);
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' => {
                digits = digits * 10 + u64::from(byte - b'0');
                tens *= if is_behind_point { 10 } else { 1 };
            }
            b'.' if !is_behind_point => is_behind_point = true,
            _ => return None,
        }
    }
    let is_exact = digits < 1 << f64::MANTISSA_DIGITS && text != ".";
    is_exact.then(|| digits as f64 / tens as f64)
}

fn push(text: &mut String, key: &str, figure: Option<impl fmt::Display>) {
    let Some(figure) = figure else { return };
    text.push_str(if text.len() == FORMAT.len() { " " } else { ", " });
    text.push_str(key);
    write!(text, "={figure}").expect("a string takes whatever is written");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FULL: LoadReport = LoadReport {
        in_flight: Some(3),
        queue_depth: Some(1),
        latency_micros: Some(2100),
        concurrency: Some(64),
        utilization: Some(0.25),
        requests_per_second: Some(100.0),
    };

    #[test]
    fn known_figures_are_read_and_others_left_out() {
        let report = LoadReport::parse(
            "TEXT application_utilization=0.25, rps_fractional=100,named_metrics.in_flight=3, named_metrics.queue_depth=1, \
             named_metrics.latency_us=2100, named_metrics.concurrency=64, cpu=x",
        )
        .unwrap();
        assert_eq!(report, FULL);
        assert_eq!(report.capacity(), Some(400.0));
    }

    #[test]
    fn it_is_written_in_the_text_format() {
        let expected = "TEXT named_metrics.in_flight=3, named_metrics.queue_depth=1, named_metrics.latency_us=2100, \
                        named_metrics.concurrency=64, application_utilization=0.25, rps_fractional=100";
        assert_eq!(FULL.to_header(), expected);
        let idle = LoadReport {
            in_flight: Some(0),
            ..LoadReport::default()
        };
        assert_eq!(idle.to_header(), "TEXT named_metrics.in_flight=0");
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
        fn plain_numbers_are_read_as_the_library_reads_them(text in "[0-9]{1,9}(\\.[0-9]{1,6})?") {
            prop_assert_eq!(plain_number(&text), text.parse().ok());
        }
    }

    #[test]
    fn a_capacity_beyond_all_numbers_is_none() {
        for (rate, utilization) in [
            ("1", "0"),
            ("0", "0"),
            ("0", "1"),
            ("1e300", "1e-300"),
            ("1e39", "1"),
            ("1", "1e300"),
        ] {
            let text = format!("TEXT rps_fractional={rate}, application_utilization={utilization}");
            assert_eq!(LoadReport::parse(&text).unwrap().capacity(), None, "{text}");
        }
    }

    fn any_rate() -> impl Strategy<Value = f64> {
        use prop::num::f64::{NORMAL, POSITIVE, SUBNORMAL, ZERO};
        POSITIVE | NORMAL | SUBNORMAL | ZERO
    }

    prop_compose! {
        fn any_report()(
            in_flight in any::<Option<u32>>(),
            queue_depth in any::<Option<u32>>(),
            latency_micros in any::<Option<u32>>(),
            concurrency in any::<Option<u32>>(),
            utilization in prop::option::of(0.0..=1.0),
            requests_per_second in prop::option::of(any_rate()),
        ) -> LoadReport {
            LoadReport { in_flight, queue_depth, latency_micros, concurrency, utilization, requests_per_second }
        }
    }

    proptest! {
        #[test]
        fn nothing_breaks_the_reader(text in "(TEXT )?[ -~]{0,80}") {
            let _ = LoadReport::parse(&text);
        }

        #[test]
        fn what_is_written_is_what_is_read(report in any_report()) {
            prop_assert_eq!(LoadReport::parse(&report.to_header()), Some(report));
        }
    }
}
