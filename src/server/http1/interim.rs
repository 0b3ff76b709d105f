//! Interim responses on their way from the proxy to the session that writes
//! them.
//!
//! Promises: one goes out before the final response of its own request and
//! after everything before it, or not at all; what waits is bounded.

use std::fmt::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;

use crate::message::interim::InterimSink;

/// So much may wait to be written; what does not fit is left out, as any
/// interim response may be (RFC 9110 §15.2).
const WAITING_BYTES_MAX: usize = 64 * 1024;

/// Of one connection.
#[derive(Debug, Default)]
pub(super) struct InterimQueue {
    /// The last request that has its final response.
    answered: AtomicU64,
    waiting: Mutex<Waiting>,
    /// Whether there is anything, without a lock.
    has_some: AtomicBool,
    /// The connection's task, which alone may write.
    writer: OnceLock<Waker>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The request they belong to.
    ordinal: u64,
    heads: BytesMut,
}

impl InterimQueue {
    /// Whom to wake.
    pub(super) fn set_writer(&self, waker: &Waker) {
        self.writer.get_or_init(|| waker.clone());
    }

    /// Request `ordinal` has its final response: what comes for it now, or has
    /// not been taken, is dropped.
    pub(super) fn answered(&self, ordinal: u64) {
        self.answered.store(ordinal, Ordering::Release);
    }

    /// Adds one, for request `ordinal`.
    fn push(&self, ordinal: u64, status: StatusCode, fields: &HeaderMap) {
        let mut waiting = self.waiting.lock();
        if waiting.ordinal != ordinal {
            waiting.ordinal = ordinal;
            waiting.heads.clear();
        }
        if !write_head(&mut waiting.heads, status, fields) {
            return;
        }
        self.has_some.store(true, Ordering::Release);
        drop(waiting);
        if let Some(writer) = self.writer.get() {
            writer.wake_by_ref();
        }
    }

    /// What may be written now.
    pub(super) fn take(&self) -> Bytes {
        if !self.has_some.load(Ordering::Acquire) {
            return Bytes::new();
        }
        let mut waiting = self.waiting.lock();
        self.has_some.store(false, Ordering::Release);
        let heads = waiting.heads.split().freeze();
        if waiting.ordinal > self.answered.load(Ordering::Acquire) {
            heads
        } else {
            Bytes::new()
        }
    }
}

impl InterimSink for InterimQueue {
    fn tell(&self, ordinal: u64, status: StatusCode, fields: &HeaderMap) {
        if self.answered.load(Ordering::Acquire) < ordinal {
            self.push(ordinal, status, fields);
        }
    }
}

/// Writes a head; false where it does not fit.
fn write_head(heads: &mut BytesMut, status: StatusCode, fields: &HeaderMap) -> bool {
    let length: usize = fields
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if heads.len() + length + 64 > WAITING_BYTES_MAX {
        return false;
    }
    let reason = status.canonical_reason().unwrap_or_default();
    // Writing to memory does not fail.
    let _ = write!(heads, "HTTP/1.1 {} {reason}\r\n", status.as_u16());
    for (name, value) in fields {
        heads.extend_from_slice(name.as_str().as_bytes());
        heads.extend_from_slice(b": ");
        heads.extend_from_slice(value.as_bytes());
        heads.extend_from_slice(b"\r\n");
    }
    heads.extend_from_slice(b"\r\n");
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn hint() -> HeaderMap {
        let mut fields = HeaderMap::new();
        fields.append("link", HeaderValue::from_static("</a>"));
        fields.append("link", HeaderValue::from_static("</b>"));
        fields
    }

    #[test]
    fn a_head_is_written_as_it_goes_over_the_wire_rfc8297() {
        let queue = InterimQueue::default();
        queue.push(1, StatusCode::EARLY_HINTS, &hint());
        queue.push(1, StatusCode::PROCESSING, &HeaderMap::new());
        let expected = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nlink: </b>\r\n\r\n\
                        HTTP/1.1 102 Processing\r\n\r\n";
        assert_eq!(queue.take(), expected);
        assert!(queue.take().is_empty());
    }

    #[test]
    fn what_comes_after_the_response_has_begun_is_dropped() {
        let queue = InterimQueue::default();
        queue.tell(3, StatusCode::EARLY_HINTS, &hint());
        queue.answered(3);
        assert!(queue.take().is_empty());
        queue.tell(3, StatusCode::EARLY_HINTS, &hint());
        assert!(queue.take().is_empty());
        queue.tell(4, StatusCode::EARLY_HINTS, &hint());
        assert!(!queue.take().is_empty());
    }

    #[test]
    fn what_waits_is_bounded() {
        let queue = InterimQueue::default();
        for _ in 0..10_000 {
            queue.push(1, StatusCode::EARLY_HINTS, &hint());
        }
        assert!(queue.take().len() <= WAITING_BYTES_MAX);
    }
}
