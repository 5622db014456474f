//! The accept loop of both servers.
//!
//! It is our own because `axum::serve` sets no time limit on a request's head, so that a client which sends one byte
//! a minute holds its connection for ever, and because a graceful end must not wait for idle connections.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::drain::{Drain, Phase};
use super::origin::Client;
use super::service::{Predictions, Service};
use super::threads::Threads;
use super::unread::Unread;
use crate::config::HttpConfig;

/// How long a connection that never carried a request is kept once the server closes.
const UNUSED_CONNECTION_GRACE: Duration = Duration::from_millis(250);
/// How long sent bytes may stay unacknowledged, or a client may take none, before its connection is given up.
const STALLED_CLIENT: Duration = Duration::from_secs(30);
/// How long the accept loop rests when the process has no descriptor left.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Serves `service` on `listener` until `drain` closes, on `threads`, then ends every connection without cutting off a request;
/// what still runs after `grace` is ended all the same. Gives back how many requests that were.
pub async fn serve<P: Predictions>(
    listener: TcpListener,
    service: Service<P>,
    limits: &HttpConfig,
    threads: &Threads,
    drain: &Drain,
    grace: Duration,
) -> usize {
    let connections = TaskTracker::new();
    let cut_off = CancellationToken::new();
    let places = Arc::new(Semaphore::new(limits.max_connections));
    let header_timeout = limits.header_timeout;
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = drain.reached(Phase::Closing) => match timeout(Duration::ZERO, accept(&listener, &places)).await {
                // The kernel had taken it before; closing the listener now would reset it.
                Ok(waiting) => waiting,
                Err(_) => break,
            },
        };
        let (stream, client, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                if is_out_of_descriptors(&error) {
                    sleep(ACCEPT_BACKOFF).await;
                }
                continue;
            }
        };
        let assigned = threads.assign();
        let runtime = assigned.runtime.clone();
        let connection = Connection {
            client: Client::at(client),
            service: service.clone(),
            header_timeout,
            drain: drain.clone(),
        };
        let cut_off = cut_off.clone();
        connections.spawn_on(
            async move {
                let served = connection.serve(stream);
                cut_off.run_until_cancelled(served).await;
                drop((place, assigned));
            },
            &runtime,
        );
    }
    drop(listener);
    connections.close();
    if timeout(grace, connections.wait()).await.is_ok() {
        return 0;
    }
    let remaining = connections.len();
    cut_off.cancel();
    connections.wait().await;
    remaining
}

/// Whether this process, or the whole system, has no file descriptor left (EMFILE, ENFILE).
#[must_use]
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(24 | 23))
}

type Place = tokio::sync::OwnedSemaphorePermit;

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(std::net::TcpStream, SocketAddr, Place)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, client) = listener.accept().await?;
    stream.set_nodelay(true)?;
    // Without it a client that never reads its answer holds the connection for ever.
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(STALLED_CLIENT))?;
    Ok((stream.into_std()?, client, place))
}

/// What serves a connection, on whatever thread it is given to.
struct Connection<P> {
    client: Client,
    service: Service<P>,
    header_timeout: Duration,
    drain: Drain,
}

impl<P: Predictions> Connection<P> {
    async fn serve(self, stream: std::net::TcpStream) {
        if let Err(error) = self.serve_requests(stream).await {
            tracing::debug!(client = %self.client.address, %error, "a connection ended early");
        }
    }

    async fn serve_requests(&self, stream: std::net::TcpStream) -> Result<(), Box<dyn Error + Send + Sync>> {
        // Known from here on to the runtime of this thread.
        let stream = TcpStream::from_std(stream)?;
        let was_used = AtomicBool::new(false);
        let service = service_fn(|request| {
            was_used.store(true, Ordering::Relaxed);
            call(&self.service, request, self.client.clone())
        });
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(self.header_timeout)
                .pipeline_flush(true)
                .serve_connection(TokioIo::new(stream), service)
        );
        tokio::select! {
            ended = connection.as_mut() => return Ok(ended?),
            () = self.drain.reached(Phase::Closing) => connection.as_mut().graceful_shutdown(),
        }
        tokio::select! {
            ended = connection.as_mut() => Ok(ended?),
            () = unused(&was_used) => Ok(()),
        }
    }
}

/// Resolves for a connection that no request ever came on; hyper would wait for its first one.
async fn unused(was_used: &AtomicBool) {
    sleep(UNUSED_CONNECTION_GRACE).await;
    if was_used.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

async fn call<P: Predictions>(
    service: &Service<P>,
    request: Request<Incoming>,
    client: Client,
) -> Result<Response, Infallible> {
    let (head, body) = request.into_parts();
    let (unread, body) = Unread::watch(body);
    let mut response = service.answer(Request::from_parts(head, body), client).await;
    unread.announce(response.headers_mut());
    Ok(response)
}
