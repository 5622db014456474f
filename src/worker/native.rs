//! The native dialect: rows in, predictions out.

use axum::http::HeaderMap;
use axum::response::Response;

use super::dialect::{Decoded, Dialect, Terms};
use super::predict::Finder;
use super::served::Served;
use super::{answer, validation};
use crate::api::error::ApiError;
use crate::api::predict::PredictRequest;
use crate::http::body::require_json;
use crate::http::reply::json_bytes;
use crate::model::tensor::Tensor;

/// `POST /predict` and its like.
pub(super) struct Native;

impl Dialect for Native {
    type Wish = ();

    fn check(headers: &HeaderMap) -> Result<(), ApiError> {
        require_json(headers)
    }

    fn decode(_: &HeaderMap, body: &[u8], finder: Finder<'_>) -> Result<Decoded<()>, ApiError> {
        let request = PredictRequest::parse(body)?;
        let served = finder.find(request.model.as_deref(), request.version.as_deref())?;
        let inputs = validation::tensors_of(&request.inputs, &served.model, &served.schema)?;
        Ok(Decoded {
            served,
            inputs,
            terms: Terms::default(),
            wish: (),
        })
    }

    fn encode(served: &Served, (): (), outputs: Vec<Tensor>) -> Result<Response, ApiError> {
        answer::write(served, &outputs).map(json_bytes)
    }
}
