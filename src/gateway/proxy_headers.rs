//! Which headers pass, in each direction, and which the gateway sets itself.

use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::balance::LoadReport;
use crate::api::headers;
use crate::http::server::ClientAddress;

/// Headers that belong to one connection and never pass (RFC 9110, section 7.6.1), and those that framing or routing
/// decides anew.
const NEVER_PASSED: [HeaderName; 12] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::HOST,
    header::CONTENT_LENGTH,
    header::EXPECT,
];

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What a worker gets of a client's headers. Repeated headers stay repeated; the client's address is appended to
/// those of the proxies before.
#[must_use]
pub fn to_worker(client: &HeaderMap, address: Option<ClientAddress>) -> HeaderMap {
    let mut passed = without_connection_headers(client);
    if let Some(ClientAddress(address)) = address {
        let text = address.ip().to_string();
        passed.append(
            FORWARDED_FOR,
            HeaderValue::try_from(text).expect("an IP address makes a header value"),
        );
    }
    passed
}

/// What a client gets of a worker's headers. The load that it tells is for the gateway: it is taken out and given back.
pub fn to_client(worker: &mut HeaderMap) -> Option<LoadReport> {
    let report = load_told(worker);
    worker.remove(headers::LOAD_METRICS);
    let has_length = worker.get(header::CONTENT_LENGTH).cloned();
    *worker = without_connection_headers(worker);
    worker.extend(has_length.map(|length| (header::CONTENT_LENGTH, length)));
    report
}

/// The load that a worker tells of itself; none where it tells none that can be read.
#[must_use]
pub fn load_told(worker: &HeaderMap) -> Option<LoadReport> {
    LoadReport::parse(worker.get(headers::LOAD_METRICS)?.to_str().ok()?)
}

fn without_connection_headers(all: &HeaderMap) -> HeaderMap {
    // By bytes: one that is no text beside them would hide the other names.
    let named: Vec<&[u8]> = all
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .collect();
    let passes = |name: &HeaderName| {
        let is_named = named
            .iter()
            .any(|other| other.eq_ignore_ascii_case(name.as_str().as_bytes()));
        !is_named && !NEVER_PASSED.contains(name)
    };
    let mut passed = HeaderMap::with_capacity(all.len() + 4);
    for (name, value) in all {
        if passes(name) {
            passed.append(name.clone(), value.clone());
        }
    }
    passed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let header = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let mut map = HeaderMap::new();
        for (name, value) in pairs.iter().map(header) {
            map.append(name, value);
        }
        map
    }

    #[test]
    fn headers_of_one_connection_do_not_pass() {
        let passed = to_worker(
            &headers(&[
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
            ]),
            None,
        );
        assert_eq!(passed, headers(&[("x-kept", "3")]));
    }

    #[test]
    fn a_name_that_is_no_text_does_not_hide_the_others() {
        let mut client = headers(&[("x-secret", "1"), ("x-kept", "2")]);
        let named = HeaderValue::from_bytes(b"x-secret, \xff").unwrap();
        client.insert(header::CONNECTION, named);
        assert_eq!(to_worker(&client, None), headers(&[("x-kept", "2")]));
    }

    #[test]
    fn repeated_headers_stay_repeated_and_addresses_are_appended() {
        let client = ClientAddress("192.0.2.7:1234".parse().unwrap());
        let passed = to_worker(
            &headers(&[
                ("x-tag", "a"),
                ("x-tag", "b"),
                ("x-forwarded-for", "198.51.100.1"),
            ]),
            Some(client),
        );
        let all = |name: &str| {
            passed
                .get_all(name)
                .iter()
                .map(|value| value.to_str().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(all("x-tag"), ["a", "b"]);
        assert_eq!(all("x-forwarded-for"), ["198.51.100.1", "192.0.2.7"]);
    }
}
