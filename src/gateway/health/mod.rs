//! Who can take requests: what probes ask for (active), and what requests meet (passive).

pub mod judge;
pub(super) mod load_probe;
pub mod probe;
