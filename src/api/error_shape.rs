//! In which shape an error stands in a body: each dialect has its own, and a path belongs to one dialect.

use serde::Serialize;

use super::error::{ApiError, ErrorBody, ErrorDetail};

/// The shapes of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorShape {
    /// `{"error": {"code", "message", "request_id"}}`
    Native,
    /// `{"error": "message"}`, as the Open Inference Protocol has it. The code stands in the header
    /// [`ERROR_CODE`](super::headers::ERROR_CODE).
    V2,
}

#[derive(Serialize)]
struct V2Body<'a> {
    error: &'a str,
}

impl ErrorShape {
    /// The shape of errors at `path`, whether anything lies there or not.
    #[must_use]
    pub fn of_path(path: &str) -> Self {
        match path.strip_prefix("/v2") {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => Self::V2,
            _ => Self::Native,
        }
    }

    /// The JSON body of `error`.
    #[must_use]
    pub fn body(self, error: &ApiError, request_id: &str) -> Vec<u8> {
        let body = match self {
            Self::Native => serde_json::to_vec(&ErrorBody {
                error: ErrorDetail {
                    code: error.code,
                    message: error.message.as_ref().into(),
                    request_id: request_id.into(),
                },
            }),
            Self::V2 => serde_json::to_vec(&V2Body {
                error: &error.message,
            }),
        };
        body.expect("texts make JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::error::ErrorCode;

    #[test]
    fn the_path_decides() {
        for path in ["/v2", "/v2/", "/v2/models/iris/infer", "/v2/nothing"] {
            assert_eq!(ErrorShape::of_path(path), ErrorShape::V2, "{path}");
        }
        for path in ["/", "/v2x", "/predict", "/models/v2"] {
            assert_eq!(ErrorShape::of_path(path), ErrorShape::Native, "{path}");
        }
    }

    #[test]
    fn errors_of_the_protocol_are_one_text() {
        let error = ApiError::new(ErrorCode::NotFound, "not \"here\"");
        assert_eq!(ErrorShape::V2.body(&error, "r"), br#"{"error":"not \"here\""}"#);
    }
}
