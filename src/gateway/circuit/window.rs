//! What lately came of the requests to one endpoint for one model.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::gateway::balance::Moment;

/// Seconds that a window looks back, the present one included.
const SECONDS: u64 = 10;
const MICROS_OF_A_SECOND: u64 = 1_000_000;

/// What one request says of whether an endpoint can serve a model. Most requests that are not answered say nothing: those
/// that their client gave up, or that no worker could serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It can.
    Success,
    /// It could not.
    Failure,
}

/// Successes and failures of the last ten seconds. Requests write it without a lock.
#[derive(Debug, Default)]
pub struct Window {
    seconds: [AtomicU64; SECONDS as usize],
    consecutive: AtomicU32,
}

/// What stands in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that were served.
    pub successes: u32,
    /// Requests that failed.
    pub failures: u32,
    /// Failures since the last success, however long ago they were.
    pub consecutive: u32,
}

impl Counts {
    /// Requests that say anything.
    #[must_use]
    pub fn total(self) -> u32 {
        self.successes.saturating_add(self.failures)
    }

    /// The share of them that failed; 0 where there were none.
    #[must_use]
    pub fn failure_rate(self) -> f64 {
        f64::from(self.failures) / f64::from(self.total().max(1))
    }
}

impl Window {
    /// Takes in one more; gives the failures in a row.
    pub fn count(&self, mark: Mark, now: Moment) -> u32 {
        let number = second_of(now);
        let slot = &self.seconds[(number % SECONDS) as usize];
        let counted = |packed| Some(Second::unpack(packed).of(number).with(mark).pack());
        // It never fails: there is always a next value.
        let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, counted);
        match mark {
            Mark::Failure => self.consecutive.fetch_add(1, Ordering::Relaxed).saturating_add(1),
            Mark::Success => {
                // Written only where it changes: a cache line that all only read stays with all.
                if self.consecutive.load(Ordering::Relaxed) != 0 {
                    self.consecutive.store(0, Ordering::Relaxed);
                }
                0
            }
        }
    }

    /// What stands in it now.
    #[must_use]
    pub fn counts(&self, now: Moment) -> Counts {
        let number = second_of(now);
        let unpacked = self
            .seconds
            .iter()
            .map(|slot| Second::unpack(slot.load(Ordering::Relaxed)));
        let recent = unpacked.filter(|second| second.is_within(SECONDS, number));
        let mut counts = Counts {
            consecutive: self.consecutive.load(Ordering::Relaxed),
            ..Counts::default()
        };
        for second in recent {
            counts.successes += second.successes;
            counts.failures += second.failures;
        }
        counts
    }

    /// Starts anew.
    pub fn clear(&self) {
        self.seconds
            .iter()
            .for_each(|slot| slot.store(0, Ordering::Relaxed));
        self.consecutive.store(0, Ordering::Relaxed);
    }
}

fn second_of(now: Moment) -> u64 {
    now.as_micros() / MICROS_OF_A_SECOND
}

/// The counts of one second, in 64 bits so that they change together: the number of the second in 24 bits (194 days, after
/// which it comes round again), successes and failures in 20 each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Second {
    number: u64,
    successes: u32,
    failures: u32,
}

impl Second {
    const NUMBER: u64 = (1 << 24) - 1;
    const COUNT: u32 = (1 << 20) - 1;

    fn unpack(packed: u64) -> Self {
        let count = |shift: u32| (packed >> shift) as u32 & Self::COUNT;
        Self {
            number: packed >> 40,
            successes: count(20),
            failures: count(0),
        }
    }

    fn pack(self) -> u64 {
        self.number << 40 | u64::from(self.successes) << 20 | u64::from(self.failures)
    }

    /// These counts if they are of this second, none otherwise.
    fn of(self, number: u64) -> Self {
        let number = number & Self::NUMBER;
        if self.number == number {
            return self;
        }
        Self {
            number,
            ..Self::default()
        }
    }

    fn with(mut self, mark: Mark) -> Self {
        let count = match mark {
            Mark::Success => &mut self.successes,
            Mark::Failure => &mut self.failures,
        };
        *count = (*count + 1).min(Self::COUNT);
        self
    }

    fn is_within(self, seconds: u64, now: u64) -> bool {
        (now.wrapping_sub(self.number) & Self::NUMBER) < seconds
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: u64) -> Moment {
        Moment::from_micros(second * MICROS_OF_A_SECOND)
    }

    fn mark(is_success: bool) -> Mark {
        if is_success { Mark::Success } else { Mark::Failure }
    }

    #[test]
    fn what_is_older_than_ten_seconds_counts_no_more() {
        let window = Window::default();
        window.count(Mark::Success, at(0));
        window.count(Mark::Failure, at(9));
        let counted = |second| {
            let counts = window.counts(at(second));
            (counts.successes, counts.failures)
        };
        assert_eq!([9, 10, 18, 19].map(counted), [(1, 1), (0, 1), (0, 1), (0, 0)]);
        assert_eq!(
            window.counts(at(100)).consecutive,
            1,
            "what is in a row is as old as it is"
        );
    }

    #[test]
    fn a_full_second_stays_full() {
        let full = Second {
            number: 7,
            successes: Second::COUNT,
            failures: 3,
        };
        assert_eq!(full.with(Mark::Success), full);
        assert_eq!(Second::unpack(full.pack()), full);
    }

    #[test]
    fn marks_of_many_threads_are_all_counted() {
        let window = Window::default();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let window = &window;
                scope.spawn(move || {
                    for _ in 0..500 {
                        window.count(mark(thread % 2 == 0), at(3));
                    }
                });
            }
        });
        let counts = window.counts(at(3));
        assert_eq!((counts.successes, counts.failures), (1_000, 1_000));
    }

    proptest! {
        #[test]
        fn it_counts_what_a_list_of_all_marks_counts(
            marks in prop::collection::vec((0_u64..4, any::<bool>()), 0..200),
            start in prop::sample::select(vec![0, 1_000, Second::NUMBER - 20, 3 * Second::NUMBER]),
        ) {
            let window = Window::default();
            let (mut now, mut list) = (start, Vec::new());
            for (pause, is_success) in marks {
                now += pause;
                list.push((now, is_success));
                let in_a_row = window.count(mark(is_success), at(now));
                let recent = |wanted: bool| {
                    let is_meant = |&&(second, is_success): &&(u64, bool)| {
                        now - second < SECONDS && is_success == wanted
                    };
                    list.iter().filter(is_meant).count() as u32
                };
                let consecutive = list.iter().rev().take_while(|(_, is_success)| !is_success).count() as u32;
                let expected = Counts {
                    successes: recent(true),
                    failures: recent(false),
                    consecutive,
                };
                prop_assert_eq!(window.counts(at(now)), expected);
                prop_assert_eq!(in_a_row, consecutive);
            }
        }
    }
}
