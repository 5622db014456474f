//! Batching: requests for one model version wait in one bounded queue, and what waits together runs together.
//!
//! This is *natural* batching: an idle engine takes a request at once, and a busy one finds, when it is done, whatever
//! has queued up meanwhile. Load makes batches; nobody waits for one (unless `max_delay` asks for it).

mod batcher;
mod collect;
mod executor;
mod queue;

pub(crate) use batcher::{Answer, Batcher, Priority, Refusal, RunError};
