//! One side of a link: what is open on it, what is to be written, and the task that moves the bytes.
//!
//! Many tasks have something to say on one connection. Each puts its frame into the buffer that goes out next; the first one
//! wakes the task that writes, which has its turn after all that are ready now. So what is there at the same time goes out
//! by one call, and what is alone goes out at once: nothing waits for company.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::MAX_REQUEST;
use super::frame::{self, BadFrame, Frame, HEAD, Kind};
use crate::http::stream::Stream;

/// Room that is made for what is read at once.
const READ: usize = 32 << 10;
/// Reads before others have their turn.
const READS: usize = 8;
/// Bytes that may wait to be written before this side stops reading: who does not take its answers gets no more of them.
const MAX_UNSENT: usize = 1 << 20;
/// Room that an empty buffer keeps.
const KEPT: usize = 64 << 10;

/// What both the tasks with something to say and the one that moves the bytes know of a link.
#[derive(Debug)]
pub struct Exchange<T>(Mutex<State<T>>);

#[derive(Debug)]
struct State<T> {
    /// Requests that are not answered, by their tags, and what this side keeps of them.
    open: HashMap<u32, T>,
    next: u32,
    /// Frames to be written.
    outgoing: Vec<u8>,
    /// Whether frames that were taken from there are not written yet.
    is_writing: bool,
    /// The tag of the first request among those frames.
    first_unsent: u32,
    /// Messages among those frames.
    unsent: u64,
    /// Frames that came.
    received: u64,
    mover: Option<Waker>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Takes nothing new, and ends with what is open.
    Retired,
    Ended,
}

/// A request that was opened here.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    tag: u32,
    /// Frames that had come before.
    received: u64,
}

/// How a link ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The other side does not speak as it should.
    #[error(transparent)]
    Frame(#[from] BadFrame),
    /// It says what it must not.
    #[error("a message that is none: {0}")]
    Message(String),
}

/// What was open on a link when it ended.
#[derive(Debug)]
pub struct Left<T> {
    /// What the other side may have seen.
    pub sent: Vec<T>,
    /// What it has not.
    pub unsent: Vec<T>,
}

impl<T> Default for Exchange<T> {
    fn default() -> Self {
        Self(Mutex::new(State {
            open: HashMap::new(),
            next: 0,
            outgoing: Vec::new(),
            is_writing: false,
            first_unsent: 0,
            unsent: 0,
            received: 0,
            mover: None,
            phase: Phase::Open,
        }))
    }
}

impl<T> Exchange<T> {
    /// Opens a request, with at most `limit` of them at once; `write` appends its message. None: this link cannot take it.
    pub fn ask(&self, limit: usize, kept: T, write: impl FnOnce(&mut Vec<u8>)) -> Option<Ticket> {
        let mut state = self.lock();
        if state.phase != Phase::Open || state.open.len() >= limit || state.outgoing.len() > MAX_UNSENT {
            return None;
        }
        let (tag, begin) = (state.next, state.outgoing.len());
        state.put(Kind::Message, tag, write);
        if state.outgoing.len() - begin > HEAD + MAX_REQUEST {
            state.outgoing.truncate(begin);
            state.unsent -= 1;
            return None;
        }
        state.open.insert(tag, kept);
        state.next = tag.wrapping_add(1);
        Some(Ticket {
            tag,
            received: state.received,
        })
    }

    /// Gives a request up. If nothing at all has come since it was opened, the other side may be gone without a word, and the
    /// next request must not find out anew: then the link takes no more.
    pub fn give_up(&self, ticket: Ticket) {
        let mut state = self.lock();
        if state.open.remove(&ticket.tag).is_none() {
            return;
        }
        if state.phase == Phase::Open && state.received == ticket.received {
            state.phase = Phase::Retired;
        }
        state.put(Kind::Cancelled, ticket.tag, |_| ());
    }

    /// Takes in a request of the other side. `begin` runs under the lock: whatever it starts cannot be over before it is known.
    /// False: there are too many, or there is one of this tag.
    pub fn take_in(&self, limit: usize, tag: u32, begin: impl FnOnce() -> T) -> bool {
        let mut state = self.lock();
        if state.open.len() >= limit || state.open.contains_key(&tag) {
            return false;
        }
        let kept = begin();
        state.open.insert(tag, kept);
        true
    }

    /// Takes a request out, and puts a frame about it behind what is to be written; nothing where it is not open any more.
    pub fn end_with(&self, tag: u32, kind: Kind, write: impl FnOnce(&mut Vec<u8>)) -> Option<T> {
        let mut state = self.lock();
        let kept = state.open.remove(&tag)?;
        if state.phase != Phase::Ended {
            state.put(kind, tag, write);
        }
        Some(kept)
    }

    /// Takes a request out.
    pub fn take_out(&self, tag: u32) -> Option<T> {
        let mut state = self.lock();
        let kept = state.open.remove(&tag);
        if state.is_done() {
            state.wake();
        }
        kept
    }

    /// Puts a frame that belongs to no request behind what is to be written.
    pub fn say(&self, kind: Kind) {
        self.lock().put(kind, 0, |_| ());
    }

