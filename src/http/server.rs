//! The accept loop of both servers.
//!
//! It is our own because `axum::serve` sets no time limit on a request's head, so that a client which sends one byte
//! a minute holds its connection for ever, and because a graceful end must not wait for idle connections.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use bytes::BytesMut;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::drain::{Drain, Phase};
use super::link;
use super::origin::Client;
use super::seldom::Seldom;
use super::service::{Predictions, Service};
use super::silence::{Activity, Noted};
use super::stream::{Stream, Unattached};
use super::threads::Threads;
use super::unread::Unread;
use crate::config::HttpConfig;

/// How long a connection that never carried a request is kept once the server closes.
const UNUSED_CONNECTION_GRACE: Duration = Duration::from_millis(250);
/// How long sent bytes may stay unacknowledged, or a client may take none, before its connection is given up.
const STALLED_CLIENT: Duration = Duration::from_secs(30);
/// How long the accept loop rests when the process has no descriptor left.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Where clients connect.
pub struct Doors {
    /// Over the network.
    pub network: TcpListener,
    /// Within the machine, where that is possible.
    pub local: Option<UnixListener>,
}

impl From<TcpListener> for Doors {
    fn from(network: TcpListener) -> Self {
        Self { network, local: None }
    }
}

/// Serves `service` to who comes by `doors` until `drain` closes, on `threads`, then ends every connection without cutting off a request;
/// what still runs after `grace` is ended all the same. Gives back how many requests that were.
pub async fn serve<P: Predictions>(
    doors: Doors,
    service: Service<P>,
    limits: &HttpConfig,
    threads: &Threads,
    drain: &Drain,
    grace: Duration,
) -> usize {
    let service = Arc::new(service);
    let connections = TaskTracker::new();
    let cut_off = CancellationToken::new();
    let places = Arc::new(Semaphore::new(limits.max_connections));
    let header_timeout = limits.header_timeout;
    loop {
        let accepted = tokio::select! {
            accepted = accept(&doors, &places) => accepted,
            () = drain.reached(Phase::Closing) => match timeout(Duration::ZERO, accept(&doors, &places)).await {
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
            service: Arc::clone(&service),
            header_timeout,
            drain: drain.clone(),
            cut_off: cut_off.clone(),
        };
        connections.spawn_on(
            async move {
                connection.serve(stream).await;
                drop((place, assigned));
            },
            &runtime,
        );
    }
    drop(doors);
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

async fn accept(doors: &Doors, places: &Arc<Semaphore>) -> io::Result<(Unattached, SocketAddr, Place)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, client) = tokio::select! {
        accepted = doors.network.accept() => {
            let (stream, client) = accepted?;
            stream.set_nodelay(true)?;
            // Without it a client that never reads its answer holds the connection for ever.
            #[cfg(target_os = "linux")]
            socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(STALLED_CLIENT))?;
            (Unattached::Tcp(stream.into_std()?), client)
        }
        accepted = accept_local(doors.local.as_ref()) => {
            let stream = Unattached::Local(accepted?.into_std()?);
            (stream, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        }
    };
    Ok((stream, client, place))
}

async fn accept_local(listener: Option<&UnixListener>) -> io::Result<UnixStream> {
    match listener {
        Some(listener) => Ok(listener.accept().await?.0),
        None => std::future::pending().await,
    }
}

/// What serves a connection, on whatever thread it is given to.
struct Connection<P> {
    client: Client,
    service: Arc<Service<P>>,
    header_timeout: Duration,
    drain: Drain,
    /// Ends it as it is.
    cut_off: CancellationToken,
}

impl<P: Predictions> Connection<P> {
    /// Serves it until it ends, or is cut off.
    async fn serve(self, stream: Unattached) {
        if let Err(error) = self.serve_requests(stream).await {
            tracing::debug!(client = %self.client.address, %error, "a connection ended early");
        }
    }

    async fn serve_requests(&self, stream: Unattached) -> Result<(), Box<dyn Error + Send + Sync>> {
        let activity = Arc::<Activity>::default();
        let stream = Noted {
            // Known from here on to the runtime of this thread.
            stream: TokioIo::new(stream.attach()?),
            activity: Arc::clone(&activity),
        };
        let becomes_link = BecomesLink::default();
        let service = service_fn(|request| call(self, &activity, &becomes_link, request));
        let mut connection = pin!(
            http1::Builder::new()
                .pipeline_flush(true)
                .serve_connection(stream, service)
                .with_upgrades()
        );
        let closing = async {
            tokio::select! {
                () = self.drain.reached(Phase::Closing) => Interruption::Closing,
                () = self.given_up(&activity) => Interruption::GivenUp,
            }
        };
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                ended?;
                let upgrade = becomes_link.lock().unwrap_or_else(PoisonError::into_inner).take();
                return match upgrade {
                    Some(upgrade) => self.serve_link(upgrade.await?).await,
                    None => Ok(()),
                };
            }
            interruption = Seldom::new(closing) => match interruption {
                Interruption::GivenUp => return Ok(()),
                Interruption::Closing => connection.as_mut().graceful_shutdown(),
            },
        }
        tokio::select! {
            biased;
            ended = connection.as_mut() => Ok(ended?),
            () = self.given_up(&activity) => Ok(()),
            () = unused(&activity) => Ok(()),
        }
    }

    async fn serve_link(&self, upgraded: Upgraded) -> Result<(), Box<dyn Error + Send + Sync>> {
        let parts = upgraded
            .downcast::<Noted<TokioIo<Stream>>>()
            .map_err(|_| "the connection is none of this server's")?;
        let over = (parts.io.stream.into_inner(), BytesMut::from(parts.read_buf));
        let serving = link::serve(
            over,
            &self.service,
            &self.client,
            &self.drain,
            self.header_timeout,
        );
        tokio::select! {
            biased;
            ended = serving => Ok(ended?),
            () = Seldom::new(self.cut_off.cancelled()) => Ok(()),
        }
    }

    /// Resolves once it is to be ended as it is.
    async fn given_up(&self, activity: &Activity) {
        tokio::select! {
            () = self.cut_off.cancelled() => {}
            () = activity.silence(self.header_timeout) => {}
        }
    }
}

/// Why a connection is not served on as before.
enum Interruption {
    /// The server closes.
    Closing,
    /// Nobody asks for anything, or the time to end it in good order is over.
    GivenUp,
}

/// Resolves for a connection that no request ever came on; hyper would wait for its first one.
async fn unused(activity: &Activity) {
    sleep(UNUSED_CONNECTION_GRACE).await;
    if activity.has_begun() {
        std::future::pending::<()>().await;
    }
}

/// What a connection becomes once its present answer is out.
type BecomesLink = Mutex<Option<OnUpgrade>>;

async fn call<P: Predictions>(
    connection: &Connection<P>,
    activity: &Activity,
    becomes_link: &BecomesLink,
    mut request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let _answering = activity.answering();
    let service = &connection.service;
    if service.takes_links() && link::is_asked_for(&request) {
        let upgrade = hyper::upgrade::on(&mut request);
        *becomes_link.lock().unwrap_or_else(PoisonError::into_inner) = Some(upgrade);
        return Ok(link::beginning());
    }
    let (head, body) = request.into_parts();
    let (unread, body) = Unread::watch(body);
    let request = Request::from_parts(head, body);
    let mut response = service.answer(request, connection.client.clone(), || true).await;
    unread.announce(response.headers_mut());
    Ok(response)
}
