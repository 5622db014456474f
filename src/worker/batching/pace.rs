//! How long an engine takes for so many rows, by what it took before.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Sizes of batches that are told apart: 1, 2, up to 4, up to 8, …
const CLASSES: usize = 16;
/// A run moves what is known by this part of the difference.
const WEIGHT: i64 = 8;

/// What is known of the runs of one graph. Threads note their runs side by side; that one is lost now and then does no harm.
#[derive(Debug, Default)]
pub(super) struct Pace([AtomicU64; CLASSES]);

impl Pace {
    /// So many rows took this time together.
    pub(super) fn note(&self, rows: usize, took: Duration) {
        let class = &self.0[class_of(rows)];
        // Zero stands for nothing known.
        let took = i64::try_from(took.as_nanos()).unwrap_or(i64::MAX / 2).max(1);
        let known = class.load(Ordering::Relaxed).cast_signed();
        let next = if known == 0 {
            took
        } else {
            (known + (took - known) / WEIGHT).max(1)
        };
        class.store(next.cast_unsigned(), Ordering::Relaxed);
    }

    /// What so many rows are likely to take; none where nothing is known. Where only smaller batches ran, the rows are taken
    /// to cost what they cost there: most engines take less.
    pub(super) fn estimate(&self, rows: usize) -> Option<Duration> {
        let known = |class: usize| Some(self.0[class].load(Ordering::Relaxed)).filter(|&nanos| nanos > 0);
        let wanted = class_of(rows);
        if let Some(nanos) = known(wanted) {
            return Some(Duration::from_nanos(nanos));
        }
        let smaller = (0..wanted).rev().find_map(|class| {
            let times = 1u64 << (wanted - class);
            Some(known(class)?.saturating_mul(times))
        });
        let nanos = smaller.or_else(|| (wanted + 1..CLASSES).find_map(known))?;
        Some(Duration::from_nanos(nanos))
    }
}

fn class_of(rows: usize) -> usize {
    let class = rows.max(1).next_power_of_two().trailing_zeros() as usize;
    class.min(CLASSES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);

    #[test]
    fn nothing_is_known_before_the_first_run() {
        assert_eq!(Pace::default().estimate(1), None);
    }

    #[test]
    fn batches_of_other_sizes_are_estimated_from_smaller_ones_and_else_from_larger_ones() {
        let pace = Pace::default();
        pace.note(4, 10 * US);
        assert_eq!(pace.estimate(3), Some(10 * US));
        assert_eq!(pace.estimate(16), Some(40 * US));
        assert_eq!(pace.estimate(1), Some(10 * US));
        pace.note(1, 4 * US);
        assert_eq!(pace.estimate(2), Some(8 * US));
        assert_eq!(
            pace.estimate(usize::MAX / 4).map(|time| time > 1000 * US),
            Some(true)
        );
    }

    #[test]
    fn what_is_known_follows_what_runs_take_and_one_slow_run_is_forgotten() {
        let pace = Pace::default();
        pace.note(1, 5 * US);
        pace.note(1, 5_000 * US);
        assert!(pace.estimate(1).unwrap() > 500 * US);
        for _ in 0..60 {
            pace.note(1, 5 * US);
        }
        assert!(pace.estimate(1).unwrap() < 6 * US);
    }
}
