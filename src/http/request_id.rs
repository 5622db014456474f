//! The id under which a request is found in the logs of both sides.

use std::fmt;

use axum::http::{HeaderMap, HeaderValue};

use crate::http::headers;

/// The longest id that is taken from a client, in bytes.
const MAX_LENGTH: usize = 128;

/// A request's id: the client's, if it sent a usable one, else 128 random bits in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id that `headers` carry, or a new one.
    #[must_use]
    pub fn take_or_make(headers: &HeaderMap) -> Self {
        let sent = headers
            .get(headers::REQUEST_ID)
            .filter(|id| is_usable(id.as_bytes()));
        sent.cloned().map_or_else(Self::make, Self)
    }

    fn make() -> Self {
        let (mut digits, mut bits) = ([0; 32], rand::random::<u128>());
        for digit in &mut digits {
            *digit = b"0123456789abcdef"[(bits % 16) as usize];
            bits /= 16;
        }
        Self(HeaderValue::from_bytes(&digits).expect("hexadecimal digits make a header value"))
    }

    /// As a header.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

impl From<RequestId> for HeaderValue {
    fn from(RequestId(value): RequestId) -> Self {
        value
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Printable without blanks or quotes, so that an id can neither break a log line nor a query for it.
fn is_usable(id: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    (1..=MAX_LENGTH).contains(&id.len()) && id.iter().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_for(sent: &str) -> RequestId {
        let mut headers = HeaderMap::new();
        headers.insert(headers::REQUEST_ID, HeaderValue::from_str(sent).unwrap());
        RequestId::take_or_make(&headers)
    }

    #[test]
    fn a_usable_id_is_kept() {
        assert_eq!(id_for("order-7/a").as_str(), "order-7/a");
    }

    #[test]
    fn an_id_that_could_break_a_log_line_is_replaced() {
        for sent in ["", "a b", "a\"b", "a\tb", &"x".repeat(129)] {
            let id = id_for(sent);
            assert_eq!(id.as_str().len(), 32, "{sent}");
        }
    }

    #[test]
    fn made_ids_differ() {
        assert_ne!(RequestId::make(), RequestId::make());
    }
}
