//! Reading the invalidation log, from where this instance was.
//!
//! Promises: every entry after the last position told is told, in order and
//! once, or else a [`Event::Gap`] is; a Redis that dies or hangs is told as
//! [`Event::OutOfTouch`] within two seconds. Knows nothing of what an entry
//! says and decides nothing about what it makes invalid.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::streams::{StreamId, StreamRangeReply, StreamReadReply};
use redis::{RedisError, RedisResult};
use tokio::task::JoinHandle;

use super::digest;
use super::followed::Followed;
use super::replay::Replay;
use super::wire::{Ack, Chained, LogEntry, LogName, LogState, id, position};
use crate::backoff::Backoff;
use crate::link::{Connection, Endpoint, Task};
use crate::semantics::stored::LogPosition;
use crate::telemetry::counters::RedisCounters;

/// How long one read waits for an entry, at most.
pub const BLOCK_MAX: Duration = Duration::from_millis(500);
/// How much longer its answer may take before Redis counts as hanging.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// The log is read from its beginning no more often: in a Redis that evicts
/// it at every write there would be time for nothing else.
const REPLAY_PAUSE_MIN: Duration = Duration::from_millis(50);
/// Two replays within this are told as what they are: a log that does not
/// last.
const REPLAYS_APART: Duration = Duration::from_secs(10);
/// In eventual mode, reads that bring entries are so far apart while many come:
/// a read costs more than an entry. The first after a pause is not held up.
const GATHER: Duration = Duration::from_millis(2);
/// Entries in one read.
const READ_MAX: usize = 512;

/// What became known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The log is read from its beginning: at the start, and whenever what
    /// came since the last position cannot be known (trimmed, flushed, failed
    /// over). Whatever was stored in this process may be invalid. A record of
    /// another incarnation, or with a position before `horizon`, is a miss;
    /// for any other these entries are complete.
    Gap {
        /// What is known of everything after it is complete.
        horizon: LogPosition,
        /// Applied with these entries.
        position: LogPosition,
        /// In order; those of this instance among them.
        entries: Vec<LogEntry>,
        /// All routes that were announced in this log, as JSON lists; `None`
        /// where they are not known.
        routes: Option<Vec<Bytes>>,
    },
    /// More entries came.
    Applied {
        /// Applied with these entries.
        position: LogPosition,
        /// In order; those of this instance among them.
        entries: Vec<LogEntry>,
    },
    /// Everything that was in this log at this moment has been told.
    InSync {
        /// Before Redis was asked.
        at: Instant,
        /// Which log.
        incarnation: u128,
    },
    /// The log cannot be reached; told once each time. So it is before the
    /// first [`Self::InSync`], too.
    OutOfTouch,
}

/// Follows a log, on a connection of its own, on the runtime this is called
/// from, until what it returns is dropped. `sink` is told every event; the
/// next read waits for it, so it does not tarry: that read tells all who
/// follow the log that what came before it is in force here. What takes a while
/// after a [`Event::Gap`] goes on elsewhere, and is waited for as well. `lease` is how
/// long this instance relies on what it was told last; zero where it promises
/// nothing. `followed` is told where this follower is. `everything` is an entry
/// that bans everything: the first in a log that knows less than was told here.
pub(super) fn follow(
    endpoint: Endpoint,
    name: LogName,
    lease: Duration,
    counters: Arc<RedisCounters>,
    followed: Arc<Followed>,
    everything: Bytes,
    sink: impl FnMut(Event) -> Option<JoinHandle<()>> + Send + 'static,
) -> Task {
    let is_leased = lease > Duration::ZERO;
    let follower = Follower {
        name,
        // Looks four times as often as it must.
        block: if is_leased {
            BLOCK_MAX.min(lease / 4).max(Duration::from_millis(1))
        } else {
            BLOCK_MAX
        },
        lease_millis: lease.as_millis() as u64,
        looks: 0,
        counters,
        followed,
        everything,
        word: None,
        position: None,
        cursor: LogPosition::default(),
        is_out_of_touch_told: false,
        replayed: None,
        brought: None,
        is_busy: false,
        is_unrest_told: false,
        sink,
    };
    Task::start(follower.run(endpoint))
}

