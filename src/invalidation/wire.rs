//! What the invalidation log is in Redis.
//!
//! `{ns}:log` is a stream (braces included: both keys share a cluster slot).
//! `{ns}:log:meta` is a hash that says which log it is: its *incarnation*, the
//! run of the server it was begun on, and the id of its last entry. Whenever
//! either key is missing or the server is another run, the log is begun anew
//! with another incarnation: a flush, an eviction, a restart and a failover
//! all may have lost entries, and no reader has to guess which of them did.
//! A record or reader of an older incarnation starts over. A key of ours that
//! holds another type is no log either: it is deleted, and that is said.
//!
//! The hash also says *after* what the log begins: how far its beginner had
//! followed the log before it. An instance that comes from another log and
//! knows no more than that may rely on what it finds. Any other first bans
//! everything in it ([`LogName::fence`]), and says so in the same place: Redis
//! behind one address may be swapped for another and back, and what is in it
//! then knows nothing of the bans that were made meanwhile.
//!
//! `{ns}:log:live` is a hash of those who follow the log: how far each has
//! applied it, and a number that grows with every look it takes ([`Ack`]).
//! Saying so and asking where the log ends is one step in Redis, so whoever
//! knows the log's end is registered. The three keys stand and fall together:
//! where the hash is missing, the log is begun anew as well.
//!
//! `{ns}:log:digest` says what the entries that may be trimmed said ([`super::digest`]).
//!
//! Every entry names its incarnation and the entry before it. A reader that
//! finds the chain whole has missed nothing, whatever trimmed, deleted or
//! rolled back the stream; the first entry's predecessor is the log's
//! *horizon*: what is known of everything after it is complete.
//!
//! Whoever uses the log needs the keys `{ns}:*` (braces included) and the
//! rights to EVAL, INFO, HMGET, HGET, HGETALL, HSET, HDEL, EXISTS, DEL, XADD,
//! XTRIM, XRANGE, XREAD.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use redis::streams::StreamId;
use redis::{FromRedisValue, ParsingError, Value};

pub use super::roll::Ack;
pub(super) use super::roll::Roll;
use crate::semantics::stored::LogPosition;

/// Before the first entry of any log.
const ORIGIN: &str = "0-0";

/// ARGV: an incarnation to begin with if one must be begun; the bound of the
/// stream; who asks; how far they have applied the log, empty where they do
/// not follow it; how far they followed the log that they come from, empty
/// where there was none; an incarnation that is to be begun anew, or empty;
/// `fence` where the entry bans everything, or empty; routes to announce, or
/// empty; then nonce and payload of each entry to append.
/// Gives the incarnation, the id of the last entry, the ids appended, after
/// what the log begins, how many keys held another type, and whether these
/// entries fill another quarter of the bound: then a digest is due.
///
/// HDEL before HSET, too, is for a Redis without free memory: it may be called.
///
/// The stream is trimmed before and not while it grows: a script that has
/// begun to write is let finish, so that a Redis without free memory, which
/// refuses records, still takes bans.
const SCRIPT: &str = r"
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local meta = redis.pcall('HMGET', KEYS[2], 'incarnation', 'run', 'last', 'after', 'count')
local foreign = 0
for _, reply in ipairs({meta, redis.pcall('XRANGE', KEYS[1], '-', '-', 'COUNT', 1),
    redis.pcall('HGET', KEYS[3], '-')}) do
  if type(reply) == 'table' and reply.err then
    if not string.find(reply.err, 'WRONGTYPE') then return reply end
    foreign = foreign + 1
  end
end
if foreign > 0 then meta = {} end
local incarnation, last, after, count = meta[1], meta[3], meta[4], tonumber(meta[5] or 0)
if not incarnation or not last or meta[2] ~= run or incarnation == ARGV[6]
    or redis.call('EXISTS', KEYS[1], KEYS[3]) ~= 2 then
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
  incarnation, after, count = ARGV[1], ARGV[5], 0
  last = redis.call('XADD', KEYS[1], '*', 'i', incarnation, 'p', '0-0')
  redis.call('HSET', KEYS[2], 'incarnation', incarnation, 'run', run, 'last', last,
    'after', after)
  redis.call('HSET', KEYS[3], '-', incarnation)
end
if ARGV[4] ~= '' then
  redis.call('HDEL', KEYS[3], ARGV[3])
  redis.call('HSET', KEYS[3], ARGV[3], ARGV[4])
