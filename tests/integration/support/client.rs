//! Clients: one that speaks HTTP well, and one that writes bytes.

use std::io;
use std::net::SocketAddr;

use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client as Pooled};
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::wait::in_time;

/// A client of one server, with pooled connections.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    pool: Pooled<HttpConnector, Full<Bytes>>,
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            pool: Pooled::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// The request for `path`, to be sent with [`send`](Self::send).
    pub(crate) fn request(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
        Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header("content-type", "application/json")
            .body(Full::new(body.into()))
            .expect("tests make valid requests")
    }

    /// Sends a request; fails where the connection does.
    pub(crate) async fn try_send(&self, request: Request<Full<Bytes>>) -> Result<Answer, legacy::Error> {
        let response = in_time("an answer", self.pool.request(request)).await?;
        let (parts, body) = response.into_parts();
        let body = in_time("the body of an answer", body.collect()).await;
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.expect("an answer is whole").to_bytes(),
        })
    }

    /// Sends a request, which must be answered.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        self.try_send(request).await.expect("a request is answered")
    }

    /// The same, with these headers in place of what was there under their names.
    pub(crate) async fn send_with(
        &self,
        mut request: Request<Full<Bytes>>,
        headers: &[(&'static str, &str)],
    ) -> Answer {
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).expect("tests send valid headers");
            request.headers_mut().insert(*name, value);
        }
        self.send(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path, "")).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.send(self.request(Method::POST, path, body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::PUT, path, body.to_string())).await
    }

    /// One row for `iris`.
    pub(crate) fn prediction(&self) -> Request<Full<Bytes>> {
        let body = json!({"model": "iris", "inputs": [[5.1, 3.5, 1.4, 0.2]]});
        self.request(Method::POST, "/predict", body.to_string())
    }

    /// Asks for one prediction of `iris`.
    pub(crate) async fn predict(&self) -> Answer {
        self.send(self.prediction()).await
    }

    /// Asks for one prediction of this model, by its path.
    pub(crate) async fn predict_of(&self, model: &str) -> Answer {
        let body = json!({"inputs": [[5.1, 3.5, 1.4, 0.2]]}).to_string();
        self.post(&format!("/models/{model}/predict"), body).await
    }

    /// One prediction of `iris`, with one more header.
    pub(crate) async fn predict_with(&self, name: &'static str, value: &str) -> Answer {
        self.send_with(self.prediction(), &[(name, value)]).await
    }

    /// Asks for so many predictions one after the other, and gives who answered each.
    pub(crate) async fn who_answers(&self, count: usize) -> String {
        let mut who = String::new();
        for _ in 0..count {
            who += self.predict().await.assert_ok().header("x-millrace-worker");
        }
        who
    }
}

impl Answer {
    /// One header; empty where it is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }

    /// What it says; nothing where it is no JSON.
    pub(crate) fn try_json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// It must be a success.
    #[track_caller]
    pub(crate) fn assert_ok(&self) -> &Self {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text());
        self
    }

    /// It must be an error of this status and code, in the shape of every error.
    #[track_caller]
    pub(crate) fn assert_error(&self, status: u16, code: &str) -> &Self {
        let body = self.json();
        assert_eq!(
            (self.status.as_u16(), body["error"]["code"].as_str()),
            (status, Some(code)),
            "{body}"
        );
        let has_text = |key: &str| body["error"][key].as_str().is_some_and(|text| !text.is_empty());
        assert!(has_text("message") && has_text("request_id"), "{body}");
        assert_eq!(
            body["error"].as_object().map(serde_json::Map::len),
            Some(3),
            "{body}"
        );
        assert_eq!(self.header("content-type"), "application/json");
        self
    }

    /// It must be an error of this status and code, in the shape of the Open Inference Protocol.
    #[track_caller]
    pub(crate) fn assert_v2_error(&self, status: u16, code: &str) -> &Self {
        let body = self.json();
        assert_eq!(
            (self.status.as_u16(), self.header("x-millrace-error")),
            (status, code),
            "{body}"
        );
        assert!(
            body["error"].is_string() && body.as_object().map(serde_json::Map::len) == Some(1),
            "{body}"
        );
        assert_eq!(self.header("content-type"), "application/json");
        self
    }

    /// The message of an error.
    pub(crate) fn message(&self) -> String {
        self.json()["error"]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    pub(crate) fn worker(&self) -> &str {
        self.header("x-millrace-worker")
    }

    pub(crate) fn attempts(&self) -> &str {
        self.header("x-millrace-attempts")
    }
}

/// A connection that writes what it is told.
pub(crate) struct RawConnection {
    reader: RawReader,
    writer: RawWriter,
}

/// The half of a [`RawConnection`] that reads.
pub(crate) struct RawReader(OwnedReadHalf);

/// The half of a [`RawConnection`] that writes.
pub(crate) struct RawWriter(OwnedWriteHalf);

impl RawConnection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the server accepts");
        let (reader, writer) = stream.into_split();
        Self {
            reader: RawReader(reader),
            writer: RawWriter(writer),
        }
    }

    pub(crate) fn split(self) -> (RawReader, RawWriter) {
        (self.reader, self.writer)
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_write(bytes).await.expect("the server reads");
    }

    pub(crate) async fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.writer.try_write(bytes).await
    }

    pub(crate) async fn read_to_end(&mut self) -> String {
        self.reader.read_to_end().await
    }

    /// One answer with a Content-Length; its head and its body. Where the connection was closed instead: what came.
    pub(crate) async fn read_answer(&mut self) -> (String, String) {
        let mut bytes = Vec::new();
        loop {
            if let Some(answer) = split_answer(&bytes) {
                return answer;
            }
            let read = in_time("an answer", self.reader.0.read_buf(&mut bytes)).await;
            if read.unwrap_or_default() == 0 {
                return (String::from_utf8_lossy(&bytes).into_owned(), String::new());
            }
        }
    }
}

impl RawWriter {
    /// Fails where the server has closed the connection.
    pub(crate) async fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.write_all(bytes.as_ref()).await
    }
}

impl RawReader {
    /// Everything until the server closes the connection.
    pub(crate) async fn read_to_end(&mut self) -> String {
        let mut bytes = Vec::new();
        // A reset ends it as well as a close does.
        let _ = in_time("the end of a connection", self.0.read_to_end(&mut bytes)).await;
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn split_answer(bytes: &[u8]) -> Option<(String, String)> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0);
    (body.len() >= length).then(|| (head.to_owned(), body.to_owned()))
}
