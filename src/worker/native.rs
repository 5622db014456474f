//! The native dialect: rows in, predictions out.

use std::ops::Range;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;

use super::dialect::{Decoded, Dialect, Inputs, Terms};
use super::predict::Finder;
use super::served::Served;
use super::{answer, validation};
use crate::api::error::ApiError;
use crate::api::plain::PlainRequest;
use crate::api::predict::PredictRequest;
use crate::http::body::require_json;
use crate::http::reply::json_bytes;
use crate::model::preprocessing::text::Tokenized;
use crate::model::tensor::Tensor;

/// `POST /predict` and its like.
pub(super) struct Native;

impl Dialect for Native {
    /// Where in a row of an answer the tokens of its text are, where the rows are texts.
    type Wish = Option<Vec<Range<usize>>>;

    fn check(headers: &HeaderMap) -> Result<(), ApiError> {
        require_json(headers)
    }

    fn decode(_: &HeaderMap, body: &Bytes, finder: Finder<'_>) -> Result<Decoded<Self::Wish>, ApiError> {
        let Some(plain) = PlainRequest::read(body) else {
            let request = PredictRequest::parse(body)?;
            let served = finder.find(request.model.as_deref(), request.version.as_deref())?;
            return decode_rows(&request, body, served);
        };
        let served = finder.find(plain.model, plain.version)?;
        match validation::plain_tensor(plain, &served.schema) {
            Some(tensor) => Ok(Decoded {
                served,
                inputs: Inputs::Read(vec![tensor], None),
                terms: Terms::default(),
            }),
            None => decode_rows(&PredictRequest::parse(body)?, body, served),
        }
    }

    fn encode(served: &Served, places: Self::Wish, outputs: Vec<Tensor>) -> Result<Response, ApiError> {
        answer::write(served, &outputs, places.as_deref()).map(json_bytes)
    }
}

type Wish = <Native as Dialect>::Wish;

fn decode_rows(
    request: &PredictRequest<'_>,
    body: &Bytes,
    served: Arc<Served>,
) -> Result<Decoded<Wish>, ApiError> {
    let schema = &served.schema;
    let inputs = if validation::takes_long(&request.inputs, schema) || validation::is_long(body.len(), schema)
    {
        let (body, served) = (body.clone(), Arc::clone(&served));
        // Finding the rows again takes little beside reading what stands in them.
        Inputs::ToRead(Box::new(move || {
            read_rows(&PredictRequest::parse(&body)?, &served)
        }))
    } else {
        let (tensors, wish) = read_rows(request, &served)?;
        Inputs::Read(tensors, wish)
    };
    Ok(Decoded {
        served,
        inputs,
        terms: Terms::default(),
    })
}

fn read_rows(request: &PredictRequest<'_>, served: &Served) -> Result<(Vec<Tensor>, Wish), ApiError> {
    let (rows, model, schema) = (&request.inputs, &served.model, &served.schema);
    match validation::tokens_of(rows, model, schema)? {
        Some(Tokenized { tensors, places }) => Ok((tensors, Some(places))),
        None => Ok((validation::tensors_of(rows, model, schema)?, None)),
    }
}
