//! A fleet that does not exist: the balancing core over simulated workers, on virtual time.
//!
//! What decides here is the code that decides in a gateway: the policies and what they go by
//! ([`balance`](crate::gateway::balance)), the limits of requests at once
//! ([`concurrency`](crate::gateway::concurrency)), the retry budget, and what workers measure of themselves
//! ([`worker::load`](crate::worker::load)). What is made up is the rest of the world: requests, the time that they take,
//! and the network. So a fleet can be tried before it is bought, and the policies can be checked over hundreds of seeds.
//!
//! It is a discrete-event simulation: an [`agenda`] of what happens when, and a [`Simulation`] that takes one event after
//! the other. All chance comes out of one seed. What the outside world does (arrivals, keys, sizes of requests) is drawn
//! from streams of its own, so that every policy sees the very same requests.

mod agenda;
mod fleet_worker;
mod front;
mod histogram;
#[cfg(test)]
mod laws;
mod outcome;
mod picture;
mod request;
mod run;
mod scenario;
mod service_time;
mod summary;

pub use self::histogram::Histogram;
pub use self::outcome::{Outcome, WorkerOutcome};
pub use self::picture::{Drawn, picture};
pub use self::run::Simulation;
pub use self::scenario::{Arrivals, Scenario, WorkerSpec};
pub use self::service_time::{ServiceTime, ServiceTimeError};
pub use self::summary::{Summary, mark_fastest, table};
