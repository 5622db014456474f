//! Those who stand in line for a place, in the order in which they came.
//!
//! Each place that is given back calls one of them, so that as many look at the same time as there are places: their requests then
//! leave together. Who was called and finds nothing stands where it stood before. Whoever is the last to find a place calls
//! the next one all the same, since there may be more places than were given back.

use std::collections::BTreeMap;

/// Whose turn it is to look for a place. Nothing here waits or wakes: what is kept of those who wait (`W`) is handed out when they are
/// called.
#[derive(Debug)]
pub(super) struct Line<W> {
    next: u64,
    /// Those who wait to be called, by their numbers; nothing is kept of one that has not begun to wait.
    waiting: BTreeMap<u64, Option<W>>,
    /// Those who were called and have not said yet what they found.
    looking: usize,
    /// Calls that nobody was left to hear but those who were looking already: they have to look again.
    unheard: usize,
}

/// What is with one who stands in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is called.
    Called,
    /// It waits, and nobody who waits came before it.
    First,
    /// It waits behind others.
    Later,
}

impl<W> Default for Line<W> {
    fn default() -> Self {
        Self {
            next: 0,
            waiting: BTreeMap::new(),
            looking: 0,
            unheard: 0,
        }
    }
}

impl<W> Line<W> {
    /// Stands at the end of the line, under the number given. Who is alone there is called at once.
    pub(super) fn join(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        if self.is_empty() {
            self.looking = 1;
        } else {
            self.waiting.insert(number, None);
        }
        number
    }

