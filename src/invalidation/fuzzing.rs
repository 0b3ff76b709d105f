//! The log's entries for a fuzz target, which only sees what is public.

use redis::Value;
use redis::streams::StreamId;

use super::wire::{Ack, Chained, id, position};

/// Reads an entry of the stream whose fields are the lines of `bytes`, and
/// acknowledgements: what is read of a position is what was written.
///
/// # Panics
/// Where it is not.
pub fn log_entries(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let at = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    if let Some(read) = position(7, &at) {
        assert_eq!(position(7, &id(&read)), Some(read));
    }
    if let Some(ack) = Ack::read(&at) {
        assert_eq!(Ack::read(&ack.write()), Some(ack));
    }
    let mut entry = StreamId {
        id: at,
        ..StreamId::default()
    };
    for (name, value) in ["i", "p", "b", "o", "n"].into_iter().zip(lines) {
        let value = Value::BulkString(value.to_vec());
        entry.map.insert(name.to_owned(), value);
    }
    let _ = Chained::of(&entry);
}
