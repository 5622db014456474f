//! Sends copies of requests to a shadow, and compares its answers with live's, which their clients have long got.
//!
//! A copy is sent by a task of its own after live has answered. There are so many at a time at most; beyond that copies
//! are dropped. A copy is tried once, and what comes of it is no concern of breakers, budgets, limits or latency
//! estimates.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, Response, header};
use bytes::Bytes;
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use super::comparison::{Compared, NotComparable, compare};
use super::{Rollout, split};
use crate::gateway::Gateway;
use crate::gateway::answer::{Answer, HELD_ANSWER};
use crate::gateway::balance::Moment;
use crate::gateway::client::SendError;
use crate::gateway::endpoint::Endpoint;
use crate::gateway::forward::Call;
use crate::gateway::target::{Target, with_version};
use crate::http::compression::Coding;
use crate::http::deadline::Deadline;
use crate::http::headers;
use crate::telemetry::gateway_metrics::ShadowMetrics;

/// Copies on their way at once, of one gateway.
pub(super) const MAX_COPIES: usize = 64;
/// Pairs of latencies that the ratio goes by: the last ones.
const LATENCIES: usize = 1_000;

/// The comparison of one shadow with one live version.
#[derive(Debug)]
pub(super) struct Shadow {
    live: String,
    version: String,
    /// The sequence that chooses which requests are copied; not that of the splits, or a share would always be the same
    /// part.
    turns: AtomicU64,
    dropped: AtomicU64,
    figures: Mutex<Figures>,
    metrics: ShadowMetrics,
}

/// What was found so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    /// When it began.
    pub(super) since: Moment,
    /// The versions that answered, as they say themselves: behind a label they change.
    pub(super) versions: Option<[String; 2]>,
    pub(super) compared: u64,
    pub(super) different: u64,
    pub(super) not_comparable: u64,
    pub(super) failed: u64,
    pub(super) max_abs_difference: f64,
    pub(super) classes: u64,
    pub(super) changed: u64,
    /// Of live and the shadow, in seconds.
    latencies: VecDeque<[f32; 2]>,
}

/// What came of a copy.
enum Outcome {
    Compared(Compared, Option<[Duration; 2]>),
    NotComparable,
    Failed,
}

impl Shadow {
    pub(super) fn new(live: &str, version: &str, metrics: ShadowMetrics, now: Moment) -> Self {
        let figures = Figures {
            since: now,
            ..Figures::default()
        };
        Self {
            live: live.to_owned(),
            version: version.to_owned(),
            turns: AtomicU64::default(),
            dropped: AtomicU64::default(),
            figures: Mutex::new(figures),
            metrics,
        }
    }

    /// Whether it compares these.
    pub(super) fn is_of(&self, live: &str, version: &str) -> bool {
        self.live == live && self.version == version
    }

    /// What was found so far.
    pub(super) fn figures(&self) -> Figures {
        self.figures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Copies that were not sent.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn drop_one(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        self.metrics.count("dropped");
    }

    /// Takes in what came of a copy. Where other versions than before have answered, everything begins anew.
    fn take_in(&self, outcome: Outcome, now: Moment) {
        let mut figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        if let Outcome::Compared(compared, _) = &outcome
            && figures
                .versions
                .as_ref()
                .is_some_and(|known| *known != compared.versions)
        {
            *figures = Figures {
                since: now,
                ..Figures::default()
            };
            self.dropped.store(0, Ordering::Relaxed);
        }
        self.metrics.count(figures.take_in(outcome));
        self.metrics.max_abs_difference.set(figures.max_abs_difference);
        self.metrics
            .changed_classes
            .set(figures.changed_classes().unwrap_or_default());
        if let Some(ratio) = figures.latency_ratio() {
            self.metrics.latency_ratio.set(ratio);
        }
    }
}

impl Figures {
    fn take_in(&mut self, outcome: Outcome) -> &'static str {
        match outcome {
            Outcome::Failed => {
                self.failed += 1;
                "failed"
            }
            Outcome::NotComparable => {
                self.not_comparable += 1;
                "not_comparable"
            }
            Outcome::Compared(Compared { difference, versions }, latencies) => {
                self.versions = Some(versions);
                self.compared += 1;
                self.max_abs_difference = self.max_abs_difference.max(difference.max_abs);
                self.classes += difference.classes;
                self.changed += difference.changed;
                self.latencies
                    .extend(latencies.map(|pair| pair.map(|time| time.as_secs_f32())));
                if self.latencies.len() > LATENCIES {
                    self.latencies.pop_front();
                }
                if difference.is_any() {
                    self.different += 1;
                    return "different";
                }
                "same"
            }
        }
    }

    /// The share of the classes that are others; none where there were no classes.
    pub(super) fn changed_classes(&self) -> Option<f64> {
        (self.classes > 0).then(|| self.changed as f64 / self.classes as f64)
    }

    /// The median latency of the shadow by that of live, for the same requests.
    pub(super) fn latency_ratio(&self) -> Option<f64> {
        let median = |which: usize| {
            let mut times: Vec<f32> = self.latencies.iter().map(|pair| pair[which]).collect();
            let middle = times.len() / 2;
            let (_, median, _) = times.select_nth_unstable_by(middle, f32::total_cmp);
            f64::from(*median)
        };
        (!self.latencies.is_empty()).then(|| median(1) / median(0).max(1e-6))
    }
}

