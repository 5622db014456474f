//! The names of [`api::headers`](crate::api::headers), as the HTTP library has them: made once, and not for every header that is set.

use axum::http::HeaderName;

use crate::api::headers as text;

/// The request's id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static(text::REQUEST_ID);
/// The client's budget in milliseconds.
pub const REQUEST_TIMEOUT_MS: HeaderName = HeaderName::from_static(text::REQUEST_TIMEOUT_MS);
/// Who answered.
pub const WORKER: HeaderName = HeaderName::from_static(text::WORKER);
/// How many were tried.
pub const ATTEMPTS: HeaderName = HeaderName::from_static(text::ATTEMPTS);
/// A worker's load.
pub const LOAD_METRICS: HeaderName = HeaderName::from_static(text::LOAD_METRICS);
/// The code of an error whose body has no place for it.
pub const ERROR_CODE: HeaderName = HeaderName::from_static(text::ERROR_CODE);
/// Asks for decisions.
pub const DEBUG: HeaderName = HeaderName::from_static(text::DEBUG);
/// Why the gateway picked whom it picked.
pub const DECISION: HeaderName = HeaderName::from_static(text::DECISION);
/// The version that a rollout chose.
pub const ROLLOUT: HeaderName = HeaderName::from_static(text::ROLLOUT);
/// How many links a gateway may have to a worker.
pub const LINKS: HeaderName = HeaderName::from_static(text::LINKS);
/// The name of a worker's socket within the machine.
pub const LOCAL: HeaderName = HeaderName::from_static(text::LOCAL);
