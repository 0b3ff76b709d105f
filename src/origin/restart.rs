//! How often a request is asked again whose connection failed, and how long it
//! waits for an upstream that restarts.
//!
//! Promises: no more requests wait than may; none waits past its window or for a
//! client that has left; they do not all come back at one moment. Which requests
//! may be asked again is for the exchanges to say.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::error::{OriginError, OriginErrorKind};
use crate::backoff::Backoff;
use crate::config::OriginConfig;
use crate::gate::{Permit, Refused};
use crate::message::presence::Presence;
use crate::telemetry::upstream::UpstreamCounters;

/// The first pause between two attempts, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// How often a request that was sent is sent again because there is time: what
/// ends one worker after the other must not end them all.
pub(super) const RESENDS_MAX: u64 = 8;

/// Until when a request may wait for the upstream.
#[derive(Clone, Debug)]
pub(super) struct RestartWindow {
    until: Instant,
    client: Presence,
}

impl RestartWindow {
    /// That of a request that is sent now, for this client; `None` where none may
    /// wait.
    pub(super) fn new(config: &OriginConfig, client: Presence) -> Option<Self> {
        let window = config.retry_window;
        (!window.is_zero()).then(|| Self {
            until: Instant::now() + window,
            client,
        })
    }

    /// Whether there is time for another attempt.
    pub(super) fn is_open(&self) -> bool {
        Instant::now() < self.until && self.client.is_here()
    }
}

/// A request that waits, between its attempts.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    window: Option<&'a RestartWindow>,
    counters: &'a Arc<UpstreamCounters>,
    backoff: Backoff,
    place: Option<Permit>,
}

impl<'a> Waiting<'a> {
    /// One that has been asked again so often before: its pauses go on growing.
    pub(super) fn new(
        window: Option<&'a RestartWindow>,
        counters: &'a Arc<UpstreamCounters>,
        asked_again: u64,
    ) -> Self {
        let mut backoff = Backoff::between(PAUSE_MIN, PAUSE_MAX);
        for _ in 0..asked_again.min(RESENDS_MAX) {
            let _passed = backoff.pause();
        }
        Self {
            window,
            counters,
            backoff,
            place: None,
        }
    }

    /// Waits before the next attempt, after one that failed with `error`.
    ///
    /// # Errors
    /// That error, where no other attempt is to be made;
    /// [`OriginErrorKind::Overloaded`] where as many requests wait as may.
    pub(super) async fn pause(&mut self, error: OriginError) -> Result<(), OriginError> {
        let Some(window) = self.window.filter(|window| window.is_open()) else {
            return Err(error);
        };
        if self.place.is_none() {
            let place = self.counters.restart_waits.try_enter();
            let Some(place) = place else {
                let refused = Refused::QueueFull;
                return Err(OriginError::new(OriginErrorKind::Overloaded, refused));
            };
            self.counters.restart_waited.increment();
            self.place = Some(place);
        }
        let left = window.until.saturating_duration_since(Instant::now());
        sleep(self.backoff.pause().min(left)).await;
        match window.is_open() {
            true => Ok(()),
            false => Err(error),
        }
    }
}

/// Whether a request that may be repeated is asked again at once, whose
/// connection closed before a byte of the answer. One that was used before may
/// have been closed for that alone.
pub(super) fn is_asked_again(config: &OriginConfig, asked_again: u64, is_reused: bool) -> bool {
    asked_again < config.retries && (is_reused || config.retries > 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Upstream};
    use crate::gate::GateBounds;
    use crate::message::presence::Present;

    fn config(window: Duration) -> OriginConfig {
        let upstream = Upstream::Unix {
            path: "/nowhere".into(),
        };
        OriginConfig {
            retry_window: window,
            ..Config::default_for(upstream).origin
        }
    }

    fn counters(waiting_max: u64) -> Arc<UpstreamCounters> {
        let counters = UpstreamCounters::default();
        counters.restart_waits.set_bounds(GateBounds {
            permits_max: waiting_max,
            queue_max: 0,
            queue_timeout: Duration::ZERO,
        });
        Arc::new(counters)
    }

    fn refused() -> OriginError {
        OriginError::bare(OriginErrorKind::Connect)
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_as_long_as_its_window() {
        let counters = counters(1);
        let window = RestartWindow::new(&config(Duration::from_secs(5)), Presence::default());
        let mut waiting = Waiting::new(window.as_ref(), &counters, 0);
        let began = Instant::now();
        let mut attempts = 0;
        while waiting.pause(refused()).await.is_ok() {
            attempts += 1;
        }
        assert_eq!(began.elapsed(), Duration::from_secs(5));
        assert!((20..=60).contains(&attempts), "{attempts}");
        assert_eq!(counters.restart_waited.get(), 1);
        drop(waiting);
        assert_eq!(counters.restart_waits.figures().taken, 0);
        // Without a window there is no wait at all.
        assert!(RestartWindow::new(&config(Duration::ZERO), Presence::default()).is_none());
        let error = Waiting::new(None, &counters, 0).pause(refused()).await;
        assert_eq!(error.unwrap_err().kind, OriginErrorKind::Connect);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_past_the_bound_or_for_a_client_that_left() {
        let counters = counters(1);
        let client = Present::new();
        let window = RestartWindow::new(&config(Duration::from_secs(5)), client.presence());
        let mut first = Waiting::new(window.as_ref(), &counters, 0);
        first.pause(refused()).await.unwrap();
        let mut second = Waiting::new(window.as_ref(), &counters, 0);
        let error = second.pause(refused()).await.unwrap_err();
        assert_eq!(error.kind, OriginErrorKind::Overloaded);
        drop(client);
        let error = first.pause(refused()).await.unwrap_err();
        assert_eq!(error.kind, OriginErrorKind::Connect);
    }

    #[test]
    fn how_often_a_request_is_asked_again() {
        let asked = |retries, asked_again, is_reused| {
            let config = OriginConfig {
                retries,
                ..config(Duration::ZERO)
            };
            is_asked_again(&config, asked_again, is_reused)
        };
        assert!(asked(1, 0, true) && !asked(1, 1, true) && !asked(1, 0, false));
        assert!(!asked(0, 0, true));
        assert!(asked(3, 0, false) && asked(3, 2, false) && !asked(3, 3, true));
    }
}
