//! The head of a worker's answer, and how the end of its body is found (RFC 9112, sections 4 to 6). Pure.

use std::mem::MaybeUninit;

use axum::http::StatusCode;
use axum::http::header::{HeaderMap, HeaderName, HeaderValue};
use bytes::{Buf, BytesMut};
use httparse::{Header, ParserConfig, Response, Status};

use crate::api::headers::LOAD_METRICS;
use crate::api::load_report::LoadReport;
use crate::gateway::proxy_headers::{is_for_client, members};

/// Bytes that a head may have.
const MAX_LENGTH: usize = 64 << 10;
/// Headers that it may have.
const MAX_HEADERS: usize = 128;

/// What stands before the body of an answer.
#[derive(Debug, PartialEq)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    /// Those that a client gets.
    pub(super) headers: HeaderMap,
    /// What the worker said of its own load.
    pub(super) report: Option<LoadReport>,
    pub(super) framing: Framing,
    /// Whether the connection can take another request once the body was read.
    pub(super) is_kept: bool,
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// It has so many bytes.
    Length(u64),
    /// It comes in chunks, and the last one has no bytes.
    Chunked,
    /// The connection ends with it.
    UntilClose,
}

/// Why something is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadHead {
    /// It is no HTTP/1.
    #[error("the answer is no HTTP: {0}")]
    NotHttp(#[from] httparse::Error),
    /// It does not end.
    #[error("the head of the answer has more than {MAX_LENGTH} bytes")]
    TooLong,
    /// Two processes could disagree on where it ends.
    #[error("the answer has the content-length {0:?}")]
    Length(String),
    /// It changes to another protocol, which nobody asked for.
    #[error("the answer has status {0}")]
    Status(u16),
}

/// Takes the head of an answer off the front of `buffer`; none while it is not there as a whole. Heads of interim answers
/// (1xx) are skipped.
pub(super) fn take_head(buffer: &mut BytesMut) -> Result<Option<Head>, BadHead> {
    loop {
        let Some(head) = take_one(buffer)? else {
            return Ok(None);
        };
        match head.status.as_u16() {
            100 | 102..=199 => {}
            101 => return Err(BadHead::Status(101)),
            _ => return Ok(Some(head)),
        }
    }
}

/// Takes the head of an answer to a wish for another protocol: whether it is granted.
pub(super) fn take_switch(buffer: &mut BytesMut) -> Result<Option<bool>, BadHead> {
    let head = take_one(buffer)?;
    Ok(head.map(|head| head.status == StatusCode::SWITCHING_PROTOCOLS))
}

fn take_one(buffer: &mut BytesMut) -> Result<Option<Head>, BadHead> {
    let mut lines = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = Response::new(&mut []);
    let parsed =
        ParserConfig::default().parse_response_with_uninit_headers(&mut response, buffer, &mut lines)?;
    match parsed {
        Status::Complete(length) => {
            let head = Head::of(&response)?;
            buffer.advance(length);
            Ok(Some(head))
        }
        Status::Partial if buffer.len() > MAX_LENGTH => Err(BadHead::TooLong),
        Status::Partial => Ok(None),
    }
}

impl Head {
    fn of(response: &Response<'_, '_>) -> Result<Self, BadHead> {
        let code = response.code.unwrap_or_default();
        let status = StatusCode::from_u16(code).map_err(|_| BadHead::Status(code))?;
        let mut said = Said::default();
        for line in response.headers.iter() {
            said.take_in(line)?;
        }
        let framing = said.framing(status);
        let is_newest = response.version == Some(1);
        let is_clear = framing != Framing::UntilClose && !(said.has_coding && said.length.is_some());
        let is_kept = is_newest && is_clear && !said.is_closed;
        Ok(Self {
            status,
            headers: said.for_client(response.headers)?,
            report: said.report,
            framing,
            is_kept,
        })
    }
}

/// What the headers of an answer say to a gateway.
#[derive(Default)]
struct Said<'a> {
    length: Option<u64>,
    has_coding: bool,
    is_chunked: bool,
    is_closed: bool,
    /// Headers that belong to the connection.
    named: Vec<&'a [u8]>,
    report: Option<LoadReport>,
}

impl<'a> Said<'a> {
    fn take_in(&mut self, line: &Header<'a>) -> Result<(), BadHead> {
        let is = |name: &str| line.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            let length = length(line.value)?;
            if self.length.replace(length).is_some_and(|other| other != length) {
                return Err(bad_length(line.value));
            }
        } else if is(LOAD_METRICS) {
            self.report = str::from_utf8(line.value).ok().and_then(LoadReport::parse);
        } else if is("connection") {
            self.is_closed |= has_token(line.value, b"close");
            self.named.extend(members(line.value));
        } else if is("transfer-encoding") {
            self.has_coding = true;
            self.is_chunked |= has_token(line.value, b"chunked");
        }
        Ok(())
    }

    fn framing(&self, status: StatusCode) -> Framing {
        if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Framing::Length(0);
        }
        match self.length {
            _ if self.is_chunked => Framing::Chunked,
            Some(length) if !self.has_coding => Framing::Length(length),
            _ => Framing::UntilClose,
        }
    }

    fn for_client(&self, lines: &[Header<'_>]) -> Result<HeaderMap, BadHead> {
        let is_named = |name: &str| {
            let mut named = self.named.iter();
            named.any(|other| other.eq_ignore_ascii_case(name.as_bytes()))
        };
        let mut headers = HeaderMap::with_capacity(8);
        for Header { name, value } in lines {
            if is_for_client(name) && !is_named(name) {
                let name =
                    HeaderName::from_bytes(name.as_bytes()).map_err(|_| httparse::Error::HeaderName)?;
                let value = HeaderValue::from_bytes(value).map_err(|_| httparse::Error::HeaderValue)?;
                headers.append(name, value);
            }
        }
        Ok(headers)
    }
}

