//! What lately came of the requests for one version: how many there were, how many failed, and how long they took.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::gateway::balance::Moment;
use crate::gateway::circuit::Mark;
use crate::moment::whole_micros;

/// A window is so many slots; the oldest one goes as a whole.
const SLOTS: usize = 16;

/// Requests write it without a lock. At the turn of a slot, counts of concurrent requests may be lost, which matters to
/// nobody.
#[derive(Debug)]
pub struct Tally {
    slots: Box<[Slot]>,
    micros_of_a_slot: u64,
}

#[derive(Debug)]
struct Slot {
    /// Which slot since the origin of time, from 1 on; its counts are of no other.
    number: AtomicU64,
    requests: AtomicU32,
    failures: AtomicU32,
    latencies: Box<[AtomicU32]>,
}

/// What stands in a tally.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Requests that say anything.
    pub requests: u32,
    /// Those of them that failed.
    pub failures: u32,
    /// What those took that did not fail. One that its client gave up took as long as it was waited for, at least.
    pub latencies: Latencies,
}

/// Counts of times by buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latencies(Vec<u32>);

impl Tally {
    /// An empty one that looks back so far.
    #[must_use]
    pub fn over(window: Duration) -> Self {
        let slot = || Slot {
            number: AtomicU64::default(),
            requests: AtomicU32::default(),
            failures: AtomicU32::default(),
            latencies: (0..BUCKETS).map(|_| AtomicU32::default()).collect(),
        };
        Self {
            slots: (0..SLOTS).map(|_| slot()).collect(),
            micros_of_a_slot: (whole_micros(window) / SLOTS as u64).max(1),
        }
    }

