//! Batching: requests for one model version wait in one bounded queue, and what waits together runs together.
//!
//! This is *natural* batching: an idle engine takes a request at once, and a busy one finds, when it is done, whatever
//! has queued up meanwhile. Load makes batches; nobody waits for one (unless `max_delay` asks for it). Where a run takes less
//! than a change of threads, it happens in place.

mod batcher;
mod collect;
mod executor;
mod in_place;
mod pace;
mod queue;

pub(crate) use batcher::{Awaited, Batcher, Priority, Refusal, RunError};
