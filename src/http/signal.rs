//! The signals that end a process.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT. Made before the listener is bound, so that no signal is missed.
#[derive(Debug)]
pub struct Termination {
    terminate: Signal,
    interrupt: Signal,
}

impl Termination {
    /// Takes over both signals.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// From now on the next one ends the process at once: somebody who asks twice does not want to wait.
    pub fn insist(mut self) {
        tokio::spawn(async move {
            let signal = self.received().await;
            tracing::warn!(signal, "asked a second time; the process ends at once");
            std::process::exit(1);
        });
    }

    /// Waits for the next one and gives its name.
    pub async fn received(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
