//! Futures beside a connection that hardly ever have anything to say.
//!
//! Whoever waits for several things at once polls all of them when one has news, and a connection has news with every request:
//! looking each time whether the server closes costs a thirtieth of a gateway's instructions (docs/benchmarks.md).

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// A future that is polled only when it was woken itself.
pub(super) struct Seldom<'a, T> {
    inner: Pin<Box<dyn Future<Output = T> + Send + 'a>>,
    news: Arc<News>,
    /// What `news` wakes.
    known: Option<Waker>,
}

#[derive(Default)]
struct News {
    is_there: AtomicBool,
    waiting: Mutex<Option<Waker>>,
}

impl Wake for News {
    fn wake(self: Arc<Self>) {
        self.is_there.store(true, Ordering::Release);
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waker) = &*waiting {
            waker.wake_by_ref();
        }
    }
}

impl<'a, T> Seldom<'a, T> {
    pub(super) fn new(inner: impl Future<Output = T> + Send + 'a) -> Self {
        let news = News {
            is_there: AtomicBool::new(true),
            ..News::default()
        };
        Self {
            inner: Box::pin(inner),
            news: Arc::new(news),
            known: None,
        }
    }
}

impl<T> Future for Seldom<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let waker = context.waker();
        if !self.known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.known = Some(waker.clone());
            let mut waiting = self.news.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            *waiting = Some(waker.clone());
        }
        // After the waker is known, so that no news comes between the two.
        if !self.news.is_there.load(Ordering::Relaxed) || !self.news.is_there.swap(false, Ordering::Acquire) {
            return Poll::Pending;
        }
        let own = Waker::from(Arc::clone(&self.news));
        self.inner.as_mut().poll(&mut Context::from_waker(&own))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn it_is_polled_when_it_has_news_and_else_not() {
        let (polls, notify) = (AtomicUsize::new(0), Notify::new());
        let mut notified = Box::pin(notify.notified());
        let counted = poll_fn(|context| {
            polls.fetch_add(1, Ordering::Relaxed);
            notified.as_mut().poll(context)
        });
        let mut seldom = Seldom::new(counted);
        for _ in 0..5 {
            tokio::select! {
                biased;
                () = &mut seldom => panic!("nobody has notified it"),
                () = tokio::task::yield_now() => {}
            }
        }
        assert_eq!(polls.load(Ordering::Relaxed), 1);
        notify.notify_one();
        seldom.await;
        assert_eq!(polls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn it_wakes_whoever_waits_now_and_not_whoever_did_before() {
        let notify = Arc::new(Notify::new());
        let other = Arc::clone(&notify);
        let mut seldom = Seldom::new(async move { other.notified().await });
        let before = Waker::noop();
        assert!(
            Pin::new(&mut seldom)
                .poll(&mut Context::from_waker(before))
                .is_pending()
        );
        let waiting = tokio::spawn(seldom);
        tokio::task::yield_now().await;
        notify.notify_one();
        waiting.await.unwrap();
    }
}