end
local ids = {}
if #ARGV > 8 or ARGV[8] ~= '' then redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', ARGV[2]) end
for n = 9, #ARGV, 2 do
  local id = redis.call('XADD', KEYS[1], '*', 'i', incarnation,
    'p', last, 'o', ARGV[3], 'n', ARGV[n], 'b', ARGV[n + 1])
  last = id
  ids[#ids + 1] = id
end
if ARGV[8] ~= '' then
  last = redis.call('XADD', KEYS[1], '*', 'i', incarnation,
    'p', last, 'o', ARGV[3], 'n', 0, 'b', '[]', 'r', ARGV[8])
  ids[#ids + 1] = last
end
local due = 0
if #ids > 0 then
  redis.call('HSET', KEYS[2], 'last', last, 'count', count + #ids)
  local quarter = math.ceil(tonumber(ARGV[2]) / 4)
  if math.floor((count + #ids) / quarter) > math.floor(count / quarter) then due = 1 end
end
if ARGV[7] == 'fence' then
  after = ARGV[5]
  redis.call('HSET', KEYS[2], 'after', after)
end
return {incarnation, last, ids, after or '', foreign, due}
";

/// Strikes a follower off, unless it has said something since.
const STRIKE_OFF: &str = r"
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])
";

/// Which log, and who is talking.
#[derive(Clone, Debug)]
pub struct LogName {
    stream: Arc<str>,
    meta: Arc<str>,
    live: Arc<str>,
    digest: Arc<str>,
    instance: Arc<str>,
    entries_max: usize,
}

impl LogName {
    /// The log of a namespace, kept to about `entries_max` entries: an
    /// instance that was away for longer than they reach back starts over.
    #[must_use]
    pub fn new(namespace: &str, instance: &str, entries_max: usize) -> Self {
        Self {
            stream: format!("{{{namespace}}}:log").into(),
            meta: format!("{{{namespace}}}:log:meta").into(),
            live: format!("{{{namespace}}}:log:live").into(),
            digest: format!("{{{namespace}}}:log:digest").into(),
            instance: instance.into(),
            entries_max: entries_max.max(1),
        }
    }

    pub(super) fn stream(&self) -> &str {
        &self.stream
    }

    pub(super) fn meta(&self) -> &str {
        &self.meta
    }

    pub(super) fn digest(&self) -> &str {
        &self.digest
    }

    pub(super) fn instance(&self) -> &str {
        &self.instance
    }

    pub(super) fn entries_max(&self) -> usize {
        self.entries_max
    }

    /// Appends these to the log, all or none, and says where they are. Begins
    /// the log where there is none, after `position`.
    pub(super) fn append(&self, entries: &[(u64, Bytes)], position: LogPosition) -> redis::Cmd {
        let mut command = self.script("", position, "", "", "");
        for (nonce, payload) in entries {
            command.arg(*nonce).arg(&payload[..]);
        }
        command
    }

    /// Says how far this instance has applied the log, and asks which log it
    /// is and where it ends.
    pub(super) fn state(&self, ack: &Ack) -> redis::Cmd {
        self.script(&ack.write(), ack.applied, "", "", "")
    }

    /// The same; where the log is still the one that this instance follows, it
    /// is begun anew: it is not what it was.
    pub(super) fn begin_anew(&self, ack: &Ack) -> redis::Cmd {
        let wrong = format!("{:032x}", ack.applied.incarnation);
        self.script(&ack.write(), ack.applied, &wrong, "", "")
    }

    /// The same; bans everything that was stored under this log before, for
    /// whoever knows no more than `ack` says was applied.
    pub(super) fn fence(&self, ack: &Ack, everything: &[u8]) -> redis::Cmd {
        let mut command = self.script(&ack.write(), ack.applied, "", "fence", "");
        command.arg(0).arg(everything).take()
    }

    /// The same; adds an entry that bans nothing, so that what is stored from
    /// now on can be told from what was stored before.
    pub(super) fn mark(&self, ack: &Ack) -> redis::Cmd {
        let mut command = self.script(&ack.write(), ack.applied, "", "", "");
        command.arg(0).arg("[]").take()
    }

    /// Adds an entry that bans nothing and says what routes this instance has:
    /// a JSON list of their paths.
    pub(super) fn announce(&self, routes: &str, position: LogPosition) -> redis::Cmd {
        self.script("", position, "", "", routes)
    }

    fn script(
        &self,
        ack: &str,
        position: LogPosition,
        wrong: &str,
        fence: &str,
        routes: &str,
    ) -> redis::Cmd {
        redis::cmd("EVAL")
            .arg(SCRIPT)
            .arg(3)
            .arg(&*self.stream)
            .arg(&*self.meta)
            .arg(&*self.live)
            .arg(fresh_incarnation())
            .arg(self.entries_max)
            .arg(&*self.instance)
            .arg(ack)
            .arg(After(position).write())
            .arg(wrong)
            .arg(fence)
            .arg(routes)
            .take()
    }

    /// Asks who follows the log.
    pub(super) fn roll(&self) -> redis::Cmd {
        redis::cmd("HGETALL").arg(&*self.live).take()
    }

    /// Strikes `instance` off the roll, unless it has said something other
    /// than `ack` since.
    pub(super) fn strike_off(&self, instance: &str, ack: &Ack) -> redis::Cmd {
        redis::cmd("EVAL")
            .arg(STRIKE_OFF)
            .arg(1)
            .arg(&*self.live)
            .arg(instance)
            .arg(ack.write())
            .take()
    }

    /// Strikes this instance off the roll.
    pub(super) fn leave(&self) -> redis::Cmd {
        redis::cmd("HDEL")
            .arg(&*self.live)
            .arg(&*self.instance)
            .take()
    }
}

/// A position in another log; the default is none.
struct After(LogPosition);

impl After {
    fn write(&self) -> String {
        match self.0 {
            LogPosition { incarnation: 0, .. } => String::new(),
            position => format!("{:x} {}", position.incarnation, id(&position)),
        }
    }

    fn read(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self(LogPosition::default()));
        }
        let (incarnation, id) = text.split_once(' ')?;
        let incarnation = u128::from_str_radix(incarnation, 16).ok()?;
        Some(Self(position(incarnation, id)?))
    }
}

/// What the script answers.
pub(super) struct LogState {
    pub(super) last: LogPosition,
    pub(super) appended: Vec<LogPosition>,
    after: LogPosition,
    /// Keys of the log that held another type, and were deleted.
    pub(super) foreign_keys: u64,
    /// A digest is due.
    pub(super) is_digest_due: bool,
}

impl LogState {
    /// Whether one that followed another log up to `position` may rely on what
    /// was stored under this one: whoever began it, or banned everything in
    /// it, knew as much.
    pub(super) fn follows_on(&self, position: LogPosition) -> bool {
        self.after.incarnation == position.incarnation && self.after >= position
    }
}

impl FromRedisValue for LogState {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        type Answer = (String, String, Vec<String>, String, u64, bool);
        let (incarnation, last, ids, after, foreign_keys, is_digest_due): Answer =
            redis::from_redis_value(value)?;
        let read = || {
            let incarnation = u128::from_str_radix(&incarnation, 16).ok()?;
            let position = |id: &String| position(incarnation, id);
            Some(Self {
                last: position(&last)?,
                appended: ids.iter().map(position).collect::<Option<_>>()?,
                after: After::read(&after)?.0,
                foreign_keys,
                is_digest_due,
            })
        };
        read().ok_or_else(|| ParsingError::from("the log's state makes no sense"))
    }
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Where it is.
    pub position: LogPosition,
    /// Who appended it.
    pub instance: Box<str>,
    /// What they call it.
    pub nonce: u64,
    /// What it bans.
    pub payload: Bytes,
    /// Routes that it announces, as a JSON list; empty where it announces none.
    pub routes: Bytes,
}

