//! A worker that does what a test tells it: answer, hold, refuse, break off, talk nonsense, go and come back.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What a fake worker does with a prediction.
#[derive(Clone, Debug)]
pub(crate) enum Behaviour {
    /// Answers with its own id, in `worker`.
    Answer,
    /// The same, after this time.
    AnswerAfter(Duration),
    /// Refuses with this status and error code.
    Refuse(u16, &'static str),
    /// Answers with this status and body as they are.
    Reply(u16, &'static str),
    /// Closes the connection without a word.
    CutBefore,
    /// Closes the connection half-way through its answer.
    CutHalfway,
    /// Answers with so many bytes, which are binary.
    AnswerWith(usize),
}

/// One prediction that came to a fake worker.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    /// All values of one header.
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        let text = |value| HeaderValue::to_str(value).expect("tests send text");
        self.headers.get_all(name).iter().map(text).collect()
    }
}

/// The worker. It stops with the last clone.
#[derive(Clone)]
pub(crate) struct FakeWorker {
    pub(crate) id: &'static str,
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    server: Arc<Mutex<Server>>,
}

struct Shared {
    id: &'static str,
    models: Mutex<Value>,
    behaviour: Mutex<Behaviour>,
    behaviours: Mutex<HashMap<&'static str, Behaviour>>,
    extra_headers: Mutex<HeaderMap>,
    probe_status: Mutex<StatusCode>,
    is_held: watch::Sender<bool>,
    seen: Mutex<Vec<Seen>>,
    probes: AtomicUsize,
    load_probes: AtomicUsize,
    inside: AtomicUsize,
    abandoned: AtomicUsize,
}

struct Server {
    /// Bound and not listening, so that nobody else gets the port while this worker is away.
    _reserved: TcpSocket,
    task: Option<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl FakeWorker {
    /// A worker that listens and serves version 1 of `iris`.
    pub(crate) async fn start(id: &'static str) -> Self {
        let worker = Self::start_down(id);
        worker.come_back();
        worker
    }

    /// So many workers, called a, b, c, …
    pub(crate) async fn start_many<const N: usize>() -> [Self; N] {
        let ids = ["a", "b", "c", "d", "e", "f"];
        std::array::from_fn(|index| {
            let worker = Self::start_down(ids[index]);
            worker.come_back();
            worker
        })
    }

    /// A worker that has its address, and does not listen yet.
    pub(crate) fn start_down(id: &'static str) -> Self {
        Self::at(reserve(), id)
    }

    /// So many workers at one port of 127.0.0.1, 127.0.0.2, 127.0.0.3, …
    pub(crate) fn start_side_by_side<const N: usize>() -> [Self; N] {
        let mut sockets = reserve_side_by_side(N).into_iter();
        let ids = ["a", "b", "c", "d", "e", "f"];
        std::array::from_fn(|index| {
            let worker = Self::at(sockets.next().expect("there is one for each"), ids[index]);
            worker.come_back();
            worker
        })
    }

    fn at(reserved: TcpSocket, id: &'static str) -> Self {
        let address = reserved.local_addr().expect("a bound socket has an address");
        let worker = Self {
            id,
            address,
            shared: Arc::new(Shared {
                id,
                models: Mutex::default(),
                behaviour: Mutex::new(Behaviour::Answer),
                behaviours: Mutex::default(),
                extra_headers: Mutex::default(),
                probe_status: Mutex::new(StatusCode::OK),
                is_held: watch::Sender::new(false),
                seen: Mutex::default(),
                probes: AtomicUsize::new(0),
                load_probes: AtomicUsize::new(0),
                inside: AtomicUsize::new(0),
                abandoned: AtomicUsize::new(0),
            }),
            server: Arc::new(Mutex::new(Server {
                _reserved: reserved,
                task: None,
            })),
        };
        worker.serves(&[("iris", "1", "ready")]);
        worker
    }

    /// What it serves from now on: model, version, state.
    pub(crate) fn serves(&self, models: &[(&str, &str, &str)]) {
        let mut names: Vec<&str> = models.iter().map(|&(name, ..)| name).collect();
        names.dedup();
        let versions = |name: &str| {
            let of_it = models.iter().filter(|&&(other, ..)| other == name);
            of_it
                .map(|&(_, version, state)| json!({"version": version, "state": state}))
                .collect::<Vec<_>>()
        };
        let entry = |name: &&str| json!({"name": name, "task": "classification", "versions": versions(name)});
        *lock(&self.shared.models) = json!({"models": names.iter().map(entry).collect::<Vec<_>>()});
    }

    /// What it does with predictions from now on.
    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *lock(&self.shared.behaviour) = behaviour;
    }

