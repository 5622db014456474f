//! What policies know of an endpoint.
//!
//! Whoever sends requests writes it, policies read it, and no lock is involved. It outlives snapshots and switches of
//! policy, so that a policy put in force now finds what was learnt before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::estimate::PeakEwma;
use crate::api::load_report::LoadReport;
use crate::gateway::concurrency::Limit;
use crate::moment::Moment;

/// What one endpoint has to do, over all models.
#[derive(Debug, Default)]
pub struct EndpointLoad {
    in_flight: AtomicU32,
}

impl EndpointLoad {
    /// Requests that wait for its answer.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

/// What is known of one endpoint for one model: latencies of one model say nothing of another's.
#[derive(Debug)]
pub struct Load {
    endpoint: Arc<EndpointLoad>,
    /// Requests for this model that wait for the endpoint's answer.
    awaited: AtomicU32,
    latency: PeakEwma,
    /// What failures count as, where the worker itself tells its latency: it need not know of them.
    trouble: PeakEwma,
    signal: Signal,
    capacity: AtomicU32,
    /// How many requests it is to have at once.
    pub limit: Limit,
}

impl Load {
    /// Nothing is known yet.
    #[must_use]
    pub fn of(endpoint: Arc<EndpointLoad>) -> Self {
        Self {
            endpoint,
            awaited: AtomicU32::new(0),
            latency: PeakEwma::default(),
            trouble: PeakEwma::default(),
            signal: Signal::default(),
            capacity: AtomicU32::new(0),
            limit: Limit::default(),
        }
    }

    /// Requests that wait for the endpoint's answer, for any model: they all compete there.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.endpoint.in_flight()
    }

    /// Requests for this model that wait for the endpoint's answer.
    #[must_use]
    pub fn awaited(&self) -> u32 {
        self.awaited.load(Ordering::Relaxed)
    }

    /// Counts a request in. Whoever calls this calls [`Load::end`] once.
    pub fn begin(&self) {
        self.awaited.fetch_add(1, Ordering::Relaxed);
        self.count_use();
    }

    /// Counts a request in as [`Load::begin`] does, and gives true, if there are fewer than `most` for this model.
    pub fn try_begin(&self, most: u32) -> bool {
        let one_more = |awaited| (awaited < most).then_some(awaited + 1);
        let is_in = self
            .awaited
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .is_ok();
        if is_in {
            self.count_use();
        }
        is_in
    }

