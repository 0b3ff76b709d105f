//! Announcing this instance's routes in the log, before anything is stored
//! under them.
//!
//! A route counts as announced when the log that is followed here has it, and
//! everybody who follows that log has read it or cannot have left a ban out
//! since: in eventual mode only who had word from the log within
//! [`WORD_AGE_MAX`] does, in strict mode within the lease. Until then what is
//! fetched under it is dead on arrival.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::RedisResult;

use super::acks::{Acks, Patience, margin};
use super::follow::BLOCK_MAX;
use super::followed::Followed;
use super::here::Here;
use super::wire::{LogName, LogState};
use crate::backoff::Backoff;
use crate::link::Endpoint;
use crate::semantics::stored::LogPosition;

/// In eventual mode a ban is left out of the log only where the last word from
/// it was asked for no longer ago: two reads that wait as long as they may.
pub(super) const WORD_AGE_MAX: Duration = BLOCK_MAX.saturating_mul(2);
/// One exchange with Redis.
const TIMEOUT: Duration = Duration::from_secs(1);

pub(super) struct Announcer {
    pub(super) here: Arc<Here>,
    pub(super) followed: Arc<Followed>,
    pub(super) acks: Arc<Acks>,
    pub(super) endpoint: Endpoint,
    pub(super) name: LogName,
    /// `None` in eventual mode.
    pub(super) lease: Option<Duration>,
}

impl Announcer {
    /// Announces what is to be, in every log that is followed, until dropped.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::default();
        loop {
            let incarnation = self.here.bans.applied().incarnation;
            let paths = match incarnation {
                0 => Vec::new(),
                incarnation => self.here.routes.unannounced(incarnation),
            };
            if paths.is_empty() {
                self.here.routes.changed().await;
                continue;
            }
            match self.append(&paths).await {
                Ok(Some(position)) if position.incarnation == incarnation => {
                    if self.is_known_to_all(position).await {
                        self.here.routes.set_announced(incarnation, paths);
                        self.here.look_again();
                    }
                    backoff.reset();
                }
                Ok(_) => self.pause(&mut backoff).await,
                Err(error) => {
                    tracing::debug!(%error, "routes cannot be announced in the log yet");
                    self.pause(&mut backoff).await;
                }
            }
        }
    }

    /// No longer than until another log is followed.
    async fn pause(&self, backoff: &mut Backoff) {
        tokio::select! {
            () = self.here.routes.changed() => {}
            () = tokio::time::sleep(backoff.pause()) => {}
        }
    }

    async fn append(&self, paths: &[Box<str>]) -> RedisResult<Option<LogPosition>> {
        // Strings always have a JSON form.
        let written = serde_json::to_string(paths).unwrap_or_default();
        let command = self.name.announce(&written, self.followed.position());
        let appended = async {
            let mut connection = self.endpoint.connect(TIMEOUT).await?;
            command.query_async::<LogState>(&mut connection).await
        };
        let state = tokio::time::timeout(TIMEOUT, appended)
            .await
            .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))?;
        Ok(state.appended.last().copied())
    }

    /// Waits until nobody can leave out a ban on what is announced there;
    /// `false` where another log is followed by then.
    async fn is_known_to_all(&self, position: LogPosition) -> bool {
        let appended = Instant::now();
        if !self.followed.reaches(position).await {
            return false;
        }
        match self.lease {
            Some(lease) => {
                let touch = &self.here.touch;
                self.acks
                    .leased_to_nobody(touch, position, appended, lease)
                    .await;
            }
            None => {
                let until = appended + WORD_AGE_MAX + margin(WORD_AGE_MAX);
                let everybody = Patience::Everybody;
                self.acks.wait(position, appended, everybody, until).await;
            }
        }
        self.here.bans.applied().incarnation == position.incarnation
    }
}
