//! Refuses what does not fit, at once, instead of letting everybody wait.

use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus::IntGauge;

use crate::api::error::{ApiError, ErrorCode};

/// Counts the requests that were let in.
#[derive(Debug)]
pub struct Admission {
    inside: AtomicUsize,
    gauge: IntGauge,
}

/// One admitted request; its place is free again when this goes.
#[derive(Debug)]
pub struct Admitted<'a>(&'a Admission);

impl Admission {
    /// Nobody is in yet; `gauge` shows how many are.
    #[must_use]
    pub fn new(gauge: IntGauge) -> Self {
        Self {
            inside: AtomicUsize::new(0),
            gauge,
        }
    }

    /// Lets a request in while fewer than `limit` are.
    pub fn enter(&self, limit: usize) -> Result<Admitted<'_>, ApiError> {
        if self.inside.fetch_add(1, Ordering::Relaxed) >= limit {
            self.inside.fetch_sub(1, Ordering::Relaxed);
            let message = format!("{limit} requests are in flight, which is the limit of this gateway");
            return Err(ApiError::new(ErrorCode::Overloaded, message));
        }
        self.gauge.inc();
        Ok(Admitted(self))
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
        self.0.gauge.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_makes_room() {
        let admission = Admission::new(IntGauge::new("in_flight", "requests").unwrap());
        let first = admission.enter(2).unwrap();
        let second = admission.enter(2).unwrap();
        assert_eq!(admission.enter(2).unwrap_err().code, ErrorCode::Overloaded);
        assert_eq!(admission.gauge.get(), 2);
        drop(first);
        let third = admission.enter(2).unwrap();
        assert!(admission.enter(2).is_err());
        drop((second, third));
        assert_eq!(admission.gauge.get(), 0);
    }
}
