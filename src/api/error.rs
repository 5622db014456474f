//! The error table: every code that a client can meet, its HTTP status, and the body that carries it.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a request was not answered. The names are the contract with clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The body is not JSON.
    InvalidJson,
    /// The body is JSON, and not what this model takes.
    InvalidInput,
    /// An API key is missing or wrong.
    Unauthorized,
    /// The API key is not for this model.
    Forbidden,
    /// No model of this name.
    ModelNotFound,
    /// The model has no such version.
    VersionNotFound,
    /// Nothing lies at this path.
    NotFound,
    /// The path knows other methods.
    MethodNotAllowed,
    /// The body is over the limit.
    PayloadTooLarge,
    /// The body is not declared as JSON.
    UnsupportedMediaType,
    /// There is no room for this request now.
    Overloaded,
    /// A fault of this server.
    Internal,
    /// The worker broke off, and no retry was left.
    UpstreamFailed,
    /// No healthy worker serves this model now.
    NoWorker,
    /// The model is still loading, or could not be loaded.
    NotReady,
    /// The process is shutting down.
    Draining,
    /// The request's time was up.
    DeadlineExceeded,
}

impl ErrorCode {
    /// Every code there is.
    pub const ALL: [Self; 17] = [
        Self::InvalidJson,
        Self::InvalidInput,
        Self::Unauthorized,
        Self::Forbidden,
        Self::ModelNotFound,
        Self::VersionNotFound,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::Overloaded,
        Self::Internal,
        Self::UpstreamFailed,
        Self::NoWorker,
        Self::NotReady,
        Self::Draining,
        Self::DeadlineExceeded,
    ];

    /// As it stands in bodies and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.entry().0
    }

    /// The code of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == name)
    }

    /// The HTTP status that goes with it.
    #[must_use]
    pub const fn status(self) -> u16 {
        self.entry().1
    }

    /// Seconds after which trying again makes sense, for codes that say so in `Retry-After`.
    #[must_use]
    pub const fn retry_after(self) -> Option<u32> {
        match self {
            Self::Overloaded | Self::NoWorker | Self::NotReady | Self::Draining => Some(1),
            _ => None,
        }
    }

    /// The one table from codes to HTTP.
    const fn entry(self) -> (&'static str, u16) {
        match self {
            Self::InvalidJson => ("invalid_json", 400),
            Self::InvalidInput => ("invalid_input", 400),
            Self::Unauthorized => ("unauthorized", 401),
            Self::Forbidden => ("forbidden", 403),
            Self::ModelNotFound => ("model_not_found", 404),
            Self::VersionNotFound => ("version_not_found", 404),
            Self::NotFound => ("not_found", 404),
            Self::MethodNotAllowed => ("method_not_allowed", 405),
            Self::PayloadTooLarge => ("payload_too_large", 413),
            Self::UnsupportedMediaType => ("unsupported_media_type", 415),
            Self::Overloaded => ("overloaded", 429),
            Self::Internal => ("internal", 500),
            Self::UpstreamFailed => ("upstream_failed", 502),
            Self::NoWorker => ("no_worker", 503),
            Self::NotReady => ("not_ready", 503),
            Self::Draining => ("draining", 503),
            Self::DeadlineExceeded => ("deadline_exceeded", 504),
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A refusal on its way to the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// Which kind.
    pub code: ErrorCode,
    /// What was expected and what came, for people.
    pub message: Cow<'static, str>,
}

impl ApiError {
    /// An error of this kind, with its message.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// An `invalid_input`, with its message.
    pub fn invalid_input(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::InvalidInput, message)
    }
}

/// The JSON body of every error, on every path of both processes that is not another dialect's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErrorBody<'a> {
    /// The one member.
    #[serde(borrow)]
    pub error: ErrorDetail<'a>,
}

/// What an [`ErrorBody`] holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErrorDetail<'a> {
    /// Which kind.
    pub code: ErrorCode,
    /// What was expected and what came.
    pub message: Cow<'a, str>,
    /// The request, as it is found in the logs of both sides.
    #[serde(default)]
    pub request_id: Cow<'a, str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_on_the_wire_is_the_name_in_the_table() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            assert_eq!(ErrorCode::parse(code.as_str()), Some(code));
        }
    }

    #[test]
    fn every_refusal_for_now_says_when_to_come_back() {
        for code in ErrorCode::ALL {
            let is_for_now = matches!(code.status(), 429 | 503);
            assert_eq!(code.retry_after().is_some(), is_for_now, "{code}");
        }
    }
}
