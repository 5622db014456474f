//! What differs between the dialects that a worker speaks: how a prediction is read and how its answer is written.
//! Everything between the two is [`predict`](super::predict), once for all of them.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use tokio::time::Instant;

use super::batching::Priority;
use super::predict::Finder;
use super::readers::Reading;
use super::served::Served;
use crate::api::error::ApiError;
use crate::http::deadline::Deadline;
use crate::model::tensor::Tensor;

/// One way of writing predictions.
pub(super) trait Dialect {
    /// What the answer needs to know of the request.
    type Wish: Send + 'static;

    /// Refuses what its headers already rule out, before the body is read.
    fn check(headers: &HeaderMap) -> Result<(), ApiError>;

    /// Reads a request, finds the version that it is for, and holds its inputs against that version's signature.
    fn decode(headers: &HeaderMap, body: &Bytes, finder: Finder<'_>)
    -> Result<Decoded<Self::Wish>, ApiError>;

    /// Writes the answer. Every output has an axis of rows in front.
    fn encode(served: &Served, wish: Self::Wish, outputs: Vec<Tensor>) -> Result<Response, ApiError>;
}

/// A request that was understood.
pub(super) struct Decoded<Wish> {
    pub(super) served: Arc<Served>,
    pub(super) inputs: Inputs<Wish>,
    pub(super) terms: Terms,
}

/// The inputs of a request, in the order of the signature, all with the same number of rows, one at least; and what its answer
/// is to be like.
pub(super) enum Inputs<Wish> {
    /// They are there.
    Read(Vec<Tensor>, Wish),
    /// They are yet to be read, which takes long.
    ToRead(Reading<Wish>),
}

/// How a request wants to wait.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Terms {
    /// How long at most; the server's deadline holds all the same.
    pub(super) timeout: Option<Duration>,
    pub(super) priority: Priority,
}

impl Terms {
    /// `limit`, or sooner where the request says so.
    pub(super) fn deadline(self, begun: Instant, limit: Deadline) -> Deadline {
        let own = self.timeout.and_then(|timeout| begun.checked_add(timeout));
        own.map_or(limit, |own| limit.min(Deadline(own)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_may_ask_for_less_time_and_not_for_more() {
        let now = Instant::now();
        let limit = Deadline(now + Duration::from_secs(1));
        let of = |timeout| {
            let terms = Terms {
                timeout,
                ..Terms::default()
            };
            terms.deadline(now, limit)
        };
        let short = Duration::from_millis(5);
        assert_eq!(of(None), limit);
        assert_eq!(of(Some(short)), Deadline(now + short));
        assert_eq!(of(Some(Duration::MAX)), limit);
    }
}
