//! What a process says of itself: log lines and metrics.

pub mod gateway_metrics;
pub mod logging;
pub mod metric;
pub mod metrics;
pub mod worker_metrics;
