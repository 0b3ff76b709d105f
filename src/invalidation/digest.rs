//! The digest of the log: what its entries say, once each, so that the stream
//! can be trimmed and nothing is forgotten.
//!
//! `{ns}:log:digest` is a hash with one field. It holds the bans in force at one position of the log, as one
//! instance has them: bans on one scope are one there, and at the bound they are
//! folded by path before they are folded into everything (`bans`). An instance
//! that starts reads the digest, and of the stream what came after it. However
//! many entries the log had, records that none of them speaks of stay usable.
//!
//! The append that fills another quarter of the stream's bound is told so
//! ([`super::wire`]); its instance writes the digest. One that cannot be read,
//! belongs to another log, or is older than the stream's first entry is not
//! used: the stream's own horizon counts then.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::RedisResult;
use tokio::task::spawn_blocking;

use super::followed::Followed;
use super::here::Here;
use super::scope::{self, Ban};
use super::wire::{LogEntry, LogName, id, position};
use crate::link::Endpoint;
use crate::semantics::stored::LogPosition;

/// A larger digest is not written: the log is trimmed without one.
const DIGEST_BYTES_MAX: usize = 64 << 20;
/// Writing it, connecting included.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Sets the digest where the log is still the one that it is of.
const SCRIPT: &str = r"
if redis.call('HGET', KEYS[1], 'incarnation') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'digest', ARGV[2])
return 1
";

/// The bans of a log up to a position.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Digest {
    /// Nothing is known of what came before it.
    pub(super) horizon: LogPosition,
    /// Everything up to here is in it.
    pub(super) position: LogPosition,
    /// All routes that were announced up to there; `None` where that is not
    /// known.
    pub(super) routes: Option<Vec<Box<str>>>,
    /// Each with the place of the newest ban on its scope.
    pub(super) bans: Vec<(LogPosition, Ban)>,
}

impl Digest {
    fn write(&self) -> String {
        let Self {
            horizon, position, ..
        } = self;
        let incarnation = position.incarnation;
        let mut text = format!("{incarnation:032x} {} {}\n", id(horizon), id(position));
        if let Some(routes) = &self.routes {
            // Strings always have a JSON form.
            text.push_str(&serde_json::to_string(routes).unwrap_or_default());
        }
        text.push('\n');
        for (at, ban) in &self.bans {
            let said = scope::write(std::slice::from_ref(ban));
            text.push_str(&format!("{} {said}\n", id(at)));
        }
        text
    }
}

/// A digest as Redis has it: each ban an entry of the log.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) horizon: LogPosition,
    pub(super) position: LogPosition,
    pub(super) entries: Vec<LogEntry>,
    /// The routes announced up to there, as a JSON list.
    pub(super) routes: Option<Bytes>,
}

impl Found {
    /// `None` for what is no digest of the log of this incarnation.
    fn read(text: &Bytes, incarnation: u128) -> Option<Self> {
        let mut lines = std::str::from_utf8(text).ok()?.lines();
        let mut words = lines.next()?.split(' ');
        if u128::from_str_radix(words.next()?, 16).ok()? != incarnation {
            return None;
        }
        let horizon = position(incarnation, words.next()?)?;
        let up_to = position(incarnation, words.next()?)?;
        let routes = text.slice_ref(lines.next()?.as_bytes());
        let entry = |line: &str| {
            let (at, said) = line.split_once(' ')?;
            Some(LogEntry {
                position: position(incarnation, at)?,
                instance: Box::default(),
                nonce: 0,
                payload: text.slice_ref(said.as_bytes()),
                routes: Bytes::new(),
            })
        };
        Some(Self {
            horizon,
            position: up_to,
            routes: (!routes.is_empty()).then_some(routes),
            entries: lines.map(entry).collect::<Option<_>>()?,
        })
    }
}

/// Reads the digest of the log of this incarnation.
pub(super) async fn find(
    name: &LogName,
    incarnation: u128,
    connection: &mut crate::link::Connection,
) -> RedisResult<Option<Found>> {
    let asking = redis::cmd("HGET").arg(name.digest()).arg("digest").take();
    let text: RedisResult<Option<Vec<u8>>> = asking.query_async(connection).await;
    let text = match text {
        Ok(text) => text.map(Bytes::from),
        // A key of another type; the log can be read without it.
        Err(error) if error.code() == Some("WRONGTYPE") => None,
        Err(error) => return Err(error),
    };
    Ok(text.and_then(|text| Found::read(&text, incarnation)))
}

/// Writes the digest whenever it is due, until dropped.
pub(super) async fn keep(
    here: Arc<Here>,
    followed: Arc<Followed>,
    endpoint: Endpoint,
    name: LogName,
) {
    loop {
        followed.digest_due().await;
        let taken = Arc::clone(&here);
        let text = spawn_blocking(move || {
            let mut digest = taken.bans.digest()?;
            // Not before: what was announced up to its position is known by now.
            digest.routes = taken.routes.known(digest.position.incarnation);
            Some((digest.position.incarnation, digest.write()))
        });
        let Ok(Some((incarnation, text))) = text.await else {
            continue;
        };
        if text.len() > DIGEST_BYTES_MAX {
            tracing::warn!("the digest of the invalidation log is too large to be kept");
            continue;
        }
        let written = async {
            let mut connection = endpoint.connect(TIMEOUT).await?;
            let setting = redis::cmd("EVAL")
                .arg(SCRIPT)
                .arg(2)
                .arg(name.meta())
                .arg(name.digest())
                .arg(format!("{incarnation:032x}"))
                .arg(text)
                .take();
            setting.query_async::<u64>(&mut connection).await
        };
        match tokio::time::timeout(TIMEOUT, written).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the digest of the log cannot be written"),
            Err(_) => tracing::warn!("the digest of the log could not be written in time"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invalidation::scope::Scope;
    use crate::pattern::Pattern;

    fn at(sequence: u64) -> LogPosition {
        LogPosition {
            incarnation: 0xab,
            millis: 7,
            sequence,
        }
    }

    #[test]
    fn what_is_written_is_read_again_as_entries() {
        let soft = Ban {
            scope: Scope::Tag("a b\n".into()),
            is_soft: true,
        };
        let hard = Ban::hard(Scope::Pattern(Pattern::below("/a")));
        let digest = Digest {
            horizon: at(1),
            position: at(9),
            routes: Some(vec!["/a/**".into()]),
            bans: vec![(at(3), soft.clone()), (at(4), hard.clone())],
        };
        let text = Bytes::from(digest.write());
        let found = Found::read(&text, 0xab).unwrap();
        assert_eq!((found.horizon, found.position), (at(1), at(9)));
        assert_eq!(found.routes.as_deref(), Some(&b"[\"/a/**\"]"[..]));
        let said = |entry: &LogEntry| {
            let text = std::str::from_utf8(&entry.payload).unwrap();
            (entry.position, scope::read(text).unwrap())
        };
        let entries: Vec<_> = found.entries.iter().map(said).collect();
        assert_eq!(entries, [(at(3), vec![soft]), (at(4), vec![hard])]);
        assert!(Found::read(&text, 0xac).is_none(), "of another log");
        let broken = text.slice(..text.len() / 2);
        assert!(Found::read(&broken, 0xab).is_none_or(|found| found.entries.len() < 2));
    }

    #[test]
    fn what_is_no_digest_is_not_read() {
        for odd in ["", "x", "ab 1-1", "ab 1-1 2-2", "ab 1-1 2-2\n\nnonsense"] {
            assert!(Found::read(&Bytes::from(odd), 0xab).is_none(), "{odd:?}");
        }
    }
}
