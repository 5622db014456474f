//! The requests for one model and version: whose turn it is, and who waits.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::time::sleep;

use super::line::{Line, Turn};
use crate::gateway::hedging::Percentile;

/// After so long, who is first in line looks again though nobody has left: an endpoint may have come, or a limit grown.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Where requests for one model and version stand in line. It outlives snapshots, so that no change starts a cycle anew or
/// loses who waits.
#[derive(Debug, Default)]
pub struct Lane {
    /// First picks so far.
    turns: AtomicU64,
    /// How long its predictions usually take.
    pub usual: Percentile,
    waiting: AtomicUsize,
    room: Arc<Room>,
    /// Which of the room's lines is its own.
    number: u64,
}

/// The places at the endpoints of one model, for which all its lanes wait.
#[derive(Debug, Default)]
pub struct Room {
    lanes: AtomicU64,
    /// Where anybody stands, with the numbers of the lanes: those of a few versions at most.
    lines: Mutex<Vec<(u64, Line<Waker>)>>,
    /// Those who stand in any of them: where there is nobody, giving a place back takes no lock.
    waiting: AtomicUsize,
}

impl Lane {
    /// An empty one.
    #[must_use]
    pub fn to(room: Arc<Room>) -> Self {
        Self {
            number: room.lanes.fetch_add(1, Ordering::Relaxed),
            room,
            ..Self::default()
        }
    }

    /// The turn of a request, counted from 0.
    pub fn next_turn(&self) -> u64 {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }

    /// First picks so far.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// What it waits for.
    #[must_use]
    pub fn room(&self) -> &Arc<Room> {
        &self.room
    }

    /// Requests that stand in line.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Stands in line; then looks whenever a place may be left, until `look` finds one. It can be dropped at any time.
    pub async fn wait<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        let mut standing = Standing::at_the_end(self);
        loop {
            standing.called().await;
            if let Some(found) = look() {
                standing.has_found = true;
                return found;
            }
            standing.stay();
        }
    }
}

impl Room {
    /// Tells that a place may be left: the first who waits in each line looks.
    pub fn tell(&self) {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let called = lines.iter_mut().filter_map(|(_, line)| line.call());
        called.for_each(Waker::wake);
    }

    fn with<T>(&self, lane: u64, change: impl FnOnce(&mut Line<Waker>) -> T) -> T {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lines.iter().position(|(number, _)| *number == lane);
        let index = known.unwrap_or_else(|| {
            lines.push((lane, Line::default()));
            lines.len() - 1
        });
        let line = &mut lines[index].1;
        let result = change(line);
        if line.is_empty() {
            lines.swap_remove(index);
        }
        result
    }
}

/// A request that stands in line, until it goes.
struct Standing<'a> {
    lane: &'a Lane,
    number: u64,
    has_found: bool,
}

impl<'a> Standing<'a> {
    fn at_the_end(lane: &'a Lane) -> Self {
        // Counted before the first look: a place that is given back after it is told of.
        lane.waiting.fetch_add(1, Ordering::Relaxed);
        lane.room.waiting.fetch_add(1, Ordering::Relaxed);
        Self {
            lane,
            number: lane.room.with(lane.number, Line::join),
            has_found: false,
        }
    }

    /// Waits until it is its turn to look.
    async fn called(&self) {
        let mut watch = None;
        poll_fn(|context| {
            match self.in_line(|line| line.turn(self.number, || context.waker().clone())) {
                Turn::Called => return Poll::Ready(()),
                Turn::Later => return Poll::Pending,
                Turn::First => {}
            }
            let watch = watch.get_or_insert_with(|| Box::pin(sleep(LOOK_AGAIN)));
            let is_time = watch.as_mut().poll(context);
            if is_time.is_ready() {
                self.in_line(|line| line.look_again(self.number));
            }
            is_time
        })
        .await;
    }

    fn stay(&self) {
        self.call_on(|line| line.found_nothing(self.number));
    }

    fn call_on(&self, change: impl FnOnce(&mut Line<Waker>) -> Option<Waker>) {
        if let Some(next) = self.in_line(change) {
            next.wake();
        }
    }

    fn in_line<T>(&self, change: impl FnOnce(&mut Line<Waker>) -> T) -> T {
        self.lane.room.with(self.lane.number, change)
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        if self.has_found {
            self.call_on(Line::found);
        } else {
            self.call_on(|line| line.leave(self.number));
        }
        self.lane.waiting.fetch_sub(1, Ordering::Relaxed);
        self.lane.room.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    /// Waits for one of these places, takes it and notes who it was.
    async fn take(lane: Arc<Lane>, places: Arc<AtomicU32>, who: u32, order: Arc<Mutex<Vec<u32>>>) {
        lane.wait(|| {
            let taken = places.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            taken.is_ok().then(|| order.lock().unwrap().push(who))
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_came_first_goes_first_and_no_place_stays_empty() {
        let lane = Arc::new(Lane::default());
        let (places, order) = (Arc::new(AtomicU32::new(0)), Arc::default());
        let mut waiting = Vec::new();
        for who in 0..4 {
            let waits = take(Arc::clone(&lane), Arc::clone(&places), who, Arc::clone(&order));
            waiting.push(tokio::spawn(waits));
            tokio::task::yield_now().await;
        }
        assert_eq!(lane.waiting(), 4);
        waiting.remove(1).abort();
        tokio::task::yield_now().await;
        assert_eq!(lane.waiting(), 3, "who leaves no longer waits");

        places.store(2, Ordering::Relaxed);
        lane.room().tell();
        waiting.remove(0).await.unwrap();
        waiting.remove(0).await.unwrap();
        assert_eq!(
            *order.lock().unwrap(),
            [0, 2],
            "the second place went to the next in line"
        );
        places.store(1, Ordering::Relaxed);
        waiting.remove(0).await.unwrap();
        assert_eq!(lane.waiting(), 0, "found without being told");
    }

    #[tokio::test(start_paused = true)]
    async fn places_that_are_given_back_together_are_taken_together() {
        let lane = Arc::new(Lane::default());
        let (places, order) = (Arc::new(AtomicU32::new(0)), Arc::default());
        for who in 0..8 {
            tokio::spawn(take(
                Arc::clone(&lane),
                Arc::clone(&places),
                who,
                Arc::clone(&order),
            ));
        }
        tokio::task::yield_now().await;
        for _ in 0..4 {
            places.fetch_add(1, Ordering::Relaxed);
            lane.room().tell();
        }
        tokio::task::yield_now().await;
        assert_eq!(
            *order.lock().unwrap(),
            [0, 1, 2, 3],
            "all of them in one turn, so that their requests leave together"
        );
    }

    #[tokio::test]
    async fn what_frees_a_place_is_told_to_every_line() {
        let room = Arc::new(Room::default());
        let lanes = [(); 2].map(|()| Arc::new(Lane::to(Arc::clone(&room))));
        let (places, order) = (Arc::new(AtomicU32::new(0)), Arc::default());
        let waiting = lanes
            .each_ref()
            .map(|lane| tokio::spawn(take(Arc::clone(lane), Arc::clone(&places), 0, Arc::clone(&order))));
        while room.waiting.load(Ordering::Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
        places.store(2, Ordering::Relaxed);
        room.tell();
        for waits in waiting {
            waits.await.unwrap();
        }
    }
}
