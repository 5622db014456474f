//! A gateway's side of a link: requests go out together, and each gets its own answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::connection::{AskError, Connection, Outgoing, write_message};
use super::connector::Connector;
use super::head::take_head;
use super::{Answered, SendError, WorkerBody};
use crate::http::link::exchange::{Exchange, LinkError, Ticket};
use crate::http::link::frame::{Frame, Kind};
use crate::http::link::{MAX_ANSWER_FRAME, MAX_OPEN, PATH, PROTOCOL};
use crate::telemetry::gateway_metrics::LinkMetrics;

/// One connection that carries requests of one thread to one worker.
#[derive(Debug)]
pub(super) struct Link(Exchange<Waiting>);

type Waiting = oneshot::Sender<Reply>;

/// What comes of a request on a link.
#[derive(Clone, Debug)]
enum Reply {
    Answer(BytesMut),
    /// It is to be asked on a connection of its own: the link did not come about, or cannot carry the answer.
    Elsewhere,
    Failed(SendError),
}

impl Link {
    /// Opens one to a worker within `patience`. Who asks meanwhile waits for it.
    pub(super) fn open(to: &Connector, patience: Duration, metrics: LinkMetrics) -> Arc<Self> {
        let link = Arc::new(Self(Exchange::default()));
        let (running, to) = (Arc::clone(&link), to.clone());
        tokio::spawn(async move { running.run(&to, patience, &metrics).await });
        link
    }

    /// Whether it takes requests.
    pub(super) fn is_open(&self) -> bool {
        self.0.is_open()
    }

    /// Takes no new request, and closes when the last one is answered.
    pub(super) fn retire(&self) {
        self.0.retire();
    }

    /// Sends a request and waits for its answer. `NothingSent`: it is for a connection of its own.
    pub(super) async fn ask(&self, request: &Outgoing<'_>) -> Result<Answered, AskError> {
        let (reply, replied) = oneshot::channel();
        let write = |out: &mut Vec<u8>| write_message(out, request);
        let ticket = self.0.ask(MAX_OPEN, reply, write).ok_or(AskError::NothingSent)?;
        let mut asked = Asked {
            link: self,
            ticket: Some(ticket),
        };
        let reply = replied.await;
        asked.ticket = None;
        match reply {
            Ok(Reply::Answer(message)) => understand(message).map_err(AskError::Failed),
            Ok(Reply::Elsewhere) => Err(AskError::NothingSent),
            Ok(Reply::Failed(error)) => Err(AskError::Failed(error)),
            Err(_) => Err(AskError::Failed(broken_off("the link has ended"))),
        }
    }

    async fn run(&self, to: &Connector, patience: Duration, metrics: &LinkMetrics) {
        let begun = timeout(patience, begin(to, patience)).await;
        let begun = begun.unwrap_or_else(|_| Err(SendError::NotConnected("no link in time".to_owned())));
        let (stream, incoming) = match begun {
            Ok(Some(connection)) => connection.into_parts(),
            Ok(None) => return self.end(&Reply::Elsewhere, &Reply::Elsewhere),
            Err(error) => {
                let failed = Reply::Failed(error);
                return self.end(&failed, &failed);
            }
        };
        let on_frame = |frame| self.take_in(frame);
        let on_write = |messages| metrics.count(messages);
        let ended = self.0.run(stream, incoming, MAX_ANSWER_FRAME, on_frame, on_write);
        let error = match ended.await {
            Ok(()) => broken_off("the worker closed the link"),
            Err(error) => {
                tracing::debug!(authority = %to.authority(), %error, "a link to a worker broke");
                broken_off(&error.to_string())
            }
        };
        // What never left can be sent on another connection.
        self.end(&Reply::Failed(error), &Reply::Elsewhere);
    }

    /// Tells those who still wait.
    fn end(&self, sent: &Reply, unsent: &Reply) {
        let left = self.0.end();
        for (waiting, reply) in [(left.sent, sent), (left.unsent, unsent)] {
            for waiting in waiting {
                // Whoever gave up meanwhile does not hear it.
                let _ = waiting.send(reply.clone());
            }
        }
    }

