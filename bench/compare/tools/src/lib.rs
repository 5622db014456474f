//! What the programs of `bench/compare` share: reading `--name value` from the command line, and hyper on one thread.

use std::convert::Infallible;
use std::env;
use std::error::Error;
use std::net::SocketAddr;
use std::str::FromStr;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::task::{LocalSet, spawn_local};

/// What went wrong, for the one line that a program ends with.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Answers requests by `service` on this thread, as bare as hyper does it, until no connection can be taken any more.
///
/// # Errors
///
/// There is no runtime, or no connection.
pub fn serve<S, B>(listen: SocketAddr, service: S) -> Result<(), Failure>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + 'static,
    B: Body + 'static,
    B::Error: Into<Failure>,
{
    let runtime = Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(LocalSet::new().run_until(accept(listen, service)))
}

async fn accept<S, B>(listen: SocketAddr, service: S) -> Result<(), Failure>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + 'static,
    B: Body + 'static,
    B::Error: Into<Failure>,
{
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = service.clone();
        spawn_local(async move {
            // How a connection ends is the client's business.
            let _ = http1::Builder::new()
                .pipeline_flush(true)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// The command line, as pairs of `--name value` and flags.
pub struct Arguments(Vec<String>);

impl Arguments {
    /// Those of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self(env::args().skip(1).collect())
    }

    /// Whether a flag was given.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|argument| argument == name)
    }

    /// The value after a name, where there is one.
    ///
    /// # Errors
    ///
    /// The value is none of this type.
    pub fn optional<T: FromStr>(&self, name: &str) -> Result<Option<T>, Failure>
    where
        T::Err: Error + Send + Sync + 'static,
    {
        let place = self.0.iter().position(|argument| argument == name);
        let Some(text) = place.and_then(|place| self.0.get(place + 1)) else {
            return Ok(None);
        };
        text.parse()
            .map(Some)
            .map_err(|error| format!("{name} {text}: {error}").into())
    }

    /// The value after a name.
    ///
    /// # Errors
    ///
    /// There is none, or it is none of this type.
    pub fn required<T: FromStr>(&self, name: &str) -> Result<T, Failure>
    where
        T::Err: Error + Send + Sync + 'static,
    {
        self.optional(name)?
            .ok_or_else(|| format!("{name} is missing").into())
    }
}
