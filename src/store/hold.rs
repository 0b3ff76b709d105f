//! Who fetches a cold key, among the instances that share Redis.
//!
//! A *hold* is a key that expires within a second unless it is renewed: one
//! instance has it while it fetches, the others look for its record meanwhile.
//! Where the holder dies, the hold expires and another takes it. A hold lost
//! or taken twice costs one more fetch and nothing else: whether a record may
//! be reused is judged as always.
//!
//! It says how far its holder knew of invalidations when its fetch began: what
//! a fetch brings that began before an invalidation is dead on arrival, and is
//! not worth waiting for.

use std::sync::Arc;
use std::time::Duration;

use redis::{Pipeline, RedisResult, Value};

use super::queue::Queue;
use crate::link::{Link, Task};
use crate::semantics::stored::LogPosition;

/// A hold that is not renewed ends after it.
const TTL: Duration = Duration::from_secs(1);
/// Between two renewals.
const RENEW_EVERY: Duration = Duration::from_millis(300);
/// For what was fetched to be written, before the hold is given up.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);

/// What came of asking for a hold.
#[derive(Debug)]
pub enum Asked {
    /// It is ours: fetch.
    Ours(Hold),
    /// Another instance fetches; it began at this position, if it said so.
    Theirs(Option<LogPosition>),
    /// What stands there is no hold.
    Foreign,
    /// Redis does not say.
    Unavailable,
}

/// A hold of ours. Dropping it gives it up, once what was queued is written.
pub struct Hold {
    name: String,
    link: Arc<Link>,
    queue: Arc<Queue>,
    renewal: Option<Task>,
}

/// Who asks for a hold.
#[derive(Clone, Copy, Debug)]
pub struct Holder {
    /// How far it knew of invalidations when its fetch began.
    pub began: LogPosition,
    /// Whether it takes the hold from another, whose fetch is in vain.
    pub takes_over: bool,
}

impl Holder {
    /// As many commands asking takes.
    pub(super) const COMMANDS: usize = 2;

    /// Takes the hold where it may, and asks whose it is.
    pub(super) fn add_to(&self, commands: &mut Pipeline, name: &str) {
        commands.cmd("SET").arg(name).arg(text_of(self.began));
        if !self.takes_over {
            commands.arg("NX");
        }
        commands.arg("PX").arg(TTL.as_millis() as u64);
        commands.cmd("GET").arg(name);
    }
}

impl Hold {
    /// What Redis answered to [`Holder::add_to`].
    pub(super) fn taken(
        answers: Vec<RedisResult<Value>>,
        name: String,
        link: &Arc<Link>,
        queue: &Arc<Queue>,
    ) -> Asked {
        let mut answers = answers.into_iter();
        let (Some(set), Some(stands)) = (answers.next(), answers.next()) else {
            return Asked::Unavailable;
        };
        match set {
            Ok(Value::Nil) => match stands.map(redis::from_redis_value::<Vec<u8>>) {
                Ok(Ok(text)) => Asked::Theirs(position_of(&text)),
                // It ended between the two commands of one pipeline.
                Ok(Err(_)) => Asked::Theirs(None),
                Err(_) => Asked::Foreign,
            },
            Ok(_) => Asked::Ours(Self {
                renewal: Some(Task::start(renew(name.clone(), Arc::clone(link)))),
                name,
                link: Arc::clone(link),
                queue: Arc::clone(queue),
            }),
            Err(error) => {
                tracing::debug!(%error, "a hold was not taken");
                Asked::Unavailable
            }
        }
    }
}

/// A position as a hold says it.
fn text_of(position: LogPosition) -> String {
    let LogPosition {
        incarnation,
        millis,
        sequence,
    } = position;
    format!("{incarnation:x}-{millis:x}-{sequence:x}")
}

fn position_of(text: &[u8]) -> Option<LogPosition> {
    let mut parts = std::str::from_utf8(text).ok()?.split('-');
    let position = LogPosition {
        incarnation: u128::from_str_radix(parts.next()?, 16).ok()?,
        millis: u64::from_str_radix(parts.next()?, 16).ok()?,
        sequence: u64::from_str_radix(parts.next()?, 16).ok()?,
    };
    parts.next().is_none().then_some(position)
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Hold").finish_non_exhaustive()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        drop(self.renewal.take());
        let (link, queue) = (Arc::clone(&self.link), Arc::clone(&self.queue));
        let give_up = redis::cmd("UNLINK").arg(&self.name).take();
        // Without a runtime everything ends, and the hold expires.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // The others shall find the record before they find no hold.
                let _written = tokio::time::timeout(WRITTEN_WITHIN, queue.emptied()).await;
                if let Some(mut connection) = link.current() {
                    let given_up: RedisResult<u64> = give_up.query_async(&mut connection).await;
                    if let Err(error) = given_up {
                        tracing::debug!(%error, "a hold was not given up and expires");
                    }
                }
            });
        }
    }
}

async fn renew(name: String, link: Arc<Link>) {
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        let Some(mut connection) = link.current() else {
            continue;
        };
        let renewed: RedisResult<u64> = redis::cmd("PEXPIRE")
            .arg(&name)
            .arg(TTL.as_millis() as u64)
            .query_async(&mut connection)
            .await;
        if let Err(error) = renewed {
            tracing::debug!(%error, "a hold was not renewed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_says_where_its_fetch_began() {
        let position = LogPosition {
            incarnation: u128::MAX - 7,
            millis: 1_700_000_000_000,
            sequence: 3,
        };
        assert_eq!(position_of(text_of(position).as_bytes()), Some(position));
        for other in ["", "1", "1-2", "1-2-3-4", "x-1-2", "\u{fe}"] {
            assert_eq!(position_of(other.as_bytes()), None, "{other}");
        }
    }
}
