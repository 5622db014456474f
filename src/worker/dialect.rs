//! What differs between the dialects that a worker speaks: how a prediction is read and how its answer is written.
//! Everything between the two is [`predict`](super::predict), once for all of them.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::response::Response;

use super::predict::Finder;
use super::served::Served;
use crate::api::error::ApiError;
use crate::model::tensor::Tensor;

/// One way of writing predictions.
pub(super) trait Dialect {
    /// What the answer needs to know of the request.
    type Wish: Send;

    /// Refuses what its headers already rule out, before the body is read.
    fn check(headers: &HeaderMap) -> Result<(), ApiError>;

    /// Reads a request, finds the version that it is for, and holds its inputs against that version's signature.
    fn decode(headers: &HeaderMap, body: &[u8], finder: Finder<'_>) -> Result<Decoded<Self::Wish>, ApiError>;

    /// Writes the answer. Every output has an axis of rows in front.
    fn encode(served: &Served, wish: Self::Wish, outputs: Vec<Tensor>) -> Result<Response, ApiError>;
}

/// A request that was understood.
pub(super) struct Decoded<Wish> {
    pub(super) served: Arc<Served>,
    /// In the order of the signature, all with the same number of rows, one at least.
    pub(super) inputs: Vec<Tensor>,
    pub(super) wish: Wish,
}
