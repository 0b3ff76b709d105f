//! The form in which memory keeps a response: small, and ready for an HTTP/1
//! client.
//!
//! Most of what a stored response takes besides its body is not the bytes of
//! its fields but the structures around them. So the head is kept in one
//! piece: the field lines as they go to a client, then what is seldom looked
//! at, encoded. What decides about every hit stands beside it as it is. A hit
//! copies the lines; whoever needs more takes it apart again
//! ([`Kept::unpacked`]).

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use super::index::NODE_BYTES;
use super::lines::{self, Places};
use crate::clock::Timestamp;
use crate::semantics::freshness::{Freshness, LifetimeSource};
use crate::semantics::stored::{LogPosition, Position, StoredHead, StoredResponse, Target};
use crate::semantics::validation::Validators;
use crate::semantics::vary::{SecondaryKey, VaryNames};

/// Bodies up to this are copied when they are taken apart; larger ones are
/// shared, which costs a count of their owners.
const COPIED_BYTES_MAX: usize = 16 * 1024;
/// What a variant takes in the table of variants.
const VARIANT_BYTES: u64 = 160;

/// What was learnt about a response since it was stored.
#[derive(Debug)]
pub struct Marks {
    /// The newest ban it was checked against (see `invalidation::bans`).
    pub checked: AtomicU64,
    /// When a soft ban made it stale: the ban's number, or 0.
    pub softened: AtomicU64,
}

/// A response in memory.
#[derive(Debug)]
pub struct Kept {
    /// Field lines, then [`Cold`], encoded.
    block: Box<[u8]>,
    places: Places,
    /// Where [`Cold`] begins.
    cold_at: u32,
    body: Bytes,
    request_time: Timestamp,
    response_time: Timestamp,
    spent_at: Timestamp,
    times: Times,
    marks: Marks,
    fetch_cost_millis: u32,
    status: StatusCode,
    is_plain: bool,
    is_variant: bool,
}

/// [`Freshness`] in half the room.
#[derive(Clone, Copy, Debug)]
struct Times {
    lifetime_millis: u64,
    initial_age_millis: u64,
    stale_while_revalidate_millis: u64,
    stale_if_error_millis: u64,
    source: LifetimeSource,
    always_validate: bool,
    never_stale: bool,
    is_immutable: bool,
}

/// What only bans and those who take a response apart look at.
#[derive(Serialize, Deserialize)]
struct Cold<'a> {
    #[serde(borrow)]
    host: &'a str,
    path: &'a str,
    query: &'a str,
    route: &'a str,
    #[serde(borrow)]
    vary: Option<ColdVary<'a>>,
    #[serde(borrow)]
    tags: Vec<&'a str>,
    local: u64,
    log: Option<LogPosition>,
}

#[derive(Serialize, Deserialize)]
struct ColdVary<'a> {
    #[serde(borrow)]
    names: Vec<&'a str>,
    secondary: SecondaryKey,
    language_keys: Vec<SecondaryKey>,
}

impl Kept {
    /// Packs a response of which every ban up to `checked` is known; a soft
    /// one among them is `softened`.
    pub(super) fn pack(response: &StoredResponse, checked: u64, softened: u64) -> Self {
        let head = &response.head;
        // A head of 4 GiB, which no origin can send, would be lost.
        let (block, places, cold_at) = pack_head(head).unwrap_or_default();
        Self {
            is_plain: cold_at > 0 && is_plain(head, response.body.len()),
            block,
            places,
            cold_at,
            body: shared_or_copied(&response.body),
            request_time: head.request_time,
            response_time: head.response_time,
            spent_at: head.response_time.plus(head.kept_for()),
            times: Times::of(&head.freshness),
            marks: Marks {
                checked: AtomicU64::new(checked),
                softened: AtomicU64::new(softened),
            },
            fetch_cost_millis: u32::try_from(head.fetch_cost.as_millis()).unwrap_or(u32::MAX),
            status: head.status,
            is_variant: !head.vary.is_empty(),
        }
    }

    /// The response again.
    pub(super) fn unpacked(&self) -> Option<StoredResponse> {
        let mut head = self.head_for_bans()?;
        head.fields = lines::read(&self.block[..self.cold_at as usize])?;
        head.validators = Validators::of(&head.fields, head.response_time);
        Some(StoredResponse {
            head,
            body: shared_or_copied(&self.body),
        })
    }