    /// What it does with predictions of one model from now on, whatever it does with others.
    pub(crate) fn behave_for(&self, model: &'static str, behaviour: Behaviour) {
        lock(&self.shared.behaviours).insert(model, behaviour);
    }

    /// What it does with predictions at this path from now on, whatever it does with others.
    pub(crate) fn behave_at(&self, path: &'static str, behaviour: Behaviour) {
        lock(&self.shared.behaviours).insert(path, behaviour);
    }

    /// The status of its answers to probes from now on.
    pub(crate) fn answer_probes_with(&self, status: u16) {
        *lock(&self.shared.probe_status) = StatusCode::from_u16(status).expect("tests give valid statuses");
    }

    /// Puts one more header on each of its answers.
    pub(crate) fn add_header(&self, name: &'static str, value: &'static str) {
        lock(&self.shared.extra_headers)
            .append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }

    /// From now on predictions wait for `release`.
    pub(crate) fn hold(&self) {
        self.shared.is_held.send_replace(true);
    }

    /// Lets go of those that wait, and of all that come.
    pub(crate) fn release(&self) {
        self.shared.is_held.send_replace(false);
    }

    /// Stops listening and breaks every connection, as a killed process does.
    pub(crate) async fn go_away(&self) {
        let task = lock(&self.server).task.take();
        if let Some(task) = task {
            task.abort();
            // The listener is closed when the task is gone, and not before.
            let _ = task.await;
        }
    }

    /// Listens on its address again.
    pub(crate) fn come_back(&self) {
        let listener = listen_at(self.address);
        lock(&self.server).task = Some(tokio::spawn(serve(listener, self.shared.clone())));
    }

    /// Listens on its address again, and answers everything with what is not HTTP.
    pub(crate) fn come_back_as_something_else(&self) {
        let listener = listen_at(self.address);
        lock(&self.server).task = Some(tokio::spawn(talk_nonsense(listener)));
    }

    /// A listener on its address whose connections nobody takes: the way a stopped process looks.
    pub(crate) fn listen_without_answering(&self) -> TcpListener {
        listen_at(self.address)
    }

    /// The predictions that came so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// The last prediction that came.
    pub(crate) fn last_seen(&self) -> Seen {
        self.seen().pop().expect("a prediction came")
    }

    /// How many predictions came.
    pub(crate) fn count(&self) -> usize {
        lock(&self.shared.seen).len()
    }

    /// How many probes came.
    pub(crate) fn probes(&self) -> usize {
        self.shared.probes.load(Ordering::Relaxed)
    }

    /// How often it was asked for its load.
    pub(crate) fn load_probes(&self) -> usize {
        self.shared.load_probes.load(Ordering::Relaxed)
    }

    /// Tells this load from now on.
    pub(crate) fn tell_load(&self, load: &'static str) {
        lock(&self.shared.extra_headers).insert("endpoint-load-metrics", HeaderValue::from_static(load));
    }

    /// How many predictions it has now.
    pub(crate) fn inside(&self) -> usize {
        self.shared.inside.load(Ordering::Relaxed)
    }

    /// How many predictions were given up by who sent them before they were answered.
    pub(crate) fn abandoned(&self) -> usize {
        self.shared.abandoned.load(Ordering::Relaxed)
    }
}

type Body = BoxBody<Bytes, io::Error>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn socket_at(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// An address that nobody else gets while its socket, which is bound and does not listen, is there.
pub(crate) fn reserve() -> TcpSocket {
    socket_at(([127, 0, 0, 1], 0).into()).expect("a port is free")
}

/// So many of them at one port of 127.0.0.1, 127.0.0.2, …
pub(crate) fn reserve_side_by_side(count: usize) -> Vec<TcpSocket> {
    loop {
        if let Some(sockets) = sockets_side_by_side(count) {
            return sockets;
        }
    }
}

/// None where somebody else has the port that was free at the first address at one of the others.
fn sockets_side_by_side(count: usize) -> Option<Vec<TcpSocket>> {
    let first = reserve();
    let port = first.local_addr().expect("a bound socket has an address").port();
    let last_bytes = 2..=u8::try_from(count).expect("tests start few workers");
    let others = last_bytes.map(|last| socket_at(([127, 0, 0, last], port).into()).ok());
    std::iter::once(Some(first)).chain(others).collect()
}

fn listen_at(address: SocketAddr) -> TcpListener {
    let socket = socket_at(address).expect("the address is free");
    socket.listen(1024).expect("the address is free")
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let shared = shared.clone();
        connections.spawn(async move {
            let service = service_fn(|request| answer(request, &shared));
            // Connections that a test breaks end with an error.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn talk_nonsense(listener: TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        tokio::spawn(async move {
            let mut stream: TcpStream = stream;
            let _ = stream.write_all(b"220 mail.example ESMTP\r\n").await;
        });
    }
}

