//! What every role does when it starts: read the configuration, make a runtime, bind.

use std::net::SocketAddr;
use std::path::Path;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use super::Failure;
use crate::cli::FrontArgs;
use crate::config::{Config, Layers};
use crate::http::threads::Threads;

/// The environment, over whatever file and under whatever flags come to it.
pub(super) fn layers() -> Layers {
    // Variables that are not text cannot name anything of ours.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Layers::new().with_environment(variables)
}

/// `layers` under the flags of a gateway.
pub(super) fn with_front_flags(layers: Layers, front: &FrontArgs) -> Layers {
    layers
        .with_flag("gateway.listen", front.listen.map(|address| address.to_string()))
        .with_flag("gateway.admin", front.admin.map(|address| address.to_string()))
        .with_flag("gateway.policy", front.policy.clone())
}

/// The checked configuration of `layers` over `file`.
pub(super) fn load(layers: &Layers, file: Option<&Path>) -> Result<Config, Failure> {
    let layers = layers.clone().with_file(file).map_err(Failure::usage)?;
    Config::check(&layers).map_err(Failure::usage)
}

/// The runtime of everything but connections that have threads of their own.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::failed)
}

/// So many threads for connections. Needs the runtime.
pub(super) fn network_threads(count: usize) -> Result<Threads, Failure> {
    Threads::start(count).map_err(Failure::failed)
}

/// Allows this process as many file descriptors as the system lets it have: each connection takes one, and the usual
/// soft limit of 1,024 is far below `max_connections`.
pub(super) fn raise_descriptor_limit(wanted: usize) {
    let wanted = u64::try_from(wanted)
        .unwrap_or(u64::MAX)
        .saturating_mul(2)
        .saturating_add(1024);
    match rlimit::increase_nofile_limit(wanted) {
        Ok(limit) if limit < wanted => {
            tracing::warn!(limit, wanted, "fewer file descriptors than connections may need");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit of file descriptors could not be raised"),
    }
}

/// Binds the address that the configuration gives for `key`.
pub(super) async fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .await
        .map_err(|error| Failure::failed(format!("{key}: {address} cannot be bound: {error}")))
}
