//! What the tests stand on: scriptable workers, gateways and workers on free ports, clients, processes.

pub(crate) mod client;
pub(crate) mod dns;
pub(crate) mod fake_worker;
pub(crate) mod gateway;
pub(crate) mod gateway_process;
pub(crate) mod graph;
pub(crate) mod load;
pub(crate) mod process;
pub(crate) mod resetting_proxy;
pub(crate) mod serving;
pub(crate) mod wait;
pub(crate) mod worker;
pub(crate) mod worker_process;
