//! How many requests are answered, and how much of the time engines are at work for that.

use std::time::Duration;

use crate::moment::Moment;

/// The least time over which figures are taken, and how long it is quiet when a window ends.
const WINDOW: Duration = Duration::from_secs(1);
/// Figures that are older are not told.
const KNOWN_FOR: Duration = Duration::from_secs(10);

/// Requests and engine time of one model, window by window.
///
/// A window ends with the first request that is done a second or more after it began, so that a run that takes longer
/// than a second is not torn apart and both figures are of the same requests; or it ends when nothing has been done for a
/// second. No clock drives it: it is looked at whenever something is noted or asked.
#[derive(Debug, Default)]
pub struct Throughput {
    window: Option<Window>,
    told: Option<(Figures, Moment)>,
}

/// Averages over one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// The share of time in which engines were at work, 0 to 1.
    pub utilization: f64,
    /// Requests that were computed per second.
    pub requests_per_second: f64,
}

#[derive(Debug)]
struct Window {
    since: Moment,
    /// When something was done last.
    last: Moment,
    busy: Duration,
    requests: u32,
}

impl Throughput {
    /// Takes in that one of `engines` which share the work was at it for this time, until `now`.
    pub fn ran(&mut self, busy: Duration, engines: u32, now: Moment) {
        let begun = now.before(busy);
        self.end_if_quiet(begun);
        let window = self.window.get_or_insert_with(|| Window::from(begun));
        window.last = now;
        window.busy += busy / engines.max(1);
    }

    /// Takes in that so many requests have their outputs `now`.
    pub fn computed(&mut self, requests: u32, now: Moment) {
        let Some(window) = &mut self.window else { return };
        window.last = now;
        window.requests = window.requests.saturating_add(requests);
        if now.since(window.since) >= WINDOW {
            self.end(now);
            self.window = Some(Window::from(now));
        }
    }

    /// The averages over the last window with requests in it, where that is not long ago.
    pub fn figures(&mut self, now: Moment) -> Option<Figures> {
        self.end_if_quiet(now);
        let (figures, at) = self.told?;
        (now.since(at) <= KNOWN_FOR).then_some(figures)
    }

    fn end_if_quiet(&mut self, now: Moment) {
        let Some(window) = &self.window else { return };
        let quiet_since = window.last + WINDOW;
        if quiet_since <= now {
            self.end(quiet_since);
        }
    }

    fn end(&mut self, now: Moment) {
        let figures = self.window.take().and_then(|window| window.figures(now));
        self.told = figures.map(|figures| (figures, now)).or(self.told);
    }
}

impl Window {
    fn from(since: Moment) -> Self {
        Self {
            since,
            last: since,
            busy: Duration::ZERO,
            requests: 0,
        }
    }