    fn take_in(&self, Frame { kind, tag, payload }: Frame) -> Result<(), LinkError> {
        let reply = match kind {
            Kind::Message => Reply::Answer(payload),
            Kind::TooLarge => Reply::Elsewhere,
            Kind::Dropped => Reply::Failed(broken_off("the worker dropped the request")),
            Kind::Closing => {
                self.retire();
                return Ok(());
            }
            Kind::Cancelled => return Err(LinkError::Message("a worker has nothing to cancel".to_owned())),
        };
        // Nobody waits for an answer that was on its way when its request was given up.
        if let Some(waiting) = self.0.take_out(tag) {
            let _ = waiting.send(reply);
        }
        Ok(())
    }
}

/// A request that is given up if this is dropped with its ticket.
struct Asked<'a> {
    link: &'a Link,
    ticket: Option<Ticket>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.link.0.give_up(ticket);
        }
    }
}

/// A connection on which the worker has agreed to a link; none where it has not, in whatever way.
async fn begin(to: &Connector, patience: Duration) -> Result<Option<Connection>, SendError> {
    let mut connection = to.connect(patience).await?;
    let agrees = connection.switch(to.authority(), PATH, PROTOCOL).await;
    Ok(agrees.unwrap_or(false).then_some(connection))
}

fn understand(mut message: BytesMut) -> Result<Answered, SendError> {
    let head = take_head(&mut message).map_err(|error| broken_off(&error.to_string()))?;
    let head = head.ok_or_else(|| broken_off("the head of the answer does not end"))?;
    Ok(Answered {
        status: head.status,
        headers: head.headers,
        report: head.report,
        body: WorkerBody::here(message.freeze()),
    })
}

