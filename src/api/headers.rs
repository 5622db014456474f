//! Names of the headers that millrace gives a meaning.

use axum::http::HeaderName;

/// The request's id: taken from the client or made, echoed, logged on both sides.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The client's budget in milliseconds; the gateway passes on what is left.
pub const REQUEST_TIMEOUT_MS: HeaderName = HeaderName::from_static("x-request-timeout-ms");
/// W3C trace context, passed on untouched.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// On the gateway's answers: the id of the endpoint that answered.
pub const WORKER: HeaderName = HeaderName::from_static("x-millrace-worker");
/// On the gateway's answers: how many endpoints were tried.
pub const ATTEMPTS: HeaderName = HeaderName::from_static("x-millrace-attempts");
/// On a worker's answers: its load, as Open Request Cost Aggregation writes it; read and stripped by the gateway.
pub const LOAD_METRICS: HeaderName = HeaderName::from_static("endpoint-load-metrics");
/// On errors whose body has no place for it: the error's code, by which a gateway knows its workers' refusals.
pub const ERROR_CODE: HeaderName = HeaderName::from_static("x-millrace-error");
/// A request that has it is answered with [`DECISION`].
pub const DEBUG: HeaderName = HeaderName::from_static("x-millrace-debug");
/// Why the gateway picked the worker, or each that it tried.
pub const DECISION: HeaderName = HeaderName::from_static("x-millrace-decision");
/// On the gateway's answers to predictions that named no version: the one that the model's rollout chose.
pub const ROLLOUT: HeaderName = HeaderName::from_static("x-millrace-rollout");
