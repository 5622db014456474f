//! How long an endpoint takes: a peak-sensitive, exponentially weighted moving average.
//!
//! The average of Finagle's and linkerd's "peak EWMA": a latency above the estimate replaces it at once, one below it
//! pulls it down with the weight 1 - e^(-t/τ), where t is the time since the last latency. So an endpoint that turns
//! slow is left alone after one answer, and comes back with its next good answers. Read without an answer, the
//! estimate decays as well, so that who is left alone is tried again; who was left alone for longer than τ is judged by the
//! answer to that, and hardly by what was before.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::moment::{Moment, whole_micros};

/// The unit of the stored time. 32 bits of it last for 19 hours; an estimate that was left alone for longer only
/// decays less than it should.
const TICK_MICROS: u64 = 16;
/// 1/e, rounded down: an estimate of which less is left has had no answer for longer than its time constant.
const KEPT_WHERE_LEFT_ALONE: f32 = 0.367;

/// A latency estimate that many threads read and write without a lock: microseconds as `f32`, and the tick of the
/// last change, in one word. All zero is "no answer yet".
#[derive(Debug, Default)]
pub(super) struct PeakEwma(AtomicU64);

impl PeakEwma {
    /// The estimate now, in microseconds, decayed since its last change; none before the first answer.
    #[must_use]
    pub(super) fn micros(&self, now: Moment, decay: Duration) -> Option<f32> {
        let (estimate, at) = unpack(self.0.load(Ordering::Relaxed));
        (estimate > 0.0).then(|| estimate * kept(at, now, decay))
    }

    /// The estimate as it was at its last change, in microseconds; none before the first answer.
    #[must_use]
    pub(super) fn last_micros(&self) -> Option<f32> {
        let (estimate, _) = unpack(self.0.load(Ordering::Relaxed));
        (estimate > 0.0).then_some(estimate)
    }

    /// Takes in one latency.
    pub(super) fn observe(&self, latency: Duration, now: Moment, decay: Duration) {
        // Zero stands for no estimate.
        let latency = (whole_micros(latency) as f32).max(1.0);
        // An update that lost a race is tried again with what won it; the closure always gives a value.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |packed| {
                let (estimate, at) = unpack(packed);
                let kept = kept(at, now, decay);
                let next = if latency > estimate || kept < KEPT_WHERE_LEFT_ALONE {
                    latency.max(estimate * kept)
                } else {
                    estimate * kept + latency * (1.0 - kept)
                };
                Some(pack(next, now))
            });
    }
}

/// The share of an estimate that time leaves: e^(-t/τ).
fn kept(at: u32, now: Moment, decay: Duration) -> f32 {
    let elapsed = u64::from(tick(now).wrapping_sub(at)) * TICK_MICROS;
    // Another thread's clock reading may be newer by a little: no time has passed then.
    if elapsed > u64::from(u32::MAX) * TICK_MICROS / 2 {
        return 1.0;
    }
    (-(elapsed as f32) / (whole_micros(decay).max(1) as f32)).exp()
}

fn tick(moment: Moment) -> u32 {
    (moment.as_micros() / TICK_MICROS) as u32
}

fn pack(estimate: f32, now: Moment) -> u64 {
    u64::from(estimate.to_bits()) << 32 | u64::from(tick(now))
}

fn unpack(packed: u64) -> (f32, u32) {
    (f32::from_bits((packed >> 32) as u32), packed as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DECAY: Duration = Duration::from_secs(2);

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn at(millis: u64) -> Moment {
        Moment::default() + ms(millis)
    }

    #[test]
    fn a_peak_is_taken_over_at_once_and_forgotten_slowly() {
        let estimate = PeakEwma::default();
        assert_eq!(estimate.micros(at(0), DECAY), None);
        estimate.observe(ms(2), at(0), DECAY);
        assert_eq!(estimate.micros(at(0), DECAY), Some(2_000.0));
        estimate.observe(ms(20), at(10), DECAY);
        assert_eq!(estimate.micros(at(10), DECAY), Some(20_000.0));
        // After τ, a good answer has the weight 1 - 1/e.
        estimate.observe(ms(2), at(2_010), DECAY);
        let expected = 20_000.0 / std::f32::consts::E + 2_000.0 * (1.0 - 1.0 / std::f32::consts::E);
        let found = estimate.micros(at(2_010), DECAY).unwrap();
        assert!((found - expected).abs() < 1.0, "{found} and not {expected}");
    }

    #[test]
    fn without_answers_it_decays() {
        let estimate = PeakEwma::default();
        estimate.observe(ms(20), at(0), DECAY);
        let found = estimate.micros(at(4_000), DECAY).unwrap();
        let expected = 20_000.0 * (-2.0_f32).exp();
        assert!((found - expected).abs() < 1.0, "{found} and not {expected}");
    }

    #[test]
    fn who_was_left_alone_begins_anew_with_a_good_answer() {
        let estimate = PeakEwma::default();
        estimate.observe(ms(20), at(0), DECAY);
        // Mixed in with its weight, this answer would make 20 ms that have decayed to 2 look like nearly 4 again.
        estimate.observe(ms(2), at(4_610), DECAY);
        let found = estimate.micros(at(4_610), DECAY).unwrap();
        assert!((found - 2_000.0).abs() < 10.0, "{found}");
    }

    #[test]
    fn a_clock_that_reads_a_little_back_changes_nothing() {
        let estimate = PeakEwma::default();
        estimate.observe(ms(20), at(1_000), DECAY);
        assert_eq!(estimate.micros(at(999), DECAY), Some(20_000.0));
    }

    proptest! {
        #[test]
        fn it_stays_between_the_least_and_the_greatest_latency(
            latencies in prop::collection::vec((1_u64..100_000, 0_u64..50_000), 1..50),
        ) {
            let estimate = PeakEwma::default();
            let mut now = Moment::default();
            for &(latency, pause) in &latencies {
                now = now + Duration::from_micros(pause);
                estimate.observe(Duration::from_micros(latency), now, DECAY);
            }
            let found = estimate.micros(now, DECAY).unwrap();
            let (least, greatest) = latencies.iter().fold((u64::MAX, 0), |(least, greatest), &(latency, _)| {
                (least.min(latency), greatest.max(latency))
            });
            prop_assert!(found >= least as f32 * 0.999 && found <= greatest as f32 * 1.001, "{} of {:?}", found, latencies);
        }
    }
}
