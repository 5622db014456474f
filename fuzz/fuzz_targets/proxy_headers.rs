//! The headers that pass through the gateway, one a line: those of a client, and the names of those of a worker's answer. What
//! belongs to one connection never passes; everything else does, as often as it was there, in its order.
#![no_main]

use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use millrace::gateway::proxy_headers::{ToWorker, is_for_client};
use millrace::http::origin::{Client, Origin};
use millrace::http::request_id::RequestId;

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

/// What passed must be all that may, but for the headers in `but`, which have rules of their own.
fn assert_passed(all: &HeaderMap, passed: &HeaderMap, but: &[&str]) {
    let names = all.keys().chain(passed.keys());
    for name in names.filter(|name| !but.contains(&name.as_str())) {
        let wanted = all.get_all(name).iter().filter(|_| passes(all, name.as_str()));
        assert!(
            wanted.eq(passed.get_all(name)),
            "{name}: {all:?} became {passed:?}"
        );
    }
}

/// What a worker gets of these.
fn passed(to_worker: &ToWorker) -> HeaderMap {
    let mut passed = HeaderMap::new();
    for (name, value) in to_worker.iter() {
        passed.append(name, value.clone());
    }
    passed
}

/// The values of a header that may pass, and after them this one.
fn with_own<'a>(all: &'a HeaderMap, name: &str, own: &'a str) -> Vec<&'a [u8]> {
    let of_client = all.get_all(name).iter().filter(|_| passes(all, name));
    of_client
        .map(HeaderValue::as_bytes)
        .chain([own.as_bytes()])
        .collect()
}

fuzz_target!(|input: &[u8]| {
    let all = headers_in(input);
    let id = RequestId::take_or_make(&all);
    let origin = Origin {
        client: Client::at(([192, 0, 2, 7], 1234).into()),
        id: id.clone(),
    };
    let to_worker = ToWorker::of(all.clone(), origin);
    let told = passed(&to_worker);
    assert_passed(&all, &told, &["x-forwarded-for", "x-request-id"]);
    let chain = with_own(&all, "x-forwarded-for", "192.0.2.7");
    assert!(
        told.get_all("x-forwarded-for").iter().eq(chain),
        "{all:?} became {told:?}"
    );
    assert!(told.get_all("x-request-id").iter().eq([id.as_str()]), "{told:?}");

    let without = passed(&to_worker.without(&[HeaderName::from_static("accept")]));
    assert!(!without.contains_key("accept"), "{without:?}");
    assert_passed(&all, &without, &["accept", "x-forwarded-for", "x-request-id"]);

    for name in all.keys().map(HeaderName::as_str) {
        let is_ours = matches!(name, "x-request-id" | "endpoint-load-metrics");
        assert_eq!(is_for_client(name), !NEVER.contains(&name) && !is_ours, "{name}");
        assert_eq!(is_for_client(&name.to_ascii_uppercase()), is_for_client(name), "{name}");
    }
});
