//! Timers that go from one request to the next.
//!
//! Hardly any request outlasts the time after which it is hedged. A timer of its own for each would be put among those of
//! the runtime and taken out again, and since it would be the first of them to go off, the thread would be told by a call of the system not
//! to sleep beyond it. A timer that is there already is only put off: the runtime does that without a lock, and finds out when the
//! old time has come.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::{Handle, Id};
use tokio::time::{Instant, Sleep, sleep_until};

use super::per_thread::PerThread;

/// Timers that a thread keeps for later requests.
const MOST: usize = 1024;

/// The timers that no request has now, by threads.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    resting: PerThread<Vec<Alarm>>,
}

/// A timer, and the runtime that it belongs to.
#[derive(Debug)]
struct Alarm {
    runtime: Id,
    sleep: Pin<Box<Sleep>>,
}

/// A timer that a request has, which goes back when this is dropped.
struct Lent<'a> {
    alarms: &'a Alarms,
    alarm: Option<Alarm>,
}

impl Alarms {
    /// What comes of `future`; none where that is still missing at this time.
    pub(super) async fn timeout_at<F: Future>(
        &self,
        when: Instant,
        mut future: Pin<&mut F>,
    ) -> Option<F::Output> {
        let mut lent = None;
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Some(output));
            }
            lent.get_or_insert_with(|| self.lend(when))
                .poll(context)
                .map(|()| None)
        })
        .await
    }

    fn lend(&self, when: Instant) -> Lent<'_> {
        let runtime = Handle::current().id();
        let resting = self.resting.own().pop();
        let alarm = match resting.filter(|alarm| alarm.runtime == runtime) {
            Some(mut alarm) => {
                alarm.sleep.as_mut().reset(when);
                alarm
            }
            None => Alarm {
                runtime,
                sleep: Box::pin(sleep_until(when)),
            },
        };
        Lent {
            alarms: self,
            alarm: Some(alarm),
        }
    }
}

impl Lent<'_> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let alarm = self.alarm.as_mut().expect("it is there until this is dropped");
        alarm.sleep.as_mut().poll(context)
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut resting = self.alarms.resting.own();
        if resting.len() < MOST {
            resting.extend(self.alarm.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;
    use std::time::Duration;

    use tokio::runtime::Builder;
    use tokio::time::sleep;

    use super::*;

    async fn goes_off_after(alarms: &Alarms, millis: u64) {
        let begun = Instant::now();
        let when = begun + Duration::from_millis(millis);
        assert!(alarms.timeout_at(when, pin!(pending::<()>())).await.is_none());
        assert_eq!(begun.elapsed(), Duration::from_millis(millis));
    }

    async fn is_not_needed(alarms: &Alarms, limit: u64, took: u64) {
        let when = Instant::now() + Duration::from_millis(limit);
        let answering = pin!(sleep(Duration::from_millis(took)));
        assert!(alarms.timeout_at(when, answering).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn each_request_has_its_own_time_whatever_the_one_before_had() {
        let alarms = Alarms::default();
        for (before, took, after) in [(50, 10, 50), (50, 10, 5), (5, 1, 500), (10_000, 3, 1)] {
            is_not_needed(&alarms, before, took).await;
            goes_off_after(&alarms, after).await;
            goes_off_after(&alarms, after).await;
        }
        assert_eq!(alarms.resting.own().len(), 1, "one did for all");
    }

    #[tokio::test(start_paused = true)]
    async fn requests_at_the_same_time_have_timers_of_their_own() {
        let alarms = Alarms::default();
        for _ in 0..2 {
            let all = [30, 10, 20].map(|millis| goes_off_after(&alarms, millis));
            let [first, second, third] = all;
            tokio::join!(first, second, third);
        }
        assert_eq!(alarms.resting.own().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_given_up_leaves_its_timer() {
        let alarms = Alarms::default();
        let never = pin!(pending::<()>());
        let waiting = alarms.timeout_at(Instant::now() + Duration::from_secs(9), never);
        let given_up = tokio::time::timeout(Duration::from_millis(1), waiting).await;
        assert!(given_up.is_err());
        assert_eq!(alarms.resting.own().len(), 1);
    }

    #[test]
    fn a_timer_of_a_runtime_that_has_ended_is_not_used() {
        let alarms = Alarms::default();
        for _ in 0..2 {
            let runtime = Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                let when = Instant::now() + Duration::from_millis(2);
                assert!(alarms.timeout_at(when, pin!(pending::<()>())).await.is_none());
            });
        }
    }

    #[tokio::test]
    async fn what_is_there_at_once_needs_no_timer() {
        let alarms = Alarms::default();
        assert_eq!(alarms.timeout_at(Instant::now(), pin!(ready(1))).await, Some(1));
        assert!(alarms.resting.own().is_empty());
    }
}
