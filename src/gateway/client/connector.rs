//! How a connection to a worker is made: within the machine, where the worker is there and says how, else over the network.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::uri::Authority;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::SendError;
use super::connection::Connection;
use crate::http::local::LocalName;
use crate::http::server::is_out_of_descriptors;
use crate::http::stream::Stream;
use crate::telemetry::gateway_metrics::ConnectionMetrics;

/// How long a silent connection waits before the system asks whether the other side is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Makes connections to one worker.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    /// Host and port.
    authority: Authority,
    /// The name of its socket, where it says that it has one beside that port.
    local: Arc<Mutex<Option<LocalName>>>,
    metrics: Option<ConnectionMetrics>,
}

impl Connector {
    /// To the worker at this authority; what it makes is counted, where there is something to count with.
    pub(super) fn new(authority: Authority, metrics: Option<ConnectionMetrics>) -> Self {
        Self {
            authority,
            local: Arc::default(),
            metrics,
        }
    }

    pub(super) const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Takes in under which name the worker listens within its machine. Gives whether that is news.
    pub(super) fn set_local(&self, name: Option<LocalName>) -> bool {
        let mut known = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *known, name) != name
    }

    /// Opens a connection; each address of the worker gets its share of the time.
    pub(super) async fn connect(&self, patience: Duration) -> Result<Connection, SendError> {
        let stream = self.open(patience).await.map_err(|error| {
            if is_out_of_descriptors(&error) {
                SendError::OutOfDescriptors
            } else {
                SendError::NotConnected(error.to_string())
            }
        })?;
        if let Some(metrics) = &self.metrics {
            metrics.count(matches!(stream, Stream::Local(_)));
        }
        Ok(Connection::over(stream))
    }

    async fn open(&self, patience: Duration) -> io::Result<Stream> {
        let addresses = within(patience, addresses(&self.authority)).await?;
        let share = patience / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
        let mut last = io::Error::other("its name has no address");
        for address in addresses {
            if let Some(stream) = self.open_local(address).await? {
                return Ok(stream);
            }
            match within(share, TcpStream::connect(address)).await {
                Ok(stream) => return prepared(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// None where the worker is not to be had within the machine.
    async fn open_local(&self, address: SocketAddr) -> io::Result<Option<Stream>> {
        let name = *self.local.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(name) = name.filter(|name| name.is_beside(address)) else {
            return Ok(None);
        };
        match name.connect().await {
            Ok(stream) => Ok(Some(Stream::Local(stream))),
            Err(error) if is_out_of_descriptors(&error) => Err(error),
            // Another worker has taken its place, or it is beyond the bounds of this container.
            Err(error) => {
                tracing::debug!(authority = %self.authority, %error, "no connection within the machine");
                Ok(None)
            }
        }
    }
}

fn prepared(stream: TcpStream) -> io::Result<Stream> {
    stream.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE);
    socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(Stream::Tcp(stream))
}

async fn within<T>(time: Duration, doing: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let done = timeout(time, doing).await;
    done.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn addresses(authority: &Authority) -> io::Result<Vec<SocketAddr>> {
    let port = authority.port_u16().unwrap_or(80);
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    Ok(lookup_host((host, port)).await?.collect())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use tokio::net::{TcpListener, UnixListener};

    use super::*;
    use crate::telemetry::gateway_metrics::GatewayMetrics;

    const PATIENCE: Duration = Duration::from_secs(5);

    /// A port, and what listens beside it within the machine.
    async fn worker() -> (TcpListener, LocalName, UnixListener) {
        let network = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (name, local) = LocalName::listen(network.local_addr().unwrap()).unwrap();
        (network, name, local)
    }

    fn to(listener: &TcpListener) -> (Connector, ConnectionMetrics) {
        let metrics = GatewayMetrics::new().of_endpoint("a").connections;
        let authority = listener.local_addr().unwrap().to_string().parse().unwrap();
        (Connector::new(authority, Some(metrics.clone())), metrics)
    }

    #[tokio::test]
    async fn it_stays_within_the_machine_where_the_worker_says_how() {
        let (network, name, local) = worker().await;
        let (connector, metrics) = to(&network);
        connector.connect(PATIENCE).await.unwrap();
        network.accept().await.unwrap();
        connector.set_local(Some(name));
        connector.connect(PATIENCE).await.unwrap();
        local.accept().await.unwrap();
        assert_eq!(metrics.counted(), [1, 1]);
    }

    #[tokio::test]
    async fn a_name_that_nobody_listens_under_any_more_costs_nothing() {
        let (network, name, local) = worker().await;
        drop(local);
        let (connector, metrics) = to(&network);
        connector.set_local(Some(name));
        connector.connect(PATIENCE).await.unwrap();
        assert_eq!(metrics.counted(), [1, 0]);
    }

    #[tokio::test]
    async fn who_forwards_to_a_worker_is_not_gone_around() {
        let (_network, name, _local) = worker().await;
        let forwarding = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (connector, _) = to(&forwarding);
        connector.set_local(Some(name));
        connector.connect(PATIENCE).await.unwrap();
        forwarding.accept().await.unwrap();
    }

    #[tokio::test]
    async fn where_nobody_listens_at_all_there_is_no_connection() {
        let (network, name, local) = worker().await;
        let (connector, metrics) = to(&network);
        connector.set_local(Some(name));
        drop((network, local));
        let error = connector.connect(PATIENCE).await.unwrap_err();
        assert!(matches!(error, SendError::NotConnected(_)), "{error}");
        assert_eq!(metrics.counted(), [0, 0]);
    }
}
