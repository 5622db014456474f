//! The headers that pass through the gateway, one a line: those of a client, and those of a worker's answer. What belongs to one
//! connection never passes; everything else does, as often as it was there, in its order.
#![no_main]

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use millrace::gateway::proxy_headers::{to_client, to_worker};
use millrace::http::server::ClientAddress;

/// RFC 9110, section 7.6.1, and what each side of a proxy says for itself.
const NEVER: [&str; 12] = [
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

fn headers_in(input: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in input.split(|&byte| byte == b'\n') {
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let header = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value));
        if let (Ok(name), Ok(value)) = header {
            headers.append(name, value);
        }
    }
    headers
}

/// Whether `Connection` names this header, whatever bytes stand beside its name.
fn is_named(all: &HeaderMap, name: &str) -> bool {
    let mut options = all
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    options.any(|option| option.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
}

fn passes(all: &HeaderMap, name: &str) -> bool {
    !NEVER.contains(&name) && !is_named(all, name)
}

/// What passed must be all that may, but for the headers called `but`, which each direction has its own rule for.
fn assert_passed(all: &HeaderMap, passed: &HeaderMap, but: &str) {
    for name in all.keys().chain(passed.keys()).filter(|name| *name != but) {
        let wanted = all.get_all(name).iter().filter(|_| passes(all, name.as_str()));
        assert!(
            wanted.eq(passed.get_all(name)),
            "{name}: {all:?} became {passed:?}"
        );
    }
}

fuzz_target!(|input: &[u8]| {
    let all = headers_in(input);
    let client = ClientAddress(([192, 0, 2, 7], 1234).into());
    let passed = to_worker(&all, Some(client));
    assert_passed(&all, &passed, "x-forwarded-for");
    let before = all
        .get_all("x-forwarded-for")
        .iter()
        .filter(|_| passes(&all, "x-forwarded-for"));
    let chain: Vec<_> = before
        .map(HeaderValue::as_bytes)
        .chain([&b"192.0.2.7"[..]])
        .collect();
    assert!(
        passed.get_all("x-forwarded-for").iter().eq(chain),
        "{all:?} became {passed:?}"
    );
    assert_passed(&all, &to_worker(&all, None), "");

    let mut answer = all.clone();
    to_client(&mut answer);
    assert!(!answer.contains_key("endpoint-load-metrics"));
    assert_eq!(answer.get(CONTENT_LENGTH), all.get(CONTENT_LENGTH));
    assert!(answer.get_all(CONTENT_LENGTH).iter().count() <= 1);
    answer.remove(CONTENT_LENGTH);
    assert_passed(&all, &answer, "endpoint-load-metrics");
});
