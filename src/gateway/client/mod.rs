//! The connections to the workers, for requests and probes. Small requests share links, where the worker takes any; all others
//! have a connection of their own while they last.
//!
//! It is our own because a gateway costs little else than this: a general client has a task for each connection, hands each
//! request over to it and each answer back, and builds headers that only pass through (figures: docs/benchmarks.md). Here a
//! request is written, and its answer read, by the task that wants it.

mod body;
mod chunks;
mod connection;
mod connector;
mod head;
mod idle;
mod link;
mod links;

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode};

pub use self::body::WorkerBody;
use self::connection::AskError;
pub use self::connection::Outgoing;
use self::connector::Connector;
pub use self::idle::Idle;
use self::link::Link;
pub use self::links::Links;
use crate::api::load_report::LoadReport;
use crate::http::local::LocalName;
use crate::telemetry::gateway_metrics::EndpointMetrics;

/// Sends requests to workers.
#[derive(Clone, Copy, Debug)]
pub struct WorkerClient {
    connect_timeout: Duration,
    /// Threads that send requests, where those may share links.
    threads: Option<NonZero<usize>>,
}

/// How a request to a worker ended without an answer.
#[derive(Clone, Debug, thiserror::Error)]
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

/// What a worker answered, as far as it is here.
#[derive(Debug)]
pub struct Answered {
    /// The status.
    pub status: StatusCode,
    /// The headers, as a client gets them.
    pub headers: HeaderMap,
    /// What the worker said of its own load.
    pub report: Option<LoadReport>,
    /// The body, yet to be read.
    pub body: WorkerBody,
}

/// Where a worker is, and the connections to it that are free.
#[derive(Debug)]
pub struct Address {
    connector: Connector,
    idle: Arc<Idle>,
    links: Option<Links>,
}

impl Address {
    /// Host and port of a worker. Nobody is connected yet.
    #[must_use]
    pub fn new(authority: Authority) -> Self {
        Self {
            connector: Connector::new(authority, None),
            idle: Arc::default(),
            links: None,
        }
    }

    /// That of an endpoint, to which requests may share links; what happens is counted.
    #[must_use]
    pub fn of_endpoint(authority: Authority, metrics: &EndpointMetrics) -> Self {
        Self {
            connector: Connector::new(authority, Some(metrics.connections.clone())),
            idle: Arc::default(),
            links: Some(Links::new(metrics.links.clone())),
        }
    }

    /// Host and port.
    #[must_use]
    pub const fn authority(&self) -> &Authority {
        self.connector.authority()
    }

    /// Takes in how many links the worker wants.
    pub fn want_links(&self, count: usize) {
        if let Some(links) = &self.links {
            links.want(count);
        }
    }

    /// Takes in under which name the worker listens within its machine. Free connections that were made otherwise are closed.
    pub fn set_local(&self, name: Option<LocalName>) {
        if self.connector.set_local(name) {
            self.idle.close_all();
        }
    }

    /// Closes connections that nobody has used for a while.
    pub fn close_old_connections(&self) {
        self.idle.close_old();
    }
}

impl WorkerClient {
    /// Connections are given up after `connect_timeout`.
    #[must_use]
    pub const fn new(connect_timeout: Duration) -> Self {
        Self {
            connect_timeout,
            threads: None,
        }
    }

    /// The same for so many threads, whose small requests share links.
    #[must_use]
    pub const fn with_links(self, threads: NonZero<usize>) -> Self {
        Self {
            threads: Some(threads),
            ..self
        }
    }

    /// Sends `request` and waits for the head of its answer.
    pub async fn send(&self, to: &Address, request: &Outgoing<'_>) -> Result<Answered, SendError> {
        if let Some(link) = self.link_for(to, request) {
            match link.ask(request).await {
                Ok(answered) => return Ok(answered),
                Err(AskError::Failed(error)) => return Err(error),
                Err(AskError::NothingSent) => {}
            }
        }
        self.send_alone(to, request).await
    }

    fn link_for(&self, to: &Address, request: &Outgoing<'_>) -> Option<Arc<Link>> {
        let links = to.links.as_ref().filter(|_| request.is_small())?;
        links.take(&to.connector, self.connect_timeout, self.threads?)
    }

    /// Sends `request` on a connection that carries no other meanwhile.
    async fn send_alone(&self, to: &Address, request: &Outgoing<'_>) -> Result<Answered, SendError> {
        let (connection, head) = loop {
            let resting = to.idle.take();
            let was_resting = resting.is_some();
            let mut connection = match resting {
                Some(connection) => connection,
                None => to.connector.connect(self.connect_timeout).await?,
            };
            match connection.ask(to.authority(), request).await {
                Ok(head) => break (connection, head),
                // The worker has closed it meanwhile.
                Err(AskError::NothingSent) if was_resting => {}
                Err(AskError::NothingSent) => {
                    return Err(SendError::BrokenOff("nothing could be sent".to_owned()));
                }
                Err(AskError::Failed(error)) => return Err(error),
            }
        };
        let home = head.is_kept.then(|| Arc::clone(&to.idle));
        Ok(Answered {
            status: head.status,
            headers: head.headers,
            report: head.report,
            body: WorkerBody::new(connection, head.framing, home),
        })
    }
}
