//! What an answer of a worker means, or that there was none: for the client, for what is known of the worker's latency,
//! and for its health.
//!
//! This is the one table behind `docs/retries.md`, and pure.

use std::time::Duration;

use axum::http::StatusCode;

use super::circuit::Mark;
use super::client::SendError;
use super::health::judge::Observation;
use super::retry::Reason;
use crate::api::error::ErrorCode;
use crate::telemetry::gateway_metrics::OK;

/// What came of one try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// As metrics name it.
    pub(super) outcome: &'static str,
    /// What it says of the time that the worker takes.
    pub(super) latency: Latency,
    /// What it says of the worker's health, if anything.
    pub(super) health: Option<Observation>,
    /// Why another worker may do better; none where this is the answer.
    pub(super) retry: Option<Reason>,
}

/// What a try says of the time that a worker takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Latency {
    /// It took as long as it took.
    Measured,
    /// Nothing: the worker did not compute anything.
    Unknown,
    /// It takes longer than that.
    AtLeast,
    /// A failure. However fast it came, it must attract nobody.
    Penalty,
}

impl Verdict {
    /// Of an answer with this status, and the code of the error that it carries where it is one in our shape.
    #[must_use]
    pub(super) fn of_answer(status: StatusCode, code: Option<ErrorCode>) -> Self {
        match code {
            None if status.is_success() => Self::answer(OK, Latency::Measured),
            // The worker's HTTP library refused the request before any handler saw it (too many headers, say). That is
            // the request's fault: whoever sends such a one must not be able to take workers out.
            None if status.is_client_error() => {
                Self::answer(ErrorCode::InvalidInput.as_str(), Latency::Unknown)
            }
            // Something between here and the worker answered in its place: a worker's errors have our shape.
            None => Self::GARBAGE,
            Some(code) => Self::of_refusal(code),
        }
    }

    fn of_refusal(code: ErrorCode) -> Self {
        match code {
            ErrorCode::Draining => Self {
                health: Some(Observation::Out),
                ..Self::elsewhere(Reason::Draining, Latency::Unknown)
            },
            ErrorCode::NotReady => Self::elsewhere(Reason::NotReady, Latency::Unknown),
            ErrorCode::ModelNotFound => Self::elsewhere(Reason::ModelNotFound, Latency::Unknown),
            ErrorCode::VersionNotFound => Self::elsewhere(Reason::VersionNotFound, Latency::Unknown),
            ErrorCode::Overloaded => Self::elsewhere(Reason::Overloaded, Latency::Penalty),
            // Predictions change nothing, so that one which broke the model here may be tried there.
            ErrorCode::Internal => Self::elsewhere(Reason::Internal, Latency::Penalty),
            ErrorCode::DeadlineExceeded => Self::answer(code.as_str(), Latency::AtLeast),
            ErrorCode::UpstreamFailed | ErrorCode::NoWorker => Self::answer(code.as_str(), Latency::Penalty),
            _ => Self::answer(code.as_str(), Latency::Unknown),
        }
    }

    /// Of a try without an answer.
    #[must_use]
    pub(super) fn of_send_error(error: &SendError) -> Self {
        let failed = |reason, health| Self {
            health,
            ..Self::elsewhere(reason, Latency::Penalty)
        };
        match error {
            SendError::NotConnected(_) => failed(Reason::NotConnected, Some(Observation::Out)),
            SendError::BrokenOff(_) => failed(Reason::BrokenOff, Some(Observation::Failure)),
            // Our own shortage: judged otherwise, every worker would be out at once.
            SendError::OutOfDescriptors => Self::elsewhere(Reason::OutOfDescriptors, Latency::Unknown),
        }
    }

    /// Of an answer that no worker would give.
    pub(super) const GARBAGE: Self = Self {
        health: Some(Observation::Failure),
        ..Self::elsewhere(Reason::BadAnswer, Latency::Penalty)
    };

    /// Of a try that was still under way when the request's time was up.
    pub(super) const OUT_OF_TIME: Self = Self::answer("out_of_time", Latency::AtLeast);

