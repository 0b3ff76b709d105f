//! The form in which memory keeps a response: small, and ready for an HTTP/1
//! client.
//!
//! Most of what a stored response takes besides its body is not the bytes of
//! its fields but the structures around them, and most of what a hit among
//! many waits for is memory: each place it has to look at, one after the
//! other. So a response is one piece of memory: what decides about every hit,
//! as it is; the field lines as they go to a client; what is seldom looked at,
//! encoded; the body, unless it is large. A hit copies the lines and the body;
//! whoever needs more takes it apart again ([`Kept::unpacked`]).

use std::ops::Range;
use std::slice::from_ref;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use prefetch_index::prefetch_index;
use triomphe::ThinArc;

use super::Slot;
use super::cold::Cold;
use super::index::PLACE_BYTES;
use super::lines::{self, Places, StoredLines};
use super::place::Place;
use super::times::Times;
use crate::clock::Timestamp;
use crate::message::digits::push_number;
use crate::message::outgoing::{BodyBytes, SMALL_BYTES_MAX};
use crate::semantics::freshness::Freshness;
use crate::semantics::key::CacheKey;
use crate::semantics::stored::{BanSubject, Position, StoredHead, StoredResponse, Target};
use crate::semantics::validation::Validators;
use crate::semantics::vary::{SecondaryKey, VaryNames};

/// What a processor fetches at once.
const LINE_BYTES: usize = 64;
/// So much of what lies behind the fixed part is fetched ahead whatever there
/// is: field lines, mostly.
const BLOCK_BYTES_AHEAD: usize = 8 * LINE_BYTES;
/// No more is fetched ahead.
const BYTES_AHEAD_MAX: usize = 32 * LINE_BYTES;
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

/// A response in memory, shared by all clones.
#[derive(Clone, Debug)]
pub struct Kept(ThinArc<Fixed, u8>);

/// What every response has. Behind it: field lines; [`Cold`], encoded; a small
/// body.
#[derive(Debug)]
struct Fixed {
    slot: Slot,
    place: Place,
    /// Where some of the lines begin.
    places: Places,
    /// Where [`Cold`] begins.
    cold_at: u32,
    /// Where a small body begins.
    body_at: u32,
    large_body: Option<Box<Bytes>>,
    request_time: Timestamp,
    response_time: Timestamp,
    spent_at: Timestamp,
    times: Times,
    marks: Marks,
    fetch_cost_millis: u32,
    status: StatusCode,
    is_plain: bool,
}

impl Kept {
    /// Packs a response that is to be stored under `key`, of which every ban up
    /// to `checked` is known; a soft one among them is `softened`.
    pub(super) fn pack(
        key: CacheKey,
        response: &StoredResponse,
        checked: u64,
        softened: u64,
    ) -> Self {
        let head = &response.head;
        let body = &response.body;
        let is_large = body.len() > SMALL_BYTES_MAX;
        let small_body: &[u8] = if is_large { &[] } else { body };
        // A head of 4 GiB, which no origin can send, would be lost.
        let (mut block, ends) = pack_head(head, small_body.len()).unwrap_or_default();
        block.extend_from_slice(small_body);
        let HeadEnds {
            places,
            cold_at,
            body_at,
        } = ends;
        let fixed = Fixed {
            slot: (key, head.secondary),
            place: Place::none(),
            is_plain: cold_at > 0 && is_plain(head, body.len()),
            places,
            cold_at,
            body_at,
            large_body: is_large.then(|| Box::new(body.clone())),
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
        };
        Self(ThinArc::from_header_and_slice(fixed, &block))
    }

    /// Whether it is this very one.
    pub(super) fn is(&self, other: &Self) -> bool {
        std::ptr::eq(self.fixed(), other.fixed())
    }

    /// Has the processor fetch what a hit looks at first, before it is known
    /// how much there is.
    pub(super) fn prefetch(&self) {
        let fixed = self.fixed();
        prefetch_index(from_ref(fixed), 0);
        // No field says where the lines of the processor's cache begin: these
        // lie in all of them.
        prefetch_index(from_ref(&fixed.slot), 0);
        prefetch_index(from_ref(&fixed.place), 0);
        prefetch_index(from_ref(&fixed.times), 0);
        prefetch_index(from_ref(&fixed.marks), 0);
        self.prefetch_block(0, BLOCK_BYTES_AHEAD);
    }

    /// The rest of it, as far as the processor does not go on by itself.
    pub(super) fn prefetch_rest(&self) {
        let most = self.0.slice.len().min(BYTES_AHEAD_MAX);
        self.prefetch_block(BLOCK_BYTES_AHEAD, most);
    }

