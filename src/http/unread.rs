//! Tells whether a request's body was read to its end before the answer was there.
//!
//! hyper closes a connection whose request it would have to skip over, and does not announce it: a client that sends its next
//! request there would see that one fail. So answers that come before the body was read say that they are the last.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::header::{self, HeaderMap, HeaderValue};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

/// What is left of one request's body.
pub(super) struct Unread(Arc<AtomicBool>);

impl Unread {
    /// Watches over `body`; gives it back, to be read.
    pub(super) fn watch(body: Incoming) -> (Self, Body) {
        let is_left = Arc::new(AtomicBool::new(!http_body::Body::is_end_stream(&body)));
        let watched = Watched {
            body,
            is_left: Arc::clone(&is_left),
        };
        (Self(is_left), Body::new(watched))
    }

    /// Announces in the head of an answer that the connection ends with it, where something is left.
    pub(super) fn announce(&self, answer: &mut HeaderMap) {
        if self.0.load(Ordering::Relaxed) {
            answer.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

struct Watched {
    body: Incoming,
    is_left: Arc<AtomicBool>,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.is_left.store(false, Ordering::Relaxed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
