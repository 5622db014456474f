//! The dialect of `POST /v2/models/{model}/infer`.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;

use super::{inputs, outputs};
use crate::api::error::ApiError;
use crate::api::v2::HEADER_LENGTH;
use crate::api::v2::request::{InferBody, InferRequest, Parameters, parse};
use crate::api::v2::response::Written;
use crate::http::body::{OCTET_STREAM, require_json_or_bytes};
use crate::http::reply::json_bytes;
use crate::model::tensor::Tensor;
use crate::worker::batching::Priority;
use crate::worker::dialect::{Decoded, Dialect, Inputs, Terms};
use crate::worker::predict::Finder;
use crate::worker::served::Served;

/// The Open Inference Protocol V2.
pub(super) struct V2;

/// What the answer needs to know of the request.
pub(super) struct Wish {
    id: Option<String>,
    outputs: Vec<outputs::Chosen>,
}

impl Dialect for V2 {
    type Wish = Wish;

    fn check(headers: &HeaderMap) -> Result<(), ApiError> {
        require_json_or_bytes(headers)
    }

    fn decode(headers: &HeaderMap, body: &Bytes, finder: Finder<'_>) -> Result<Decoded<Wish>, ApiError> {
        let body = parse(body, header_length(headers)?)?;
        let served = finder.find(None, None)?;
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
        let inputs = inputs::arrange(request.inputs, &served.model, signature)?;
        let id = request.id;
        Ok(Decoded {
            served,
            inputs: Inputs::Read(inputs),
            terms: terms(request.parameters),
            wish: Wish { id, outputs },
        })
    }

    fn encode(served: &Served, wish: Wish, outputs: Vec<Tensor>) -> Result<Response, ApiError> {
        let written = outputs::write(served, wish.id.as_deref(), &wish.outputs, outputs)?;
        Ok(respond(written))
    }
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
