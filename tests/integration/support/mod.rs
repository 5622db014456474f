//! What the tests stand on.

pub(crate) mod client;
pub(crate) mod graph;
pub(crate) mod wait;
pub(crate) mod worker;
