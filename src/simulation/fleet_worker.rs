//! One simulated worker: a queue, places, and what it measures of itself.

use std::collections::VecDeque;
use std::time::Duration;

use super::outcome::WorkerOutcome;
use super::request::Ticket;
use super::scenario::WorkerSpec;
use crate::gateway::balance::LoadReport;
use crate::moment::Moment;
use crate::worker::load::{Latencies, Throughput, report};

/// Serves requests in the order of their arrival, so many side by side.
#[derive(Debug)]
pub(super) struct FleetWorker {
    pub(super) spec: WorkerSpec,
    places: u32,
    running: u32,
    waiting: VecDeque<Ticket>,
    /// Requests inside that somebody waits for.
    present: u32,
    latencies: Latencies,
    throughput: Throughput,
    figures: Figures,
}

/// Of the measured time.
#[derive(Debug, Default)]
struct Figures {
    since: Moment,
    requests: u64,
    most_in_flight: u32,
    /// Time at work, summed over places, until `counted_until`.
    busy: Duration,
    counted_until: Moment,
}

impl FleetWorker {
    pub(super) fn new(spec: WorkerSpec, places: u32) -> Self {
        Self {
            spec,
            places,
            running: 0,
            waiting: VecDeque::new(),
            present: 0,
            latencies: Latencies::default(),
            throughput: Throughput::default(),
            figures: Figures::default(),
        }
    }

    pub(super) const fn in_flight(&self) -> u32 {
        self.present
    }

    pub(super) fn is_full(&self, queue: usize) -> bool {
        self.running == self.places && self.waiting.len() >= queue
    }

    /// A request has come, whether it is taken in or not.
    pub(super) fn count_in(&mut self) {
        self.figures.requests += 1;
    }

    /// Takes a request in, and gives it a place where one is free.
    pub(super) fn enter(&mut self, ticket: Ticket, now: Moment) -> bool {
        self.present += 1;
        self.figures.most_in_flight = self.figures.most_in_flight.max(self.present);
        if self.running < self.places {
            self.start(now);
            return true;
        }
        self.waiting.push_back(ticket);
        false
    }

    /// A request is computed or given up.
    pub(super) fn leave(&mut self) {
        self.present -= 1;
    }

    /// A place is free after having been at work for this time.
    pub(super) fn finish(&mut self, work: Duration, now: Moment) {
        self.count_busy(now);
        self.running -= 1;
        self.throughput.ran(work, self.places, now);
        self.throughput.computed(1, now);
    }

    /// Gives a free place to the one that has waited longest and is still waited for.
    pub(super) fn start_next(
        &mut self,
        is_waited_for: impl Fn(Ticket) -> bool,
        now: Moment,
    ) -> Option<Ticket> {
        let next = std::iter::from_fn(|| self.waiting.pop_front()).find(|&ticket| is_waited_for(ticket))?;
        self.start(now);
        Some(next)
    }

    fn start(&mut self, now: Moment) {
        self.count_busy(now);
        self.running += 1;
    }

    /// A request that met so many others was computed, and took so long in all.
    pub(super) fn note_latency(&mut self, met: u32, took: Duration, now: Moment) {
        self.latencies.note(met, took, now);
    }

    /// What it says of itself.
    pub(super) fn report(&mut self, now: Moment) -> LoadReport {
        let latency = self.latencies.estimate(self.present, now);
        LoadReport {
            concurrency: Some(self.places),
            ..report(self.present, latency, self.throughput.figures(now))
        }
    }

    fn count_busy(&mut self, now: Moment) {
        let figures = &mut self.figures;
        figures.busy += now.since(figures.counted_until) * self.running;
        figures.counted_until = now;
    }

    /// Begins to measure anew.
    pub(super) fn begin_measuring(&mut self, now: Moment) {
        self.figures = Figures {
            since: now,
            counted_until: now,
            most_in_flight: self.present,
            ..Figures::default()
        };
    }

    /// What was measured.
    pub(super) fn outcome(&mut self, now: Moment) -> WorkerOutcome {
        self.count_busy(now);
        let figures = &self.figures;
        let time = now.since(figures.since) * self.places;
        WorkerOutcome {
            requests: figures.requests,
            utilization: figures.busy.as_secs_f64() / time.as_secs_f64().max(f64::MIN_POSITIVE),
            most_in_flight: figures.most_in_flight,
        }
    }
}
