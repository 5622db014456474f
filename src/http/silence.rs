//! Ends a connection on which no request comes in time.
//!
//! A timer for each head, as hyper has it, is set and taken back with every request. Here one timer for each connection looks
//! a few times within the limit whether anything happened: a request that came or was answered, bytes of an answer that the
//! client took. Bytes of a head do not count, or a client that sends one a minute would hold its connection for ever.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::time::sleep;

/// Looks within the limit: a connection is ended that much later at most.
const LOOKS: u32 = 4;

/// What happens on a connection.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Even while a request is awaited, odd while one is answered.
    requests: AtomicU64,
    writes: AtomicU64,
}

/// A request that is being answered.
pub(super) struct Answering<'a>(&'a Activity);

impl Activity {
    /// Notes that a request came, until the answer is there or given up.
    pub(super) fn answering(&self) -> Answering<'_> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        Answering(self)
    }

    /// Whether there was any request.
    pub(super) fn has_begun(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0
    }

    fn seen(&self) -> (u64, u64) {
        (
            self.requests.load(Ordering::Relaxed),
            self.writes.load(Ordering::Relaxed),
        )
    }

    /// Resolves once a request has been awaited for so long, or a quarter of that longer.
    pub(super) async fn silence(&self, limit: Duration) {
        let mut before = self.seen();
        let mut quiet = 0;
        while quiet < LOOKS {
            sleep(limit / LOOKS).await;
            let now = self.seen();
            let is_answering = now.0 % 2 == 1;
            quiet = if now == before && !is_answering {
                quiet + 1
            } else {
                0
            };
            before = now;
        }
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
    }
}

/// A stream whose writes are noted.
pub(super) struct Noted<S> {
    pub(super) stream: S,
    pub(super) activity: Arc<Activity>,
}

impl<S> Noted<S> {
    fn note(&self, written: &Poll<io::Result<usize>>) {
        if matches!(written, Poll::Ready(Ok(count)) if *count > 0) {
            self.activity.writes.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<S: Read + Unpin> Read for Noted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: Write + Unpin> Write for Noted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.note(&written);
        written
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(40);

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_requests_is_silent_after_the_limit() {
        let (activity, begun) = (Activity::default(), Instant::now());
        activity.silence(LIMIT).await;
        assert_eq!(begun.elapsed(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_answered_is_no_silence_and_after_it_the_limit_begins_anew() {
        let activity = Activity::default();
        let answering = activity.answering();
        assert!(timeout(LIMIT * 10, activity.silence(LIMIT)).await.is_err());
        let mut silence = Box::pin(activity.silence(LIMIT));
        assert!(timeout(LIMIT - LIMIT / 8, &mut silence).await.is_err());
        drop(answering);
        let ended = Instant::now();
        silence.await;
        assert!(
            (LIMIT..=LIMIT + LIMIT / LOOKS).contains(&ended.elapsed()),
            "{:?}",
            ended.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_its_answer_slowly_is_not_silent() {
        let activity = Activity::default();
        drop(activity.answering());
        let taking = async {
            for _ in 0..20 {
                sleep(LIMIT / 2).await;
                activity.writes.fetch_add(1, Ordering::Relaxed);
            }
        };
        tokio::select! {
            () = activity.silence(LIMIT) => panic!("it was not silent"),
            () = taking => {}
        }
    }
}