    fn prefetch_block(&self, from: usize, to: usize) {
        for at in (from..to).step_by(LINE_BYTES) {
            prefetch_index(&self.0.slice, at);
        }
    }

    fn fixed(&self) -> &Fixed {
        &self.0.header.header
    }

    fn lines(&self) -> &[u8] {
        &self.0.slice[..self.fixed().cold_at as usize]
    }

    /// The response again.
    pub(super) fn unpacked(&self) -> Option<StoredResponse> {
        let mut head = self.bare_head()?;
        head.fields = lines::read(self.lines())?;
        head.validators = Validators::of(&head.fields, head.response_time);
        let body = match self.body() {
            BodyBytes::Small(bytes) => Bytes::copy_from_slice(bytes),
            BodyBytes::Large(bytes) => bytes.clone(),
        };
        Some(StoredResponse { head, body })
    }

    fn cold(&self) -> Option<Cold<'_>> {
        let fixed = self.fixed();
        let cold = &self.0.slice[fixed.cold_at as usize..fixed.body_at as usize];
        postcard::from_bytes(cold).ok()
    }

    /// What bans look at.
    #[must_use]
    pub fn ban_subject(&self) -> Option<BanSubject<'_>> {
        Some(self.cold()?.ban_subject())
    }

    /// The head without its fields and validators.
    fn bare_head(&self) -> Option<StoredHead> {
        let fixed = self.fixed();
        let cold = self.cold()?;
        let (vary, language_keys) = match cold.vary {
            None => Default::default(),
            Some(vary) => {
                let names = vary.names.into_iter().map(HeaderName::try_from);
                let names = names.collect::<Result<_, _>>().ok()?;
                let keys = vary.language_keys.into_boxed_slice();
                (VaryNames::from_names(names), keys)
            }
        };
        Some(StoredHead {
            status: fixed.status,
            fields: HeaderMap::new(),
            target: Target {
                host: cold.host.into(),
                path: cold.path.into(),
                query: cold.query.into(),
            },
            route: Arc::from(cold.route),
            vary,
            secondary: fixed.slot.1,
            language_keys,
            request_time: fixed.request_time,
            response_time: fixed.response_time,
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

    /// Whether it can be written as it is, or in part: its length is that of
    /// its body, and its status has no rules of its own.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.fixed().is_plain
    }

    /// Its field lines, as they were stored.
    #[must_use]
    pub fn field_lines(&self) -> StoredLines<'_> {
        StoredLines::new(self.lines())
    }

    /// The fields that go to a client whose names (in lower case) are `wanted`.
    #[must_use]
    pub fn fields_for_client(&self, wanted: impl Fn(&str) -> bool) -> HeaderMap {
        let lines = &self.lines()[..self.fixed().places.hidden as usize];
        lines::read_some(lines, wanted).unwrap_or_default()
    }

    /// Writes the head as it goes to an HTTP/1 client, up to the place where
    /// our member of `Cache-Status` is appended.
    pub fn write_head(&self, head: &mut Vec<u8>) {
        let status = self.fixed().status;
        write_status(head, status);
        lines::append_for_client(head, self.lines(), self.fixed().places);
    }

    /// The same of a `304`, with the fields whose names (in lower case) are
    /// `wanted`.
    pub fn write_not_modified(&self, head: &mut Vec<u8>, wanted: impl Fn(&str) -> bool) {
        write_status(head, StatusCode::NOT_MODIFIED);
        lines::append_some(head, self.lines(), self.fixed().places, wanted);
        head.extend_from_slice(lines::CACHE_STATUS_BEGIN);
    }

    /// The same of a `206` with one part, which lies within the body.
    pub fn write_partial(&self, head: &mut Vec<u8>, part: &Range<usize>) {
        write_status(head, StatusCode::PARTIAL_CONTENT);
        let places = self.fixed().places;
        lines::append_some(head, self.lines(), places, |name| {
            name != CONTENT_LENGTH.as_str() && name != CONTENT_RANGE.as_str()
        });
        head.extend_from_slice(b"content-length: ");
        push_number(head, part.len() as u64);
        head.extend_from_slice(b"\r\ncontent-range: bytes ");
        push_number(head, part.start as u64);
        head.push(b'-');
        push_number(head, part.end as u64 - 1);
        head.push(b'/');
        push_number(head, self.body().count() as u64);
        head.extend_from_slice(b"\r\n");
        lines::append_cache_status(head, self.lines(), places);
    }

    /// The whole content.
    #[must_use]
    pub fn body(&self) -> BodyBytes<'_> {
        match &self.fixed().large_body {
            Some(bytes) => BodyBytes::Large(bytes),
            None => BodyBytes::Small(&self.0.slice[self.fixed().body_at as usize..]),
        }
    }

    /// The status code.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.fixed().status
    }

    /// Where it is stored: its key, and what its `Vary` selects of it.
    pub(super) fn slot(&self) -> &Slot {
        &self.fixed().slot
    }

    /// The key it is stored under.
    #[must_use]
    pub fn key(&self) -> &CacheKey {
        &self.fixed().slot.0
    }

    /// Its place in the index.
    pub(super) fn place(&self) -> &Place {
        &self.fixed().place
    }

    /// When its request was sent.
    #[must_use]
    pub fn request_time(&self) -> Timestamp {
        self.fixed().request_time
    }

    /// When its head arrived, or when it was last validated.
    #[must_use]
    pub fn response_time(&self) -> Timestamp {
        self.fixed().response_time
    }

    /// How long it is fresh and how far past that it may be reused.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        self.fixed().times.freshness()
    }

    /// What fetching it cost.
    #[must_use]
    pub fn fetch_cost(&self) -> Duration {
        Duration::from_millis(self.fixed().fetch_cost_millis.into())
    }

    /// Whether it is not worth keeping any more.
    #[must_use]
    pub fn is_spent(&self, now: Timestamp) -> bool {
        now >= self.fixed().spent_at
    }

    /// What was learnt about it since it was stored.
    #[must_use]
    pub fn marks(&self) -> &Marks {
        &self.fixed().marks
    }

    /// Bytes it is charged with: what the allocator gives for it and for its
    /// place in the index.
    #[must_use]
    pub fn weight_bytes(&self) -> u64 {
        let fixed = self.fixed();
        let is_variant = fixed.slot.1 != SecondaryKey::default();
        // The count of owners and the length stand before what they are of.
        let own = size_of::<Fixed>() + 2 * size_of::<usize>() + self.0.slice.len();
        let large_body = fixed.large_body.as_ref().map_or(0, |bytes| {
            allocated(size_of::<Bytes>()) + allocated(bytes.len())
        });
        PLACE_BYTES + allocated(own) + large_body + if is_variant { VARIANT_BYTES } else { 0 }
    }
}

