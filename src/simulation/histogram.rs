//! Many latencies in little room.

use std::time::Duration;

/// Values below twice this are counted one by one, greater ones with a relative error of one part in as many.
const RESOLUTION: u64 = 1 << 10;

/// Counts of times in microseconds, exact below 2 ms and to 0.1 % above (the buckets of an HDR histogram).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    counts: Vec<u64>,
    count: u64,
    sum: f64,
    max: u64,
}

impl Histogram {
    /// Counts one time in.
    pub fn add(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = bucket_of(micros);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.count += 1;
        self.sum += micros as f64;
        self.max = self.max.max(micros);
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The greatest.
    #[must_use]
    pub const fn max(&self) -> Duration {
        Duration::from_micros(self.max)
    }

    /// The average; zero where there are none.
    #[must_use]
    pub fn mean(&self) -> Duration {
        let mean = self.sum / self.count.max(1) as f64;
        Duration::from_nanos((mean * 1e3) as u64)
    }

    /// The time within which this share of all lies (0.99: the 99th percentile); zero where there are none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let rank = ((share * self.count as f64).ceil() as u64).max(1);
        let mut below = 0;
        let bucket = self.counts.iter().position(|&count| {
            below += count;
            below >= rank
        });
        let micros = bucket.map_or(self.max, |bucket| last_of(bucket as u64).min(self.max));
        Duration::from_micros(micros)
    }
}

/// The leading eleven binary digits of a value say where it belongs.
fn bucket_of(micros: u64) -> usize {
    let shift = (micros / RESOLUTION).checked_ilog2().unwrap_or(0);
    (u64::from(shift) * RESOLUTION + (micros >> shift)) as usize
}

/// The greatest value of a bucket.
fn last_of(bucket: u64) -> u64 {
    let shift = (bucket / RESOLUTION).saturating_sub(1);
    let leading = bucket - shift * RESOLUTION;
    ((leading + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_has_no_latency() {
        let empty = Histogram::default();
        assert_eq!(
            (empty.count(), empty.mean(), empty.quantile(0.5)),
            (0, Duration::ZERO, Duration::ZERO)
        );
    }

    proptest! {
        #[test]
        fn quantiles_are_those_of_the_sorted_values(
            mut values in prop::collection::vec(0_u64..100_000_000, 1..300),
            share in 0.0_f64..=1.0,
        ) {
            let mut histogram = Histogram::default();
            values.iter().for_each(|&value| histogram.add(Duration::from_micros(value)));
            values.sort_unstable();
            let rank = ((share * values.len() as f64).ceil() as usize).max(1);
            let (exact, found) = (values[rank - 1], histogram.quantile(share).as_micros() as u64);
            prop_assert!(found >= exact && (found - exact) * RESOLUTION <= exact, "{} and not {}", found, exact);
            prop_assert_eq!(histogram.max().as_micros() as u64, values[values.len() - 1]);
        }
    }
}
