//! The floor under a gateway: hyper on one thread, which passes every request on to the next upstream.
//!
//! `floor-proxy --listen 127.0.0.1:8080 --upstreams 127.0.0.1:9000,127.0.0.1:9001`
//!
//! It looks at no body, probes nobody, retries nothing and counts nothing.

use std::cell::Cell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::HOST;
use hyper::http::HeaderValue;
use hyper::http::uri::{Authority, Scheme};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use millrace_compare::{Arguments, Failure, serve};

struct Proxy {
    client: Client<HttpConnector, Incoming>,
    upstreams: Vec<Authority>,
    turn: Cell<usize>,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::of_process();
    let listen: SocketAddr = arguments.required("--listen")?;
    let upstreams = arguments
        .required::<String>("--upstreams")?
        .split(',')
        .map(str::parse)
        .collect::<Result<Vec<Authority>, _>>()?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let proxy = Rc::new(Proxy {
        client: Client::builder(TokioExecutor::new()).build(connector),
        upstreams,
        turn: Cell::new(0),
    });
    serve(
        listen,
        service_fn(move |request| pass_on(request, Rc::clone(&proxy))),
    )
}

async fn pass_on(
    mut request: Request<Incoming>,
    proxy: Rc<Proxy>,
) -> Result<Response<BoxBody<Bytes, hyper::Error>>, Infallible> {
    let turn = proxy.turn.get();
    proxy.turn.set(turn.wrapping_add(1));
    let upstream = &proxy.upstreams[turn % proxy.upstreams.len()];
    if !direct(&mut request, upstream) {
        return Ok(empty(StatusCode::BAD_REQUEST));
    }
    Ok(match proxy.client.request(request).await {
        Ok(response) => response.map(BodyExt::boxed),
        Err(_) => empty(StatusCode::BAD_GATEWAY),
    })
}

/// Turns a request to this proxy into one to an upstream, unless it asks for no path.
fn direct(request: &mut Request<Incoming>, upstream: &Authority) -> bool {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(upstream.clone());
    let (Ok(uri), Ok(host)) = (Uri::from_parts(parts), HeaderValue::from_str(upstream.as_str())) else {
        return false;
    };
    *request.uri_mut() = uri;
    request.headers_mut().insert(HOST, host);
    true
}

fn empty(status: StatusCode) -> Response<BoxBody<Bytes, hyper::Error>> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    response
}
