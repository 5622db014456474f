//! Which model a request is for: its path says so, or its body, or the configuration.

use std::borrow::Cow;

use serde::Deserialize;

use crate::api::error::{ApiError, ErrorCode};

/// The model and the version that a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The model.
    pub model: String,
    /// The version; none means the newest one that is ready.
    pub version: Option<String>,
}

/// The members of a native body that decide where it goes. All others are skipped over without being built.
#[derive(Deserialize)]
struct Addressee<'a> {
    #[serde(borrow, default)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    version: Option<Version<'a>>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a version: a positive integer, as a number or a text")]
enum Version<'a> {
    Number(u64),
    Text(#[serde(borrow)] Cow<'a, str>),
}

impl Target {
    /// Reads it from the body of a request whose path names no model.
    pub fn of_body(body: &[u8], default_model: Option<&str>) -> Result<Self, ApiError> {
        let addressee: Addressee<'_> =
            serde_json::from_slice(body).map_err(|error| not_understood(body, &error))?;
        // serde takes a list for a struct as well.
        if body.trim_ascii_start().first() != Some(&b'{') {
            let message = "the body is a list; expected a JSON object with \"inputs\"";
            return Err(ApiError::invalid_input(message));
        }
        let model = addressee.model.as_deref().or(default_model).ok_or_else(|| {
            ApiError::invalid_input("model is missing: name one in the body ({\"model\": …}) or in the path (/models/{model}/predict)",
            )
        })?;
        let version = addressee.version.map(|version| match version {
            Version::Number(number) => number.to_string(),
            Version::Text(text) => text.into_owned(),
        });
        Ok(Self {
            model: model.to_owned(),
            version,
        })
    }

    /// The path under which a worker takes this target.
    #[must_use]
    pub fn predict_path(&self) -> String {
        let Self { model, version } = self;
        match version {
            None => format!("/models/{model}/predict"),
            Some(version) => format!("/models/{model}/versions/{version}/predict"),
        }
    }
}

/// The same path at a worker, for this version of the model; none where no path names one (`GET /models/{model}`).
#[must_use]
pub fn with_version(path: &str, version: &str) -> Option<String> {
    let (dialect, rest) = match path.strip_prefix("/v2") {
        Some(rest) => ("/v2", rest),
        None => ("", path),
    };
    let rest = rest.strip_prefix("/models/")?;
    match rest.split_once('/') {
        Some((model, action)) => Some(format!("{dialect}/models/{model}/versions/{version}/{action}")),
        None => (!dialect.is_empty()).then(|| format!("{dialect}/models/{rest}/versions/{version}")),
    }
}

fn not_understood(body: &[u8], error: &serde_json::Error) -> ApiError {
    if body.is_empty() {
        return ApiError::new(
            ErrorCode::InvalidJson,
            "the body is empty; expected a JSON object with \"inputs\"",
        );
    }
    let code = if error.is_data() {
        ErrorCode::InvalidInput
    } else {
        ErrorCode::InvalidJson
    };
    ApiError::new(code, format!("the body is not a prediction request: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str) -> Result<Target, ErrorCode> {
        Target::of_body(body.as_bytes(), Some("iris")).map_err(|error| error.code)
    }

    fn target(model: &str, version: Option<&str>) -> Target {
        Target {
            model: model.to_owned(),
            version: version.map(str::to_owned),
        }
    }

    #[test]
    fn the_body_names_model_and_version() {
        assert_eq!(
            of(r#"{"inputs": [[1, [2]]], "model": "digits"}"#).unwrap(),
            target("digits", None)
        );
        assert_eq!(
            of(r#"{"model": "di\u0067its", "version": "3"}"#).unwrap(),
            target("digits", Some("3"))
        );
        assert_eq!(of(r#"{"version": 3}"#).unwrap(), target("iris", Some("3")));
        assert_eq!(
            Target::of_body(b"{}", None).unwrap_err().code,
            ErrorCode::InvalidInput
        );
    }

    #[test]
    fn what_is_not_a_request_is_told_apart_from_what_is_not_json() {
        for body in ["", "{", "nope", r#"{"model": "a" "b"}"#, r#"{"inputs": [NaN]}"#] {
            assert_eq!(of(body), Err(ErrorCode::InvalidJson), "{body}");
        }
        for body in [
            "[]",
            "3",
            r#"{"model": 3}"#,
            r#"{"model": "a", "model": "b"}"#,
            r#"{"version": -1}"#,
        ] {
            assert_eq!(of(body), Err(ErrorCode::InvalidInput), "{body}");
        }
    }

    #[test]
    fn deep_nesting_neither_overflows_nor_matters_here() {
        let body = format!(
            "{{\"inputs\": {}{}, \"model\": \"a\"}}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert_eq!(of(&body).unwrap(), target("a", None));
    }

    #[test]
    fn a_version_is_put_into_every_path_that_can_name_one() {
        for (path, expected) in [
            ("/models/iris/predict", Some("/models/iris/versions/2/predict")),
            (
                "/models/%69ris/predict",
                Some("/models/%69ris/versions/2/predict"),
            ),
            ("/v2/models/iris/infer", Some("/v2/models/iris/versions/2/infer")),
            ("/v2/models/iris/ready", Some("/v2/models/iris/versions/2/ready")),
            ("/v2/models/iris", Some("/v2/models/iris/versions/2")),
            ("/models/iris/card", Some("/models/iris/versions/2/card")),
            (
                "/models/iris/card/loss.svg",
                Some("/models/iris/versions/2/card/loss.svg"),
            ),
            ("/models/iris", None),
        ] {
            assert_eq!(with_version(path, "2").as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn the_path_carries_the_target() {
        assert_eq!(target("iris", None).predict_path(), "/models/iris/predict");
        assert_eq!(
            target("iris", Some("2")).predict_path(),
            "/models/iris/versions/2/predict"
        );
    }
}
