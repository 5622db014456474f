//! The native dialect: rows in, predictions out.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;

use super::dialect::{Decoded, Dialect, Inputs, Terms};
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

    fn decode(_: &HeaderMap, body: &Bytes, finder: Finder<'_>) -> Result<Decoded<()>, ApiError> {
        let request = PredictRequest::parse(body)?;
        let served = finder.find(request.model.as_deref(), request.version.as_deref())?;
        let inputs = if validation::brings_files(&request.inputs, &served.schema) {
            let (body, served) = (body.clone(), Arc::clone(&served));
            // Finding the rows again takes little beside reading what stands in them.
            Inputs::ToRead(Box::new(move || {
                tensors_of(&PredictRequest::parse(&body)?, &served)
            }))
        } else {
            Inputs::Read(tensors_of(&request, &served)?)
        };
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

fn tensors_of(request: &PredictRequest<'_>, served: &Served) -> Result<Vec<Tensor>, ApiError> {
    validation::tensors_of(&request.inputs, &served.model, &served.schema)
}
