//! The dialect of `POST /v2/models/{model}/infer`.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;

use super::{inputs, outputs};
use crate::api::error::ApiError;
use crate::api::v2::HEADER_LENGTH;
use crate::api::v2::request::{InferBody, InferRequest, NamedTensor, Parameters, parse};
use crate::api::v2::response::Written;
use crate::http::body::{OCTET_STREAM, require_json_or_bytes};
use crate::http::reply::json_bytes;
use crate::model::preprocessing::text::Tokenized;
use crate::model::tensor::Tensor;
use crate::worker::batching::Priority;
use crate::worker::dialect::{Decoded, Dialect, Inputs, Terms};
use crate::worker::predict::Finder;
use crate::worker::served::Served;
use crate::worker::validation;

/// The Open Inference Protocol V2.
pub(super) struct V2;

/// What the answer needs to know of the request.
pub(super) struct Wish {
    id: Option<String>,
    outputs: Vec<outputs::Chosen>,
    /// Where in a row of an answer the tokens are, of the longest text at least, where the rows are texts.
    places: Option<Range<usize>>,
}

impl Dialect for V2 {
    type Wish = Wish;

    fn check(headers: &HeaderMap) -> Result<(), ApiError> {
        require_json_or_bytes(headers)
    }

    fn decode(headers: &HeaderMap, body: &Bytes, finder: Finder<'_>) -> Result<Decoded<Wish>, ApiError> {
        let length = body.len();
        let body = parse(body, header_length(headers)?)?;
        let served = finder.find(None, None)?;
        let is_long = validation::is_long(length, &served.schema);
        let signature = &served.schema.signature;
        let request = match body {
            InferBody::Request(request) => request,
            InferBody::Raw(bytes) => InferRequest {
                id: None,
                parameters: Parameters {
                    binary_data_output: Some(true),
                    ..Parameters::default()
                },
                inputs: vec![inputs::only(bytes, &served.model, signature)?],
                outputs: None,
            },
        };
        let is_binary = request.parameters.binary_data_output.unwrap_or(false);
        let outputs = outputs::choose(request.outputs, is_binary, &served.model, signature)?;
        let (id, terms) = (request.id, terms(request.parameters));
        let (inputs, model) = (request.inputs, Arc::clone(&served));
        let read = move || {
            let (tensors, places) = read_inputs(inputs, &model)?;
            Ok((tensors, Wish { id, outputs, places }))
        };
        let inputs = if is_long {
            Inputs::ToRead(Box::new(read))
        } else {
            let (tensors, wish) = read()?;
            Inputs::Read(tensors, wish)
        };
        Ok(Decoded {
            served,
            inputs,
            terms,
        })
    }

    fn encode(served: &Served, wish: Wish, outputs: Vec<Tensor>) -> Result<Response, ApiError> {
        let outputs = match wish.places {
            None => outputs,
            Some(places) => without_filling(served, outputs, &places),
        };
        let written = outputs::write(served, wish.id.as_deref(), &wish.outputs, outputs)?;
        Ok(respond(written))
    }
}

fn read_inputs(
    inputs: Vec<NamedTensor>,
    served: &Served,
) -> Result<(Vec<Tensor>, Option<Range<usize>>), ApiError> {
    let (model, schema) = (&served.model, &served.schema);
    match inputs::tokens_of(&inputs, model, schema)? {
        Some(Tokenized { tensors, places }) => Ok((tensors, Some(around(&places)))),
        None => Ok((inputs::arrange(inputs, model, &schema.signature)?, None)),
    }
}

/// The least part of a row that all of these lie in.
fn around(places: &[Range<usize>]) -> Range<usize> {
    let start = places.iter().map(|place| place.start).min().unwrap_or(0);
    start..places.iter().map(|place| place.end).max().unwrap_or(0)
}

/// A tensor has rows of one length, so that shorter texts stay filled up to the longest of their request; what all are filled
/// up by goes.
fn without_filling(served: &Served, outputs: Vec<Tensor>, places: &Range<usize>) -> Vec<Tensor> {
    let cut = |(position, output): (usize, Tensor)| {
        if served.has_token_axis(position) {
            output.slice_places(places.clone())
        } else {
            output
        }
    };
    outputs.into_iter().enumerate().map(cut).collect()
}

fn terms(parameters: Parameters) -> Terms {
    Terms {
        timeout: parameters
            .timeout
            .filter(|&micros| micros > 0)
            .map(Duration::from_micros),
        priority: Priority::of_level(parameters.priority.unwrap_or(0)),
    }
}

fn header_length(headers: &HeaderMap) -> Result<Option<usize>, ApiError> {
    let Some(header) = headers.get(HEADER_LENGTH) else {
        return Ok(None);
    };
    let length = header.to_str().ok().and_then(|text| text.trim().parse().ok());
    length.map(Some).ok_or_else(|| {
        let message =
            format!("{HEADER_LENGTH} takes the number of bytes of JSON in the body; found {header:?}");
        ApiError::invalid_input(message)
    })
}

fn respond(Written { body, header_length }: Written) -> Response {
    let mut response = json_bytes(body);
    if let Some(length) = header_length {
        let headers = response.headers_mut();
        headers.insert(HeaderName::from_static(HEADER_LENGTH), HeaderValue::from(length));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(OCTET_STREAM));
    }
    response
}