fn length(value: &[u8]) -> Result<u64, BadHead> {
    // A sign is no digit, and would be parsed.
    let is_number = value.iter().all(u8::is_ascii_digit);
    let text = str::from_utf8(value).ok().filter(|_| is_number);
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| bad_length(value))
}

fn bad_length(value: &[u8]) -> BadHead {
    BadHead::Length(String::from_utf8_lossy(value).into_owned())
}

fn has_token(list: &[u8], token: &[u8]) -> bool {
    members(list).any(|member| member.eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn take(text: &str) -> Result<Option<Head>, BadHead> {
        take_head(&mut BytesMut::from(text))
    }

    fn framing(headers: &str) -> Result<Framing, BadHead> {
        let head = take(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n"))?;
        Ok(head.expect("it is whole").framing)
    }

    fn is_kept(head: &str) -> bool {
        take(head).unwrap().expect("it is whole").is_kept
    }

    #[test]
    fn a_head_is_taken_and_the_body_left() {
        let mut buffer =
            BytesMut::from("HTTP/1.1 429 Too Many\r\nContent-Length: 3\r\nx-tag: a\r\nX-Tag: b\r\n\r\nabc");
        let head = take_head(&mut buffer).unwrap().unwrap();
        assert_eq!(head.status, 429);
        assert!(
            !head.headers.contains_key("content-length"),
            "the body has a length of its own"
        );
        assert_eq!(
            head.headers.get_all("x-tag").iter().collect::<Vec<_>>(),
            ["a", "b"]
        );
        assert!(head.is_kept);
        assert_eq!(&buffer[..], b"abc");
    }

    #[test]
    fn the_load_is_for_the_gateway_and_what_belongs_to_the_connection_for_nobody() {
        let head = take(
            "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Own\r\nx-own: 1\r\nEndpoint-Load-Metrics: TEXT \
             named_metrics.in_flight=3\r\ncontent-length: 0\r\nx-kept: 2\r\n\r\n",
        );
        let head = head.unwrap().unwrap();
        assert_eq!(head.report.and_then(|report| report.in_flight), Some(3));
        assert_eq!(head.headers.keys().collect::<Vec<_>>(), ["x-kept"]);
    }

    #[test]
    fn the_end_of_the_body_is_found_as_the_specification_has_it() {
        assert_eq!(framing("content-length: 12\r\n"), Ok(Framing::Length(12)));
        assert_eq!(
            framing("content-length: 5\r\ncontent-length: 5\r\n"),
            Ok(Framing::Length(5))
        );
        assert_eq!(
            framing("transfer-encoding: gzip, Chunked\r\n"),
            Ok(Framing::Chunked)
        );
        assert_eq!(
            framing("transfer-encoding: chunked\r\ncontent-length: 5\r\n"),
            Ok(Framing::Chunked)
        );
        assert_eq!(framing("transfer-encoding: gzip\r\n"), Ok(Framing::UntilClose));
        assert_eq!(framing(""), Ok(Framing::UntilClose));
        let none = take("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n")
            .unwrap()
            .unwrap();
        assert_eq!(none.framing, Framing::Length(0));
    }

    #[test]
    fn lengths_that_can_be_read_in_two_ways_are_refused() {
        for lengths in [
            "5\r\ncontent-length: 6",
            "5, 5",
            "+5",
            "-1",
            "0x5",
            "99999999999999999999",
            "",
        ] {
            let found = framing(&format!("content-length: {lengths}\r\n"));
            assert!(matches!(found, Err(BadHead::Length(_))), "{lengths}: {found:?}");
        }
    }

    #[test]
    fn a_connection_is_kept_where_both_sides_agree_on_where_the_answer_ends() {
        assert!(is_kept(
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n\r\n"
        ));
        for head in [
            "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: x, Close\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
        ] {
            assert!(!is_kept(head), "{head}");
        }
    }

    #[test]
    fn interim_answers_are_skipped_and_a_change_of_protocol_is_refused() {
        let head =
            take("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\na: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n");
        assert_eq!(head.unwrap().unwrap().status, 200);
        assert_eq!(take("HTTP/1.1 101 Switching\r\n\r\n"), Err(BadHead::Status(101)));
    }

    #[test]
    fn another_protocol_is_granted_or_not() {
        let granted = |text: &str| take_switch(&mut BytesMut::from(text));
        assert_eq!(
            granted("HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n"),
            Ok(Some(true))
        );
        assert_eq!(granted("HTTP/1.1 404 Not Found\r\n\r\n"), Ok(Some(false)));
        assert_eq!(granted("HTTP/1.1 101 Swi"), Ok(None));
    }

    #[test]
    fn what_is_no_answer_is_refused_and_what_does_not_end_as_well() {
        assert!(matches!(
            take("SSH-2.0-OpenSSH\r\n\r\n"),
            Err(BadHead::NotHttp(_))
        ));
        let endless = format!("HTTP/1.1 200 OK\r\na: {}", "x".repeat(MAX_LENGTH));
        assert_eq!(take(&endless), Err(BadHead::TooLong));
    }

    proptest! {
        #[test]
        fn a_part_of_a_head_is_waited_with(cut in any::<prop::sample::Index>()) {
            let whole = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-type: text/plain\r\n\r\n";
            prop_assert_eq!(take(&whole[..cut.index(whole.len())]), Ok(None));
        }
    }
}