struct Follower<Sink> {
    name: LogName,
    block: Duration,
    lease_millis: u64,
    looks: u64,
    counters: Arc<RedisCounters>,
    followed: Arc<Followed>,
    everything: Bytes,
    /// When the last word from the log was asked for.
    word: Option<Instant>,
    /// Everything up to here was told; `None` before anything was.
    position: Option<LogPosition>,
    /// Everything up to here was read. Ahead of `position` where the stream
    /// holds what is no part of the log.
    cursor: LogPosition,
    is_out_of_touch_told: bool,
    /// When the log was last read from its beginning.
    replayed: Option<Instant>,
    /// When the last read ended that brought entries.
    brought: Option<Instant>,
    /// Whether one had just before.
    is_busy: bool,
    /// Whether it was told that this comes too often.
    is_unrest_told: bool,
    sink: Sink,
}

/// Whether the log can be read on from where this instance was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Continuity {
    Whole,
    Broken,
}

impl<Sink: FnMut(Event) -> Option<JoinHandle<()>>> Follower<Sink> {
    async fn run(mut self, endpoint: Endpoint) {
        let mut backoff = Backoff::default();
        loop {
            let error = match endpoint.connect(self.block + ANSWER_MAX).await {
                Ok(connection) => {
                    self.counters.connects.increment();
                    self.read_on(connection, &mut backoff).await
                }
                Err(error) => error,
            };
            self.out_of_touch(&error);
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    /// Reads until something fails.
    async fn read_on(&mut self, mut connection: Connection, backoff: &mut Backoff) -> RedisError {
        loop {
            let followed = Arc::clone(&self.followed);
            self.gather().await;
            let round = async {
                match self.position {
                    Some(position) => self.read(&mut connection, position).await,
                    None => Ok(Continuity::Broken),
                }
            };
            let round = tokio::select! {
                round = round => round,
                () = followed.doubted() => {
                    let doubted = std::io::Error::other("another log is written to");
                    return doubted.into();
                }
            };
            let outcome = match round {
                Ok(Continuity::Whole) => Ok(()),
                Ok(Continuity::Broken) => self.replay(&mut connection).await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => backoff.reset(),
                Err(error) => return error,
            }
        }
    }

    /// Lets entries gather while many come.
    async fn gather(&mut self) {
        let is_leased = self.lease_millis > 0;
        if self.is_busy && !is_leased {
            tokio::time::sleep(GATHER).await;
        }
    }

    /// One read: asks where the log is, then waits for what comes.
    async fn read(
        &mut self,
        connection: &mut Connection,
        told: LogPosition,
    ) -> RedisResult<Continuity> {
        if self.has_lapsed() {
            return Ok(Continuity::Broken);
        }
        let ack = self.ack(told);
        let sent = Instant::now();
        let (state, read): (LogState, Option<StreamReadReply>) = redis::pipe()
            .add_command(self.name.state(&ack))
            .cmd("XREAD")
            .arg("COUNT")
            .arg(READ_MAX)
            .arg("BLOCK")
            .arg(self.block.as_millis() as u64)
            .arg("STREAMS")
            .arg(self.name.stream())
            .arg(id(&self.cursor))
            .query_async(connection)
            .await?;
        let was_rolled_back = state.last < told;
        if state.last.incarnation != told.incarnation || was_rolled_back {
            return Ok(Continuity::Broken);
        }
        let raw: Vec<StreamId> = read
            .into_iter()
            .flat_map(|reply| reply.keys)
            .flat_map(|key| key.ids)
            .collect();
        let mut reached = told;
        let mut entries = Vec::with_capacity(raw.len());
        for chained in self.ours(&raw, told.incarnation) {
            if chained.previous != reached {
                return Ok(Continuity::Broken);
            }
            reached = chained.position;
            entries.extend(chained.entry);
        }
        let is_all = raw.len() < READ_MAX;
        let is_end_missing = is_all && reached < state.last;
        if is_end_missing {
            return Ok(Continuity::Broken);
        }
        self.advance_cursor(&raw, told.incarnation);
        if reached != told {
            self.counters.log.entries_read.add(entries.len() as u64);
            self.position = Some(reached);
            let before = self.brought.replace(Instant::now());
            self.is_busy = before.is_some_and(|before| before.elapsed() < GATHER * 4);
            (self.sink)(Event::Applied {
                position: reached,
                entries,
            });
        }
        self.followed.heard(reached, ack.look, sent);
        if is_all {
            self.in_sync(sent, told.incarnation);
        }
        Ok(Continuity::Whole)
    }

    /// Reads the whole log. Where it is begun anew meanwhile, the next read
    /// finds out.
    async fn replay(&mut self, connection: &mut Connection) -> RedisResult<()> {
        if !self.replay_once(connection, false).await? {
            tracing::error!("the invalidation log is an older one: it is begun anew");
            self.replay_once(connection, true).await?;
        }
        Ok(())
    }

    /// `false`, and nothing was told, where the log that this instance follows
    /// is not what it was: entries that were told are not in it. Redis was
    /// rolled back, and what else was lost nobody knows.
    async fn replay_once(
        &mut self,
        connection: &mut Connection,
        is_to_begin: bool,
    ) -> RedisResult<bool> {
        let since = self.replayed.map(|at| at.elapsed());
        if let Some(since) = since {
            tokio::time::sleep(REPLAY_PAUSE_MIN.saturating_sub(since)).await;
        }
        self.replayed = Some(Instant::now());
        let has_lapsed = self.has_lapsed();
        let ack = self.ack(self.position.unwrap_or_default());
        let sent = Instant::now();
        let asking = if is_to_begin {
            self.name.begin_anew(&ack)
        } else {
            self.name.state(&ack)
        };
        let state: LogState = asking.query_async(connection).await?;
        let state = self.enter(state, &ack, has_lapsed, connection).await?;
        let incarnation = state.last.incarnation;
        // Only in the same log does the last position mean something.
        let told = self.position.filter(|told| told.incarnation == incarnation);
        let mut is_told_found = false;
        let mut routes: Vec<Bytes> = Vec::new();
        let digest = digest::find(&self.name, incarnation, connection).await?;
        let digested = digest.as_ref().map(|digest| digest.position);
        let mut replay = Replay::new(self.name.entries_max(), digested.unwrap_or_default());
        self.cursor = LogPosition {
            incarnation,
            ..LogPosition::default()
        };
        loop {
            let page: StreamRangeReply = redis::cmd("XRANGE")
                .arg(self.name.stream())
                .arg(format!("({}", id(&self.cursor)))
                .arg("+")
                .arg("COUNT")
                .arg(READ_MAX)
                .query_async(connection)
                .await?;
            for chained in self.ours(&page.ids, incarnation) {
                is_told_found |=
                    told.is_some_and(|told| told == chained.position || told == chained.previous);
                let announced = chained.entry.as_ref().map(|entry| &entry.routes);
                routes.extend(announced.filter(|routes| !routes.is_empty()).cloned());
                replay.push(chained);
            }
            self.advance_cursor(&page.ids, incarnation);
            if page.ids.len() < READ_MAX {
                break;
            }
        }
        let (mut horizon, position, mut entries) = replay.finish(state.last);
        let known_from = if has_lapsed { position } else { horizon };
        if told.is_some_and(|told| told > known_from) && !is_told_found {
            return Ok(false);
        }
        // Where something between the two is missing, it is of no use.
        let digest = digest.filter(|digest| (horizon..=position).contains(&digest.position));
        let before = digest.as_ref().and_then(|digest| digest.routes.clone());
        let are_routes_known = horizon.sequence == 0 && horizon.millis == 0 || before.is_some();
        routes.extend(before);
        let routes = are_routes_known.then_some(routes);
        if let Some(digest) = digest {
            horizon = digest.horizon;
            entries.splice(0..0, digest.entries);
        }
        if has_lapsed {
            // What was stored before the return may be older than a write that
            // was answered elsewhere; what it was about is not known.
            horizon = position;
            entries.clear();
        }
        self.tell_replay(since, entries.len());
        self.counters.log.gaps.increment();
        self.counters.log.entries_read.add(entries.len() as u64);
        self.cursor = self.cursor.max(position);
        // Where it cannot be put in force, the log is read again.
        self.position = None;
        let putting_in_force = (self.sink)(Event::Gap {
            horizon,
            position,
            entries,
            routes,
        });
        if let Some(putting_in_force) = putting_in_force {
            putting_in_force.await.map_err(std::io::Error::other)?;
        }
        self.position = Some(position);
        self.followed.heard(position, ack.look, sent);
        self.in_sync(sent, incarnation);
        Ok(true)
    }

    /// Enters a log, perhaps coming from another: unless whoever began this
    /// one knew all that was told here, everything in it is banned first. It
    /// may be one that this instance has left, and what was stored under it
    /// may be older than bans that only the other one had.
    async fn enter(
        &mut self,
        state: LogState,
        ack: &Ack,
        has_lapsed: bool,
        connection: &mut Connection,
    ) -> RedisResult<LogState> {
        if state.foreign_keys > 0 {
            tracing::error!("a key of the invalidation log held another type: it was deleted");
        }
        let from = ack.applied;
        let is_first = from.incarnation == 0;
        let is_same = from.incarnation == state.last.incarnation;
        if has_lapsed && (is_same || state.follows_on(from)) {
            return self.name.mark(ack).query_async(connection).await;
        }
        if is_first || is_same || state.follows_on(from) {
            return Ok(state);
        }
        tracing::warn!(
            "this invalidation log was not begun after the one followed until now: \
             everything stored under it is banned"
        );
        let fence = self.name.fence(ack, &self.everything);
        fence.query_async(connection).await
    }

    /// Whether what this instance relies on has run out since the last word:
    /// a write may have been answered without it, and its bans may be in the
    /// log of another Redis that had the place of this one meanwhile.
    fn has_lapsed(&self) -> bool {
        let lease = Duration::from_millis(self.lease_millis);
        lease > Duration::ZERO && self.word.is_some_and(|word| word.elapsed() >= lease)
    }

    fn tell_replay(&mut self, since_last: Option<Duration>, entries: usize) {
        if since_last.is_none_or(|since| since > REPLAYS_APART) {
            self.is_unrest_told = false;
            tracing::info!(entries, "the invalidation log is read from its beginning");
        } else if self.is_unrest_told {
            tracing::debug!(entries, "the log is read from its beginning once more");
        } else {
            self.is_unrest_told = true;
            tracing::warn!(
                entries,
                "the invalidation log does not last: does Redis evict it (maxmemory-policy), or is it flushed?"
            );
        }
    }

    /// What is part of this log; anything else is counted and passed over.
    fn ours(&self, raw: &[StreamId], incarnation: u128) -> Vec<Chained> {
        let chained: Vec<Chained> = raw
            .iter()
            .filter_map(Chained::of)
            .filter(|chained| chained.position.incarnation == incarnation)
            .collect();
        let foreign = raw.len() - chained.len();
        self.counters.log.entries_foreign.add(foreign as u64);
        chained
    }

    fn advance_cursor(&mut self, raw: &[StreamId], incarnation: u128) {
        let last = raw.last().and_then(|raw| position(incarnation, &raw.id));
        self.cursor = last.unwrap_or(self.cursor);
    }

    fn ack(&mut self, applied: LogPosition) -> Ack {
        self.looks += 1;
        Ack {
            applied,
            look: self.looks,
            lease_millis: self.lease_millis,
        }
    }

    fn in_sync(&mut self, at: Instant, incarnation: u128) {
        self.word = Some(at);
        self.is_out_of_touch_told = false;
        self.counters.log.in_touch.set(1);
        (self.sink)(Event::InSync { at, incarnation });
    }

    fn out_of_touch(&mut self, error: &RedisError) {
        if self.is_out_of_touch_told {
            tracing::debug!(%error, "the invalidation log still cannot be read");
            return;
        }
        tracing::warn!(%error, "out of touch with the invalidation log");
        self.is_out_of_touch_told = true;
        self.counters.log.in_touch.set(0);
        (self.sink)(Event::OutOfTouch);
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