/// Why a fake worker's connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the test wants the connection cut")]
struct Cut;

async fn answer(request: Request<Incoming>, shared: &Shared) -> Result<Response<Body>, Cut> {
    if request.method() == Method::GET && request.uri().path() == "/models" {
        shared.probes.fetch_add(1, Ordering::Relaxed);
        let status = *lock(&shared.probe_status);
        return Ok(response(status, lock(&shared.models).to_string()));
    }
    if request.method() == Method::GET && request.uri().path().ends_with("/ready") {
        shared.load_probes.fetch_add(1, Ordering::Relaxed);
        let mut response = response(StatusCode::OK, "");
        response.headers_mut().extend(lock(&shared.extra_headers).clone());
        return Ok(response);
    }
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let visit = Visit::begin(shared);
    let path = parts.uri.path().to_owned();
    lock(&shared.seen).push(Seen {
        method: parts.method,
        path: path.clone(),
        headers: parts.headers,
        body,
    });
    let mut is_held = shared.is_held.subscribe();
    is_held.wait_for(|is_held| !is_held).await.map_err(|_| Cut)?;
    visit.end();
    let behaviour = behaviour_at(&path, shared);
    if let Behaviour::AnswerAfter(time) = behaviour {
        take(time).await;
    }
    let mut response = behave(&behaviour, shared.id)?;
    for (name, value) in lock(&shared.extra_headers).iter() {
        response.headers_mut().append(name, value.clone());
    }
    Ok(response)
}

/// What a test wants done with a prediction at this path, which names the model.
fn behaviour_at(path: &str, shared: &Shared) -> Behaviour {
    let model = path
        .strip_prefix("/models/")
        .and_then(|rest| rest.split('/').next());
    let behaviours = lock(&shared.behaviours);
    let of_model = || model.and_then(|model| behaviours.get(model));
    let of_path = behaviours.get(path);
    of_path
        .or_else(of_model)
        .cloned()
        .unwrap_or_else(|| lock(&shared.behaviour).clone())
}

async fn take(time: Duration) {
    tokio::time::sleep(time).await;
}

fn behave(behaviour: &Behaviour, id: &str) -> Result<Response<Body>, Cut> {
    Ok(match *behaviour {
        Behaviour::Answer | Behaviour::AnswerAfter(_) => {
            let answer = json!({"model": "iris", "version": "1", "predictions": ["setosa"], "worker": id});
            response(StatusCode::OK, answer.to_string())
        }
        Behaviour::Refuse(status, code) => {
            let error = json!({"code": code, "message": format!("{id} refuses"), "request_id": "r"});
            response(status_of(status), json!({"error": error}).to_string())
        }
        Behaviour::Reply(status, body) => response(status_of(status), body),
        Behaviour::CutBefore => return Err(Cut),
        Behaviour::CutHalfway => half(r#"{"model": "iris", "predictions": ["#),
        Behaviour::AnswerWith(size) => {
            let mut answer = response(StatusCode::OK, vec![b'x'; size]);
            let binary = HeaderValue::from_static("application/octet-stream");
            answer.headers_mut().insert(header::CONTENT_TYPE, binary);
            answer
        }
    })
}

fn status_of(status: u16) -> StatusCode {
    StatusCode::from_u16(status).expect("tests give valid statuses")
}

fn response(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(body.into()).map_err(|never: Infallible| match never {});
    let mut response = Response::new(body.boxed());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer that declares more than it sends.
fn half(body: &'static str) -> Response<Body> {
    let frames = [
        Ok(Frame::data(Bytes::from_static(body.as_bytes()))),
        Err(io::Error::other("cut")),
    ];
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(stream::iter(frames))));
    let declared = HeaderValue::from(body.len() * 2);
    response.headers_mut().insert(header::CONTENT_LENGTH, declared);
    response
}

/// One prediction inside a fake worker.
struct Visit<'a> {
    shared: &'a Shared,
    is_answered: bool,
}

impl<'a> Visit<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.inside.fetch_add(1, Ordering::Relaxed);
        Self {
            shared,
            is_answered: false,
        }
    }

    fn end(mut self) {
        self.is_answered = true;
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.shared.inside.fetch_sub(1, Ordering::Relaxed);
        if !self.is_answered {
            self.shared.abandoned.fetch_add(1, Ordering::Relaxed);
        }
    }
}