/// An entry as the stream holds it.
pub(super) struct Chained {
    pub(super) position: LogPosition,
    /// Of the entry before it.
    pub(super) previous: LogPosition,
    /// `None` for the entry that began the log.
    pub(super) entry: Option<LogEntry>,
}

impl Chained {
    /// `None` for what this project did not write: it is no part of the chain.
    pub(super) fn of(raw: &StreamId) -> Option<Self> {
        let incarnation = u128::from_str_radix(&raw.get::<String>("i")?, 16).ok()?;
        let previous: String = raw.get("p")?;
        let at = position(incarnation, &raw.id)?;
        let entry = match raw.get::<Vec<u8>>("b") {
            Some(payload) => Some(LogEntry {
                position: at,
                instance: raw.get::<String>("o")?.into(),
                nonce: raw.get("n")?,
                payload: payload.into(),
                routes: raw.get::<Vec<u8>>("r").unwrap_or_default().into(),
            }),
            None if previous == ORIGIN => None,
            None => return None,
        };
        Some(Self {
            position: at,
            previous: position(incarnation, &previous)?,
            entry,
        })
    }
}

/// The id of a position, as Redis writes it.
pub(super) fn id(position: &LogPosition) -> String {
    format!("{}-{}", position.millis, position.sequence)
}

/// The position of an id, as Redis writes it.
pub(super) fn position(incarnation: u128, id: &str) -> Option<LogPosition> {
    let (millis, sequence) = id.split_once('-')?;
    Some(LogPosition {
        incarnation,
        millis: millis.parse().ok()?,
        sequence: sequence.parse().ok()?,
    })
}

/// 128 bits that no other log has, in hex: hashes under random keys, with the
/// time and the process for good measure.
pub(super) fn fresh_incarnation() -> String {
    let now = SystemTime::now();
    let half = |which: u8| RandomState::new().hash_one((now, std::process::id(), which));
    format!("{:016x}{:016x}", half(0), half(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_back_from_its_id() {
        let at = position(9, "1700000000000-3").unwrap();
        assert_eq!(
            (at.incarnation, at.millis, at.sequence),
            (9, 1_700_000_000_000, 3)
        );
        assert_eq!(id(&at), "1700000000000-3");
        for odd in ["", "1", "1-", "a-b", "1-2-3"] {
            assert_eq!(position(9, odd), None, "{odd}");
        }
    }

    #[test]
    fn no_two_incarnations_are_the_same() {
        assert_ne!(fresh_incarnation(), fresh_incarnation());
    }
}
