//! Names of the headers that millrace gives a meaning.

/// The request's id: taken from the client or made, echoed, logged on both sides.
pub const REQUEST_ID: &str = "x-request-id";
/// The client's budget in milliseconds; the gateway passes on what is left.
pub const REQUEST_TIMEOUT_MS: &str = "x-request-timeout-ms";
/// W3C trace context, passed on untouched.
pub const TRACEPARENT: &str = "traceparent";
/// On the gateway's answers: the id of the endpoint that answered.
pub const WORKER: &str = "x-millrace-worker";
/// On the gateway's answers: how many endpoints were tried.
pub const ATTEMPTS: &str = "x-millrace-attempts";
/// On a worker's answers: its load, as Open Request Cost Aggregation writes it; read and stripped by the gateway.
pub const LOAD_METRICS: &str = "endpoint-load-metrics";
/// On errors whose body has no place for it: the error's code, by which a gateway knows its workers' refusals.
pub const ERROR_CODE: &str = "x-millrace-error";
/// A request that has it is answered with [`DECISION`].
pub const DEBUG: &str = "x-millrace-debug";
/// Why the gateway picked the worker, or each that it tried.
pub const DECISION: &str = "x-millrace-decision";
/// On the gateway's answers to predictions that named no version: the one that the model's rollout chose.
pub const ROLLOUT: &str = "x-millrace-rollout";
/// On a worker's list of its models: how many links a gateway may have to it.
pub const LINKS: &str = "x-millrace-links";
/// On a worker's list of its models: the name of its socket for gateways on the same machine.
pub const LOCAL: &str = "x-millrace-local";
