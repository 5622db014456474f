//! How many requests an endpoint is to have at once for one model, found out from its own answers.
//!
//! An endpoint that has more requests than it can work on only lets them wait, and a request that waits there can no longer
//! go to whoever is free first. What it can work on at once, it says itself; twice as many, so that the next batch is there when
//! one ends, are always allowed. Whether still more do any good is found out as TCP Vegas finds its window (Brakmo, O'Malley
//! and Peterson, SIGCOMM 1994): while answers take about as long as they do where hardly anything else is there, the limit
//! grows by its square root in the time of an answer; when they take more than [`TOLERANCE`] times as long, it shrinks in
//! proportion.
//!
//! How long answers take without a load is never probed for, which would mean to refuse requests for a while. It is learnt from
//! requests that met hardly any others: those come by themselves whenever there is little to do, and where an endpoint has
//! become slower for good, when the limit has fallen.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The least limit of an endpoint that does not say what it can work on: with fewer, it would idle while an answer and the next
/// request are under way. So many are hardly a load.
const FEW: u32 = 4;
/// The limit before any answer: as many rows as a worker runs together, unless it is told otherwise.
const FIRST: f32 = 32.0;
/// No limit grows larger: it bounds what a dead endpoint can take along.
const CEILING: f32 = 1024.0;
/// How many times as long as without a load an answer may take on the average. A request that comes while a batch runs waits for
/// it and then takes as long itself.
const TOLERANCE: f32 = 2.0;
/// The share of a new answer in what is known of answers without a load.
const SHARE_OF_UNLOADED: f32 = 0.05;
/// How far the limit moves towards its aim in the time of an answer.
const STEP: f32 = 0.5;
/// What is left of the limit when the endpoint says that it has too much.
const LEFT_BY_REFUSAL: f32 = 0.9;

/// A limit that many threads read and write without a lock. Its parts are written one after the other: what is lost in a
/// race is one answer of many. Zero is "nothing is known".
#[derive(Debug, Default)]
pub struct Limit {
    limit: AtomicF32,
    unloaded: AtomicF32,
    recent: AtomicF32,
    workable: AtomicU32,
}

#[derive(Debug, Default)]
struct AtomicF32(AtomicU32);

impl Limit {
    /// How many requests may be there at once.
    #[must_use]
    pub fn get(&self) -> u32 {
        self.known().limit as u32
    }

    /// Takes in how many requests the endpoint says that it can work on at once.
    pub fn can_work_on(&self, requests: u32) {
        self.workable.store(requests, Ordering::Relaxed);
    }

    /// Takes in that an answer took so long, and how many requests were there when its request came or when it went, whichever
    /// were more, that one included.
    pub fn answered(&self, latency: Duration, present: u32) {
        let next = self.known().after(latency.as_secs_f32() * 1e6, present);
        self.limit.set(next.limit);
        self.unloaded.set(next.unloaded);
        self.recent.set(next.recent);
    }

    /// Takes in that an answer was still missing after so long.
    pub fn missed(&self, elapsed: Duration, present: u32) {
        if elapsed.as_secs_f32() * 1e6 > self.recent.get() {
            self.answered(elapsed, present);
        }
    }

    /// Takes in that the endpoint said it has too much.
    pub fn refused(&self) {
        self.limit.set(self.known().limit * LEFT_BY_REFUSAL);
    }

    fn known(&self) -> Known {
        let floor = self.workable.load(Ordering::Relaxed).saturating_mul(2).max(FEW) as f32;
        let limit = self.limit.get();
        Known {
            floor,
            limit: if limit == 0.0 { FIRST } else { limit }.clamp(floor.min(CEILING), CEILING),
            unloaded: self.unloaded.get(),
            recent: self.recent.get(),
        }
    }
}

impl AtomicF32 {
    fn get(&self) -> f32 {
        f32::from_bits(self.0.load(Ordering::Relaxed))
    }

    fn set(&self, value: f32) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }
}

/// What is known at one time.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// The least limit.
    floor: f32,
    limit: f32,
    /// The mean of answers whose requests met hardly any others, in microseconds; 0 before the first.
    unloaded: f32,
    /// The mean of the answers of late, over about as many as are in flight at the limit, in microseconds.
    recent: f32,
}