/// Where the parts of a block begin.
#[derive(Default)]
struct HeadEnds {
    places: Places,
    cold_at: u32,
    body_at: u32,
}

/// The lines and [`Cold`], with room for so many bytes of body.
fn pack_head(head: &StoredHead, body_bytes: usize) -> Option<(Vec<u8>, HeadEnds)> {
    let mut block = Vec::new();
    let places = lines::write(&mut block, &head.fields)?;
    let cold_at = u32::try_from(block.len()).ok()?;
    let mut block = postcard::to_extend(&Cold::of(head), block).ok()?;
    let body_at = u32::try_from(block.len()).ok()?;
    block.reserve_exact(body_bytes);
    let ends = HeadEnds {
        places,
        cold_at,
        body_at,
    };
    Some((block, ends))
}

/// Whether a plain GET is answered with it as it is.
fn is_plain(head: &StoredHead, body_bytes: usize) -> bool {
    let status = head.status;
    let has_rules = status.is_informational() || matches!(status.as_u16(), 204 | 205 | 206 | 304);
    let length = head.fields.get(CONTENT_LENGTH).map(HeaderValue::to_str);
    let is_length = matches!(length, Some(Ok(length)) if length.parse() == Ok(body_bytes));
    is_length && !has_rules && status.canonical_reason().is_some()
}

fn write_status(head: &mut Vec<u8>, status: StatusCode) {
    head.extend_from_slice(b"HTTP/1.1 ");
    head.extend_from_slice(status.as_str().as_bytes());
    head.push(b' ');
    head.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    head.extend_from_slice(b"\r\n");
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
        let kept = Kept::pack(CacheKey([0; 32]), &original, 7, 0);
        let again = kept.unpacked().unwrap();
        assert_eq!(format!("{again:?}"), format!("{original:?}"));
    }

    #[test]
    fn a_response_takes_little_more_than_its_bytes() {
        let response = samples::response("x");
        let kept = Kept::pack(CacheKey([0; 32]), &response, 0, 0);
        assert!(size_of::<Fixed>() <= 184, "{}", size_of::<Fixed>());
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
