//! The connections to the workers: one pool for requests and probes.

use std::time::Duration;

use axum::http::{Request, Response};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Builder};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::http::server::is_out_of_descriptors;

/// How long an unused connection is kept. Well under the time after which a worker closes it
/// (`worker.header_timeout`), so that a request seldom meets a connection that is just being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends requests to workers on pooled connections.
#[derive(Clone, Debug)]
pub struct WorkerClient(legacy::Client<HttpConnector, Full<Bytes>>);

/// How a request to a worker ended without an answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No connection: the worker never saw the request.
    #[error("no connection: {0}")]
    NotConnected(String),
    /// This gateway has no descriptor left for a connection, which says nothing about the worker.
    #[error("the gateway has no file descriptor left")]
    OutOfDescriptors,
    /// The connection broke: the worker may have seen the request, and gave no answer.
    #[error("the connection broke before the answer was whole: {0}")]
    BrokenOff(String),
}

impl WorkerClient {
    /// Connections are given up after `connect_timeout`.
    #[must_use]
    pub fn new(connect_timeout: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(connect_timeout));
        connector.set_keepalive(Some(Duration::from_secs(30)));
        let client = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        Self(client)
    }

    /// Sends `request` and waits for the head of its answer.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, SendError> {
        self.0.request(request).await.map_err(|error| {
            if is_caused_by_no_descriptor(&error) {
                return SendError::OutOfDescriptors;
            }
            let message = root_cause(&error);
            if error.is_connect() {
                SendError::NotConnected(message)
            } else {
                SendError::BrokenOff(message)
            }
        })
    }
}

fn is_caused_by_no_descriptor(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .filter_map(|error| error.downcast_ref::<std::io::Error>())
        .any(is_out_of_descriptors)
}

/// The innermost error: "connection refused" says more than "client error".
#[must_use]
pub fn root_cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
