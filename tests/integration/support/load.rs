//! Load, and the record of what came of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, interval};

use super::client::Client;
use super::wait::until;

/// Clients that ask for predictions of `iris` until they are stopped.
pub(crate) struct Load {
    is_over: Arc<AtomicBool>,
    record: Arc<Mutex<Record>>,
    clients: Vec<JoinHandle<()>>,
}

/// What came of every request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    /// Good answers, by who gave them.
    pub(crate) answered_by: BTreeMap<String, usize>,
    /// The longest that a good answer took.
    pub(crate) slowest: Duration,
    /// Everything else that came.
    pub(crate) failures: Vec<String>,
}

impl Record {
    pub(crate) fn answered(&self) -> usize {
        self.answered_by.values().sum()
    }
}

impl Load {
    /// Eight clients, each of which asks again as soon as it has its answer.
    pub(crate) fn on(client: &Client) -> Self {
        let load = Self::new();
        let clients = (0..8).map(|_| {
            let (client, is_over, record) = (client.clone(), load.is_over.clone(), load.record.clone());
            tokio::spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    ask(&client, &record).await;
                }
            })
        });
        let clients = clients.collect();
        Self { clients, ..load }
    }

    /// A hundred requests a second, whether those before are answered or not; some hundreds are answered already.
    pub(crate) async fn steady(client: &Client) -> Self {
        let mut load = Self::new();
        let (client, is_over, record) = (client.clone(), load.is_over.clone(), load.record.clone());
        load.clients.push(tokio::spawn(async move {
            let mut requests = JoinSet::new();
            let mut due = interval(Duration::from_millis(10));
            while !is_over.load(Ordering::Relaxed) {
                due.tick().await;
                let (client, record) = (client.clone(), record.clone());
                requests.spawn(async move { ask(&client, &record).await });
            }
            requests.join_all().await;
        }));
        // Retries are a share of the requests before them (docs/retries.md).
        load.until_answered(200).await;
        load
    }

    fn new() -> Self {
        Self {
            is_over: Arc::default(),
            record: Arc::default(),
            clients: Vec::new(),
        }
    }

    /// Waits until so many more are answered.
    pub(crate) async fn until_answered(&self, more: usize) {
        let before = self.so_far().answered();
        until("requests go on", || self.so_far().answered() >= before + more).await;
    }

    /// Waits until this worker has given ten more answers.
    pub(crate) async fn until_answered_by(&self, worker: &str) {
        let given = || self.so_far().answered_by.get(worker).copied().unwrap_or_default();
        let before = given();
        until(&format!("{worker} gives answers"), || given() >= before + 10).await;
    }

    pub(crate) fn so_far(&self) -> Record {
        lock(&self.record).clone()
    }

    /// Stops the clients, none of which may have failed, and tells what came.
    pub(crate) async fn end(self) -> Record {
        self.is_over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("no client panics");
        }
        let record = lock(&self.record).clone();
        let (failed, answered) = (record.failures.len(), record.answered());
        let first = record.failures.iter().take(5).collect::<Vec<_>>();
        assert!(
            failed == 0,
            "{failed} requests failed beside {answered}; the first: {first:#?}"
        );
        record
    }

    /// The same; how many requests were answered.
    pub(crate) async fn stop(self) -> usize {
        self.end().await.answered()
    }
}

fn lock(record: &Mutex<Record>) -> std::sync::MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One request. A good answer has the right prediction in it; everything else is a failure.
async fn ask(client: &Client, record: &Mutex<Record>) {
    let begun = Instant::now();
    let answer = client.try_send(client.prediction()).await;
    let took = begun.elapsed();
    let mut record = lock(record);
    match answer {
        Ok(answer) if answer.status == 200 && answer.try_json()["predictions"] == json!(["setosa"]) => {
            *record.answered_by.entry(answer.worker().to_owned()).or_default() += 1;
            record.slowest = record.slowest.max(took);
        }
        Ok(answer) => {
            let (status, worker) = (answer.status, answer.worker());
            let (attempts, text) = (answer.attempts(), answer.text());
            let failure = format!("{status} from {worker:?} after {took:?} and {attempts} attempts: {text}");
            record.failures.push(failure);
        }
        Err(error) => record.failures.push(format!("after {took:?}: {error:?}")),
    }
}