    /// Whether nobody stands here.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.looking == 0
    }

    /// Whose turn it is; where it is not this one's, `kept` is what it is woken by.
    pub(super) fn turn(&mut self, number: u64, kept: impl FnOnce() -> W) -> Turn {
        let Some(waiting) = self.waiting.get_mut(&number) else {
            return Turn::Called;
        };
        *waiting = Some(kept());
        if self.is_first(number) {
            Turn::First
        } else {
            Turn::Later
        }
    }

    /// Whether nobody who waits came before this one.
    fn is_first(&self, number: u64) -> bool {
        let first = self.waiting.first_key_value();
        first.is_some_and(|(&first, _)| first == number)
    }

    /// Calls the first who waits.
    pub(super) fn call(&mut self) -> Option<W> {
        match self.waiting.pop_first() {
            Some((_, kept)) => {
                self.looking += 1;
                kept
            }
            None => {
                self.unheard = (self.unheard + 1).min(self.looking);
                None
            }
        }
    }

    /// This one looks uncalled.
    pub(super) fn look_again(&mut self, number: u64) {
        if self.waiting.remove(&number).is_some() {
            self.looking += 1;
        }
    }

    /// This one was called and found nothing. Gives who is called in its place.
    pub(super) fn found_nothing(&mut self, number: u64) -> Option<W> {
        if self.unheard > 0 {
            self.unheard -= 1;
            return None;
        }
        self.looking -= 1;
        self.waiting.insert(number, None);
        // The first in line watches over it, and must know that it is the first.
        if self.looking == 0 && !self.is_first(number) {
            return self.call();
        }
        None
    }

    /// This one was called, found a place and goes. Gives who is called next.
    pub(super) fn found(&mut self) -> Option<W> {
        self.looking -= 1;
        self.unheard = self.unheard.min(self.looking);
        if self.looking == 0 { self.call() } else { None }
    }

    /// This one goes without a place. Gives who is called in its place.
    pub(super) fn leave(&mut self, number: u64) -> Option<W> {
        if self.waiting.remove(&number).is_some() {
            return None;
        }
        self.looking -= 1;
        self.unheard = self.unheard.min(self.looking);
        self.call()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A line before some places, and who stands in it.
    #[derive(Default)]
    struct Counter {
        line: Line<u64>,
        places: usize,
        standing: Vec<u64>,
        /// Those who have found a place, in that order.
        served: Vec<u64>,
    }

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Join,
        GiveBack,
        /// A place that nobody is told of: a limit has grown.
        Grow,
        /// One of those who are called looks.
        Look(usize),
        Leave(usize),
    }

    impl Counter {
        fn called(&mut self) -> Vec<u64> {
            let line = &mut self.line;
            let called = |number: &&u64| line.turn(**number, || **number) == Turn::Called;
            self.standing.iter().filter(called).copied().collect()
        }

        fn apply(&mut self, event: Event) {
            match event {
                Event::Join => {
                    let number = self.line.join();
                    self.standing.push(number);
                }
                Event::GiveBack => {
                    self.places += 1;
                    self.line.call();
                }
                Event::Grow => self.places += 1,
                Event::Look(which) => {
                    let called = self.called();
                    if !called.is_empty() {
                        self.look(called[which % called.len()]);
                    }
                }
                Event::Leave(which) if !self.standing.is_empty() => {
                    let number = self.standing.remove(which % self.standing.len());
                    self.line.leave(number);
                }
                Event::Leave(_) => {}
            }
        }

        fn look(&mut self, number: u64) {
            if self.places == 0 {
                self.line.found_nothing(number);
                return;
            }
            self.places -= 1;
            self.line.found();
            self.standing.retain(|&other| other != number);
            self.served.push(number);
        }

        /// Until nobody is called any more.
        fn settle(&mut self) {
            while let Some(&number) = self.called().first() {
                self.look(number);
            }
        }
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            3 => Just(Event::Join),
            3 => Just(Event::GiveBack),
            1 => Just(Event::Grow),
            4 => any::<usize>().prop_map(Event::Look),
            1 => any::<usize>().prop_map(Event::Leave),
        ]
    }

    proptest! {
        #[test]
        fn no_place_stays_empty_that_was_given_back(events in prop::collection::vec(event(), 0..80)) {
            let mut counter = Counter::default();
            events.into_iter().filter(|event| !matches!(event, Event::Grow)).for_each(|event| counter.apply(event));
            counter.settle();
            prop_assert!(counter.places == 0 || counter.standing.is_empty());
            prop_assert_eq!(counter.line.is_empty(), counter.standing.is_empty());
        }

        #[test]
        fn places_that_nobody_told_of_are_found_by_the_first_who_looks(events in prop::collection::vec(event(), 0..80)) {
            let mut counter = Counter::default();
            events.into_iter().for_each(|event| counter.apply(event));
            counter.settle();
            if let Some(&first) = counter.standing.first() {
                prop_assert_eq!(counter.line.turn(first, || first), Turn::First, "somebody watches");
                counter.line.look_again(first);
                counter.settle();
            }
            prop_assert!(counter.places == 0 || counter.standing.is_empty());
        }

        #[test]
        fn where_all_who_are_called_look_in_their_order_they_are_served_in_the_order_they_came(
            steps in prop::collection::vec((0_usize..5, 0_usize..5), 0..30),
        ) {
            let mut counter = Counter::default();
            for (come, given_back) in steps {
                (0..come).for_each(|_| counter.apply(Event::Join));
                (0..given_back).for_each(|_| counter.apply(Event::GiveBack));
                counter.settle();
            }
            prop_assert!(counter.served.is_sorted());
        }
    }

    #[test]
    fn as_many_are_called_as_places_are_given_back() {
        let mut counter = Counter::default();
        (0..10).for_each(|_| counter.apply(Event::Join));
        counter.settle();
        (0..4).for_each(|_| counter.apply(Event::GiveBack));
        assert_eq!(counter.called(), [0, 1, 2, 3]);
        counter.settle();
        assert_eq!(counter.served, [0, 1, 2, 3]);
        assert_eq!(counter.called(), [0_u64; 0]);
    }

    #[test]
    fn who_leaves_after_it_was_called_hands_the_call_on() {
        let mut counter = Counter::default();
        (0..3).for_each(|_| counter.apply(Event::Join));
        counter.settle();
        counter.apply(Event::GiveBack);
        counter.apply(Event::Leave(0));
        assert_eq!(counter.called(), [1]);
    }

    #[test]
    fn a_call_during_a_look_is_heard_after_it() {
        let mut counter = Counter::default();
        counter.apply(Event::Join);
        // It has seen that there is no place when one is given back.
        counter.places = 0;
        counter.line.call();
        counter.places = 1;
        counter.line.found_nothing(0);
        counter.settle();
        assert_eq!(counter.served, [0]);
    }
}
