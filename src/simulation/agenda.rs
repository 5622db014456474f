//! What happens when.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::moment::Moment;

/// Events in the order of their time; those of the same time in the order in which they were put down, so that a run can
/// be repeated to the last digit.
#[derive(Debug)]
pub(super) struct Agenda<E> {
    entries: BinaryHeap<Reverse<Entry<E>>>,
    count: u64,
}

#[derive(Debug)]
struct Entry<E> {
    at: Moment,
    number: u64,
    event: E,
}

impl<E> Agenda<E> {
    pub(super) fn new() -> Self {
        Self {
            entries: BinaryHeap::new(),
            count: 0,
        }
    }

    pub(super) fn put(&mut self, at: Moment, event: E) {
        let number = self.count;
        self.count += 1;
        self.entries.push(Reverse(Entry { at, number, event }));
    }

    /// When the next event is.
    pub(super) fn next_at(&self) -> Option<Moment> {
        self.entries.peek().map(|Reverse(entry)| entry.at)
    }

    pub(super) fn take(&mut self) -> Option<E> {
        self.entries.pop().map(|Reverse(entry)| entry.event)
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<E> Eq for Entry<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_order_and_equals_as_they_were_put_down() {
        let mut agenda = Agenda::new();
        for (at, event) in [(5, 'c'), (1, 'a'), (5, 'd'), (2, 'b'), (5, 'e')] {
            agenda.put(Moment::from_micros(at), event);
        }
        assert_eq!(agenda.next_at(), Some(Moment::from_micros(1)));
        let order: String = std::iter::from_fn(|| agenda.take()).collect();
        assert_eq!(order, "abcde");
    }
}
