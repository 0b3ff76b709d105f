//! What can be known from a log that is read from its beginning.

use std::collections::VecDeque;

use super::wire::{Chained, LogEntry};
use crate::semantics::stored::LogPosition;

/// Payloads held while a log is read; past it the oldest are forgotten and the
/// horizon moves up to them.
const PAYLOAD_BYTES_MAX: usize = 64 << 20;

/// The unbroken end of a log: the entries after the horizon, all of them.
#[derive(Debug)]
pub(super) struct Replay {
    horizon: Option<LogPosition>,
    position: Option<LogPosition>,
    entries: VecDeque<LogEntry>,
    /// Entries up to here are in the digest.
    digested: LogPosition,
    entries_max: usize,
    payload_bytes: usize,
}

impl Replay {
    /// Holds no more than `entries_max` entries; past it the oldest are
    /// forgotten and the horizon moves up to them. Those up to `digested` are
    /// known without.
    pub(super) fn new(entries_max: usize, digested: LogPosition) -> Self {
        Self {
            horizon: None,
            position: None,
            entries: VecDeque::new(),
            digested,
            entries_max,
            payload_bytes: 0,
        }
    }

    /// The next entry. Where it does not follow the one before, something
    /// between is missing: what came before it is then worth nothing.
    pub(super) fn push(&mut self, next: Chained) {
        if self.position != Some(next.previous) {
            self.start_over(next.previous);
        }
        self.position = Some(next.position);
        if let Some(entry) = next.entry.filter(|entry| entry.position > self.digested) {
            self.payload_bytes += entry.payload.len();
            self.entries.push_back(entry);
        }
        let is_full = |replay: &Self| {
            replay.entries.len() > replay.entries_max || replay.payload_bytes > PAYLOAD_BYTES_MAX
        };
        while is_full(self)
            && let Some(oldest) = self.entries.pop_front()
        {
            self.payload_bytes -= oldest.payload.len();
            self.horizon = Some(oldest.position);
        }
    }

    /// The log ends here, so its owner says: horizon, position and entries.
    /// Where what was read ends earlier, its end was deleted.
    pub(super) fn finish(mut self, last: LogPosition) -> (LogPosition, LogPosition, Vec<LogEntry>) {
        let read_to = self.position.filter(|position| *position >= last);
        let position = read_to.unwrap_or_else(|| {
            self.start_over(last);
            last
        });
        let horizon = self.horizon.unwrap_or(position);
        (horizon, position, self.entries.into())
    }

    fn start_over(&mut self, horizon: LogPosition) {
        self.entries.clear();
        self.payload_bytes = 0;
        self.horizon = Some(horizon);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(sequence: u64) -> LogPosition {
        LogPosition {
            incarnation: 1,
            millis: 0,
            sequence,
        }
    }

    fn chained(previous: u64, sequence: u64) -> Chained {
        let entry = LogEntry {
            position: at(sequence),
            instance: "a".into(),
            nonce: sequence,
            payload: "x".into(),
            routes: Default::default(),
        };
        Chained {
            position: at(sequence),
            previous: at(previous),
            entry: Some(entry),
        }
    }

    fn read(links: &[(u64, u64)], entries_max: usize, last: u64) -> (u64, u64, Vec<u64>) {
        read_after(0, links, entries_max, last)
    }

    fn read_after(
        digested: u64,
        links: &[(u64, u64)],
        entries_max: usize,
        last: u64,
    ) -> (u64, u64, Vec<u64>) {
        let mut replay = Replay::new(entries_max, at(digested));
        for (previous, sequence) in links {
            replay.push(chained(*previous, *sequence));
        }
        let (horizon, position, entries) = replay.finish(at(last));
        let nonces = entries.iter().map(|entry| entry.nonce).collect();
        (horizon.sequence, position.sequence, nonces)
    }

    #[test]
    fn the_horizon_is_what_came_before_the_first_entry() {
        assert_eq!(read(&[(4, 5), (5, 7)], 9, 7), (4, 7, vec![5, 7]));
        assert_eq!(read(&[], 9, 7), (7, 7, vec![]));
    }

    #[test]
    fn a_hole_makes_what_came_before_it_worthless() {
        assert_eq!(read(&[(4, 5), (6, 7), (7, 8)], 9, 8), (6, 8, vec![7, 8]));
    }

    #[test]
    fn a_missing_end_makes_everything_worthless() {
        assert_eq!(read(&[(4, 5), (5, 6)], 9, 8), (8, 8, vec![]));
    }

    #[test]
    fn entries_that_came_while_reading_count() {
        assert_eq!(read(&[(4, 5), (5, 6)], 9, 5), (4, 6, vec![5, 6]));
    }

    #[test]
    fn what_is_in_the_digest_takes_no_room() {
        let links = [(4, 5), (5, 6), (6, 7), (7, 8)];
        assert_eq!(read_after(6, &links, 2, 8), (4, 8, vec![7, 8]));
        assert_eq!(read_after(5, &links, 2, 8), (6, 8, vec![7, 8]));
        let broken = [(4, 5), (6, 7), (7, 8)];
        assert_eq!(read_after(5, &broken, 2, 8), (6, 8, vec![7, 8]));
    }

    #[test]
    fn at_its_bound_the_oldest_are_forgotten_and_the_horizon_says_so() {
        assert_eq!(read(&[(4, 5), (5, 6), (6, 7)], 2, 7), (5, 7, vec![6, 7]));
    }
}
