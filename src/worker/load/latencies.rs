//! What requests took, by how many others there were.

use std::time::Duration;

use crate::moment::Moment;

/// What ended longer ago says nothing any more: a worker that was slow may have recovered, and only requests can tell.
const RECENT: Duration = Duration::from_secs(5);
/// Loads that are told apart: 0, 1, 2 or 3, 4 to 7 requests and so on in powers of two, the last without an end.
const LOADS: usize = 12;
/// Requests that are kept for each load.
const KEPT: usize = 16;

/// The latencies of the most recent requests, each kept with those that met about the same load; the server's side of
/// Prequal (Wydrowski, Kleinberg, Rumble and Archer, NSDI 2024). So a rise in load shows in the estimate at once, before
/// a request that met it has ended.
#[derive(Debug, Default)]
pub struct Latencies {
    by_load: [Ring; LOADS],
}

/// A request that was computed and answered.
#[derive(Clone, Copy, Debug)]
struct Sample {
    micros: u32,
    ended: Moment,
}

#[derive(Debug, Default)]
struct Ring {
    samples: [Option<Sample>; KEPT],
    /// How many there ever were.
    count: usize,
}

impl Latencies {
    /// Takes in what a request took that found so many others in flight when it came, and ended `now`. Times are given in
    /// their order.
    pub fn note(&mut self, in_flight: u32, took: Duration, now: Moment) {
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        self.by_load[load_of(in_flight)].push(Sample { micros, ended: now });
    }

    /// Microseconds that a request takes which finds so many others in flight: the median of those that recently met the
    /// nearest load, the heavier one of two that are equally near. None where no request has ended of late.
    #[must_use]
    pub fn estimate(&self, in_flight: u32, now: Moment) -> Option<u32> {
        let load = load_of(in_flight);
        (0..LOADS).find_map(|distance| {
            let median = |load: usize| self.by_load.get(load)?.median(now);
            median(load + distance).or_else(|| median(load.checked_sub(distance)?))
        })
    }
}

/// The position of a load: as many as its number of requests has binary digits.
fn load_of(in_flight: u32) -> usize {
    let digits = u32::BITS - in_flight.leading_zeros();
    (digits as usize).min(LOADS - 1)
}

impl Ring {
    fn push(&mut self, sample: Sample) {
        self.samples[self.count % KEPT] = Some(sample);
        self.count += 1;
    }

    fn latest(&self) -> Option<&Sample> {
        self.samples[self.count.checked_sub(1)? % KEPT].as_ref()
    }

    fn median(&self, now: Moment) -> Option<u32> {
        let is_recent = |sample: &&Sample| now.since(sample.ended) <= RECENT;
        // Where the latest is too old, all are.
        self.latest().filter(is_recent)?;
        let mut recent = [0; KEPT];
        let mut count = 0;
        for sample in self.samples.iter().flatten().filter(is_recent) {
            recent[count] = sample.micros;
            count += 1;
        }
        let (_, median, _) = recent[..count].select_nth_unstable(count / 2);
        Some(*median)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Latencies in milliseconds of requests that met these loads, all of which end now.
    fn known(samples: &[(u32, u32)]) -> (Latencies, Moment) {
        let (mut latencies, now) = (Latencies::default(), Moment::default());
        for &(in_flight, millis) in samples {
            latencies.note(in_flight, millis * MS, now);
        }
        (latencies, now)
    }

    #[test]
    fn the_estimate_is_the_median_at_the_nearest_load() {
        let (latencies, now) = known(&[(0, 2), (0, 90), (0, 1), (4, 10), (7, 12), (5, 11)]);
        assert_eq!(latencies.estimate(0, now), Some(2_000));
        assert_eq!(latencies.estimate(1, now), Some(2_000));
        assert_eq!(latencies.estimate(6, now), Some(11_000));
        assert_eq!(latencies.estimate(2, now), Some(11_000));
        assert_eq!(latencies.estimate(u32::MAX, now), Some(11_000));
    }

    #[test]
    fn of_two_loads_that_are_equally_near_the_heavier_one_counts() {
        let (latencies, now) = known(&[(0, 2), (2, 6)]);
        assert_eq!(latencies.estimate(1, now), Some(6_000));
    }

    #[test]
    fn only_the_most_recent_requests_count() {
        let (mut latencies, now) = known(&[(0, 500); KEPT]);
        for _ in 0..=KEPT / 2 {
            latencies.note(0, 2 * MS, now);
        }
        assert_eq!(latencies.estimate(0, now), Some(2_000));
    }

    #[test]
    fn what_ended_long_ago_says_nothing() {
        let (mut latencies, now) = known(&[(0, 20), (3, 60)]);
        assert_eq!(Latencies::default().estimate(0, now), None);
        assert_eq!(latencies.estimate(0, now + RECENT), Some(20_000));
        let later = now + RECENT + MS;
        assert_eq!(latencies.estimate(0, later), None);
        latencies.note(3, 6 * MS, later);
        assert_eq!(
            latencies.estimate(0, later),
            Some(6_000),
            "of another load, and recent"
        );
    }

    proptest! {
        #[test]
        fn the_estimate_lies_between_the_least_and_the_greatest_recent_latency(
            requests in prop::collection::vec((0_u32..3_000, 0_u64..10_000_000, 0_u64..900), 0..300),
            in_flight in 0_u32..3_000,
            idle in 0_u64..8_000,
        ) {
            let mut latencies = Latencies::default();
            let mut now = Moment::default();
            let mut ended = Vec::new();
            for (met, micros, pause) in requests {
                now = now + Duration::from_millis(pause);
                latencies.note(met, Duration::from_micros(micros), now);
                ended.push((now, micros as u32));
            }
            now = now + Duration::from_millis(idle);
            let recent = ended.into_iter().filter(|(ended, _)| now.since(*ended) <= RECENT).map(|(_, micros)| micros);
            match latencies.estimate(in_flight, now) {
                Some(estimate) => {
                    prop_assert!(recent.clone().min().is_some_and(|least| least <= estimate));
                    prop_assert!(recent.max().is_some_and(|greatest| estimate <= greatest));
                }
                None => prop_assert_eq!(recent.count(), 0),
            }
        }
    }
}
