//! The way between a gateway and a worker on the same machine: a socket without a network (docs/adr/0029).
//!
//! A worker that is reached by a loopback address opens one beside its port and says its name where it says what models it has. The name
//! stands in Linux's abstract namespace, which no file and no clean-up belongs to, and which ends where loopback ends, at the
//! bounds of a container. Other systems have no such names: there everything goes over the network.

use std::io;
use std::net::SocketAddr;

use rand::RngExt;
use tokio::net::{UnixListener, UnixStream};

const PREFIX: &str = "millrace";

/// The name of a worker's socket: the port that it belongs to, and what nobody can guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalName {
    port: u16,
    secret: u64,
}

impl LocalName {
    /// Listens under a new name for who would connect to this address; None where the address is not this machine's alone, or the
    /// system has no such names.
    pub fn listen(beside: SocketAddr) -> Option<(Self, UnixListener)> {
        let ip = beside.ip();
        if !ip.is_loopback() && !ip.is_unspecified() {
            return None;
        }
        let name = Self {
            port: beside.port(),
            secret: rand::rng().random(),
        };
        match UnixListener::bind(name.path()) {
            Ok(listener) => Some((name, listener)),
            Err(error) => {
                tracing::debug!(%error, "no socket within the machine");
                None
            }
        }
    }

    /// What `Display` has written; None for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (port, secret) = text.split_once('-')?;
        Some(Self {
            port: port.parse().ok()?,
            secret: u64::from_str_radix(secret, 16).ok()?,
        })
    }

    /// Whether who listens at this address is who said this name: one that forwards connections to a worker has another port, or
    /// is on another machine.
    #[must_use]
    pub fn is_beside(self, address: SocketAddr) -> bool {
        address.ip().is_loopback() && address.port() == self.port
    }

    /// Connects to who listens under this name.
    pub async fn connect(self) -> io::Result<UnixStream> {
        UnixStream::connect(self.path()).await
    }

    /// A zero in front makes it a name in the abstract namespace, unix(7).
    fn path(self) -> String {
        format!("\0{PREFIX}-{self}")
    }
}

impl std::fmt::Display for LocalName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}-{:016x}", self.port, self.secret)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_is_read_as_it_was_written(port: u16, secret: u64) {
            let name = LocalName { port, secret };
            prop_assert_eq!(LocalName::parse(&name.to_string()), Some(name));
        }

        #[test]
        fn whatever_somebody_says_is_no_name_or_one_that_is_written_alike(text in "[0-9a-f+-]{0,24}") {
            if let Some(name) = LocalName::parse(&text) {
                prop_assert_eq!(LocalName::parse(&name.to_string()), Some(name));
            }
        }
    }

    #[test]
    fn only_this_machine_and_this_port_are_beside_it() {
        let name = LocalName {
            port: 9000,
            secret: 7,
        };
        for (address, expected) in [
            ("127.0.0.1:9000", true),
            ("127.0.0.2:9000", true),
            ("[::1]:9000", true),
            ("127.0.0.1:9001", false),
            ("10.0.0.1:9000", false),
        ] {
            assert_eq!(name.is_beside(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn who_listens_beside_loopback_is_found_by_its_name_and_nobody_after_it() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        assert!(LocalName::listen("192.0.2.1:9000".parse().unwrap()).is_none());
        let (name, listener) = LocalName::listen("127.0.0.1:9000".parse().unwrap()).unwrap();
        let (other, _) = LocalName::listen("0.0.0.0:9000".parse().unwrap()).unwrap();
        assert_ne!(name, other, "two containers may have the same port");
        let mut here = name.connect().await.unwrap();
        let (mut there, _) = listener.accept().await.unwrap();
        here.write_all(b"hello").await.unwrap();
        let mut heard = [0; 5];
        there.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello");
        drop(listener);
        assert!(name.connect().await.is_err());
    }
}
