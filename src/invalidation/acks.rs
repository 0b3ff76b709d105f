//! Waiting until those who follow the log have applied what is in it.
//!
//! Every follower says on each look at the log how far it has applied it
//! ([`super::wire::Ack`]). While somebody waits, one task reads what they said,
//! again and again; however many wait, it asks once at a time.
//!
//! Promises: whoever is not waited for any more has either applied the entry
//! or looked at the log so long ago, on this machine's monotonic clock, that
//! its lease has run out. The clocks of others and of Redis are not asked.
//! A list is believed only where it has this instance's own newest look in it,
//! and its own word that it has applied the entry: a node that was demoted and
//! has lost its primary shows a frozen copy.
//! Those who have not looked for [`STRUCK_OFF_AFTER`] are struck off.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use redis::RedisResult;
use tokio::sync::{Notify, watch};

use super::followed::Followed;
use super::touch::Touch;
use super::wire::{Ack, LogName, Roll};
use crate::link::{Connection, Endpoint, Link, Role, Task};
use crate::semantics::stored::LogPosition;
use crate::telemetry::counters::RedisCounters;

/// Between two reads while somebody waits: as long as the last one took, so much
/// at least, and so much for each follower. In a large fleet Redis has other things
/// to do than to tell everybody of everybody.
const PAUSE: Duration = Duration::from_micros(500);
const PAUSE_FOR_EACH: Duration = Duration::from_micros(125);
/// Between two reads while nobody does: to know who is silent.
const IDLE_PAUSE: Duration = Duration::from_secs(5);
/// One read.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// A connection whose list has none of our looks while the follower took so
/// many more is replaced: it does not lead to the log that is followed.
const UNSEEN_LOOKS_MAX: u64 = 2;
/// Whoever has not looked at the log for so long, or for its lease where that
/// is longer, is no follower any more; it is one again with its next look.
pub const STRUCK_OFF_AFTER: Duration = Duration::from_secs(30);

/// Who has applied an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged {
    /// These have.
    pub by: Vec<String>,
    /// These follow the log and have not said so.
    pub missing: Vec<String>,
}

/// For whom to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// For everybody.
    Everybody,
    /// For those whose lease may still be running.
    Leases,
}

/// The end of the log where its followers are seen. Dropping it ends its task.
pub(super) struct Acks {
    shared: Arc<Shared>,
    _reader: Task,
}

struct Shared {
    link: Link,
    name: LogName,
    followed: Arc<Followed>,
    seen: watch::Sender<Seen>,
    waiting: AtomicUsize,
    wanted: Notify,
}

/// What was read last.
#[derive(Clone, Default)]
struct Seen {
    /// When Redis was asked; `None` before the first answer.
    asked: Option<Instant>,
    /// A moment at which what was read was the log itself: who was silent then
    /// was silent, and since then perhaps only a copy was.
    alive: Option<Instant>,
    incarnation: Option<u128>,
    followers: HashMap<String, Follower>,
}

#[derive(Clone, Copy)]
struct Follower {
    ack: Ack,
    /// When this look of its was first seen.
    since: Instant,
}

/// Somebody waits, until dropped.
struct Waiting<'a>(&'a Shared);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// How much longer than its lease another instance is waited for: clocks do
/// not run alike.
pub(super) fn margin(lease: Duration) -> Duration {
    lease / 50 + Duration::from_millis(5)
}

fn pause_after(took: Duration, followers: usize) -> Duration {
    let for_all = PAUSE_FOR_EACH.saturating_mul(u32::try_from(followers).unwrap_or(u32::MAX));
    PAUSE.max(for_all).max(took).min(READ_TIMEOUT / 10)
}

impl Acks {
    /// Starts to connect, on the runtime this is called from.
    pub(super) fn start(
        endpoint: Endpoint,
        name: LogName,
        followed: Arc<Followed>,
        counters: Arc<RedisCounters>,
    ) -> Self {
        let shared = Arc::new(Shared {
            link: Link::start(endpoint, Role::Acks, counters),
            name,
            followed,
            seen: watch::Sender::default(),
            waiting: AtomicUsize::new(0),
            wanted: Notify::new(),
        });
        Self {
            _reader: Task::start(Arc::clone(&shared).run()),
            shared,
        }
    }

    /// Waits until everybody has applied the entry at `position`, which was in
    /// the log at `appended`, but not past `until`.
    pub(super) async fn wait(
        &self,
        position: LogPosition,
        appended: Instant,
        patience: Patience,
        until: Instant,
    ) -> Acknowledged {
        let _waiting = self.shared.waits();
        let mut seen = self.shared.seen.subscribe();
        loop {
            let (acknowledged, is_known) = {
                let seen = seen.borrow_and_update();
                // What was said before the entry was there says nothing; and
                // a list without our own word for it may be a copy, without
                // those who came since.
                let is_known = seen.asked.is_some_and(|asked| asked >= appended)
                    && seen.incarnation == Some(position.incarnation)
                    && seen.has_applied(self.shared.name.instance(), position) != Some(false);
                (self.shared.judge(&seen, position, patience), is_known)
            };
            if is_known && acknowledged.missing.is_empty() {
                return acknowledged;
            }
            tokio::select! {
                // The sender lives as long as `self`.
                _ = seen.changed() => {}
                () = tokio::time::sleep_until(until.into()) => return acknowledged,
            }
        }
    }