    /// Takes in what came of a request that took so long.
    pub fn count(&self, mark: Mark, elapsed: Duration, now: Moment) {
        let slot = self.slot(now);
        slot.requests.fetch_add(1, Ordering::Relaxed);
        match mark {
            Mark::Success => slot.add(elapsed),
            Mark::Failure => {
                slot.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Takes in that a client waited so long, and no longer: the answer takes more time than that.
    pub fn give_up(&self, elapsed: Duration, now: Moment) {
        let slot = self.slot(now);
        slot.requests.fetch_add(1, Ordering::Relaxed);
        slot.add(elapsed);
    }

    /// What stands in it now.
    #[must_use]
    pub fn sample(&self, now: Moment) -> Sample {
        let number = self.number(now);
        let mut sample = Sample::default();
        for slot in &self.slots {
            let age = number.checked_sub(slot.number.load(Ordering::Relaxed));
            if age.is_none_or(|age| age >= SLOTS as u64) {
                continue;
            }
            sample.requests += slot.requests.load(Ordering::Relaxed);
            sample.failures += slot.failures.load(Ordering::Relaxed);
            for (bucket, count) in slot.latencies.iter().enumerate() {
                sample.latencies.add(bucket, count.load(Ordering::Relaxed));
            }
        }
        sample
    }

    fn slot(&self, now: Moment) -> &Slot {
        let number = self.number(now);
        let slot = &self.slots[(number % SLOTS as u64) as usize];
        if slot.number.load(Ordering::Relaxed) != number
            && slot.number.swap(number, Ordering::Relaxed) != number
        {
            slot.clear();
        }
        slot
    }

    /// Beginning with `SLOTS`, so that a fresh slot (number 0) is of no time.
    fn number(&self, now: Moment) -> u64 {
        now.as_micros() / self.micros_of_a_slot + SLOTS as u64
    }
}

impl Slot {
    fn add(&self, elapsed: Duration) {
        self.latencies[bucket_of(elapsed)].fetch_add(1, Ordering::Relaxed);
    }

    fn clear(&self) {
        let counts = self.latencies.iter().chain([&self.requests, &self.failures]);
        counts.for_each(|count| count.store(0, Ordering::Relaxed));
    }
}

impl Sample {
    /// The share of the requests that failed; 0 where there were none.
    #[must_use]
    pub fn error_rate(&self) -> f64 {
        f64::from(self.failures) / f64::from(self.requests.max(1))
    }
}

impl Latencies {
    fn add(&mut self, bucket: usize, count: u32) {
        if count == 0 {
            return;
        }
        if self.0.len() <= bucket {
            self.0.resize(bucket + 1, 0);
        }
        self.0[bucket] += count;
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.0.iter().sum()
    }

    /// The time within which this share of all lies, to 6 % above it; none where there are none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = (share * f64::from(self.count())).ceil().max(1.0);
        let mut below = 0;
        let bucket = self.0.iter().position(|&count| {
            below += count;
            f64::from(below) >= rank
        });
        bucket.map(last_of)
    }

    /// How many took longer than `bound`, those left out that may have taken less.
    #[must_use]
    pub fn longer_than(&self, bound: Duration) -> u32 {
        self.0.iter().skip(bucket_of(bound) + 1).sum()
    }
}

/// Values in microseconds below twice this have a bucket of their own, greater ones share it with those that are less
/// than one part in as many greater.
const RESOLUTION: u64 = 16;
/// An hour and more is all the same.
const LONGEST: u64 = (1 << 32) - 1;
const BUCKETS: usize = bucket_of_micros(LONGEST) + 1;

fn bucket_of(time: Duration) -> usize {
    bucket_of_micros(whole_micros(time))
}

/// The leading five binary digits of a value say where it belongs.
const fn bucket_of_micros(micros: u64) -> usize {
    let micros = if micros > LONGEST { LONGEST } else { micros };
    let shift = match (micros / RESOLUTION).checked_ilog2() {
        Some(shift) => shift,
        None => 0,
    };
    (shift as u64 * RESOLUTION + (micros >> shift)) as usize
}

/// The greatest value of a bucket.
fn last_of(bucket: usize) -> Duration {
    let bucket = bucket as u64;
    let shift = (bucket / RESOLUTION).saturating_sub(1);
    let leading = bucket - shift * RESOLUTION;
    Duration::from_micros(((leading + 1) << shift) - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    fn seconds(count: u64) -> Moment {
        Moment::from_micros(count * 1_000_000)
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let tally = Tally::over(WINDOW);
        tally.count(Mark::Success, Duration::from_millis(3), seconds(0));
        tally.count(Mark::Failure, Duration::from_millis(3), seconds(0));
        tally.give_up(Duration::from_millis(5), seconds(50));
        let told = |now| {
            let sample = tally.sample(seconds(now));
            (sample.requests, sample.failures, sample.latencies.count())
        };
        assert_eq!(told(0), (2, 1, 1));
        assert_eq!(told(50), (3, 1, 2));
        assert_eq!(told(61), (1, 0, 1));
        assert_eq!(told(200), (0, 0, 0));
        tally.count(Mark::Success, Duration::ZERO, seconds(960));
        assert_eq!(
            told(960),
            (1, 0, 1),
            "a slot that comes round again starts at zero"
        );
    }

    proptest! {
        #[test]
        fn quantiles_are_those_of_the_sorted_values(
            mut micros in prop::collection::vec(0..10_000_000_u64, 1..300), share in 0.0..=1.0_f64,
        ) {
            let tally = Tally::over(WINDOW);
            for &time in &micros {
                tally.count(Mark::Success, Duration::from_micros(time), seconds(1));
            }
            micros.sort_unstable();
            let rank = ((share * micros.len() as f64).ceil() as usize).max(1);
            let exact = micros[rank - 1] as f64;
            let latencies = tally.sample(seconds(1)).latencies;
            let told = latencies.quantile(share).unwrap().as_micros() as f64;
            prop_assert!(told >= exact && told <= exact * (1.0 + 1.0 / 16.0), "{told} for {exact}");

            let bound = Duration::from_micros(micros[rank - 1]);
            let longer = micros.iter().filter(|&&time| Duration::from_micros(time) > bound).count();
            prop_assert!(latencies.longer_than(bound) as usize <= longer);
        }
    }

    #[test]
    fn no_time_is_too_long() {
        let tally = Tally::over(Duration::ZERO);
        tally.count(Mark::Success, Duration::MAX, Moment::from_micros(u64::MAX / 2));
        let latencies = tally.sample(Moment::from_micros(u64::MAX / 2)).latencies;
        assert_eq!(latencies.longer_than(Duration::from_secs(3000)), 1);
        assert!(latencies.quantile(1.0).unwrap() > Duration::from_secs(4000));
    }
}
