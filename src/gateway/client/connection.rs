//! One connection to a worker: a request goes out, and the head of its answer comes back.

use std::future::poll_fn;
use std::io::{self, IoSlice, Write};
use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use axum::http::Method;
use axum::http::uri::{Authority, PathAndQuery};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, Interest};

use super::SendError;
use super::head::{BadHead, Head, take_head, take_switch};
use crate::gateway::proxy_headers::ToWorker;
use crate::http::headers::REQUEST_TIMEOUT_MS;
use crate::http::stream::Stream;

/// Bodies up to this size are copied behind their head, so that both go out by one call; and they may share a link.
const SMALL_BODY: usize = 16 << 10;
/// Room that is made for what is read at once.
const READ: usize = 8 << 10;

/// A request to a worker.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// What it asks for.
    pub method: &'a Method,
    /// Where.
    pub path: &'a PathAndQuery,
    /// Those of the client that pass; the length of the body is not among them.
    pub headers: &'a ToWorker,
    /// Milliseconds that the worker has, which go in place of what the headers say of that; none: as they say.
    pub milliseconds: Option<u64>,
    /// The whole body.
    pub body: &'a [u8],
}

impl<'a> Outgoing<'a> {
    /// A question without a body.
    #[must_use]
    pub fn get(path: &'a PathAndQuery) -> Self {
        static NONE: LazyLock<ToWorker> = LazyLock::new(ToWorker::default);
        Self {
            method: &Method::GET,
            path,
            headers: &NONE,
            milliseconds: None,
            body: &[],
        }
    }

    /// Whether it is a prediction that may share a link with others.
    pub(super) fn is_small(&self) -> bool {
        *self.method == Method::POST && self.body.len() <= SMALL_BODY
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    /// What came and was not taken yet.
    pub(super) incoming: BytesMut,
    outgoing: Vec<u8>,
}

impl Connection {
    pub(super) fn over(stream: Stream) -> Self {
        Self {
            stream,
            incoming: BytesMut::new(),
            outgoing: Vec::new(),
        }
    }