    /// Waits until nobody relies on what he knew before the entry at
    /// `position`, in the log since `appended`. Whoever looked at the log after
    /// it has seen it, and whoever looked before may rely on that for a lease at
    /// most: that is the longest wait. It is shorter where all who follow the
    /// log say that they have applied it; but who they are is known only of a
    /// log that has stood for a lease: those who followed the one before it are
    /// in no list.
    pub(super) async fn leased_to_nobody(
        &self,
        touch: &Touch,
        position: LogPosition,
        appended: Instant,
        lease: Duration,
    ) {
        let longest = lease + margin(lease);
        let until = appended + longest;
        touch.met(position.incarnation);
        let known_since = touch.known_since(position.incarnation);
        let is_complete_at = known_since.map_or(until, |since| since + longest);
        self.wait(position, appended, Patience::Leases, until).await;
        tokio::time::sleep_until(is_complete_at.min(until).into()).await;
    }

    /// How many follow the log, this instance among them, as last seen.
    pub(super) fn followers(&self) -> usize {
        self.shared.seen.borrow().followers.len()
    }

    /// Tells the others that this instance reuses nothing any more.
    pub(super) async fn leave(&self) -> RedisResult<()> {
        let Some(mut connection) = self.shared.link.current() else {
            return Ok(());
        };
        self.shared.name.leave().query_async(&mut connection).await
    }
}

impl std::fmt::Debug for Acks {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Acks").finish_non_exhaustive()
    }
}

impl Shared {
    fn waits(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        self.wanted.notify_one();
        Waiting(self)
    }

    async fn run(self: Arc<Self>) {
        // The follower's newest look when a list without it was first read.
        let mut unseen_since: Option<u64> = None;
        loop {
            if self.waiting.load(Ordering::Acquire) == 0 {
                tokio::select! {
                    () = self.wanted.notified() => {}
                    () = tokio::time::sleep(IDLE_PAUSE) => {}
                }
            }
            let mut connection = self.link.connected().await;
            let (look, alive) = match self.followed.look() {
                Some((look, taken)) => (Some(look), taken),
                None => (None, Some(Instant::now())),
            };
            let asked = Instant::now();
            let read = self.read(&mut connection, look, alive).await;
            let took = asked.elapsed();
            match read {
                Ok(true) => unseen_since = None,
                Ok(false) => {
                    let look = look.unwrap_or_default();
                    let since = *unseen_since.get_or_insert(look);
                    if look >= since + UNSEEN_LOOKS_MAX {
                        tracing::warn!("who follows the log was read from a copy that is not it");
                        self.link.condemn(&connection);
                        unseen_since = None;
                    }
                    tokio::time::sleep(READ_TIMEOUT / 100).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "who follows the log cannot be read");
                    self.link.report(&connection, &error);
                    tokio::time::sleep(READ_TIMEOUT / 10).await;
                }
            }
            let followers = self.seen.borrow().followers.len();
            tokio::time::sleep(pause_after(took, followers)).await;
        }
    }

    /// Whether what was read is believed. `look` is the newest of our own
    /// looks that was answered before this: the log itself has it, or a later
    /// one. `None` where this instance looks no more.
    /// What has it was no copy yet at the moment `alive`, when it was taken.
    async fn read(
        &self,
        connection: &mut Connection,
        look: Option<u64>,
        alive: Option<Instant>,
    ) -> RedisResult<bool> {
        let asked = Instant::now();
        let reading = self.name.roll();
        let reading = reading.query_async::<Roll>(connection);
        let roll = tokio::time::timeout(READ_TIMEOUT, reading)
            .await
            .unwrap_or_else(|_| {
                let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
                Err(late.into())
            })?;
        if !roll.has(self.name.instance(), look) {
            return Ok(false);
        }
        let before = self.seen.borrow().clone();
        let seen = Seen {
            alive,
            ..before.next(roll, asked, Instant::now())
        };
        let silent: Vec<(String, Ack)> = seen.silent();
        self.seen.send_replace(seen);
        for (instance, ack) in silent {
            tracing::info!(instance, "an instance has fallen silent");
            let strike: RedisResult<()> = self
                .name
                .strike_off(&instance, &ack)
                .query_async(connection)
                .await;
            strike?;
        }
        Ok(true)
    }

    fn judge(&self, seen: &Seen, position: LogPosition, patience: Patience) -> Acknowledged {
        let mut acknowledged = Acknowledged {
            by: vec![self.name.instance().to_owned()],
            missing: Vec::new(),
        };
        for (instance, follower) in &seen.followers {
            if instance == self.name.instance() {
                continue;
            }
            if follower.has_applied(position) {
                acknowledged.by.push(instance.clone());
            } else if patience == Patience::Everybody || !follower.has_run_out(seen.alive) {
                acknowledged.missing.push(instance.clone());
            }
        }
        acknowledged.by.sort();
        acknowledged.missing.sort();
        acknowledged
    }
}