    /// None where there were no requests: what was done then was not for any.
    fn figures(&self, now: Moment) -> Option<Figures> {
        let seconds = now.since(self.since).as_secs_f64();
        let has_figures = self.requests > 0 && seconds > 0.0;
        has_figures.then(|| Figures {
            // Of several engines, one may bring in a run that began before the window did.
            utilization: (self.busy.as_secs_f64() / seconds).min(1.0),
            requests_per_second: f64::from(self.requests) / seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const START: Moment = Moment::from_micros(60_000_000);

    /// One engine that serves requests in the order of their arrival: each comes so long after the one before and takes so
    /// long. Gives the mean of the capacities that are told after each.
    fn capacity_of_queue(requests: impl IntoIterator<Item = (Duration, Duration)>) -> f64 {
        let (mut throughput, start) = (Throughput::default(), START);
        let (mut arrival, mut free) = (start, start);
        let mut told = Vec::new();
        for (pause, service) in requests {
            arrival = arrival + pause;
            free = free.max(arrival) + service;
            throughput.ran(service, 1, free);
            throughput.computed(1, free);
            told.extend(
                throughput
                    .figures(free)
                    .map(|it| it.requests_per_second / it.utilization),
            );
        }
        told.iter().sum::<f64>() / told.len() as f64
    }

    #[test]
    fn figures_are_those_of_the_last_whole_window() {
        let (mut throughput, start) = (Throughput::default(), START);
        for n in 1..=10 {
            assert_eq!(throughput.figures(start + n * 100 * MS), None);
            throughput.ran(25 * MS, 1, start + n * 100 * MS);
            throughput.computed(2, start + n * 100 * MS);
        }
        let end = start + 1000 * MS;
        assert_eq!(
            throughput.figures(end),
            None,
            "it began with the first run, 925 ms before"
        );
        throughput.ran(25 * MS, 1, end + 75 * MS);
        throughput.computed(2, end + 75 * MS);
        let figures = throughput.figures(end + 75 * MS).unwrap();
        assert!((figures.utilization - 0.275).abs() < 1e-9, "{figures:?}");
        assert!((figures.requests_per_second - 22.0).abs() < 1e-9, "{figures:?}");
    }

    #[test]
    fn the_window_of_a_burst_ends_when_it_is_quiet_and_its_figures_expire() {
        let (mut throughput, start) = (Throughput::default(), START);
        throughput.ran(500 * MS, 1, start + 500 * MS);
        throughput.computed(30, start + 500 * MS);
        assert_eq!(throughput.figures(start + 1499 * MS), None);
        let figures = Figures {
            utilization: 1.0 / 3.0,
            requests_per_second: 20.0,
        };
        let end = start + 1500 * MS;
        assert_eq!(throughput.figures(end), Some(figures));
        assert_eq!(throughput.figures(end + KNOWN_FOR), Some(figures));
        assert_eq!(throughput.figures(end + KNOWN_FOR + MS), None);
    }

    #[test]
    fn a_window_without_requests_tells_nothing() {
        let (mut throughput, start) = (Throughput::default(), START);
        throughput.ran(3000 * MS, 1, start);
        assert_eq!(throughput.figures(start + 5000 * MS), None);
        throughput.computed(1, start + 5000 * MS);
        assert_eq!(throughput.figures(start + 6000 * MS), None, "nothing ran for it");
    }

    #[test]
    fn runs_of_several_engines_count_by_their_share() {
        let (mut throughput, start) = (Throughput::default(), START);
        for n in 1..=10 {
            throughput.ran(100 * MS, 4, start + n * 100 * MS);
            throughput.computed(1, start + n * 100 * MS);
        }
        let figures = throughput.figures(start + 1000 * MS).unwrap();
        assert!((figures.utilization - 0.25).abs() < 1e-9, "{figures:?}");
    }

    #[test]
    fn the_capacity_of_a_queue_with_random_times_comes_out() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut exponential = |mean: Duration| mean.mul_f64(-(1.0 - rng.random::<f64>()).ln());
        let service = 5 * MS;
        for load in [0.3, 0.7, 0.95, 2.0] {
            let requests = (0..20_000).map(|_| (exponential(service.div_f64(load)), exponential(service)));
            let ratio = capacity_of_queue(requests) * service.as_secs_f64();
            assert!(
                (0.96..1.04).contains(&ratio),
                "{ratio} of the truth at load {load}"
            );
        }
    }

    proptest! {
        #[test]
        fn utilization_is_a_share_and_figures_are_finite(
            events in prop::collection::vec((0_u64..5_000, 0_u64..5_000, 0_u32..5, 0_u32..5), 0..200),
        ) {
            let (mut throughput, mut now) = (Throughput::default(), START);
            for (pause, busy, engines, requests) in events {
                now = now + Duration::from_millis(pause);
                throughput.ran(Duration::from_millis(busy), engines, now);
                throughput.computed(requests, now);
                if let Some(figures) = throughput.figures(now) {
                    prop_assert!((0.0..=1.0).contains(&figures.utilization), "{:?}", figures);
                    prop_assert!(figures.requests_per_second > 0.0, "{:?}", figures);
                    prop_assert!(figures.requests_per_second.is_finite(), "{:?}", figures);
                }
            }
        }

        #[test]
        fn the_capacity_of_a_queue_comes_out_at_any_load(
            service_millis in 4_u32..4_000,
            load in 0.05_f64..3.0,
            pauses in prop::collection::vec(0.0_f64..2.0, 300),
        ) {
            let service = service_millis * MS;
            let requests = pauses.iter().map(|pause| (service.mul_f64(pause / load), service));
            let ratio = capacity_of_queue(requests) * service.as_secs_f64();
            prop_assert!((ratio - 1.0).abs() < 1e-6, "{} of the truth", ratio);
        }
    }
}
