//! Where a request comes from, and the id under which it is found.

use std::net::SocketAddr;

use axum::http::HeaderValue;

use super::request_id::RequestId;

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its address.
    pub address: SocketAddr,
    /// The address without the port, as headers have it.
    pub ip: HeaderValue,
}

/// What every request has, whatever it asks for. Handlers behind the router find it in the request's extensions.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Who sent it.
    pub client: Client,
    /// Its id.
    pub id: RequestId,
}

impl Client {
    /// Who is at this address.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        let ip = HeaderValue::try_from(address.ip().to_string());
        Self {
            address,
            ip: ip.expect("an IP address makes a header value"),
        }
    }
}
