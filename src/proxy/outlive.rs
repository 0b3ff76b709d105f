//! Work that does not end with the client for which it was begun.
//!
//! It goes on as a part of the request for as long as its client waits, without a
//! task of its own, and in one from then on.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::runtime::Handle;

use crate::drain::Drain;
use crate::message::presence::Presence;

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

/// Does a part of such work; `None` where its client has left, and the drain's
/// deadline came first. While the client is there, its connection is what is cut.
pub(super) async fn unless_cut<T>(
    work: impl Future<Output = T>,
    client: &Presence,
    drain: &Drain,
) -> Option<T> {
    let mut work = pin!(work);
    let mut cut = None;
    poll_fn(|cx| {
        if let Poll::Ready(output) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if client.is_here() {
            return Poll::Pending;
        }
        let cut = cut.get_or_insert_with(|| Box::pin(drain.cut()));
        cut.as_mut().poll(cx).map(|()| None)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::future::pending;
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::Notify;
    use tokio::time::timeout;

    use crate::message::presence::Present;

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
        poll_fn(|cx| Poll::Ready(Pin::new(&mut *work).poll(cx))).await
    }

    #[tokio::test(start_paused = true)]
    async fn what_its_client_has_left_is_cut_with_the_drain() {
        let (drain, client) = (Drain::new(), Present::new());
        drain.begin(Duration::from_secs(5));
        let presence = client.presence();
        let mut working = pin!(unless_cut(pending::<()>(), &presence, &drain));
        let with_client = timeout(Duration::from_secs(60), working.as_mut()).await;
        assert!(with_client.is_err(), "its connection is cut, not this");
        drop(client);
        assert_eq!(working.await, None);
    }
}
