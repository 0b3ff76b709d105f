//! Work that does not end with the client for which it was begun.
//!
//! It goes on as a part of the request for as long as its client waits, without a
//! task of its own, and in one from then on.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::runtime::Handle;

/// Such work. Dropped before it is over, it goes on by itself.
pub(super) struct Outliving<T: Send + 'static> {
    work: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
}

impl<T: Send + 'static> Outliving<T> {
    /// Nothing is done until it is polled or dropped.
    pub(super) fn new(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self {
            work: Some(Box::pin(work)),
        }
    }

    /// Whether it is over.
    pub(super) fn is_over(&self) -> bool {
        self.work.is_none()
    }
}

impl<T: Send + 'static> Future for Outliving<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Some(work) = &mut self.work else {
            // Over: nobody waits for it twice.
            return Poll::Pending;
        };
        let output = ready!(work.as_mut().poll(cx));
        self.work = None;
        Poll::Ready(output)
    }
}

impl<T: Send + 'static> Drop for Outliving<T> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;

    use tokio::sync::Notify;

    #[tokio::test]
    async fn it_gives_what_it_came_to() {
        assert_eq!(Outliving::new(async { 7 }).await, 7);
    }

    #[tokio::test]
    async fn dropped_in_the_middle_it_goes_on() {
        let (go, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (begin, end) = (Arc::clone(&go), Arc::clone(&done));
        let mut work = Outliving::new(async move {
            begin.notified().await;
            end.notify_one();
        });
        assert!(futures_poll(&mut work).await.is_pending());
        drop(work);
        go.notify_one();
        done.notified().await;
    }

    #[tokio::test]
    async fn dropped_before_it_was_begun_it_is_done() {
        let done = Arc::new(Notify::new());
        let end = Arc::clone(&done);
        drop(Outliving::new(async move { end.notify_one() }));
        done.notified().await;
    }

    async fn futures_poll<T: Send>(work: &mut Outliving<T>) -> Poll<T> {
        std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *work).poll(cx))).await
    }
}
