//! How long the slow ones of many requests take.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::moment::whole_micros;

/// Before so many predictions nothing is known of how long they take.
const KNOWN: u32 = 100;
/// How far one prediction moves the percentile, as a share of it.
const STEP: f32 = 0.05;

/// A percentile of the latencies of one kind of requests, which many threads read and write without a lock.
///
/// Each latency above it raises it by a step, each one below lowers it by as much less as they come more often, so that it rests
/// where the right share lies above (Robbins and Monro, "A stochastic approximation method", 1951, on the logarithm of
/// the latency). It rises tenfold within 50 latencies and falls tenfold within 1,000, for the 95th percentile.
#[derive(Debug, Default)]
pub struct Percentile(AtomicU64);

impl Percentile {
    /// The percentile; none before enough latencies.
    #[must_use]
    pub fn get(&self) -> Option<Duration> {
        let (micros, count) = unpack(self.0.load(Ordering::Relaxed));
        (count >= KNOWN).then(|| Duration::from_micros(micros as u64))
    }

    /// Takes in one latency, for the percentile that `share` lies below.
    pub fn observe(&self, latency: Duration, share: f64) {
        let latency = (whole_micros(latency) as f32).max(1.0);
        self.update(|micros| match micros {
            0.0 => latency,
            micros if latency > micros => raised(micros, share),
            micros => micros * (-STEP * (1.0 - share as f32)).exp(),
        });
    }

    /// Takes in a latency of which only is known that it lies above the percentile that `share` lies below.
    pub fn observe_above(&self, share: f64) {
        self.update(|micros| raised(micros, share));
    }

    fn update(&self, next: impl Fn(f32) -> f32) {
        // The closure always gives a value.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |packed| {
                let (micros, count) = unpack(packed);
                Some(pack(next(micros), count.saturating_add(1)))
            });
    }
}

fn raised(micros: f32, share: f64) -> f32 {
    // An hour is longer than any request lasts.
    (micros * (STEP * share as f32).exp()).min(3.6e9)
}

fn pack(micros: f32, count: u32) -> u64 {
    u64::from(micros.to_bits()) << 32 | u64::from(count)
}

fn unpack(packed: u64) -> (f32, u32) {
    (f32::from_bits((packed >> 32) as u32), packed as u32)
}

#[cfg(test)]
mod tests {
    use rand::rngs::Xoshiro256PlusPlus;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// Exponential latencies with this mean.
    fn latencies(mean_micros: f64, seed: u64) -> impl Iterator<Item = Duration> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        std::iter::repeat_with(move || {
            let drawn = -rng.random::<f64>().max(1e-12).ln();
            Duration::from_micros((mean_micros * drawn) as u64)
        })
    }

    fn share_above(percentile: &Percentile, mean_micros: f64, share: f64, seed: u64) -> f64 {
        let above = latencies(mean_micros, seed).take(20_000).filter(|latency| {
            let is_above = *latency > percentile.get().unwrap();
            percentile.observe(*latency, share);
            is_above
        });
        above.count() as f64 / 20_000.0
    }

    #[test]
    fn the_right_share_lies_above() {
        for (share, mean) in [(0.5, 300.0), (0.95, 2_000.0), (0.99, 50_000.0)] {
            let percentile = Percentile::default();
            for latency in latencies(mean, 1).take(5_000) {
                percentile.observe(latency, share);
            }
            let above = share_above(&percentile, mean, share, 2);
            let wanted = 1.0 - share;
            assert!((above - wanted).abs() < wanted * 0.2, "{share}: {above} above");
        }
    }

    #[test]
    fn it_follows_what_becomes_slower_or_faster() {
        let percentile = Percentile::default();
        for mean in [1_000.0, 100_000.0, 1_000.0] {
            latencies(mean, 3)
                .take(10_000)
                .for_each(|latency| percentile.observe(latency, 0.95));
            let known = percentile.get().unwrap().as_secs_f64() * 1e6;
            let exact = mean * 20_f64.ln();
            assert!((0.6..1.6).contains(&(known / exact)), "{known} for {exact}");
        }
    }

    #[test]
    fn what_never_ends_raises_it_to_an_hour_and_no_further() {
        let percentile = Percentile::default();
        percentile.observe(Duration::from_secs(1), 0.95);
        (0..10_000).for_each(|_| percentile.observe_above(0.95));
        assert_eq!(percentile.get(), Some(Duration::from_secs(3_600)));
    }
}
