//! How long a request occupies a place at a worker.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rand::{Rng, RngExt};

/// A distribution of times. As text: `2ms`, `exp:2ms` (its mean), `lognormal:2ms:0.5` (its median, and the standard
/// deviation of the logarithm).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ServiceTime {
    /// Always the same.
    Constant(Duration),
    /// Exponential: many short ones, few long ones.
    Exponential {
        /// The average.
        mean: Duration,
    },
    /// Log-normal: what times of real services mostly look like.
    LogNormal {
        /// Half of all take less.
        median: Duration,
        /// The standard deviation of the natural logarithm; 0 is constant, 1 has a 99th percentile of ten medians.
        sigma: f64,
    },
}

/// A text that is no distribution.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a time such as \"2ms\", \"exp:2ms\" or \"lognormal:2ms:0.5\" (from 1us to 1h, sigma from 0 to 4); found {0:?}"
)]
pub struct ServiceTimeError(String);

/// The longest that a mean or a median may be.
const LONGEST: Duration = Duration::from_secs(3_600);
/// The greatest spread of a log-normal distribution: its mean is then 3,000 medians.
const MAX_SIGMA: f64 = 4.0;

impl ServiceTime {
    /// The average, in microseconds.
    #[must_use]
    pub fn mean_micros(&self) -> f64 {
        match self {
            Self::Constant(time) | Self::Exponential { mean: time } => micros(*time),
            Self::LogNormal { median, sigma } => micros(*median) * (sigma * sigma / 2.0).exp(),
        }
    }

    /// One time, in microseconds.
    pub fn draw(&self, rng: &mut impl Rng) -> f64 {
        match self {
            Self::Constant(time) => micros(*time),
            Self::Exponential { mean } => micros(*mean) * exponential(rng),
            Self::LogNormal { median, sigma } => micros(*median) * (sigma * normal(rng)).exp(),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let found = match (parts.next()?, parts.next(), parts.next()) {
            (time, None, None) => Self::Constant(time_of(time)?),
            ("exp", Some(mean), None) => Self::Exponential { mean: time_of(mean)? },
            ("lognormal", Some(median), Some(sigma)) => Self::LogNormal {
                median: time_of(median)?,
                sigma: sigma.parse().ok().filter(|it| (0.0..=MAX_SIGMA).contains(it))?,
            },
            _ => return None,
        };
        parts.next().is_none().then_some(found)
    }
}

impl FromStr for ServiceTime {
    type Err = ServiceTimeError;

    fn from_str(text: &str) -> Result<Self, ServiceTimeError> {
        Self::parse(text).ok_or_else(|| ServiceTimeError(text.to_owned()))
    }
}

impl fmt::Display for ServiceTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = humantime::format_duration;
        match self {
            Self::Constant(time) => text(*time).fmt(formatter),
            Self::Exponential { mean } => write!(formatter, "exp:{}", text(*mean)),
            Self::LogNormal { median, sigma } => write!(formatter, "lognormal:{}:{sigma}", text(*median)),
        }
    }
}

fn time_of(text: &str) -> Option<Duration> {
    let time = humantime::parse_duration(text).ok()?;
    (Duration::from_micros(1)..=LONGEST)
        .contains(&time)
        .then_some(time)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Exponential with mean 1.
pub(super) fn exponential(rng: &mut impl Rng) -> f64 {
    -(1.0 - rng.random::<f64>()).ln()
}

/// Normal with mean 0 and standard deviation 1 (Box and Muller 1958).
fn normal(rng: &mut impl Rng) -> f64 {
    let radius = (2.0 * exponential(rng)).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::Xoshiro256PlusPlus;

    use super::*;

    #[test]
    fn texts_are_read_as_they_are_written() {
        for text in ["2ms", "exp:2ms", "lognormal:2ms:0.5", "1s 500ms"] {
            assert_eq!(text.parse::<ServiceTime>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "2",
            "0ms",
            "2h",
            "exp",
            "exp:",
            "exp:2ms:1",
            "lognormal:2ms",
            "lognormal:2ms:-1",
        ] {
            assert!(text.parse::<ServiceTime>().is_err(), "{text}");
        }
        for text in [
            "lognormal:2ms:nan",
            "lognormal:2ms:5",
            "lognormal:2ms:1:1",
            "gauss:2ms",
            "-2ms",
        ] {
            let error = text.parse::<ServiceTime>().unwrap_err();
            assert!(error.to_string().ends_with(&format!("found {text:?}")), "{error}");
        }
    }

    #[test]
    fn drawn_times_have_the_mean_and_the_median_of_their_distribution() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        for (text, median) in [
            ("2ms", 2_000.0),
            ("exp:2ms", 2_000.0 * 2_f64.ln()),
            ("lognormal:2ms:0.5", 2_000.0),
        ] {
            let distribution: ServiceTime = text.parse().unwrap();
            let mut times: Vec<f64> = (0..100_001).map(|_| distribution.draw(&mut rng)).collect();
            times.sort_unstable_by(f64::total_cmp);
            let mean = times.iter().sum::<f64>() / times.len() as f64;
            assert!(
                (mean / distribution.mean_micros() - 1.0).abs() < 0.02,
                "{text}: {mean}"
            );
            assert!(
                (times[50_000] / median - 1.0).abs() < 0.02,
                "{text}: {}",
                times[50_000]
            );
        }
    }
}