impl Seen {
    fn next(&self, roll: Roll, asked: Instant, answered: Instant) -> Self {
        let follower = |instance: &String, ack: Ack| {
            let before = self.followers.get(instance);
            match before.filter(|before| before.ack.look == ack.look) {
                Some(before) => Follower { ack, ..*before },
                None => Follower {
                    ack,
                    since: answered,
                },
            }
        };
        let followers = roll.followers.into_iter().map(|(instance, ack)| {
            let follower = follower(&instance, ack);
            (instance, follower)
        });
        Self {
            asked: Some(asked),
            alive: self.alive,
            incarnation: roll.incarnation,
            followers: followers.collect(),
        }
    }

    /// Whether an instance says that it has applied an entry; `None` where it
    /// follows no log.
    fn has_applied(&self, instance: &str, position: LogPosition) -> Option<bool> {
        let follower = self.followers.get(instance)?;
        Some(follower.has_applied(position))
    }

    fn silent(&self) -> Vec<(String, Ack)> {
        let silent = self.followers.iter().filter(|(_, follower)| {
            let patience = STRUCK_OFF_AFTER.max(follower.lease() * 2);
            follower.since.elapsed() >= patience
        });
        silent
            .map(|(instance, follower)| (instance.clone(), follower.ack))
            .collect()
    }
}

impl Follower {
    fn has_applied(&self, position: LogPosition) -> bool {
        let applied = self.ack.applied;
        applied.incarnation == position.incarnation && applied >= position
    }

    fn lease(&self) -> Duration {
        Duration::from_millis(self.ack.lease_millis)
    }

    /// Its last look was before `since`, and nothing it learned then is relied
    /// on any more.
    fn has_run_out(&self, alive: Option<Instant>) -> bool {
        let lease = self.lease();
        alive.is_some_and(|alive| {
            alive.saturating_duration_since(self.since) >= lease + margin(lease)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(look: u64) -> Ack {
        Ack {
            look,
            lease_millis: 2_000,
            ..Ack::default()
        }
    }

    fn roll(looks: &[(&str, u64)]) -> Roll {
        Roll {
            incarnation: Some(1),
            followers: looks
                .iter()
                .map(|(name, look)| ((*name).to_owned(), ack(*look)))
                .collect(),
        }
    }

    #[test]
    fn a_large_fleet_and_a_slow_redis_are_asked_less_often() {
        let millis = Duration::from_millis;
        let soon = Duration::from_micros(90);
        assert_eq!(pause_after(soon, 3), PAUSE);
        assert_eq!(pause_after(soon, 40), millis(5));
        assert_eq!(pause_after(millis(30), 3), millis(30));
        assert_eq!(pause_after(millis(900), usize::MAX), millis(100));
    }

    #[test]
    fn silence_counts_from_when_a_look_was_first_seen() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let seen = Seen::default().next(roll(&[("a", 1), ("b", 1)]), at(0), at(1));
        let seen = seen.next(roll(&[("a", 1), ("b", 2)]), at(2), at(3));
        assert_eq!(seen.followers["a"].since, at(1));
        assert_eq!(seen.followers["b"].since, at(3));
        assert_eq!(seen.asked, Some(at(2)));
        let seen = seen.next(roll(&[("b", 2)]), at(4), at(5));
        assert_eq!(seen.followers.len(), 1);
    }

    #[test]
    fn a_list_is_believed_with_our_own_newest_look_in_it() {
        let roll = roll(&[("a", 7), ("b", 1)]);
        assert!(roll.has("a", Some(7)) && roll.has("a", Some(6)));
        assert!(!roll.has("a", Some(8)), "a frozen copy");
        assert!(!roll.has("c", Some(0)), "of another log");
        assert!(roll.has("c", None), "we look no more");
    }

    #[test]
    fn silence_in_what_may_be_a_copy_is_no_silence() {
        let since = Instant::now();
        let follower = Follower { ack: ack(1), since };
        let at = |seconds| Some(since + Duration::from_secs(seconds));
        assert!(!follower.has_run_out(None));
        assert!(!follower.has_run_out(at(1)), "whatever the time is now");
        assert!(follower.has_run_out(at(3)));
    }
}
