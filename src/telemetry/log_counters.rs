//! What happened on the way to and from the invalidation log.

use super::counters::{Counter, Gauge};
use super::histogram::DurationHistogram;

/// What happened on the way to and from the invalidation log.
#[derive(Debug, Default)]
pub struct LogCounters {
    /// 1 while the log is followed, else 0.
    pub in_touch: Gauge,
    /// Ban batches appended.
    pub appends: Counter,
    /// Writes whose bans could meet nothing and were not logged.
    pub unlogged: Counter,
    /// Attempts to append that failed and were made again.
    pub append_retries: Counter,
    /// Ban batches that became one that matches everything, because too many
    /// waited or one was too large.
    pub appends_folded: Counter,
    /// Ban batches waiting to be appended.
    pub appends_pending: Gauge,
    /// What attempts to append took, one round trip each.
    pub append_durations: DurationHistogram,
    /// Entries read.
    pub entries_read: Counter,
    /// Entries that are not this project's, passed over.
    pub entries_foreign: Counter,
    /// Times the log had to be read from its beginning, the first included.
    pub gaps: Counter,
    /// Ban batches waiting to be appended that are in the spool as well.
    pub appends_spooled: Gauge,
    /// 1 while the spool cannot be used or is behind, else 0.
    pub spool_failing: Gauge,
}