    /// Takes no new request; the link ends once none is open.
    pub fn retire(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Retired;
            state.wake();
        }
    }

    /// Whether it takes new requests.
    pub fn is_open(&self) -> bool {
        self.lock().phase == Phase::Open
    }

    /// Whether no request is open, and all that was said is written.
    pub fn is_idle(&self) -> bool {
        let state = self.lock();
        state.open.is_empty() && state.outgoing.is_empty() && !state.is_writing
    }

    /// Requests that are not answered.
    pub fn open(&self) -> usize {
        self.lock().open.len()
    }

    /// Frames that came so far.
    pub fn received(&self) -> u64 {
        self.lock().received
    }

    /// It is over; gives what was still open.
    pub fn end(&self) -> Left<T> {
        let mut state = self.lock();
        state.phase = Phase::Ended;
        let (first, next) = (state.first_unsent, state.next);
        let count = next.wrapping_sub(first);
        let is_unsent = |tag: u32| tag.wrapping_sub(first) < count;
        let (unsent, sent): (Vec<_>, Vec<_>) = state.open.drain().partition(|&(tag, _)| is_unsent(tag));
        let values = |pairs: Vec<(u32, T)>| pairs.into_iter().map(|(_, kept)| kept).collect();
        Left {
            sent: values(sent),
            unsent: values(unsent),
        }
    }

    /// Moves what is said over `stream`, of which `incoming` was read already, until it ends, and hands each frame that comes,
    /// with at most `limit` bytes, to `on_frame`; `on_write` hears how many messages go out together. Good only where the other
    /// side closes it, or it is retired and idle.
    pub async fn run(
        &self,
        stream: Stream,
        incoming: BytesMut,
        limit: usize,
        mut on_frame: impl FnMut(Frame) -> Result<(), LinkError>,
        on_write: impl Fn(u64),
    ) -> Result<(), LinkError> {
        let mut mover = Mover {
            exchange: self,
            stream,
            incoming,
            limit,
            outgoing: Vec::new(),
            written: 0,
            on_write,
        };
        poll_fn(|context| mover.poll(context, &mut on_frame)).await
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Every change is made whole before anything can panic, but for a frame that is cut off by a panic of its writer:
        // writers only copy.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn put(&mut self, kind: Kind, tag: u32, write: impl FnOnce(&mut Vec<u8>)) {
        frame::put(&mut self.outgoing, kind, tag, write);
        self.unsent += u64::from(kind == Kind::Message);
        self.wake();
    }

    /// Whether nobody needs it any more.
    fn is_done(&self) -> bool {
        self.phase == Phase::Retired && self.open.is_empty()
    }

    fn wake(&mut self) {
        if let Some(mover) = self.mover.take() {
            mover.wake();
        }
    }
}

/// Moves the bytes of one link.
struct Mover<'a, T, W> {
    exchange: &'a Exchange<T>,
    stream: Stream,
    incoming: BytesMut,
    limit: usize,
    /// What is being written.
    outgoing: Vec<u8>,
    written: usize,
    on_write: W,
}

impl<T, W: Fn(u64)> Mover<'_, T, W> {
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        on_frame: &mut impl FnMut(Frame) -> Result<(), LinkError>,
    ) -> Poll<Result<(), LinkError>> {
        self.exchange.lock().mover = Some(context.waker().clone());
        loop {
            let is_over = self.read(context, on_frame)?.is_ready();
            if is_over || self.exchange.lock().is_done() {
                return Poll::Ready(Ok(()));
            }
            // While it was full, nothing was read, and nobody would tell that something came.
            let was_full = self.is_full();
            ready!(self.write(context))?;
            if !was_full {
                return Poll::Pending;
            }
        }
    }

    /// Ready at the end of the stream.
    fn read(
        &mut self,
        context: &mut Context<'_>,
        on_frame: &mut impl FnMut(Frame) -> Result<(), LinkError>,
    ) -> Result<Poll<()>, LinkError> {
        for _ in 0..READS {
            let mut received = 0;
            while let Some(frame) = frame::take(&mut self.incoming, self.limit)? {
                received += 1;
                on_frame(frame)?;
            }
            self.exchange.lock().received += received;
            if self.is_full() {
                return Ok(Poll::Pending);
            }
            self.incoming.reserve(READ);
            match pin!(self.stream.read_buf(&mut self.incoming)).poll(context) {
                Poll::Ready(Ok(0)) => return Ok(Poll::Ready(())),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Err(error.into()),
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
        context.waker().wake_by_ref();
        Ok(Poll::Pending)
    }

    fn is_full(&self) -> bool {
        let unsent = self.outgoing.len() - self.written + self.exchange.lock().outgoing.len();
        unsent > MAX_UNSENT
    }

    /// Ready when all is written that was there.
    fn write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.written == self.outgoing.len() && !self.take_outgoing() {
                return Poll::Ready(Ok(()));
            }
            let rest = &self.outgoing[self.written..];
            match ready!(Pin::new(&mut self.stream).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
    }

    /// Takes what is to be written next; false where there is nothing.
    fn take_outgoing(&mut self) -> bool {
        self.outgoing.clear();
        self.outgoing.shrink_to(KEPT);
        self.written = 0;
        let mut state = self.exchange.lock();
        state.is_writing = !state.outgoing.is_empty();
        if !state.is_writing {
            return false;
        }
        std::mem::swap(&mut state.outgoing, &mut self.outgoing);
        state.first_unsent = state.next;
        let messages = std::mem::take(&mut state.unsent);
        drop(state);
        (self.on_write)(messages);
        true
    }
}
