//! What the followers of the log say of themselves, and the list of them.

use redis::{FromRedisValue, ParsingError, Value};

use super::wire::{id, position};
use crate::semantics::stored::LogPosition;

/// The field of the hash of followers that names the log it belongs to.
const WHICH_LOG: &str = "-";

/// What a follower says each time it looks at the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    /// Everything up to here is in force there.
    pub applied: LogPosition,
    /// Grows with every look: where it does not, nobody looked.
    pub look: u64,
    /// For so long after a look it may reuse what it has stored without
    /// another; in milliseconds.
    pub lease_millis: u64,
}

impl Ack {
    pub(super) fn write(&self) -> String {
        let Self {
            applied,
            look,
            lease_millis,
        } = self;
        format!(
            "{:x} {} {look} {lease_millis}",
            applied.incarnation,
            id(applied)
        )
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let incarnation = u128::from_str_radix(words.next()?, 16).ok()?;
        Some(Self {
            applied: position(incarnation, words.next()?)?,
            look: words.next()?.parse().ok()?,
            lease_millis: words.next()?.parse().ok()?,
        })
    }
}

/// Who follows which log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Roll {
    /// `None` where there is no log.
    pub(super) incarnation: Option<u128>,
    pub(super) followers: Vec<(String, Ack)>,
}

impl Roll {
    /// Whether it has a look of `instance` that is no older than `look`; with
    /// `None`, whether or not.
    pub(super) fn has(&self, instance: &str, look: Option<u64>) -> bool {
        look.is_none_or(|look| {
            let mut followers = self.followers.iter();
            followers.any(|(name, ack)| name == instance && ack.look >= look)
        })
    }
}

impl FromRedisValue for Roll {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let fields: Vec<(String, String)> = redis::from_redis_value(value)?;
        let mut roll = Self::default();
        for (field, text) in fields {
            if field == WHICH_LOG {
                roll.incarnation = u128::from_str_radix(&text, 16).ok();
            } else if let Some(ack) = Ack::read(&text) {
                roll.followers.push((field, ack));
            }
        }
        Ok(roll)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ack_is_read_back_as_it_was_written() {
        let ack = Ack {
            applied: position(0xfe, "1700000000000-3").unwrap(),
            look: 7,
            lease_millis: 2_000,
        };
        assert_eq!(Ack::read(&ack.write()), Some(ack));
        for odd in ["", "fe", "fe 1-1 7", "x 1-1 7 2"] {
            assert_eq!(Ack::read(odd), None, "{odd}");
        }
    }
}