impl Known {
    fn after(self, micros: f32, present: u32) -> Self {
        // The first answer met the fewest, as far as is known, even where a load was there from the beginning.
        let unloaded = if present <= FEW || self.unloaded == 0.0 {
            towards(self.unloaded, micros, SHARE_OF_UNLOADED)
        } else {
            self.unloaded
        };
        let recent = towards(self.recent, micros, 2.0 / (self.limit + 1.0));
        // Where few are present, that shows nothing of what more would do.
        let is_telling = present as f32 * 2.0 >= self.limit;
        let limit = if is_telling {
            self.next_limit(unloaded, recent)
        } else {
            self.limit
        };
        Self {
            limit,
            unloaded,
            recent,
            ..self
        }
    }

    fn next_limit(self, unloaded: f32, recent: f32) -> f32 {
        let gradient = (TOLERANCE * unloaded / recent).clamp(0.5, 1.0);
        let aim = self.limit * gradient + self.limit.sqrt();
        // About `limit` answers come in the time of one.
        let next = self.limit + (aim - self.limit) * STEP / self.limit;
        next.max(self.floor).min(CEILING)
    }
}

/// `known`, moved by this share towards `news`.
fn towards(known: f32, news: f32, share: f32) -> f32 {
    if known == 0.0 {
        return news.max(1.0);
    }
    known + (news - known) * share
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::{BinaryHeap, VecDeque};

    use proptest::prelude::*;
    use rand::rngs::Xoshiro256PlusPlus;
    use rand::{RngExt, SeedableRng};

    use super::*;

    type Batch = Vec<(u64, u32)>;

    /// An endpoint that runs batches of up to `rows` on each of its `engines`, and clients that always have one more request.
    struct Lab {
        engines: usize,
        rows: usize,
        /// The mean time of a batch of so many rows, in microseconds.
        micros: fn(usize) -> f64,
        rng: Xoshiro256PlusPlus,
        limit: Option<Limit>,
        now: u64,
        /// When the requests came that no engine has taken up, and how many each met.
        queue: VecDeque<(u64, u32)>,
        /// When each batch ends, and its requests.
        running: BinaryHeap<Reverse<(u64, Batch)>>,
        in_flight: u32,
    }

    impl Lab {
        fn of(engines: usize, rows: usize, micros: fn(usize) -> f64, limit: Option<Limit>) -> Self {
            Self {
                engines,
                rows,
                micros,
                rng: Xoshiro256PlusPlus::seed_from_u64(7),
                limit,
                now: 0,
                queue: VecDeque::new(),
                running: BinaryHeap::new(),
                in_flight: 0,
            }
        }

        /// The answers to so many clients in so many milliseconds.
        fn run(&mut self, clients: u32, millis: u64) -> u32 {
            let (end, mut answers) = (self.now + millis * 1_000, 0);
            while self.now < end {
                self.send_up_to(
                    self.limit
                        .as_ref()
                        .map_or(clients, |limit| limit.get().min(clients)),
                );
                self.start_batches();
                answers += self.end_next_batch();
            }
            answers
        }

        fn send_up_to(&mut self, count: u32) {
            while self.in_flight < count {
                self.in_flight += 1;
                self.queue.push_back((self.now, self.in_flight));
            }
        }

        fn start_batches(&mut self) {
            while self.running.len() < self.engines && !self.queue.is_empty() {
                let batch: Vec<_> = self.queue.drain(..self.rows.min(self.queue.len())).collect();
                // Half of the time varies, exponentially.
                let drawn = -self.rng.random::<f64>().max(1e-9).ln();
                let took = (self.micros)(batch.len()) * (0.5 + 0.5 * drawn);
                self.running.push(Reverse((self.now + took as u64, batch)));
            }
        }

        fn end_next_batch(&mut self) -> u32 {
            let Reverse((ends, batch)) = self.running.pop().expect("a request is under way");
            self.now = ends;
            let answers = batch.len() as u32;
            for (came, met) in batch {
                if let Some(limit) = &self.limit {
                    limit.answered(Duration::from_micros(ends - came), met.max(self.in_flight));
                }
                self.in_flight -= 1;
            }
            answers
        }

        fn limit(&self) -> u32 {
            self.limit.as_ref().map_or(u32::MAX, Limit::get)
        }
    }

    /// An endpoint and its limit, the endpoint telling what it can work on or not, after half a second with one client and four
    /// with 500; and the answers of the next four as a share of those of one without a limit.
    fn with_a_limit(engines: usize, rows: usize, micros: fn(usize) -> f64, is_told: bool) -> (f64, u32) {
        let limit = Limit::default();
        if is_told {
            limit.can_work_on((engines * rows) as u32);
        }
        let mut labs = [Some(limit), None].map(|limit| Lab::of(engines, rows, micros, limit));
        let [with, without] = labs.each_mut().map(|lab| {
            lab.run(1, 500);
            lab.run(500, 4_000);
            lab.run(500, 4_000)
        });
        (f64::from(with) / f64::from(without), labs[0].limit())
    }

    #[test]
    fn a_limit_costs_no_throughput() {
        let batch: [fn(usize) -> f64; 4] = [
            |_| 500.0,
            |rows| 500.0 * (1.0 + 0.02 * rows as f64),
            |rows| 500.0 * (1.0 + 0.2 * rows as f64),
            |rows| 500.0 * rows as f64,
        ];
        for (engines, rows, micros) in [
            (1, 1, batch[0]),
            (8, 1, batch[0]),
            (32, 1, batch[0]),
            (1, 32, batch[0]),
            (1, 128, batch[0]),
            (2, 32, batch[1]),
            (1, 32, batch[2]),
            (2, 32, batch[2]),
            (1, 32, batch[3]),
        ] {
            let (share, limit) = with_a_limit(engines, rows, micros, true);
            assert!(share > 0.97, "{engines} × {rows}: {share} at a limit of {limit}");
        }
    }

    #[test]
    fn who_does_not_say_what_it_can_do_is_given_what_it_needs() {
        for (engines, bound) in [(1, 16), (8, 48), (32, 160)] {
            let (share, limit) = with_a_limit(engines, 1, |_| 2_000.0, false);
            assert!(share > 0.97 && limit <= bound, "{engines}: {share} at {limit}");
        }
    }

    #[test]
    fn a_load_that_was_there_from_the_beginning_is_seen_as_one() {
        let mut lab = Lab::of(1, 1, |_| 20_000.0, Some(Limit::default()));
        lab.run(30, 20_000);
        assert!(lab.limit() < 20, "{}", lab.limit());
    }

    #[test]
    fn an_endpoint_that_became_slower_is_learnt_anew() {
        let mut lab = Lab::of(8, 1, |_| 2_000.0, Some(Limit::default()));
        lab.run(1, 500);
        lab.run(500, 2_000);
        lab.micros = |_| 20_000.0;
        lab.run(500, 10_000);
        let answers = lab.run(500, 5_000);
        let most = 8 * 5_000 / 20;
        assert!(answers * 10 > most * 9, "{answers} of {most} at {}", lab.limit());
    }

    #[test]
    fn little_traffic_moves_nothing() {
        let limit = Limit::default();
        (0..1_000).for_each(|_| limit.answered(Duration::from_millis(2), 1));
        (0..1_000).for_each(|_| limit.answered(Duration::from_millis(50), 6));
        assert_eq!(limit.get(), 32, "six of 32 say nothing of 32");
    }

    #[test]
    fn refusals_shrink_it_down_to_what_the_endpoint_can_work_on() {
        let limit = Limit::default();
        limit.refused();
        assert_eq!(limit.get(), 28);
        (0..100).for_each(|_| limit.refused());
        assert_eq!(limit.get(), 4);
        limit.can_work_on(7);
        assert_eq!(limit.get(), 14);
        limit.can_work_on(u32::MAX);
        assert_eq!(limit.get(), 1024);
    }

    proptest! {
        #[test]
        fn whatever_comes_it_stays_within_its_bounds(
            answers in prop::collection::vec((0_u64..100_000_000, 0_u32..5_000), 0..200),
            workable in 0_u32..2_000,
        ) {
            let limit = Limit::default();
            limit.can_work_on(workable);
            for (micros, present) in answers {
                limit.answered(Duration::from_micros(micros), present);
                limit.missed(Duration::from_micros(micros), present);
                prop_assert!((4..=1024).contains(&limit.get()));
            }
        }
    }
}
