//! Refuses what does not fit, at once, instead of letting everybody wait.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use prometheus::IntGauge;

use crate::api::error::{ApiError, ErrorCode};

/// Bytes of an answer that the socket takes at once, mostly.
const SMALL_ANSWER: u64 = 16 << 10;

/// Counts the requests that were let in.
#[derive(Debug)]
pub struct Admission {
    inside: Arc<AtomicUsize>,
    gauge: IntGauge,
}

/// One admitted request; its place is free again when this goes.
#[derive(Debug)]
pub struct Admitted {
    inside: Arc<AtomicUsize>,
    gauge: IntGauge,
}

impl Admission {
    /// Nobody is in yet; `gauge` shows how many are.
    #[must_use]
    pub fn new(gauge: IntGauge) -> Self {
        Self {
            inside: Arc::default(),
            gauge,
        }
    }

    /// Lets a request in while fewer than `limit` are.
    pub fn enter(&self, limit: usize) -> Result<Admitted, ApiError> {
        if self.inside.fetch_add(1, Ordering::Relaxed) >= limit {
            self.inside.fetch_sub(1, Ordering::Relaxed);
            let message = format!("{limit} requests are in flight, which is the limit of this gateway");
            return Err(ApiError::new(ErrorCode::Overloaded, message));
        }
        self.gauge.inc();
        Ok(Admitted {
            inside: self.inside.clone(),
            gauge: self.gauge.clone(),
        })
    }
}

impl Admitted {
    /// `body`, with which the request keeps its place: an answer that is passed on as it comes, or is large, is still in flight. A
    /// small one that is whole is out of the gateway's hands.
    pub fn until_end_of(self, body: Body) -> Body {
        if body.size_hint().exact().is_some_and(|size| size <= SMALL_ANSWER) {
            return body;
        }
        Body::new(Guarded {
            body,
            _admitted: self,
        })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.inside.fetch_sub(1, Ordering::Relaxed);
        self.gauge.dec();
    }
}

struct Guarded {
    body: Body,
    _admitted: Admitted,
}

impl http_body::Body for Guarded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_makes_room() {
        let admission = Admission::new(IntGauge::new("in_flight", "requests").unwrap());
        let first = admission.enter(2).unwrap();
        let second = admission.enter(2).unwrap();
        assert_eq!(admission.enter(2).unwrap_err().code, ErrorCode::Overloaded);
        assert_eq!(admission.gauge.get(), 2);
        drop(first);
        let third = admission.enter(2).unwrap();
        assert!(admission.enter(2).is_err());
        drop((second, third));
        assert_eq!(admission.gauge.get(), 0);
    }
}
