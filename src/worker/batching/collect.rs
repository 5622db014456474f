//! What runs next: a pure function of what waits and of the time.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Something that waits to be run.
pub(super) trait Waiting {
    /// How many rows it brings.
    fn rows(&self) -> usize;
    /// When it began to wait.
    fn since(&self) -> Instant;
    /// When nobody wants its answer any more.
    fn deadline(&self) -> Instant;
    /// Who goes first.
    fn priority(&self) -> Priority;
    /// Whether the one who asked has left.
    fn has_left(&self) -> bool;
    /// Whether the rows of both can stand in one tensor.
    fn fits(&self, other: &Self) -> bool;
}

/// Who goes first: what has a higher priority goes before what has a lower one, and among equals who came first.
/// Nobody waits past their deadline, however many others go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Priority(u64);

impl Priority {
    /// The priority of this level: 1 is the highest. 0 says nothing, and comes after all that say something.
    pub(crate) const fn of_level(level: u64) -> Self {
        Self(level.wrapping_sub(1))
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::of_level(0)
    }
}

/// How large a batch may grow and how long it may wait to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_rows: usize,
    pub(super) max_delay: Duration,
}

/// What was taken out of a queue.
#[derive(Debug)]
pub(super) struct Collected<T> {
    /// What runs together now; empty where there is nothing to run yet. More rows than the limit only if it is a
    /// single request that brings them.
    pub(super) batch: Vec<T>,
    /// What need not run: its time is up.
    pub(super) expired: Vec<T>,
    /// What need not run: nobody waits for it.
    pub(super) left: Vec<T>,
    /// When to look again, where a batch waits to grow.
    pub(super) look_again: Option<Instant>,
}

/// Puts `entry` behind all that go before it. A queue that is filled in this way alone stands in the order of its
/// priorities.
pub(super) fn enqueue<T: Waiting>(queue: &mut VecDeque<T>, entry: T) {
    let goes_first = |other: &T| other.priority() <= entry.priority();
    let place = queue.iter().rposition(goes_first).map_or(0, |last| last + 1);
    queue.insert(place, entry);
}

/// Takes from `queue` what is to be done at `now`. `is_last` says that nothing more will come.
pub(super) fn collect<T: Waiting>(
    queue: &mut VecDeque<T>,
    now: Instant,
    limits: Limits,
    is_last: bool,
) -> Collected<T> {
    let mut collected = Collected {
        batch: Vec::new(),
        expired: Vec::new(),
        left: Vec::new(),
        look_again: None,
    };
    sweep(queue, now, &mut collected);
    let (members, rows) = choose(queue, limits.max_rows);
    if rows < limits.max_rows && !is_last {
        collected.look_again = wait_to_grow(queue, now, limits.max_delay);
    }
    if collected.look_again.is_none() {
        collected.batch = take(queue, &members);
    }
    collected
}

/// Takes out what need not run.
fn sweep<T: Waiting>(queue: &mut VecDeque<T>, now: Instant, collected: &mut Collected<T>) {
    let is_expired = |entry: &T| entry.deadline() <= now;
    if !queue.iter().any(|entry| is_expired(entry) || entry.has_left()) {
        return;
    }
    for entry in std::mem::take(queue) {
        // Who leaves because the time is up counts as the former.
        if is_expired(&entry) {
            collected.expired.push(entry);
        } else if entry.has_left() {
            collected.left.push(entry);
        } else {
            queue.push_back(entry);
        }
    }
}

/// The positions of the next batch, and its rows: the first that waits, and in order whatever fits beside it. What has
/// rows of another shape keeps its place; since the first always goes, nobody waits for ever.
fn choose<T: Waiting>(queue: &VecDeque<T>, max_rows: usize) -> (Vec<usize>, usize) {
    let Some(first) = queue.front() else {
        return (Vec::new(), 0);
    };
    let mut members = vec![0];
    let mut rows = first.rows();
    for (position, entry) in queue.iter().enumerate().skip(1) {
        if rows >= max_rows {
            break;
        }
        if !entry.fits(first) {
            continue;
        }
        if rows + entry.rows() > max_rows {
            // A smaller one behind it would overtake it.
            break;
        }
        members.push(position);
        rows += entry.rows();
    }
    (members, rows)
}

