//! Bodies over the usual limit, on paths that take them: one at a time, so that together they cannot fill the memory.

use std::sync::Arc;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_ENCODING;
use bytes::Bytes;
use http_body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body;
use super::deadline::Deadline;
use crate::api::error::{ApiError, ErrorCode};

/// Room for one large body.
#[derive(Debug)]
pub struct UploadRoom(Arc<Semaphore>);

/// A body, and the room that it takes as long as this is held.
#[derive(Debug, Default)]
pub struct Upload {
    /// The body, whole.
    pub body: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl Upload {
    /// The room without the body: what was made of it may be as large.
    #[must_use]
    pub fn without_body(self) -> Self {
        Self {
            body: Bytes::new(),
            ..self
        }
    }
}

impl Default for UploadRoom {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl UploadRoom {
    /// Reads a request's body of up to `most` bytes, and decompresses it where it is compressed. One over `usual`, or that
    /// does not say how long it is, waits for nobody: where another one is held, it is refused.
    pub async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
        sizes: (usize, usize),
        deadline: Deadline,
    ) -> Result<Upload, ApiError> {
        // How long a compressed one will be nobody knows.
        let is_small = is_within(&body, sizes.0) && !headers.contains_key(CONTENT_ENCODING);
        let (limit, room) = self.room(is_small, sizes)?;
        let body = body::read(headers, body, limit, deadline).await?;
        Ok(Upload { body, _room: room })
    }

    /// The same for a body that is passed on as it is.
    pub async fn read_as_sent(
        &self,
        headers: &HeaderMap,
        body: Body,
        sizes: (usize, usize),
        deadline: Deadline,
    ) -> Result<Upload, ApiError> {
        let (limit, room) = self.room(is_within(&body, sizes.0), sizes)?;
        let body = body::read_as_sent(headers, body, limit, deadline).await?;
        Ok(Upload { body, _room: room })
    }

    /// How long a body may be, and the room that it needs, if any.
    fn room(
        &self,
        is_small: bool,
        (usual, most): (usize, usize),
    ) -> Result<(usize, Option<OwnedSemaphorePermit>), ApiError> {
        if is_small || most <= usual {
            return Ok((usual, None));
        }
        Ok((most, Some(self.enter()?)))
    }

    fn enter(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let room = Arc::clone(&self.0).try_acquire_owned();
        room.map_err(|_| ApiError::new(ErrorCode::Overloaded, "another upload is being taken in"))
    }
}

fn is_within(body: &Body, size: usize) -> bool {
    let upper = body.size_hint().upper();
    upper.is_some_and(|upper| upper <= size as u64)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use axum::http::HeaderValue;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tokio::time::{Duration, Instant};

    use super::*;

    async fn read(room: &UploadRoom, body: &'static str) -> Result<Upload, ErrorCode> {
        let deadline = Deadline(Instant::now() + Duration::from_secs(1));
        let headers = HeaderMap::new();
        let read = room.read(&headers, Body::from(body), (2, 4), deadline);
        read.await.map_err(|error| error.code)
    }

    #[tokio::test]
    async fn there_is_room_for_one_large_body_and_for_any_number_of_small_ones() {
        let room = UploadRoom::default();
        let large = read(&room, "abcd").await.unwrap();
        assert_eq!(large.body, "abcd");
        assert_eq!(read(&room, "efg").await.unwrap_err(), ErrorCode::Overloaded);
        assert_eq!(read(&room, "ef").await.unwrap().body, "ef");
        drop(large);
        assert_eq!(read(&room, "efg").await.unwrap().body, "efg");
        assert_eq!(
            read(&room, "abcde").await.unwrap_err(),
            ErrorCode::PayloadTooLarge
        );
    }

    #[tokio::test]
    async fn a_compressed_body_has_the_room_that_it_needs_when_it_is_unpacked() {
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(&[b'a'; 1000]).unwrap();
        let packed = packed.finish().unwrap();
        let deadline = Deadline(Instant::now() + Duration::from_secs(1));
        let headers = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
        let sizes = (packed.len() + 1, 1000);
        let read = UploadRoom::default()
            .read(&headers, Body::from(packed), sizes, deadline)
            .await;
        assert_eq!(read.unwrap().body.len(), 1000);
    }
}
