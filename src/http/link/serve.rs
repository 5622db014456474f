//! A worker's side of a link: every request that comes is answered as it would be on a connection of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use bytes::BytesMut;
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::exchange::{Exchange, LinkError};
use super::frame::{Frame, Kind};
use super::message::{read_request, write_answer};
use super::{MAX_ANSWER, MAX_OPEN, MAX_REQUEST};
use crate::http::drain::{Drain, Phase};
use crate::http::origin::Client;
use crate::http::service::{Predictions, Service};
use crate::http::stream::Stream;

/// How often a server that closes looks whether all is answered.
const CLOSING_LOOK: Duration = Duration::from_millis(100);

/// One of so many answers tells the load, of those that come past the routes. What is told takes a tenth of what an answer costs,
/// and a gateway relies on it for eight requests.
const EACH: u32 = 4;

/// What is to be answered, and how many answers have not told the load since one did.
#[derive(Default)]
struct Answers {
    exchange: Exchange<AbortHandle>,
    untold: AtomicU32,
}

impl Answers {
    /// Whether the next answer is to tell the load. The last one that is owed does: what it says holds until there are others.
    fn is_to_tell(&self) -> bool {
        let untold = self.untold.fetch_add(1, Ordering::Relaxed) + 1;
        let is_due = untold >= EACH || self.exchange.open() <= 1;
        if is_due {
            self.untold.store(0, Ordering::Relaxed);
        }
        is_due
    }
}

/// Answers what comes over `stream`, of which `incoming` was read already, until the other side closes it. Once `drain` closes, or
/// nothing has come for as long as `patience` while nothing was to be answered, the other side is told; what it has sent before it
/// knew is answered.
pub(in crate::http) async fn serve<P: Predictions>(
    (stream, incoming): (Stream, BytesMut),
    service: &Arc<Service<P>>,
    client: &Client,
    drain: &Drain,
    patience: Duration,
) -> Result<(), LinkError> {
    let answers = Arc::new(Answers::default());
    let _end = End(&answers);
    let on_frame = |frame| take_in(&answers, service, client, frame);
    let running = answers
        .exchange
        .run(stream, incoming, MAX_REQUEST, on_frame, |_| ());
    let closing = async {
        tokio::select! {
            () = drain.reached(Phase::Closing) => {}
            () = silence(&answers, patience) => {}
        }
        answers.exchange.say(Kind::Closing);
        // The other side closes the link when it has its answers. One that does not must not hold up the end.
        loop {
            sleep(CLOSING_LOOK).await;
            if answers.exchange.is_idle() {
                return;
            }
        }
    };
    tokio::select! {
        ended = running => ended,
        () = closing => Ok(()),
    }
}

/// Resolves once a link was of no use for so long. Whoever opens links and says nothing would hold the server's connections.
async fn silence(answers: &Answers, patience: Duration) {
    loop {
        let before = answers.exchange.received();
        sleep(patience).await;
        if answers.exchange.received() == before && answers.exchange.is_idle() {
            return;
        }
    }
}

/// Nobody is left who could take the answers.
struct End<'a>(&'a Answers);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let left = self.0.exchange.end();
        for task in left.sent.into_iter().chain(left.unsent) {
            task.abort();
        }
    }
}

fn take_in<P: Predictions>(
    answers: &Arc<Answers>,
    service: &Arc<Service<P>>,
    client: &Client,
    Frame { kind, tag, payload }: Frame,
) -> Result<(), LinkError> {
    match kind {
        Kind::Message => {
            let request = read_request(payload)?;
            let answering = Answering {
                answers: Arc::clone(answers),
                tag,
            };
            // In a box: the runtime would move all of it several times, into its task and out of it.
            let answering = Box::pin(answer(answering, Arc::clone(service), request, client.clone()));
            let begin = || tokio::spawn(answering).abort_handle();
            if answers.exchange.take_in(MAX_OPEN, tag, begin) {
                return Ok(());
            }
            Err(LinkError::Message(format!(
                "there are {MAX_OPEN} requests, or another one is called {tag}"
            )))
        }
        Kind::Cancelled => {
            if let Some(task) = answers.exchange.take_out(tag) {
                task.abort();
            }
            Ok(())
        }
        Kind::Dropped | Kind::TooLarge | Kind::Closing => {
            Err(LinkError::Message(format!("{kind:?} is for workers to say")))
        }
    }
}

/// A request that is being answered; the other side hears of it if it never is.
struct Answering {
    answers: Arc<Answers>,
    tag: u32,
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.answers.exchange.end_with(self.tag, Kind::Dropped, |_| ());
    }
}

async fn answer<P: Predictions>(
    answering: Answering,
    service: Arc<Service<P>>,
    request: Request,
    client: Client,
) {
    let Answering { answers, tag } = &answering;
    let response = service.answer(request, client, || answers.is_to_tell()).await;
    let Some((head, body)) = whole(response).await else {
        answers.exchange.end_with(*tag, Kind::TooLarge, |_| ());
        return;
    };
    let write = |out: &mut Vec<u8>| write_answer(out, &head, &body);
    answers.exchange.end_with(*tag, Kind::Message, write);
}

/// The answer, where it is small enough.
async fn whole(response: Response) -> Option<(axum::http::response::Parts, bytes::Bytes)> {
    let (head, body) = response.into_parts();
    let size = body.size_hint().exact()?;
    if size > MAX_ANSWER as u64 {
        return None;
    }
    let body = body.collect().await.ok()?;
    Some((head, body.to_bytes()))
}
