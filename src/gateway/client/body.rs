//! The body of a worker's answer, which gives its connection back once it was read.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::{io, mem};

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;

use super::SendError;
use super::chunks::{Chunks, Next};
use super::connection::Connection;
use super::head::Framing;
use super::idle::Idle;

/// A body that is read from its connection as it is asked for. Dropped before its end, it closes the connection: that tells
/// the worker that nobody wants the rest.
#[derive(Debug)]
pub struct WorkerBody {
    /// What is left of one that came whole.
    here: Bytes,
    /// None at the end.
    connection: Option<Connection>,
    left: Left,
    /// Where the connection goes after the end, where it can be used again.
    home: Option<Arc<Idle>>,
}

#[derive(Debug)]
enum Left {
    Bytes(u64),
    Chunks(Chunks),
    UntilClose,
}

impl WorkerBody {
    /// What follows a head on its connection, which then goes home.
    pub(super) fn new(connection: Connection, framing: Framing, home: Option<Arc<Idle>>) -> Self {
        let left = match framing {
            Framing::Length(length) => Left::Bytes(length),
            Framing::Chunked => Left::Chunks(Chunks::default()),
            Framing::UntilClose => Left::UntilClose,
        };
        let mut body = Self {
            here: Bytes::new(),
            connection: Some(connection),
            left,
            home,
        };
        if matches!(body.left, Left::Bytes(0)) {
            body.end();
        }
        body
    }

    /// One that came whole, and not on a connection of its own.
    pub(super) fn here(here: Bytes) -> Self {
        Self {
            left: Left::Bytes(here.len() as u64),
            here,
            connection: None,
            home: None,
        }
    }

    /// All of it.
    pub async fn whole(mut self) -> Result<Bytes, SendError> {
        let Left::Bytes(length) = self.left else {
            let collected = self.collect().await;
            let collected = collected.map_err(|error| SendError::BrokenOff(error.to_string()))?;
            return Ok(collected.to_bytes());
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(connection) = &mut self.connection else {
            self.left = Left::Bytes(0);
            return Ok(mem::take(&mut self.here));
        };
        while connection.incoming.len() < length {
            connection.read().await?;
        }
        let bytes = connection.incoming.split_to(length).freeze();
        self.end();
        Ok(bytes)
    }

    fn end(&mut self) {
        self.left = Left::Bytes(0);
        if let (Some(connection), Some(home)) = (self.connection.take(), self.home.take()) {
            home.give_back(connection);
        }
    }

    /// What can be given of what is there.
    fn take(&mut self) -> io::Result<Next> {
        let Some(connection) = &mut self.connection else {
            self.left = Left::Bytes(0);
            return Ok(match mem::take(&mut self.here) {
                here if here.is_empty() => Next::End,
                here => Next::Data(here),
            });
        };
        let incoming = &mut connection.incoming;
        match &mut self.left {
            Left::Bytes(left) => {
                let here = usize::try_from(*left).map_or(incoming.len(), |left| left.min(incoming.len()));
                *left -= here as u64;
                Ok(some(incoming.split_to(here)))
            }
            Left::UntilClose => Ok(some(incoming.split())),
            Left::Chunks(chunks) => chunks.next(incoming).map_err(io::Error::other),
        }
    }
}

fn some(bytes: BytesMut) -> Next {
    if bytes.is_empty() {
        Next::More
    } else {
        Next::Data(bytes.freeze())
    }
}

impl Drop for WorkerBody {
    /// What has come already need not be read to be passed over.
    fn drop(&mut self) {
        while let Ok(Next::Data(_)) = self.take() {}
        if matches!(self.left, Left::Bytes(0) | Left::Chunks(Chunks::End)) {
            self.end();
        }
    }
}

impl http_body::Body for WorkerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            match self.take() {
                Err(error) => {
                    self.connection = None;
                    return Poll::Ready(Some(Err(error)));
                }
                Ok(Next::End) => {
                    self.end();
                    return Poll::Ready(None);
                }
                Ok(Next::Data(data)) => {
                    if matches!(self.left, Left::Bytes(0)) {
                        self.end();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(Next::More) => {}
            }
            let Some(connection) = &mut self.connection else {
                return Poll::Ready(None);
            };
            let read = ready!(connection.poll_read(context));
            if matches!(read, Ok(true)) {
                continue;
            }
            self.connection = None;
            return Poll::Ready(match (read, &self.left) {
                (Err(error), _) => Some(Err(error)),
                (Ok(_), Left::UntilClose) => None,
                (Ok(_), _) => Some(Err(io::ErrorKind::UnexpectedEof.into())),
            });
        }
    }

    fn is_end_stream(&self) -> bool {
        self.connection.is_none() && self.here.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match self.left {
            Left::Bytes(left) => SizeHint::with_exact(left),
            _ if self.connection.is_none() => SizeHint::with_exact(0),
            Left::Chunks(_) | Left::UntilClose => SizeHint::default(),
        }
    }
}