    fn count_use(&self) {
        self.endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        self.signal.uses.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request out.
    pub fn end(&self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.awaited.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes in how long an answer took.
    pub fn observe(&self, latency: Duration, now: Moment, decay: Duration) {
        self.latency.observe(latency, now, decay);
        if self.trouble.last_micros().is_some() {
            self.trouble.observe(Duration::ZERO, now, decay);
        }
    }

    /// Takes in a failure, and as what latency it is to count: one that came fast must attract nobody.
    pub fn observe_failure(&self, penalty: Duration, now: Moment, decay: Duration) {
        self.latency.observe(penalty, now, decay);
        self.trouble.observe(penalty, now, decay);
    }

    /// Takes in that an answer was still missing after this time.
    pub fn observe_at_least(&self, elapsed: Duration, now: Moment, decay: Duration) {
        let is_news = self
            .latency_micros(now, decay)
            .is_none_or(|known| elapsed.as_secs_f32() * 1e6 > known);
        if is_news {
            self.observe(elapsed, now, decay);
        }
    }

    /// The latency estimate, in microseconds; none before the first answer.
    #[must_use]
    pub fn latency_micros(&self, now: Moment, decay: Duration) -> Option<f32> {
        self.latency.micros(now, decay)
    }

    /// What one more request is expected to take after those in flight, in microseconds; none before the first answer.
    #[must_use]
    pub fn expected_micros(&self, now: Moment, decay: Duration) -> Option<f32> {
        let latency = self.to_rely_on(&self.latency, now, decay)?;
        Some(latency * (self.in_flight() + 1) as f32)
    }

    /// The latency that failures of late count as, in microseconds.
    #[must_use]
    pub fn trouble_micros(&self, now: Moment, decay: Duration) -> f32 {
        self.to_rely_on(&self.trouble, now, decay).unwrap_or(0.0)
    }

    /// An estimate decays so that *one* request tries again who was left alone. While that one is under way, others go by
    /// what was known before: otherwise all of them would follow it to a worker of which nothing is known but that it was
    /// bad long ago.
    fn to_rely_on(&self, estimate: &PeakEwma, now: Moment, decay: Duration) -> Option<f32> {
        if self.awaited.load(Ordering::Relaxed) == 0 {
            estimate.micros(now, decay)
        } else {
            estimate.last_micros()
        }
    }

    /// Takes in what the worker said of itself.
    pub fn report(&self, report: &LoadReport, now: Moment) {
        if let Some(in_flight) = report.in_flight {
            self.signal
                .put(in_flight, report.latency_micros.unwrap_or(0), now);
        }
        if let Some(capacity) = report.capacity() {
            self.smooth_capacity(capacity);
        }
        if let Some(concurrency) = report.concurrency {
            self.limit.can_work_on(concurrency);
        }
    }

    /// What the worker last said, where that is recent and was not relied on too often.
    #[must_use]
    pub fn signal(&self, now: Moment, limits: &SignalLimits) -> Option<Told> {
        self.signal.get(now, limits)
    }

    /// What the worker last said, and when.
    #[must_use]
    pub fn last_signal(&self) -> Option<(Told, Moment)> {
        Some((self.signal.told(), self.signal.at()?))
    }

    /// Requests per second that the worker could answer if it did nothing else, smoothed; none where it never said.
    #[must_use]
    pub fn capacity(&self) -> Option<f32> {
        let capacity = f32::from_bits(self.capacity.load(Ordering::Relaxed));
        (capacity > 0.0).then_some(capacity)
    }

    /// A lost race loses one report of many.
    fn smooth_capacity(&self, told: f32) {
        const SHARE_OF_NEWS: f32 = 0.05;
        let known = self.capacity().unwrap_or(told);
        let next = known + (told - known) * SHARE_OF_NEWS;
        self.capacity.store(next.to_bits(), Ordering::Relaxed);
    }
}

/// For how long, and how often, a worker's word is relied on.
#[derive(Clone, Copy, Debug)]
pub struct SignalLimits {
    /// What is older is not used.
    pub max_age: Duration,
    /// What so many requests were sent on is not used any more.
    pub max_uses: u32,
}

/// What a worker said of itself, and what was sent there on the strength of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Requests that were inside it.
    pub in_flight: u32,
    /// What a request took at that load, in microseconds; none where it does not know.
    pub latency_micros: Option<u32>,
    /// Requests that were sent there since.
    pub uses: u32,
}

/// The last word of a worker. Its parts are written one after the other: a reader that comes between sees parts of two
/// words that are a request apart, which does no harm.
#[derive(Debug, Default)]
struct Signal {
    /// Requests in flight in the upper half, latency in the lower one.
    told: AtomicU64,
    /// Microseconds, and one more: 0 is never.
    at: AtomicU64,
    uses: AtomicU32,
}

impl Signal {
    fn put(&self, in_flight: u32, latency_micros: u32, now: Moment) {
        let told = u64::from(in_flight) << 32 | u64::from(latency_micros);
        self.told.store(told, Ordering::Relaxed);
        self.uses.store(0, Ordering::Relaxed);
        self.at.store(now.as_micros() + 1, Ordering::Relaxed);
    }

    fn at(&self) -> Option<Moment> {
        let at = self.at.load(Ordering::Relaxed);
        at.checked_sub(1).map(Moment::from_micros)
    }

    fn get(&self, now: Moment, limits: &SignalLimits) -> Option<Told> {
        let told = self.told();
        let is_good = now.since(self.at()?) <= limits.max_age && told.uses < limits.max_uses;
        is_good.then_some(told)
    }