    /// The head without its fields and validators: what bans look at.
    #[must_use]
    pub fn head_for_bans(&self) -> Option<StoredHead> {
        let cold: Cold<'_> = postcard::from_bytes(&self.block[self.cold_at as usize..]).ok()?;
        let (vary, secondary, language_keys) = match cold.vary {
            None => Default::default(),
            Some(vary) => {
                let names = vary.names.into_iter().map(HeaderName::try_from);
                let names = names.collect::<Result<_, _>>().ok()?;
                let keys = vary.language_keys.into_boxed_slice();
                (VaryNames::from_names(names), vary.secondary, keys)
            }
        };
        Some(StoredHead {
            status: self.status,
            fields: HeaderMap::new(),
            target: Target {
                host: cold.host.into(),
                path: cold.path.into(),
                query: cold.query.into(),
            },
            route: Arc::from(cold.route),
            vary,
            secondary,
            language_keys,
            request_time: self.request_time,
            response_time: self.response_time,
            freshness: self.freshness(),
            validators: Validators::default(),
            tags: cold.tags.into_iter().map(Box::from).collect(),
            position: Position {
                local: cold.local,
                log: cold.log.unwrap_or_default(),
            },
            fetch_cost: self.fetch_cost(),
        })
    }

    /// Writes the head as it goes to an HTTP/1 client, up to the place where
    /// our member of `Cache-Status` is appended. False, and nothing written,
    /// where the response needs a closer look: its length is not that of its
    /// body, or its status has rules of its own.
    pub fn write_head(&self, head: &mut Vec<u8>) -> bool {
        if let (true, Some(reason)) = (self.is_plain, self.status.canonical_reason()) {
            head.extend_from_slice(b"HTTP/1.1 ");
            head.extend_from_slice(self.status.as_str().as_bytes());
            head.push(b' ');
            head.extend_from_slice(reason.as_bytes());
            head.extend_from_slice(b"\r\n");
            let lines = &self.block[..self.cold_at as usize];
            lines::append_for_client(head, lines, self.places);
            return true;
        }
        false
    }

    /// The whole content.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The status code.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What its `Vary` selects.
    pub(super) fn secondary(&self) -> SecondaryKey {
        if self.is_variant {
            self.head_for_bans()
                .map_or_else(Default::default, |head| head.secondary)
        } else {
            SecondaryKey::default()
        }
    }

    /// When its request was sent.
    pub(super) fn request_time(&self) -> Timestamp {
        self.request_time
    }

    /// When its head arrived, or when it was last validated.
    #[must_use]
    pub fn response_time(&self) -> Timestamp {
        self.response_time
    }

    /// How long it is fresh and how far past that it may be reused.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        self.times.freshness()
    }

    /// What fetching it cost.
    #[must_use]
    pub fn fetch_cost(&self) -> Duration {
        Duration::from_millis(self.fetch_cost_millis.into())
    }

    /// Whether it is not worth keeping any more.
    #[must_use]
    pub fn is_spent(&self, now: Timestamp) -> bool {
        now >= self.spent_at
    }

    /// What was learnt about it since it was stored.
    #[must_use]
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Bytes it is charged with: what the allocator gives for it and for its
    /// place in the index.
    #[must_use]
    pub fn weight_bytes(&self) -> u64 {
        // The count of owners stands before it.
        let own = size_of::<Self>() + 2 * size_of::<usize>();
        NODE_BYTES
            + allocated(own)
            + allocated(self.block.len())
            + allocated(self.body.len())
            + if self.is_variant { VARIANT_BYTES } else { 0 }
    }
}

impl Times {
    fn of(freshness: &Freshness) -> Self {
        // Taken apart, so that what is added has to find its place here.
        let Freshness {
            lifetime,
            source,
            initial_age,
            stale_while_revalidate,
            stale_if_error,
            always_validate,
            never_stale,
            is_immutable,
        } = freshness;
        Self {
            lifetime_millis: millis(*lifetime),
            initial_age_millis: millis(*initial_age),
            stale_while_revalidate_millis: millis(*stale_while_revalidate),
            stale_if_error_millis: millis(*stale_if_error),
            source: *source,
            always_validate: *always_validate,
            never_stale: *never_stale,
            is_immutable: *is_immutable,
        }
    }