    /// What it says of whether the endpoint can serve the model, for a prediction that was there for `elapsed`; `deadline` is
    /// what the gateway gives to each request.
    #[must_use]
    pub(super) fn mark(&self, elapsed: Duration, deadline: Duration) -> Option<Mark> {
        // A worker that is full is no broken one, and who would be judged by refused connections is out already.
        let is_no_fault = matches!(self.retry, Some(Reason::Overloaded | Reason::NotConnected));
        match self.latency {
            Latency::Measured => Some(Mark::Success),
            Latency::Penalty => (!is_no_fault).then_some(Mark::Failure),
            // Clients who ask for a millisecond must not be able to take workers out.
            Latency::AtLeast => (elapsed >= deadline / 2).then_some(Mark::Failure),
            Latency::Unknown => None,
        }
    }

    const fn answer(outcome: &'static str, latency: Latency) -> Self {
        Self {
            outcome,
            latency,
            health: None,
            retry: None,
        }
    }

    const fn elsewhere(reason: Reason, latency: Latency) -> Self {
        Self {
            outcome: reason.as_str(),
            latency,
            health: None,
            retry: Some(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_fault_costs_the_worker_nothing() {
        for code in [
            ErrorCode::InvalidInput,
            ErrorCode::InvalidJson,
            ErrorCode::PayloadTooLarge,
        ] {
            let verdict = Verdict::of_answer(StatusCode::BAD_REQUEST, Some(code));
            assert_eq!(verdict, Verdict::answer(code.as_str(), Latency::Unknown));
        }
        let unread = Verdict::of_answer(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, None);
        assert_eq!(
            (unread.outcome, unread.health, unread.retry),
            ("invalid_input", None, None)
        );
    }

    #[test]
    fn no_failure_looks_fast() {
        let answers = [
            (StatusCode::INTERNAL_SERVER_ERROR, Some(ErrorCode::Internal)),
            (StatusCode::TOO_MANY_REQUESTS, Some(ErrorCode::Overloaded)),
            (StatusCode::BAD_GATEWAY, None),
            (StatusCode::IM_A_TEAPOT, Some(ErrorCode::UpstreamFailed)),
        ];
        for (status, code) in answers {
            assert_eq!(
                Verdict::of_answer(status, code).latency,
                Latency::Penalty,
                "{status} {code:?}"
            );
        }
    }

    #[test]
    fn a_breaker_goes_by_what_is_the_endpoints_own_fault() {
        const DEADLINE: Duration = Duration::from_secs(10);
        let mark = |verdict: Verdict, seconds| verdict.mark(Duration::from_secs(seconds), DEADLINE);
        let refused = |code: ErrorCode| {
            let status = StatusCode::from_u16(code.status()).unwrap();
            mark(Verdict::of_answer(status, Some(code)), 1)
        };
        let ok = Verdict::of_answer(StatusCode::OK, None);
        assert_eq!(mark(ok, 9), Some(Mark::Success));
        assert_eq!(refused(ErrorCode::Internal), Some(Mark::Failure));
        for code in [
            ErrorCode::Overloaded,
            ErrorCode::Draining,
            ErrorCode::NotReady,
            ErrorCode::ModelNotFound,
            ErrorCode::InvalidInput,
            ErrorCode::DeadlineExceeded,
        ] {
            assert_eq!(refused(code), None, "{code}");
        }
        let broken_off = Verdict::of_send_error(&SendError::BrokenOff(String::new()));
        assert_eq!(mark(broken_off, 0), Some(Mark::Failure));
        let not_connected = Verdict::of_send_error(&SendError::NotConnected(String::new()));
        assert_eq!(mark(not_connected, 0), None, "its health tells that");
        assert_eq!(
            mark(Verdict::OUT_OF_TIME, 4),
            None,
            "the client gave it little time"
        );
        assert_eq!(mark(Verdict::OUT_OF_TIME, 5), Some(Mark::Failure));
    }

    #[test]
    fn what_another_worker_may_do_better_is_tried_there() {
        let retry = |code: ErrorCode| {
            let status = StatusCode::from_u16(code.status()).unwrap();
            Verdict::of_answer(status, Some(code)).retry.map(Reason::as_str)
        };
        for code in [
            ErrorCode::Draining,
            ErrorCode::NotReady,
            ErrorCode::ModelNotFound,
            ErrorCode::VersionNotFound,
            ErrorCode::Overloaded,
            ErrorCode::Internal,
        ] {
            assert_eq!(retry(code), Some(code.as_str()));
        }
        for code in [
            ErrorCode::InvalidInput,
            ErrorCode::NotFound,
            ErrorCode::DeadlineExceeded,
        ] {
            assert_eq!(retry(code), None, "{code}");
        }
    }
}
