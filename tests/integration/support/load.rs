//! Steady load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;

use super::client::Client;

/// Clients that ask for one prediction after the other until they are stopped.
pub(crate) struct Load {
    is_over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<usize>>,
}

impl Load {
    pub(crate) fn on(client: &Client) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let clients = (0..8)
            .map(|_| {
                let (client, is_over) = (client.clone(), is_over.clone());
                tokio::spawn(async move {
                    let mut answered = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        client.predict().await.assert_ok();
                        answered += 1;
                    }
                    answered
                })
            })
            .collect();
        Self { is_over, clients }
    }

    /// Stops the clients, none of which may have failed; how many requests were answered.
    pub(crate) async fn stop(self) -> usize {
        self.is_over.store(true, Ordering::Relaxed);
        let mut answered = 0;
        for client in self.clients {
            answered += client.await.expect("no request failed");
        }
        answered
    }
}
