//! A deadline that is cheap to move.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// A moment past which something must not go on, or none.
///
/// Moving it later leaves the timer as it is: it fires early, once, and is set
/// again then. A connection that is busy never touches the runtime's timers.
#[derive(Debug, Default)]
pub(in crate::server) struct Deadline {
    at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// Moves it to `at`.
    pub(in crate::server) fn set(&mut self, at: Instant) {
        self.at = Some(at);
    }

    /// Takes it away.
    pub(in crate::server) fn clear(&mut self) {
        self.at = None;
    }

    /// Whether there is one.
    pub(in crate::server) fn is_set(&self) -> bool {
        self.at.is_some()
    }

    /// Ready once it has passed; never, without one.
    pub(in crate::server) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else {
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() > at {
            timer.as_mut().reset(at);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= at {
                return Poll::Ready(());
            }
            timer.as_mut().reset(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_word_counts() {
        let start = Instant::now();
        let mut deadline = Deadline::default();
        deadline.set(start + Duration::from_secs(5));
        poll_fn(|cx| {
            assert!(deadline.poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        deadline.set(start + Duration::from_secs(9));
        poll_fn(|cx| deadline.poll(cx)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(9));

        deadline.set(start + Duration::from_secs(60));
        poll_fn(|cx| Poll::Ready(deadline.poll(cx).is_pending())).await;
        deadline.set(start + Duration::from_secs(10));
        poll_fn(|cx| deadline.poll(cx)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(10));
    }
}
