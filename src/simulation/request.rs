//! Requests under way.

use crate::gateway::balance::LoadReport;
use crate::moment::Moment;

/// One request, as gateway and worker know it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) arrived: Moment,
    /// Whether it counts in the figures.
    pub(super) is_measured: bool,
    /// Microseconds of work at a worker that is not slow. A retry has the same.
    pub(super) work: f64,
    pub(super) key: u64,
    pub(super) gateway: usize,
    /// Where it was tried before.
    pub(super) tried: Vec<usize>,
    /// The try under way: where, since when, and how far it is.
    pub(super) worker: usize,
    pub(super) sent: Moment,
    /// Requests of its gateway that it met at the worker, itself included.
    pub(super) met: u32,
    pub(super) stage: Stage,
}

/// How far a try is.
#[derive(Debug)]
pub(super) enum Stage {
    /// In line at its gateway.
    Waiting,
    /// On its way to the worker.
    Sent,
    /// In the worker, since then, where it met so many others.
    Inside { since: Moment, met: u32 },
    /// On its way back.
    Answered(Answer),
}

/// What comes of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    Prediction,
    Error,
    /// An error because the worker has too much.
    Refusal,
}

/// What a worker says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) kind: Answered,
    pub(super) report: LoadReport,
}

/// Says which request is meant, even after it has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    slot: u32,
    generation: u32,
}

/// All requests under way. Room is used again, and the ticket of a request that has gone finds nothing.
#[derive(Debug, Default)]
pub(super) struct Requests {
    slots: Vec<(u32, Option<Request>)>,
    free: Vec<u32>,
}

impl Requests {
    pub(super) fn put(&mut self, request: Request) -> Ticket {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            (self.slots.len() - 1) as u32
        });
        let (generation, place) = &mut self.slots[slot as usize];
        *place = Some(request);
        Ticket {
            slot,
            generation: *generation,
        }
    }

    pub(super) fn get(&self, ticket: Ticket) -> Option<&Request> {
        let (generation, request) = &self.slots[ticket.slot as usize];
        request.as_ref().filter(|_| *generation == ticket.generation)
    }

    pub(super) fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Request> {
        let (generation, request) = &mut self.slots[ticket.slot as usize];
        request.as_mut().filter(|_| *generation == ticket.generation)
    }

    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Request> {
        self.get(ticket)?;
        let (generation, request) = &mut self.slots[ticket.slot as usize];
        *generation = generation.wrapping_add(1);
        self.free.push(ticket.slot);
        request.take()
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Request> {
        self.slots.iter_mut().filter_map(|(_, request)| request.as_mut())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }
}
