//! Stands in front of a worker and, once told to, resets connections in the middle of answers to predictions, and links in
//! the middle of several.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How much of an answer gets through, in percent.
const PARTS: [usize; 5] = [0, 2, 25, 80, 99];

/// The proxy. It stops when it is dropped.
pub(crate) struct ResettingProxy {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    cuts: AtomicBool,
    resets: AtomicUsize,
}

impl ResettingProxy {
    /// In front of the worker at this address, with everything passed on.
    pub(crate) async fn before(worker: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::<Shared>::default();
        let of_task = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((gateway, _)) = listener.accept().await {
                // That a connection ends with an error is what this is for.
                tokio::spawn(pass_on(gateway, worker, of_task.clone()));
            }
        });
        Self {
            address,
            shared,
            task,
        }
    }

    /// From now on no answer to a prediction is whole.
    pub(crate) fn cut(&self) {
        self.shared.cuts.store(true, Ordering::Relaxed);
    }

    /// How many answers were cut off.
    pub(crate) fn resets(&self) -> usize {
        self.shared.resets.load(Ordering::Relaxed)
    }
}

impl Drop for ResettingProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(mut gateway: TcpStream, worker: SocketAddr, shared: Arc<Shared>) -> io::Result<()> {
    let mut worker = TcpStream::connect(worker).await?;
    let (mut request, mut answer) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let (mut is_prediction, mut is_link) = (false, false);
    loop {
        tokio::select! {
            read = gateway.read(&mut request) => {
                let request = &request[..read?];
                if request.is_empty() {
                    return Ok(());
                }
                is_prediction = request.starts_with(b"POST");
                worker.write_all(request).await?;
            }
            read = worker.read(&mut answer) => {
                let answer = &answer[..read?];
                if answer.is_empty() {
                    return Ok(());
                }
                if (is_prediction || is_link) && shared.cuts.load(Ordering::Relaxed) {
                    let turn = shared.resets.fetch_add(1, Ordering::Relaxed);
                    let part = answer.len() * PARTS[turn % PARTS.len()] / 100;
                    gateway.write_all(&answer[..part]).await?;
                    // What a socket without time to linger ends with is a RST.
                    return gateway.set_zero_linger();
                }
                is_link |= answer.starts_with(b"HTTP/1.1 101 ");
                gateway.write_all(answer).await?;
            }
        }
    }
}
