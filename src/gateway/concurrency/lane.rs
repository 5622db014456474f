//! The requests for one model and version: whose turn it is, and who waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, Notify};
use tokio::time::timeout;

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
    /// Held by whoever is first in line; the others wait for it in their order.
    first: Mutex<()>,
    room: Arc<Room>,
}

/// The places at the endpoints of one model, for which all its lanes wait.
#[derive(Debug, Default)]
pub struct Room {
    is_left: Notify,
    /// Those who are first in their lines.
    looking: AtomicUsize,
}

impl Lane {
    /// An empty one.
    #[must_use]
    pub fn to(room: Arc<Room>) -> Self {
        Self {
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
        let _waiting = Counted::new(&self.waiting);
        let _first = self.first.lock().await;
        let _looking = Counted::new(&self.room.looking);
        loop {
            // Made before the look: what is told from here on is heard.
            let told = self.room.is_left.notified();
            if let Some(found) = look() {
                return found;
            }
            let _ = timeout(LOOK_AGAIN, told).await;
        }
    }
}

impl Room {
    /// Tells those who are first in line that a place may be left.
    pub fn tell(&self) {
        if self.looking.load(Ordering::Relaxed) > 0 {
            self.is_left.notify_waiters();
        }
    }
}

/// One of those who are counted, until it goes.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    /// Waits for one of these places, takes it and notes who it was.
    async fn take(lane: Arc<Lane>, places: Arc<AtomicU32>, who: u32, order: Arc<std::sync::Mutex<Vec<u32>>>) {
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

    #[tokio::test]
    async fn what_frees_a_place_is_told_to_every_line() {
        let room = Arc::new(Room::default());
        let lanes = [(); 2].map(|()| Arc::new(Lane::to(Arc::clone(&room))));
        let (places, order) = (Arc::new(AtomicU32::new(0)), Arc::default());
        let waiting = lanes
            .each_ref()
            .map(|lane| tokio::spawn(take(Arc::clone(lane), Arc::clone(&places), 0, Arc::clone(&order))));
        while room.looking.load(Ordering::Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
        places.store(2, Ordering::Relaxed);
        room.tell();
        for waits in waiting {
            waits.await.unwrap();
        }
    }
}