/// Until when a batch waits for more: as long as the oldest may wait; none where it does not.
fn wait_to_grow<T: Waiting>(queue: &VecDeque<T>, now: Instant, max_delay: Duration) -> Option<Instant> {
    let oldest = queue.iter().map(Waiting::since).min()?;
    let until = oldest + max_delay;
    let is_in_time = queue.iter().all(|entry| entry.deadline() > until);
    (now < until && is_in_time).then_some(until)
}

fn take<T>(queue: &mut VecDeque<T>, members: &[usize]) -> Vec<T> {
    // Mostly the members are the front of the queue.
    let is_front = members.last().is_none_or(|&last| last + 1 == members.len());
    if is_front {
        return queue.drain(..members.len()).collect();
    }
    let mut batch = Vec::with_capacity(members.len());
    let mut members = members.iter().peekable();
    for (position, entry) in std::mem::take(queue).into_iter().enumerate() {
        if members.next_if_eq(&&position).is_some() {
            batch.push(entry);
        } else {
            queue.push_back(entry);
        }
    }
    batch
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Entry {
        id: usize,
        rows: usize,
        shape: u8,
        since: Instant,
        deadline: Instant,
        priority: Priority,
        has_left: bool,
    }

    impl Waiting for Entry {
        fn rows(&self) -> usize {
            self.rows
        }
        fn since(&self) -> Instant {
            self.since
        }
        fn deadline(&self) -> Instant {
            self.deadline
        }
        fn priority(&self) -> Priority {
            self.priority
        }
        fn has_left(&self) -> bool {
            self.has_left
        }
        fn fits(&self, other: &Self) -> bool {
            self.shape == other.shape
        }
    }

    const MS: Duration = Duration::from_millis(1);

    fn entry(id: usize, rows: usize, since: Instant) -> Entry {
        Entry {
            id,
            rows,
            shape: 0,
            since,
            deadline: since + 1000 * MS,
            priority: Priority::default(),
            has_left: false,
        }
    }

    fn limits(max_rows: usize, max_delay: Duration) -> Limits {
        Limits { max_rows, max_delay }
    }

    fn ids(entries: &[Entry]) -> Vec<usize> {
        entries.iter().map(|entry| entry.id).collect()
    }

    #[test]
    fn what_has_queued_up_runs_together_up_to_the_limit() {
        let now = Instant::now();
        let mut queue: VecDeque<_> = (0..5).map(|id| entry(id, 2, now)).collect();
        let collected = collect(&mut queue, now, limits(5, Duration::ZERO), false);
        assert_eq!(ids(&collected.batch), [0, 1]);
        let collected = collect(&mut queue, now, limits(6, Duration::ZERO), false);
        assert_eq!(ids(&collected.batch), [2, 3, 4]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_request_over_the_limit_runs_alone() {
        let now = Instant::now();
        let mut queue = VecDeque::from([entry(0, 9, now), entry(1, 1, now)]);
        assert_eq!(
            ids(&collect(&mut queue, now, limits(4, Duration::ZERO), false).batch),
            [0]
        );
    }

    #[test]
    fn rows_of_another_shape_keep_their_place() {
        let now = Instant::now();
        let other = |id| Entry {
            shape: 1,
            ..entry(id, 1, now)
        };
        let mut queue = VecDeque::from([entry(0, 1, now), other(1), entry(2, 1, now), other(3)]);
        assert_eq!(
            ids(&collect(&mut queue, now, limits(8, Duration::ZERO), false).batch),
            [0, 2]
        );
        assert_eq!(
            ids(&collect(&mut queue, now, limits(8, Duration::ZERO), false).batch),
            [1, 3]
        );
    }

    #[test]
    fn a_batch_waits_to_grow_only_as_long_as_it_was_told() {
        let begun = Instant::now();
        let patient = limits(4, 10 * MS);
        let mut queue = VecDeque::from([entry(0, 1, begun)]);
        let collected = collect(&mut queue, begun + 3 * MS, patient, false);
        assert!(collected.batch.is_empty());
        assert_eq!(collected.look_again, Some(begun + 10 * MS));
        assert_eq!(
            ids(&collect(&mut queue, begun + 10 * MS, patient, false).batch),
            [0]
        );
    }

    #[test]
    fn a_batch_does_not_wait_when_full_or_last_or_short_of_time() {
        let now = Instant::now();
        let patient = limits(2, 10 * MS);
        let mut full = VecDeque::from([entry(0, 1, now), entry(1, 1, now)]);
        assert_eq!(collect(&mut full, now, patient, false).batch.len(), 2);
        let mut last = VecDeque::from([entry(0, 1, now)]);
        assert_eq!(collect(&mut last, now, patient, true).batch.len(), 1);
        let mut hurried = VecDeque::from([Entry {
            deadline: now + 5 * MS,
            ..entry(0, 1, now)
        }]);
        assert_eq!(collect(&mut hurried, now, patient, false).batch.len(), 1);
    }

    #[test]
    fn the_highest_priority_goes_first_and_none_is_the_lowest() {
        let now = Instant::now();
        let mut queue = VecDeque::new();
        for (id, level) in [(0, 0), (1, 2), (2, 1), (3, 2), (4, 0), (5, u64::MAX)] {
            let priority = Priority::of_level(level);
            enqueue(
                &mut queue,
                Entry {
                    priority,
                    ..entry(id, 1, now)
                },
            );
        }
        let collected = collect(&mut queue, now, limits(8, Duration::ZERO), false);
        assert_eq!(ids(&collected.batch), [2, 1, 3, 5, 0, 4]);
    }

    proptest! {
        #[test]
        fn everything_is_taken_once_and_in_order(
            entries in prop::collection::vec(
                (1_usize..6, 0_u8..3, 0_u32..60, 0_u64..3, prop::bool::weighted(0.1)), 0..40),
            max_rows in 1_usize..8,
            delay in 0_u32..10,
            steps in prop::collection::vec(0_u32..5, 1..200),
        ) {
            let begun = Instant::now();
            let limits = limits(max_rows, delay * MS);
            let mut coming = entries.iter().enumerate().map(|(id, &(rows, shape, life, level, has_left))| Entry {
                id, rows, shape, since: begun, deadline: begun + life * MS, priority: Priority::of_level(level), has_left,
            });
            let (mut queue, mut now) = (VecDeque::new(), begun);
            let (mut ran, mut skipped): (Vec<Entry>, Vec<Entry>) = (Vec::new(), Vec::new());
            let mut steps = steps.into_iter();
            loop {
                let step = steps.next();
                now += step.unwrap_or(1) * MS;
                for mut entry in coming.by_ref().take(if step.is_some() { 2 } else { usize::MAX }) {
                    entry.since = now;
                    enqueue(&mut queue, entry);
                }
                prop_assert!(queue.iter().map(|entry| entry.priority).is_sorted());
                let highest = queue.iter().filter(|entry| entry.deadline > now && !entry.has_left);
                let highest = highest.map(|entry| entry.priority).min();
                let collected = collect(&mut queue, now, limits, step.is_none());
                prop_assert!(collected.expired.iter().all(|entry| entry.deadline <= now));
                prop_assert!(collected.left.iter().all(|entry| entry.has_left));
                prop_assert!(collected.batch.iter().all(|entry| entry.deadline > now && !entry.has_left));
                prop_assert!(collected.batch.iter().all(|entry| entry.fits(&collected.batch[0])));
                let first = collected.batch.first().map(|entry| entry.priority);
                prop_assert!(first.is_none() || first == highest);
                let rows: usize = collected.batch.iter().map(Entry::rows).sum();
                prop_assert!(rows <= max_rows || collected.batch.len() == 1);
                if collected.batch.is_empty() && step.is_none() {
                    prop_assert!(queue.is_empty());
                }
                let is_done = step.is_none() && queue.is_empty();
                ran.extend(collected.batch);
                skipped.extend(collected.expired);
                skipped.extend(collected.left);
                if is_done {
                    break;
                }
            }
            for (shape, level) in (0..3).flat_map(|shape| (0..3).map(move |level| (shape, level))) {
                let is_alike = |entry: &&Entry| entry.shape == shape && entry.priority == Priority::of_level(level);
                let order = ids(&ran.iter().filter(is_alike).cloned().collect::<Vec<_>>());
                prop_assert!(order.is_sorted(), "{:?}", order);
            }
            let mut all = [ids(&ran), ids(&skipped)].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..entries.len()).collect::<Vec<_>>());
        }
    }
}