    /// Whether the other side has neither closed it nor said anything unasked, as far as is known here.
    pub(super) fn is_quiet(&self) -> bool {
        let read = self.stream.try_read(&mut [0]);
        self.incoming.is_empty() && read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn ask(
        &mut self,
        authority: &Authority,
        request: &Outgoing<'_>,
    ) -> Result<Head, AskError> {
        self.outgoing.clear();
        write_head(&mut self.outgoing, authority, request);
        let is_small = request.body.len() <= SMALL_BODY;
        if is_small {
            self.outgoing.extend_from_slice(request.body);
        }
        let rest = if is_small { &[] } else { request.body };
        let sent = self.send(&self.outgoing, rest).await?;
        let head = self.read_head().await;
        match sent {
            Sent::Whole => Ok(head?),
            Sent::Cut(reason) => match head {
                Ok(head) => Ok(Head {
                    is_kept: false,
                    ..head
                }),
                Err(error) => Err(reason
                    .map_or(error, |reason| SendError::BrokenOff(reason.to_string()))
                    .into()),
            },
        }
    }

    /// Who refuses a large body may answer and close before it has taken all of it: that it cannot be sent is no error yet.
    async fn send(&self, mut head: &[u8], mut body: &[u8]) -> Result<Sent, AskError> {
        let length = head.len();
        while !head.is_empty() || !body.is_empty() {
            let written = if body.is_empty() {
                self.stream.try_write(head)
            } else {
                self.stream
                    .try_write_vectored(&[IoSlice::new(head), IoSlice::new(body)])
            };
            match written {
                Ok(0) => return Ok(Sent::Cut(Some(io::ErrorKind::WriteZero.into()))),
                Ok(count) => {
                    let of_head = count.min(head.len());
                    head = &head[of_head..];
                    body = &body[count - of_head..];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let either = Interest::READABLE | Interest::WRITABLE;
                    match self.stream.ready(either).await {
                        Ok(ready) if ready.is_readable() && !ready.is_writable() => {
                            return Ok(Sent::Cut(None));
                        }
                        Ok(_) => {}
                        Err(error) => return Ok(Sent::Cut(Some(error))),
                    }
                }
                Err(_) if head.len() == length => return Err(AskError::NothingSent),
                Err(error) => return Ok(Sent::Cut(Some(error))),
            }
        }
        Ok(Sent::Whole)
    }

    /// Asks for another protocol on this connection. False: the worker goes on with HTTP.
    pub(super) async fn switch(
        &mut self,
        authority: &Authority,
        path: &str,
        protocol: &str,
    ) -> Result<bool, SendError> {
        let asking = format!(
            "GET {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n"
        );
        match self.send(asking.as_bytes(), &[]).await {
            Ok(Sent::Whole) => self.take(take_switch).await,
            Ok(Sent::Cut(_)) | Err(_) => Ok(false),
        }
    }

    /// The stream, and what was read of it already.
    pub(super) fn into_parts(self) -> (Stream, BytesMut) {
        (self.stream, self.incoming)
    }

    async fn read_head(&mut self) -> Result<Head, SendError> {
        self.take(take_head).await
    }

    /// Reads until `take` finds what it takes off the front.
    async fn take<T>(
        &mut self,
        take: impl Fn(&mut BytesMut) -> Result<Option<T>, BadHead>,
    ) -> Result<T, SendError> {
        loop {
            if !self.incoming.is_empty() {
                let taken = take(&mut self.incoming);
                if let Some(taken) = taken.map_err(|error| SendError::BrokenOff(error.to_string()))? {
                    return Ok(taken);
                }
            }
            self.read().await?;
        }
    }

    /// Waits for more bytes; that there are none is an error.
    pub(super) async fn read(&mut self) -> Result<(), SendError> {
        match poll_fn(|context| self.poll_read(context)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(SendError::BrokenOff(
                "the worker closed the connection".to_owned(),
            )),
            Err(error) => Err(SendError::BrokenOff(error.to_string())),
        }
    }

    /// The same for those who poll; false at the end.
    pub(super) fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.incoming.reserve(READ);
        let reading = pin!(self.stream.read_buf(&mut self.incoming));
        reading.poll(context).map_ok(|count| count > 0)
    }
}

/// How much of a request went out.
enum Sent {
    Whole,
    /// The worker takes no more of it; it may have said why.
    Cut(Option<io::Error>),
}

/// Why a request has no answer.
#[derive(Debug)]
pub(super) enum AskError {
    /// The connection was closed before any of it went out.
    NothingSent,
    Failed(SendError),
}

impl From<SendError> for AskError {
    fn from(error: SendError) -> Self {
        Self::Failed(error)
    }
}

/// Appends the head of a request, as it is on a connection of its own.
fn write_head(out: &mut Vec<u8>, authority: &Authority, request: &Outgoing<'_>) {
    write_line(out, request);
    for part in ["host: ", authority.as_str(), "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    write_passed(out, request);
    if *request.method != Method::GET || !request.body.is_empty() {
        // Writing to memory cannot fail.
        let _ = write!(out, "content-length: {}\r\n", request.body.len());
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a request as it is on a link, whose other end is known, and where the frame says how long it is.
pub(super) fn write_message(out: &mut Vec<u8>, request: &Outgoing<'_>) {
    write_line(out, request);
    write_passed(out, request);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(request.body);
}

fn write_line(out: &mut Vec<u8>, request: &Outgoing<'_>) {
    for part in [
        request.method.as_str(),
        " ",
        request.path.as_str(),
        " HTTP/1.1\r\n",
    ] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Appends what the client said, and how much time is left.
fn write_passed(out: &mut Vec<u8>, request: &Outgoing<'_>) {
    for (name, value) in request.headers.iter() {
        if request.milliseconds.is_some() && *name == REQUEST_TIMEOUT_MS {
            continue;
        }
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    if let Some(milliseconds) = request.milliseconds {
        // Writing to memory cannot fail.
        let _ = write!(out, "{REQUEST_TIMEOUT_MS}: {milliseconds}\r\n");
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;
    use crate::http::origin::{Client, Origin};
    use crate::http::request_id::RequestId;

    fn written(method: &Method, body: &[u8], milliseconds: Option<u64>) -> String {
        write(method, body, milliseconds, |out, request| {
            write_head(out, &Authority::from_static("worker:9000"), request);
        })
    }

    fn write(
        method: &Method,
        body: &[u8],
        milliseconds: Option<u64>,
        write: impl FnOnce(&mut Vec<u8>, &Outgoing<'_>),
    ) -> String {
        let mut client = HeaderMap::new();
        let names = [
            HeaderName::from_static("x-tag"),
            REQUEST_TIMEOUT_MS,
            crate::http::headers::REQUEST_ID,
        ];
        for (name, value) in names.into_iter().zip(["a", "700", "own"]) {
            client.append(name, HeaderValue::from_static(value));
        }
        let origin = Origin {
            client: Client::at("192.0.2.7:1234".parse().unwrap()),
            id: RequestId::take_or_make(&client),
        };
        let request = Outgoing {
            method,
            path: &PathAndQuery::from_static("/predict?x=1"),
            headers: &ToWorker::of(client, origin),
            milliseconds,
            body,
        };
        let mut out = Vec::new();
        write(&mut out, &request);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_head_says_how_long_the_body_is_and_how_much_time_is_left() {
        assert_eq!(
            written(&Method::POST, b"{}", Some(250)),
            "POST /predict?x=1 HTTP/1.1\r\nhost: worker:9000\r\nx-tag: a\r\nx-forwarded-for: 192.0.2.7\r\n\
             x-request-id: own\r\nx-request-timeout-ms: 250\r\ncontent-length: 2\r\n\r\n"
        );
        assert!(written(&Method::POST, b"", None).contains("content-length: 0\r\n"));
    }

    #[test]
    fn a_message_on_a_link_says_nothing_of_the_connection() {
        assert_eq!(
            write(&Method::POST, b"{}", Some(250), write_message),
            "POST /predict?x=1 HTTP/1.1\r\nx-tag: a\r\nx-forwarded-for: 192.0.2.7\r\nx-request-id: own\r\n\
             x-request-timeout-ms: 250\r\n\r\n{}"
        );
    }

    #[test]
    fn a_question_has_no_body_and_keeps_the_clients_time() {
        let written = written(&Method::GET, b"", None);
        assert!(written.starts_with("GET /predict?x=1 HTTP/1.1\r\n"));
        assert!(written.contains("x-request-timeout-ms: 700\r\n") && !written.contains("content-length"));
    }
}