/// One copy on its way.
struct Copy {
    shadow: Arc<Shadow>,
    call: Call,
    live: Said,
    /// What live took, where that is known.
    took: Option<Duration>,
    _permit: OwnedSemaphorePermit,
}

/// An answer, whole.
struct Said {
    headers: HeaderMap,
    body: Bytes,
}

/// Sends the shadow of `rollout`, if it has one, a copy of a request that live has answered. Nothing is waited for: the
/// answer is there, and stays as it is.
pub(super) async fn copy(
    gateway: &Arc<Gateway>,
    rollout: &Rollout,
    call: &Call,
    response: &mut Response<Body>,
    took: Option<Duration>,
) {
    let Some(shadow) = &rollout.shadow else { return };
    let share = rollout.config.shadow_share.unwrap_or(1.0);
    let turn = shadow.turns.fetch_add(1, Ordering::Relaxed);
    if split::at_turn(turn) >= share {
        return;
    }
    let Ok(permit) = Arc::clone(&gateway.rollouts.copies).try_acquire_owned() else {
        return shadow.drop_one();
    };
    let Some(body) = held(response.body_mut()).await else {
        return shadow.take_in(Outcome::NotComparable, gateway.clock.now());
    };
    let live = Said {
        headers: response.headers().clone(),
        body,
    };
    let Some(call) = call_of(gateway, &shadow.version, call) else {
        return shadow.drop_one();
    };
    let copy = Copy {
        shadow: Arc::clone(shadow),
        call,
        live,
        took,
        _permit: permit,
    };
    tokio::spawn(send(Arc::clone(gateway), copy));
}

/// The bytes of an answer that is there as a whole; none of one that still comes.
async fn held(body: &mut Body) -> Option<Bytes> {
    body.size_hint().exact().filter(|&size| size <= HELD_ANSWER)?;
    let bytes = std::mem::take(body).collect().await.ok()?.to_bytes();
    *body = Body::from(bytes.clone());
    Some(bytes)
}

/// The same request, to this version.
fn call_of(gateway: &Gateway, version: &str, call: &Call) -> Option<Call> {
    let unversioned = call.part.as_ref()?.path();
    let path: PathAndQuery = with_version(unversioned.path(), version)?.parse().ok()?;
    // It is read here, and not worth compressing.
    let passed = call.headers.without(&[header::ACCEPT_ENCODING, headers::DEBUG]);
    Some(Call {
        method: call.method.clone(),
        target: Target {
            model: call.target.model.clone(),
            version: Some(version.to_owned()),
        },
        path,
        headers: passed,
        key: call.key,
        body: call.body.clone(),
        deadline: Deadline(Instant::now() + gateway.settings().deadline),
        part: None,
    })
}

async fn send(gateway: Arc<Gateway>, copy: Copy) {
    let Some(endpoint) = pick(&gateway, &copy.call) else {
        return copy.shadow.drop_one();
    };
    let begun = Instant::now();
    let answer = timeout_at(copy.call.deadline.0, ask(&gateway, &copy.call, &endpoint)).await;
    let took = begun.elapsed();
    let outcome = match answer {
        Ok(Ok(said)) => compared(&gateway, &copy, said, took).await,
        Ok(Err(outcome)) => outcome,
        Err(_) => Outcome::Failed,
    };
    copy.shadow.take_in(outcome, gateway.clock.now());
}

/// Who takes the copy: somebody who has room for a request, of which it takes none, so that a shadow that hangs holds
/// nobody up. Nobody on trial, for which a request must be there whose answer counts.
fn pick(gateway: &Gateway, call: &Call) -> Option<Arc<Endpoint>> {
    let now = gateway.clock.now();
    let picked = gateway.pool.snapshot().pick(call.question(), &[], now).ok()?;
    picked.trial.is_none().then_some(picked.endpoint)
}

async fn ask(gateway: &Gateway, call: &Call, endpoint: &Endpoint) -> Result<Said, Outcome> {
    let failed = |_: SendError| Outcome::Failed;
    let request = call.outgoing(Instant::now());
    let response = gateway
        .client
        .send(&endpoint.address, &request)
        .await
        .map_err(failed)?;
    let answer = Answer::take_in(response).await.map_err(failed)?;
    if !answer.status.is_success() {
        return Err(Outcome::Failed);
    }
    Ok(Said {
        body: answer.held().ok_or(Outcome::NotComparable)?,
        headers: answer.headers,
    })
}

async fn compared(gateway: &Gateway, copy: &Copy, shadow: Said, took: Duration) -> Outcome {
    let _one_at_a_time = gateway.rollouts.comparing.lock().await;
    let limit = gateway.settings().http.max_body;
    let live = Said {
        headers: copy.live.headers.clone(),
        body: copy.live.body.clone(),
    };
    let work = spawn_blocking(move || compare(&live.plain(limit)?, &shadow.plain(limit)?));
    match work.await {
        Ok(Ok(compared)) => Outcome::Compared(compared, copy.took.map(|live| [live, took])),
        Ok(Err(NotComparable)) | Err(_) => Outcome::NotComparable,
    }
}

impl Said {
    /// The body, decompressed where it is compressed.
    fn plain(self, limit: usize) -> Result<Bytes, NotComparable> {
        match Coding::of_request(&self.headers) {
            Ok(None) => Ok(self.body),
            Ok(Some(coding)) => coding
                .decompress(&self.body, limit)
                .map(Bytes::from)
                .map_err(|_| NotComparable),
            Err(_) => Err(NotComparable),
        }
    }
}