    fn freshness(self) -> Freshness {
        Freshness {
            lifetime: Duration::from_millis(self.lifetime_millis),
            source: self.source,
            initial_age: Duration::from_millis(self.initial_age_millis),
            stale_while_revalidate: Duration::from_millis(self.stale_while_revalidate_millis),
            stale_if_error: Duration::from_millis(self.stale_if_error_millis),
            always_validate: self.always_validate,
            never_stale: self.never_stale,
            is_immutable: self.is_immutable,
        }
    }
}

/// The block, where some of its lines begin, and where [`Cold`] does.
fn pack_head(head: &StoredHead) -> Option<(Box<[u8]>, Places, u32)> {
    let mut block = Vec::new();
    let places = lines::write(&mut block, &head.fields)?;
    let cold_at = u32::try_from(block.len()).ok()?;
    let block = postcard::to_extend(&Cold::of(head), block).ok()?;
    // A copy: an allocator that is asked to make a block smaller may leave it
    // as large as it is.
    Some((Box::from(block.as_slice()), places, cold_at))
}

/// Times here are whole milliseconds.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl<'a> Cold<'a> {
    fn of(head: &'a StoredHead) -> Self {
        let vary = (!head.vary.is_empty()).then(|| ColdVary {
            names: head.vary.names().iter().map(HeaderName::as_str).collect(),
            secondary: head.secondary,
            language_keys: head.language_keys.to_vec(),
        });
        Self {
            host: &head.target.host,
            path: &head.target.path,
            query: &head.target.query,
            route: &head.route,
            vary,
            tags: head.tags.iter().map(|tag| &**tag).collect(),
            local: head.position.local,
            log: Some(head.position.log).filter(|log| *log != LogPosition::default()),
        }
    }
}

/// Whether a plain GET is answered with it as it is.
fn is_plain(head: &StoredHead, body_bytes: usize) -> bool {
    let status = head.status;
    let has_rules = status.is_informational() || matches!(status.as_u16(), 204 | 205 | 206 | 304);
    let length = head.fields.get(CONTENT_LENGTH).map(HeaderValue::to_str);
    let is_length = matches!(length, Some(Ok(length)) if length.parse() == Ok(body_bytes));
    is_length && !has_rules
}

/// A body in memory of its own: exactly as much, and without a count of its
/// owners where it is small.
fn shared_or_copied(body: &Bytes) -> Bytes {
    if body.len() <= COPIED_BYTES_MAX {
        Bytes::copy_from_slice(body)
    } else {
        body.clone()
    }
}

/// What an allocator with size classes gives for so many bytes: four classes
/// between a power of two and the next.
pub(super) fn allocated(bytes: usize) -> u64 {
    if bytes <= 64 {
        return bytes.next_multiple_of(8) as u64;
    }
    let step = bytes.next_power_of_two() / 8;
    bytes.next_multiple_of(step) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::samples;

    #[test]
    fn what_is_unpacked_is_what_was_packed() {
        let mut request = HeaderMap::new();
        request.insert("accept", HeaderValue::from_static("text/html"));
        let original = samples::varying("x", "Accept", &request);
        let kept = Kept::pack(&original, 7, 0);
        let again = kept.unpacked().unwrap();
        assert_eq!(format!("{again:?}"), format!("{original:?}"));
    }

    #[test]
    fn a_response_takes_little_more_than_its_bytes() {
        let response = samples::response("x");
        let kept = Kept::pack(&response, 0, 0);
        assert!(size_of::<Kept>() <= 176, "{}", size_of::<Kept>());
        assert!(kept.weight_bytes() < 600, "{}", kept.weight_bytes());
    }

    #[test]
    fn classes_are_never_smaller_than_what_is_asked_for() {
        for bytes in [0, 1, 8, 63, 64, 65, 80, 81, 1_024, 1_025, 1_300, 250_000] {
            let given = allocated(bytes);
            assert!(given >= bytes as u64 && given <= (bytes + bytes / 4 + 16) as u64);
        }
        assert_eq!(allocated(1_024), 1_024);
        assert_eq!(allocated(1_025), 1_280);
    }
}