    fn told(&self) -> Told {
        let told = self.told.load(Ordering::Relaxed);
        let latency_micros = told as u32;
        Told {
            in_flight: (told >> 32) as u32,
            latency_micros: (latency_micros > 0).then_some(latency_micros),
            uses: self.uses.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECAY: Duration = Duration::from_secs(2);
    const LIMITS: SignalLimits = SignalLimits {
        max_age: Duration::from_secs(1),
        max_uses: 2,
    };

    fn report(text: &str) -> LoadReport {
        LoadReport::parse(text).unwrap()
    }

    #[test]
    fn requests_of_all_models_of_an_endpoint_count() {
        let endpoint = Arc::new(EndpointLoad::default());
        let (iris, digits) = (Load::of(endpoint.clone()), Load::of(endpoint));
        iris.begin();
        digits.begin();
        assert_eq!((iris.in_flight(), digits.in_flight()), (2, 2));
        digits.end();
        assert_eq!(iris.in_flight(), 1);
    }

    #[test]
    fn a_word_is_good_for_a_time_and_for_some_requests() {
        let load = Load::of(Arc::default());
        let now = Moment::from_micros(7);
        assert_eq!(load.signal(now, &LIMITS), None);
        load.report(
            &report("TEXT named_metrics.in_flight=3, named_metrics.latency_us=2100"),
            now,
        );
        load.begin();
        let told = Told {
            in_flight: 3,
            latency_micros: Some(2100),
            uses: 1,
        };
        assert_eq!(load.signal(now + LIMITS.max_age, &LIMITS), Some(told));
        assert_eq!(load.signal(now + LIMITS.max_age * 2, &LIMITS), None, "too old");
        load.begin();
        assert_eq!(load.signal(now, &LIMITS), None, "used too often");
    }

    #[test]
    fn an_answer_that_is_still_missing_can_only_make_the_estimate_worse() {
        let (load, now) = (Load::of(Arc::default()), Moment::default());
        load.observe(Duration::from_millis(5), now, DECAY);
        load.observe_at_least(Duration::from_millis(2), now, DECAY);
        assert_eq!(load.latency_micros(now, DECAY), Some(5_000.0));
        load.observe_at_least(Duration::from_millis(9), now, DECAY);
        assert_eq!(load.latency_micros(now, DECAY), Some(9_000.0));
    }

    #[test]
    fn one_request_at_a_time_tries_who_was_left_alone() {
        let (load, later) = (Load::of(Arc::default()), Moment::default() + DECAY * 20);
        load.observe(Duration::from_millis(20), Moment::default(), DECAY);
        assert!(load.expected_micros(later, DECAY).unwrap() < 1.0);
        load.begin();
        assert_eq!(
            load.expected_micros(later, DECAY),
            Some(40_000.0),
            "others do not follow"
        );
        load.observe(Duration::from_millis(2), later, DECAY);
        assert_eq!(
            load.expected_micros(later, DECAY),
            Some(4_000.0),
            "until it has answered"
        );
    }

    #[test]
    fn requests_for_another_model_do_not_keep_one_from_being_tried() {
        let endpoint = Arc::new(EndpointLoad::default());
        let (iris, digits) = (Load::of(endpoint.clone()), Load::of(endpoint));
        let later = Moment::default() + DECAY * 20;
        iris.observe(Duration::from_millis(20), Moment::default(), DECAY);
        digits.begin();
        assert!(iris.expected_micros(later, DECAY).unwrap() < 1.0);
    }

    #[test]
    fn failures_count_as_long_latencies_and_fade() {
        let (load, now) = (Load::of(Arc::default()), Moment::default());
        assert_eq!(load.trouble_micros(now, DECAY), 0.0);
        load.observe_failure(Duration::from_secs(1), now, DECAY);
        assert_eq!(load.trouble_micros(now, DECAY), 1e6);
        assert_eq!(load.latency_micros(now, DECAY), Some(1e6));
        let later = now + DECAY * 4;
        load.observe(Duration::from_millis(2), later, DECAY);
        assert!(load.trouble_micros(later, DECAY) < 20_000.0);
    }

    #[test]
    fn the_capacity_follows_what_is_told_slowly() {
        let (load, now) = (Load::of(Arc::default()), Moment::default());
        load.report(
            &report("TEXT application_utilization=0.5, rps_fractional=100"),
            now,
        );
        assert_eq!(load.capacity(), Some(200.0));
        let slower = report("TEXT application_utilization=1, rps_fractional=100");
        load.report(&slower, now);
        assert_eq!(load.capacity(), Some(195.0));
        (0..200).for_each(|_| load.report(&slower, now));
        assert!((load.capacity().unwrap() - 100.0).abs() < 0.1);
    }
}
