//! Takes in a worker's answer: whole where it is small, so that one which breaks off half-way costs a retry and not the
//! client's request; larger ones are passed on as they come.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Response, StatusCode, header};
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::{Sleep, sleep_until};

use super::balance::LoadReport;
use super::client::{Answered, SendError, WorkerBody};
use super::endpoint::InFlight;
use crate::api::error::{ErrorBody, ErrorCode};
use crate::http::body::OCTET_STREAM;
use crate::http::deadline::Deadline;
use crate::http::headers;

/// The largest answer that is taken in whole before it is passed on.
pub(super) const HELD_ANSWER: u64 = 1 << 20;

/// A worker's answer, as far as it is here.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// As the client gets them.
    pub(super) headers: HeaderMap,
    /// What the worker said of its own load.
    pub(super) report: Option<LoadReport>,
    body: AnswerBody,
}

enum AnswerBody {
    Held(Bytes),
    Passing(WorkerBody),
}

impl Answer {
    /// Waits for as much of it as is held.
    pub(super) async fn take_in(answered: Answered) -> Result<Self, SendError> {
        let Answered {
            status,
            headers,
            report,
            body,
        } = answered;
        let is_large = body.size_hint().exact().is_none_or(|size| size > HELD_ANSWER);
        let body = if is_large {
            AnswerBody::Passing(body)
        } else {
            AnswerBody::Held(body.whole().await?)
        };
        Ok(Self {
            status,
            headers,
            report,
            body,
        })
    }

    /// The code of a worker's refusal: in a header where its dialect has no place for it in the body.
    pub(super) fn error_code(&self) -> Option<ErrorCode> {
        let AnswerBody::Held(body) = &self.body else {
            return None;
        };
        if self.status.as_u16() < 400 {
            return None;
        }
        if let Some(code) = self.headers.get(headers::ERROR_CODE) {
            return ErrorCode::parse(code.to_str().ok()?);
        }
        let body = serde_json::from_slice::<ErrorBody<'_>>(body).ok()?;
        Some(body.error.code)
    }

    /// The body, where it is held.
    pub(super) fn held(&self) -> Option<Bytes> {
        match &self.body {
            AnswerBody::Held(bytes) => Some(bytes.clone()),
            AnswerBody::Passing(_) => None,
        }
    }

    /// Whether it calls itself a prediction and is no JSON object, as those of workers are where they are not binary or
    /// compressed: cut off at a length that its head agrees with, or from something else than a worker. Only the ends are looked
    /// at, so that it costs nothing.
    pub(super) fn is_garbage(&self) -> bool {
        let AnswerBody::Held(body) = &self.body else {
            return false;
        };
        let kind = self.headers.get(header::CONTENT_TYPE);
        let is_opaque = kind.is_some_and(|kind| kind == OCTET_STREAM)
            || self.headers.contains_key(header::CONTENT_ENCODING);
        let text = body.trim_ascii();
        let is_object = text.starts_with(b"{") && text.ends_with(b"}");
        self.status.is_success() && !is_opaque && !is_object
    }

    /// When the worker says that it can be asked again.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.headers)
    }

    /// The answer for the client. Where it is passed on as it comes, the endpoint's guard ends with it, and so does the
    /// request's time.
    pub(super) fn into_response(self, mut guard: InFlight, deadline: Deadline) -> Response<Body> {
        let body = match self.body {
            AnswerBody::Held(bytes) => Body::from(bytes),
            AnswerBody::Passing(body) => {
                guard.go_on();
                Body::new(Passing {
                    body,
                    _guard: guard,
                    deadline: Box::pin(sleep_until(deadline.0)),
                })
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// In seconds; workers never send the date that could stand there as well (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u32 = headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds.into()))
}

struct Passing {
    body: WorkerBody,
    _guard: InFlight,
    deadline: Pin<Box<Sleep>>,
}

impl http_body::Body for Passing {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err("the time of the request is up".into())));
        }
        Pin::new(&mut self.body).poll_frame(context).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