fn broken_off(reason: &str) -> SendError {
    SendError::BrokenOff(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::body::Body;
    use axum::extract::Request;
    use axum::http::uri::{Authority, PathAndQuery};
    use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
    use axum::response::{IntoResponse, Response};
    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::config::HttpConfig;
    use crate::gateway::proxy_headers::ToWorker;
    use crate::http::drain::{Drain, Phase};
    use crate::http::headers::LOAD_METRICS;
    use crate::http::link::{MAX_ANSWER, frame};
    use crate::http::observe::{AccessLog, Outcome, Reported};
    use crate::http::origin::{Client, Origin};
    use crate::http::request_id::RequestId;
    use crate::http::routes::finish;
    use crate::http::server;
    use crate::http::service::Predictions;
    use crate::http::threads::Threads;
    use crate::telemetry::gateway_metrics::GatewayMetrics;

    const PATIENCE: Duration = Duration::from_secs(5);

    /// A worker that does what the path says.
    #[derive(Clone, Default)]
    struct Worker(Arc<Inside>);

    #[derive(Default)]
    struct Inside {
        came: AtomicUsize,
        went: AtomicUsize,
        large: AtomicUsize,
        release: Notify,
    }

    /// Counts a request that is held, until it goes in whatever way.
    struct Held<'a>(&'a Inside);

    impl<'a> Held<'a> {
        fn begin(inside: &'a Inside) -> Self {
            inside.came.fetch_add(1, Ordering::SeqCst);
            Self(inside)
        }
    }

    impl Drop for Held<'_> {
        fn drop(&mut self) {
            self.0.went.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Predictions for Worker {
        type Asked = String;

        fn asked(&self, request: &Request) -> Option<String> {
            (request.method() == Method::POST).then(|| request.uri().path().to_owned())
        }

        async fn predict(&self, path: String, request: Request, origin: Origin) -> Reported {
            let response = match path.as_str() {
                "/echo" => {
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let body = String::from_utf8_lossy(&body).into_owned();
                    Response::new(Body::from(format!("{} {body}", origin.id)))
                }
                "/refuse" => StatusCode::UNPROCESSABLE_ENTITY.into_response(),
                "/large" => {
                    self.0.large.fetch_add(1, Ordering::SeqCst);
                    Response::new(Body::from(vec![b'x'; MAX_ANSWER]))
                }
                "/huge" => Response::new(Body::from(vec![b'x'; (1 << 20) + 1])),
                "/hold" => {
                    let _held = Held::begin(&self.0);
                    self.0.release.notified().await;
                    Response::new(Body::empty())
                }
                other => panic!("nobody asks for {other}"),
            };
            Reported {
                response,
                outcome: Outcome::default(),
            }
        }

        fn tell_load(&self, reported: &mut Reported) {
            let load = HeaderValue::from_static("TEXT named_metrics.in_flight=7");
            reported.response.headers_mut().insert(LOAD_METRICS, load);
        }
    }

    struct Server {
        authority: Authority,
        inside: Arc<Inside>,
        drain: Drain,
        serving: JoinHandle<usize>,
        link: Arc<Link>,
    }

    type Answer = Result<(u16, String), AskError>;

    impl Server {
        async fn start() -> Self {
            Self::start_with(true).await
        }

        async fn start_with(takes_links: bool) -> Self {
            Self::start_patient(takes_links, PATIENCE).await
        }

        /// One that waits for requests for so long.
        async fn start_patient(takes_links: bool, header_timeout: Duration) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let authority: Authority = listener.local_addr().unwrap().to_string().parse().unwrap();
            let (worker, drain) = (Worker::default(), Drain::new());
            let service = finish(Router::new(), (), AccessLog(false)).with(worker.clone());
            let service = if takes_links {
                service.with_links()
            } else {
                service
            };
            let limits = HttpConfig {
                max_body: 1 << 20,
                max_connections: 10,
                header_timeout,
            };
            let closing = drain.clone();
            let serving = tokio::spawn(async move {
                server::serve(
                    listener.into(),
                    service,
                    &limits,
                    &Threads::here(),
                    &closing,
                    PATIENCE,
                )
                .await
            });
            Self {
                link: link_to(&authority),
                authority,
                inside: worker.0,
                drain,
                serving,
            }
        }

        fn asking(&self, path: &'static str, id: &'static str) -> JoinHandle<Answer> {
            let link = Arc::clone(&self.link);
            tokio::spawn(async move { ask(&link, path, id).await })
        }

        async fn ask(&self, path: &'static str) -> Answer {
            self.asking(path, "id").await.unwrap()
        }

        /// A request that is with the worker.
        async fn held(&self) -> JoinHandle<Answer> {
            let came = || self.inside.came.load(Ordering::SeqCst);
            let before = came();
            let asking = self.asking("/hold", "held");
            until("it is there", || came() > before).await;
            asking
        }
    }

    fn link_to(authority: &Authority) -> Arc<Link> {
        let metrics = GatewayMetrics::new().of_endpoint("a").links;
        Link::open(&Connector::new(authority.clone(), None), PATIENCE, metrics)
    }

    async fn until(what: &str, is_so: impl Fn() -> bool) {
        let looking = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, looking).await.expect(what);
    }

    async fn ask(link: &Link, path: &str, id: &str) -> Answer {
        let answered = answer(link, path, id).await?;
        let body = answered.body.whole().await.unwrap();
        let text = String::from_utf8_lossy(&body).into_owned();
        Ok((answered.status.as_u16(), text))
    }

    async fn answer(link: &Link, path: &str, id: &str) -> Result<Answered, AskError> {
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", id.parse().unwrap());
        let origin = Origin {
            client: Client::at("192.0.2.7:1".parse().unwrap()),
            id: RequestId::take_or_make(&headers),
        };
        let body = format!("body of {id}");
        let request = Outgoing {
            method: &Method::POST,
            path: &PathAndQuery::try_from(path).unwrap(),
            headers: &ToWorker::of(headers, origin),
            milliseconds: Some(1000),
            body: body.as_bytes(),
        };
        let answered = timeout(PATIENCE, link.ask(&request)).await;
        answered.expect("it is answered in time")
    }

    fn is_broken_off(answer: &Answer) -> bool {
        matches!(answer, Err(AskError::Failed(SendError::BrokenOff(_))))
    }

    #[tokio::test]
    async fn each_request_gets_its_own_answer_and_the_slow_one_holds_up_nobody() {
        let server = Server::start().await;
        let held = server.held().await;
        let asking = ["a", "b", "c"].map(|id| server.asking("/echo", id));
        for (asking, id) in asking.into_iter().zip(["a", "b", "c"]) {
            let answer = asking.await.unwrap().unwrap();
            assert_eq!(answer, (200, format!("{id} body of {id}")));
        }
        assert_eq!(server.ask("/refuse").await.unwrap().0, 422);
        assert!(!held.is_finished());
        server.inside.release.notify_one();
        assert_eq!(held.await.unwrap().unwrap().0, 200);
    }

    #[tokio::test]
    async fn one_in_four_answers_and_the_last_one_that_is_owed_tell_the_load() {
        let server = Server::start().await;
        let link = Arc::clone(&server.link);
        let held = tokio::spawn(async move { answer(&link, "/hold", "id").await });
        until("it is there", || server.inside.came.load(Ordering::SeqCst) == 1).await;
        let mut told = Vec::new();
        for _ in 0..6 {
            let answered = answer(&server.link, "/echo", "id").await.unwrap();
            told.push(answered.report.is_some());
        }
        assert_eq!(told, [false, false, false, true, false, false]);
        server.inside.release.notify_one();
        let last = held.await.unwrap().unwrap();
        assert_eq!(last.report.unwrap().in_flight, Some(7));
    }

    #[tokio::test]
    async fn a_request_that_is_given_up_is_given_up_at_the_worker_and_no_other_is() {
        let server = Server::start().await;
        let (given_up, kept) = (server.held().await, server.held().await);
        server.ask("/echo").await.unwrap();
        given_up.abort();
        until("one has gone", || server.inside.went.load(Ordering::SeqCst) == 1).await;
        assert!(server.link.is_open(), "answers came meanwhile");
        server.inside.release.notify_one();
        assert_eq!(kept.await.unwrap().unwrap().0, 200);
    }

    #[tokio::test]
    async fn a_link_on_which_nothing_came_while_a_request_waited_in_vain_takes_no_other() {
        let server = Server::start().await;
        let given_up = server.held().await;
        given_up.abort();
        assert!(given_up.await.unwrap_err().is_cancelled());
        assert!(!server.link.is_open());
        assert!(matches!(server.ask("/echo").await, Err(AskError::NothingSent)));
    }

    #[tokio::test]
    async fn a_handler_that_panics_breaks_off_its_own_request() {
        let server = Server::start().await;
        let held = server.held().await;
        assert!(is_broken_off(&server.ask("/panic").await));
        server.ask("/echo").await.unwrap();
        server.inside.release.notify_one();
        held.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_a_link_cannot_carry_is_for_a_connection_of_its_own() {
        let server = Server::start().await;
        assert!(matches!(server.ask("/huge").await, Err(AskError::NothingSent)));
        let long: &'static str = "x".repeat(200 << 10).leak();
        assert!(matches!(
            server.asking("/echo", long).await.unwrap(),
            Err(AskError::NothingSent)
        ));
        server.ask("/echo").await.unwrap();
    }

    #[tokio::test]
    async fn a_server_that_takes_no_links_gets_none() {
        let server = Server::start_with(false).await;
        assert!(matches!(server.ask("/echo").await, Err(AskError::NothingSent)));
        assert!(!server.link.is_open());
    }

    #[tokio::test]
    async fn nobody_there_is_told_as_such() {
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority: Authority = nobody.local_addr().unwrap().to_string().parse().unwrap();
        drop(nobody);
        let link = link_to(&authority);
        let answer = ask(&link, "/echo", "id").await;
        assert!(matches!(
            answer,
            Err(AskError::Failed(SendError::NotConnected(_)))
        ));
    }

    /// Waits until the other side has said that it closes.
    async fn until_told(link: &Link) {
        until("the other side is told", || !link.is_open()).await;
    }

    /// Eight answers are more than the system keeps for somebody who does not read.
    #[tokio::test]
    async fn a_server_that_closes_waits_until_its_answers_are_taken() {
        const COUNT: usize = 8;
        let server = Server::start().await;
        let mut stream = TcpStream::connect(server.authority.as_str()).await.unwrap();
        let asking =
            format!("GET {PATH} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: {PROTOCOL}\r\n\r\n");
        stream.write_all(asking.as_bytes()).await.unwrap();
        let mut granted = String::new();
        while !granted.ends_with("\r\n\r\n") {
            granted.push(char::from(stream.read_u8().await.unwrap()));
        }
        let mut out = Vec::new();
        for tag in 0..COUNT as u32 {
            let request = b"POST /large HTTP/1.1\r\n\r\n";
            frame::put(&mut out, Kind::Message, tag, |out| out.extend_from_slice(request));
        }
        stream.write_all(&out).await.unwrap();
        let large = || server.inside.large.load(Ordering::SeqCst);
        until("all have come", || large() == COUNT).await;
        server.drain.advance(Phase::Closing);
        // Longer than a server takes to see that nothing is left to be answered.
        tokio::time::sleep(Duration::from_millis(400)).await;
        let (mut incoming, mut whole) = (BytesMut::new(), 0);
        while whole < COUNT {
            assert_ne!(
                stream.read_buf(&mut incoming).await.unwrap(),
                0,
                "{whole} answers are whole"
            );
            while let Some(frame) = frame::take(&mut incoming, MAX_ANSWER_FRAME).unwrap() {
                whole += usize::from(frame.kind == Kind::Message);
            }
        }
        drop(stream);
        let cut_off = timeout(PATIENCE, server.serving).await.expect("it ends");
        assert_eq!(cut_off.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_link_that_nobody_uses_is_closed_and_one_that_waits_for_an_answer_is_not() {
        let server = Server::start_patient(true, Duration::from_millis(100)).await;
        let held = server.held().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(server.link.is_open());
        server.inside.release.notify_one();
        assert_eq!(held.await.unwrap().unwrap().0, 200);
        until_told(&server.link).await;
    }

    #[tokio::test]
    async fn a_server_that_closes_answers_what_it_has_and_gets_nothing_new() {
        let server = Server::start().await;
        let held = server.held().await;
        server.drain.advance(Phase::Closing);
        until_told(&server.link).await;
        assert!(matches!(server.ask("/echo").await, Err(AskError::NothingSent)));
        assert!(!server.serving.is_finished());
        server.inside.release.notify_one();
        assert_eq!(held.await.unwrap().unwrap().0, 200);
        let cut_off = timeout(PATIENCE, server.serving).await.expect("it ends");
        assert_eq!(cut_off.unwrap(), 0);
    }

    /// What comes of a request to somebody who grants a link, says this, and closes it once there is a request.
    async fn ask_one_who_says(what: &[u8]) -> Answer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority: Authority = listener.local_addr().unwrap().to_string().parse().unwrap();
        let link = link_to(&authority);
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut room = [0; 1024];
            assert_ne!(stream.read(&mut room).await.unwrap(), 0);
            let granted = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
            stream.write_all(&[granted, what].concat()).await.unwrap();
            let _ = stream.read(&mut room).await;
        };
        let (answer, ()) = tokio::join!(ask(&link, "/echo", "id"), server);
        assert!(!link.is_open());
        answer
    }

    #[tokio::test]
    async fn a_connection_that_breaks_breaks_off_what_was_sent() {
        assert!(is_broken_off(&ask_one_who_says(b"").await));
    }

    #[tokio::test]
    async fn what_is_no_frame_ends_the_link() {
        assert!(ask_one_who_says(b"HTTP/1.1 200 OK\r\n\r\n").await.is_err());
        assert!(
            ask_one_who_says(&[0, 0, 0, 0, 0, 0, 0, 1, 1]).await.is_err(),
            "nothing to cancel"
        );
    }
}
