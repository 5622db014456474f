//! Which headers pass, in each direction, and which the gateway sets itself.

use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::api::headers as text;
use crate::http::headers;
use crate::http::origin::Origin;

/// Headers that belong to one connection and never pass (RFC 9110, section 7.6.1), and those that framing or routing
/// decides anew.
const NEVER_PASSED: [&str; 12] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "host",
    "content-length",
    "expect",
];

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What a worker gets of a client's headers. Repeated headers stay repeated; the client's address comes after those of the
/// proxies before, and the request's id in place of whatever the client called it.
#[derive(Clone, Debug, Default)]
pub struct ToWorker {
    client: HeaderMap,
    /// Those that belong to the client's connection because it says so.
    named: Vec<HeaderName>,
    /// Who sends it, and the request's id.
    own: Option<[(HeaderName, HeaderValue); 2]>,
}

impl ToWorker {
    /// What passes of these.
    #[must_use]
    pub fn of(client: HeaderMap, origin: Origin) -> Self {
        Self {
            named: named_by_connection(&client),
            client,
            own: Some([
                (FORWARDED_FOR, origin.client.ip),
                (headers::REQUEST_ID, origin.id.into()),
            ]),
        }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        let passes = |name: &HeaderName| {
            let is_passed = !NEVER_PASSED.contains(&name.as_str()) && *name != headers::REQUEST_ID;
            is_passed && !self.named.contains(name)
        };
        let of_client = self.client.iter().filter(move |(name, _)| passes(name));
        of_client.chain(self.own.iter().flatten().map(|(name, value)| (name, value)))
    }

    /// Whether the client has sent this one.
    #[must_use]
    pub fn contains(&self, name: &HeaderName) -> bool {
        self.client.contains_key(name)
    }

    /// The same without these.
    #[must_use]
    pub fn without(&self, names: &[HeaderName]) -> Self {
        let mut some = self.clone();
        some.named.extend_from_slice(names);
        some
    }
}

/// Whether a header of a worker's answer, in whatever case, is for the client. The length of a body and the id of a request
/// are there again, however.
#[must_use]
pub fn is_for_client(name: &str) -> bool {
    let is = |other: &&str| name.eq_ignore_ascii_case(other);
    !NEVER_PASSED.iter().any(is) && !is(&text::LOAD_METRICS) && !is(&text::REQUEST_ID)
}

/// The members of a header that is a list. By bytes: one that is no text would hide the others.
pub fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// The headers that belong to a connection because it names them.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let lists = headers.get_all(header::CONNECTION).iter();
    lists
        .flat_map(|list| members(list.as_bytes()))
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::origin::Client;
    use crate::http::request_id::RequestId;

    type Pairs<'a> = &'a [(&'static str, &'static str)];

    fn headers(pairs: Pairs<'_>) -> HeaderMap {
        let header = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let mut map = HeaderMap::new();
        for (name, value) in pairs.iter().map(header) {
            map.append(name, value);
        }
        map
    }

    fn passed(client: HeaderMap) -> Vec<(String, String)> {
        let origin = Origin {
            client: Client::at("192.0.2.7:1234".parse().unwrap()),
            id: RequestId::take_or_make(&headers(&[("x-request-id", "own")])),
        };
        let passed = ToWorker::of(client, origin);
        let text = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        passed.iter().map(text).collect()
    }

    /// Those, and what the gateway adds.
    fn with_own(pairs: Pairs<'_>) -> Vec<(String, String)> {
        let own = [("x-forwarded-for", "192.0.2.7"), ("x-request-id", "own")];
        let all = pairs.iter().chain(&own);
        all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn headers_of_one_connection_do_not_pass() {
        let passed = passed(headers(&[
            ("connection", "keep-alive, X-Secret"),
            ("connection", "x-other"),
            ("keep-alive", "timeout=5"),
            ("x-secret", "1"),
            ("x-other", "2"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("transfer-encoding", "chunked"),
            ("content-length", "7"),
            ("host", "gateway"),
            ("x-kept", "3"),
        ]));
        assert_eq!(passed, with_own(&[("x-kept", "3")]));
    }

    #[test]
    fn a_name_that_is_no_text_does_not_hide_the_others() {
        let mut client = headers(&[("x-secret", "1"), ("x-kept", "2")]);
        let named = HeaderValue::from_bytes(b"x-secret, \xff").unwrap();
        client.insert(header::CONNECTION, named);
        assert_eq!(passed(client), with_own(&[("x-kept", "2")]));
    }

    #[test]
    fn repeated_headers_stay_repeated_addresses_are_appended_and_the_id_is_the_gateways() {
        let client = [
            ("x-tag", "a"),
            ("x-tag", "b"),
            ("x-forwarded-for", "198.51.100.1"),
        ];
        let with_id = [&client[..], &[("x-request-id", "a b")]].concat();
        assert_eq!(passed(headers(&with_id)), with_own(&client));
    }

    #[test]
    fn some_can_be_left_out() {
        let all = ToWorker {
            client: headers(&[("x-a", "1"), ("x-b", "2")]),
            ..ToWorker::default()
        };
        let some = all.without(&[HeaderName::from_static("x-a")]);
        assert_eq!(
            some.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            ["x-b"]
        );
    }

    #[test]
    fn a_client_gets_nothing_of_the_workers_connection_and_load() {
        for name in ["Content-Type", "date", "x-millrace-error", "retry-after"] {
            assert!(is_for_client(name), "{name}");
        }
        for name in [
            "Transfer-Encoding",
            "content-length",
            "connection",
            "Endpoint-Load-Metrics",
        ] {
            assert!(!is_for_client(name), "{name}");
        }
    }
}
