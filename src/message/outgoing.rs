//! Responses in the form in which they go to an HTTP/1 client.

use std::io::IoSlice;
use std::ops::Range;

use bytes::{Buf, Bytes};

/// Bodies up to this are copied behind their heads: one write for both, and
/// for several responses. Larger ones are written from where they are.
pub const SMALL_BYTES_MAX: usize = 16 * 1024;

/// No more is gathered before what there is has been written.
const GATHERED_BYTES_MAX: usize = 64 * 1024;

/// A body in memory.
#[derive(Clone, Copy, Debug)]
pub enum BodyBytes<'a> {
    /// Of up to [`SMALL_BYTES_MAX`]: to be copied.
    Small(&'a [u8]),
    /// To be shared.
    Large(&'a Bytes),
}

impl BodyBytes<'_> {
    /// A part of them, to be kept.
    #[must_use]
    pub fn share(&self, part: Range<usize>) -> Bytes {
        match self {
            Self::Small(bytes) => Bytes::copy_from_slice(&bytes[part]),
            Self::Large(bytes) => bytes.slice(part),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Small(bytes) => bytes.len(),
            Self::Large(bytes) => bytes.len(),
        }
    }
}

impl<'a> From<&'a Bytes> for BodyBytes<'a> {
    fn from(bytes: &'a Bytes) -> Self {
        if bytes.len() <= SMALL_BYTES_MAX {
            Self::Small(bytes)
        } else {
            Self::Large(bytes)
        }
    }
}

/// Responses on their way to a client, in order.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Heads and small bodies; of these `written` are gone.
    gathered: Vec<u8>,
    written: usize,
    /// A large body, after all that was gathered.
    body: Bytes,
    /// What follows the large body.
    tail: &'static [u8],
}

impl Outgoing {
    /// In this buffer, which is empty.
    #[must_use]
    pub fn within(buffer: Vec<u8>) -> Self {
        Self {
            gathered: buffer,
            written: 0,
            body: Bytes::new(),
            tail: &[],
        }
    }

    /// Whether there is a buffer to gather in.
    #[must_use]
    pub fn has_buffer(&self) -> bool {
        self.gathered.capacity() > 0
    }

    /// The place to write a head to.
    pub fn head(&mut self) -> &mut Vec<u8> {
        debug_assert!(self.body.is_empty(), "a response follows another's body");
        &mut self.gathered
    }

    /// Adds the body of the head written last.
    pub fn body(&mut self, body: BodyBytes<'_>) {
        match body {
            BodyBytes::Small(bytes) => self.gathered.extend_from_slice(bytes),
            BodyBytes::Large(bytes) => self.body = bytes.clone(),
        }
    }

    /// Adds a part of a body as the body of the head written last.
    pub fn part(&mut self, body: BodyBytes<'_>, part: Range<usize>) {
        match body {
            BodyBytes::Large(bytes) if part.len() > SMALL_BYTES_MAX => {
                self.body = bytes.slice(part);
            }
            BodyBytes::Large(bytes) => self.gathered.extend_from_slice(&bytes[part]),
            BodyBytes::Small(bytes) => self.gathered.extend_from_slice(&bytes[part]),
        }
    }

    /// Adds what follows the body added last: the end of a chunk.
    pub fn tail(&mut self, bytes: &'static [u8]) {
        if self.body.is_empty() {
            self.gathered.extend_from_slice(bytes);
        } else {
            self.tail = bytes;
        }
    }

    /// Whether it has to be written before more is added.
    #[must_use]
    pub fn is_full(&self) -> bool {
        !self.body.is_empty() || !self.tail.is_empty() || self.gathered.len() >= GATHERED_BYTES_MAX
    }

    /// Whether all of it has been written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.written == self.gathered.len() && self.body.is_empty() && self.tail.is_empty()
    }

    /// Whether there is but what was gathered.
    #[must_use]
    pub fn is_in_one_piece(&self) -> bool {
        self.body.is_empty() && self.tail.is_empty()
    }

    /// What is next; some may be empty.
    #[must_use]
    pub fn slices(&self) -> [IoSlice<'_>; 3] {
        [
            IoSlice::new(&self.gathered[self.written..]),
            IoSlice::new(&self.body),
            IoSlice::new(self.tail),
        ]
    }

    /// So many bytes of it have been written.
    pub fn advance(&mut self, count: usize) {
        let of_gathered = count.min(self.gathered.len() - self.written);
        self.written += of_gathered;
        let of_body = (count - of_gathered).min(self.body.len());
        self.body.advance(of_body);
        if self.body.is_empty() {
            // Frees what it was a part of.
            self.body = Bytes::new();
        }
        self.tail = &self.tail[count - of_gathered - of_body..];
    }

    /// The buffer, to be used again; what was not written is lost.
    #[must_use]
    pub fn into_buffer(mut self) -> Vec<u8> {
        self.gathered.clear();
        self.gathered
    }
}

#[cfg(test)]
impl Outgoing {
    /// What there is to write, as text.
    pub(crate) fn into_text(self) -> String {
        let bytes: Vec<u8> = self
            .slices()
            .iter()
            .flat_map(|part| part.to_vec())
            .collect();
        String::from_utf8(bytes).expect("text")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_the_order_they_came_whatever_their_size() {
        for body_bytes in [3, SMALL_BYTES_MAX, SMALL_BYTES_MAX + 1] {
            let body = Bytes::from(vec![b'x'; body_bytes]);
            let mut outgoing = Outgoing::within(Vec::new());
            outgoing.head().extend_from_slice(b"head");
            outgoing.body((&body).into());
            outgoing.tail(b"tail");
            assert_eq!(outgoing.is_full(), body_bytes > SMALL_BYTES_MAX);
            let mut left = Vec::new();
            while !outgoing.is_empty() {
                let next: Vec<u8> = outgoing.slices().iter().flat_map(|s| s.to_vec()).collect();
                let count = next.len().min(1_000);
                left.extend_from_slice(&next[..count]);
                outgoing.advance(count);
            }
            assert_eq!(left, [b"head", &*body, b"tail"].concat());
            assert!(outgoing.into_buffer().is_empty());
        }
    }
}
