//! How long a request may take: the server's limit, or less where the client says so.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use axum::http::HeaderMap;
use tokio::time::{Instant, timeout_at};

use crate::api::error::{ApiError, ErrorCode};
use crate::http::headers;

/// The moment by which a request must be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(pub Instant);

impl Deadline {
    /// `limit` from `now` on, or what the client's header asks for where that is sooner.
    pub fn of_request(headers: &HeaderMap, limit: Duration, now: Instant) -> Result<Self, ApiError> {
        let Some(header) = headers.get(headers::REQUEST_TIMEOUT_MS) else {
            return Ok(Self(now + limit));
        };
        let milliseconds = header
            .to_str()
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok());
        let Some(milliseconds) = milliseconds.filter(|&milliseconds| milliseconds > 0) else {
            let came = String::from_utf8_lossy(header.as_bytes()).into_owned();
            return Err(ApiError::invalid_input(format!(
                "{} takes whole milliseconds, 1 or more; found {came:?}",
                headers::REQUEST_TIMEOUT_MS
            )));
        };
        Ok(Self(now + limit.min(Duration::from_millis(milliseconds))))
    }

    /// What comes of `future`; none where that is missing at this time. What is there at once needs no timer.
    pub async fn bound<F: Future>(self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let at_once = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
        match at_once {
            Poll::Ready(output) => Some(output),
            Poll::Pending => timeout_at(self.0, future).await.ok(),
        }
    }

    /// What is left of it.
    #[must_use]
    pub fn remaining(self, now: Instant) -> Duration {
        self.0.saturating_duration_since(now)
    }

    /// What is left, as the next process is told: at least 1 ms, because 0 means nothing.
    #[must_use]
    pub fn remaining_milliseconds(self, now: Instant) -> u64 {
        let milliseconds = self.remaining(now).as_millis().max(1);
        u64::try_from(milliseconds).unwrap_or(u64::MAX)
    }

    /// The refusal once it has passed, wherever the request then was.
    #[must_use]
    pub fn exceeded(doing: &'static str) -> ApiError {
        ApiError::new(
            ErrorCode::DeadlineExceeded,
            format!("the time of this request was up while {doing}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn what_is_there_at_once_or_in_time_is_had_and_nothing_else() {
        let deadline = Deadline(Instant::now() + LIMIT);
        assert_eq!(deadline.bound(std::future::ready(1)).await, Some(1));
        let slow = async {
            tokio::time::sleep(LIMIT / 2).await;
            2
        };
        assert_eq!(deadline.bound(slow).await, Some(2));
        assert_eq!(deadline.bound(std::future::pending::<u8>()).await, None);
        assert_eq!(Instant::now(), deadline.0);
    }

    fn of_header(value: &str) -> Result<Duration, ApiError> {
        let now = Instant::now();
        let mut headers = HeaderMap::new();
        headers.insert(headers::REQUEST_TIMEOUT_MS, HeaderValue::from_str(value).unwrap());
        Deadline::of_request(&headers, LIMIT, now).map(|deadline| deadline.remaining(now))
    }

    #[test]
    fn a_client_can_ask_for_less_but_not_for_more() {
        assert_eq!(of_header("250").unwrap(), Duration::from_millis(250));
        assert_eq!(of_header("99999999").unwrap(), LIMIT);
    }

    #[test]
    fn nonsense_is_told_and_not_taken_for_the_limit() {
        for value in ["soon", "-1", "0", "1.5", "", "999999999999999999999"] {
            assert_eq!(
                of_header(value).unwrap_err().code,
                ErrorCode::InvalidInput,
                "{value}"
            );
        }
    }

    #[test]
    fn the_next_process_is_told_what_is_left() {
        let now = Instant::now();
        let deadline = Deadline(now + Duration::from_millis(1500));
        assert_eq!(
            deadline.remaining_milliseconds(now + Duration::from_millis(500)),
            1000
        );
        assert_eq!(deadline.remaining_milliseconds(now + LIMIT), 1);
    }
}
