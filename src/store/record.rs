//! What a stored response looks like in Redis.
//!
//! Promises: what decodes is what was encoded; anything else (truncated,
//! flipped, older, larger than allowed, not ours) is a typed error and never a
//! panic; decoding allocates no more than its bound. A record holds nothing of
//! the request but its target, the names in `Vary` and a digest of the values
//! they select. Others may write to Redis: fields that frame a message or speak
//! of one connection are not taken from it. Knows nothing of Redis.
//!
//! ```text
//! magic "PNR" | version u8 | kind u8 | flags u8 | crc32 u32 | lengths 4 × u32 | meta | body
//! ```
//!
//! Integers are little-endian; the checksum covers everything but itself. The
//! lengths are those of meta and body as they stand and as they were before
//! compression. `position.local` counts within one process and is left out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::message::fields::strip_hop_by_hop;
use crate::semantics::freshness::{Freshness, SECONDS_MAX};
use crate::semantics::stored::{LogPosition, Position, StoredHead, StoredResponse, Target};
use crate::semantics::validation::Validators;
use crate::semantics::vary::{SecondaryKey, VARY_NAMES_MAX, VaryNames};

const MAGIC: &[u8; 3] = b"PNR";
const VERSION: u8 = 2;
const KIND_RESPONSE: u8 = 1;
const KIND_POINTER: u8 = 2;
const META_IS_COMPRESSED: u8 = 1;
const BODY_IS_COMPRESSED: u8 = 2;

const CRC_AT: usize = 6;
const LENGTHS_AT: usize = 10;
const HEADER_BYTES: usize = LENGTHS_AT + 4 * 4;

/// Shorter sections are not worth compressing.
const COMPRESS_BYTES_MIN: usize = 512;
/// A body that is shorter is copied out of its record, so that the record's
/// other bytes are not kept in memory with it, uncounted.
const SHARE_BYTES_MIN: usize = 16 << 10;
/// Fields, target and tags together are never larger than this.
const META_BYTES_MAX: usize = 1 << 20;
/// Longer lifetimes, ages and costs than any that are computed.
const DURATION_MAX: Duration = Duration::from_secs(8 * SECONDS_MAX);

/// What a record holds.
#[derive(Clone, Debug)]
pub enum Record {
    /// A stored response.
    Response(Box<StoredResponse>),
    /// The response here varies: these request fields tell where it is.
    Pointer(VaryNames),
}

/// Why a response cannot become a record.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Fields, target and tags, or the body, are larger than a record takes.
    #[error("the response is too large for a record")]
    TooLarge,
    /// The encoder failed.
    #[error("the response cannot be encoded: {0}")]
    Encoder(#[from] postcard::Error),
}

/// Why bytes are no record.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than what it says it holds, or longer.
    #[error("the record has another length than it says")]
    Length,
    /// Something else altogether.
    #[error("not a record")]
    Magic,
    /// Written by another version of the format.
    #[error("the record is of version {0}, not {VERSION}")]
    Version(u8),
    /// Not what was written.
    #[error("the record's checksum is wrong")]
    Checksum,
    /// Larger than what may be stored.
    #[error("the record holds more than is allowed")]
    TooLarge,
    /// Compressed content that does not decompress to what it says.
    #[error("the record does not decompress")]
    Compression,
    /// Content that no writer of this version writes.
    #[error("the record's content makes no sense")]
    Content,
}

/// What stands between a record's header and its body.
#[derive(Serialize, Deserialize)]
struct Meta<'a> {
    status: u16,
    #[serde(borrow)]
    fields: Vec<(&'a str, &'a [u8])>,
    host: &'a str,
    path: &'a str,
    query: &'a str,
    route: &'a str,
    vary: Vec<&'a str>,
    secondary: SecondaryKey,
    request_time: Timestamp,
    response_time: Timestamp,
    freshness: Freshness,
    tags: Vec<&'a str>,
    position: LogPosition,
    fetch_cost: Duration,
}

/// The record of a response.
///
/// # Errors
///
/// Where it is larger than a record takes.
pub fn encode_response(response: &StoredResponse) -> Result<Vec<u8>, EncodeError> {
    let meta = postcard::to_stdvec(&meta_of(&response.head))?;
    let is_encoded = response.head.fields.contains_key(CONTENT_ENCODING);
    let body = if is_encoded {
        None
    } else {
        compressed(&response.body)
    };
    assemble(KIND_RESPONSE, &meta, &response.body, body)
}

/// The record that says: what is here varies on these fields.
///
/// # Errors
///
/// Where the names are larger than a record takes.
pub fn encode_pointer(names: &VaryNames) -> Result<Vec<u8>, EncodeError> {
    let names: Vec<&str> = names.names().iter().map(HeaderName::as_str).collect();
    assemble(KIND_POINTER, &postcard::to_stdvec(&names)?, &[], None)
}

/// Bytes of the largest record of a body of `body_bytes_max`: what is
/// compressed is not larger for it.
#[must_use]
pub fn bytes_max(body_bytes_max: u64) -> usize {
    let body = usize::try_from(body_bytes_max).unwrap_or(usize::MAX);
    body.saturating_add(META_BYTES_MAX + HEADER_BYTES)
}

/// How long the record is that begins so, without having the rest of it. What
/// it says is not checked yet: [`decode`] checks.
///
/// # Errors
///
/// Where it begins no record, or one that is larger than allowed.
pub fn length(beginning: &[u8], body_bytes_max: u64) -> Result<usize, DecodeError> {
    if !beginning.starts_with(MAGIC) {
        return Err(DecodeError::Magic);
    }
    if beginning.len() < HEADER_BYTES {
        return Err(DecodeError::Length);
    }
    let [meta_len, meta_raw, body_len, body_raw] = lengths(beginning);
    let is_allowed = |len: usize| len as u64 <= body_bytes_max;
    if meta_len.max(meta_raw) > META_BYTES_MAX || !is_allowed(body_len.max(body_raw)) {
        return Err(DecodeError::TooLarge);
    }
    Ok(HEADER_BYTES + meta_len + body_len)
}

/// Reads a record whose body is not larger than `body_bytes_max`.
///
/// # Errors
///
/// Where it is none, or a larger one.
pub fn decode(record: &Bytes, body_bytes_max: u64) -> Result<Record, DecodeError> {
    let (kind, flags) = check_header(record)?;
    let [meta_len, meta_raw, body_len, body_raw] = lengths(record);
    let is_whole = (HEADER_BYTES as u64) + (meta_len as u64) + (body_len as u64);
    if is_whole != record.len() as u64 {
        return Err(DecodeError::Length);
    }
    if meta_raw > META_BYTES_MAX || body_raw as u64 > body_bytes_max {
        return Err(DecodeError::TooLarge);
    }
    let body_at = HEADER_BYTES + meta_len;
    let meta = section(
        record.slice(HEADER_BYTES..body_at),
        meta_raw,
        flags & META_IS_COMPRESSED != 0,
    )?;
    let body = section(
        record.slice(body_at..),
        body_raw,
        flags & BODY_IS_COMPRESSED != 0,
    )?;
    match kind {
        KIND_POINTER if body.is_empty() => {
            let names: Vec<&str> = parse(&meta)?;
            Ok(Record::Pointer(vary_names(&names)?))
        }
        KIND_RESPONSE => {
            let head = head_of(parse(&meta)?, body.len())?;
            let body = if body.len() < SHARE_BYTES_MIN {
                Bytes::copy_from_slice(&body)
            } else {
                body
            };
            Ok(Record::Response(Box::new(StoredResponse { head, body })))
        }
        _ => Err(DecodeError::Content),
    }
}

fn meta_of(head: &StoredHead) -> Meta<'_> {
    Meta {
        status: head.status.as_u16(),
        fields: head
            .fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect(),
        host: &head.target.host,
        path: &head.target.path,
        query: &head.target.query,
        route: &head.route,
        vary: head.vary.names().iter().map(HeaderName::as_str).collect(),
        secondary: head.secondary,
        request_time: head.request_time,
        response_time: head.response_time,
        freshness: head.freshness.clone(),
        tags: head.tags.iter().map(|tag| &**tag).collect(),
        position: head.position.log,
        fetch_cost: head.fetch_cost,
    }
}

fn head_of(meta: Meta<'_>, body_bytes: usize) -> Result<StoredHead, DecodeError> {
    let freshness = meta.freshness;
    let durations = [
        freshness.lifetime,
        freshness.initial_age,
        freshness.stale_while_revalidate,
        freshness.stale_if_error,
        meta.fetch_cost,
    ];
    if durations.iter().any(|duration| *duration > DURATION_MAX) {
        return Err(DecodeError::Content);
    }
    let mut fields = HeaderMap::with_capacity(meta.fields.len().min(256));
    for (name, value) in meta.fields {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| DecodeError::Content)?;
        let value = HeaderValue::from_bytes(value).map_err(|_| DecodeError::Content)?;
        fields
            .try_append(name, value)
            .map_err(|_| DecodeError::Content)?;
    }
    let status = StatusCode::from_u16(meta.status).map_err(|_| DecodeError::Content)?;
    if !can_be_stored(status, body_bytes) {
        return Err(DecodeError::Content);
    }
    keep_end_to_end(&mut fields, body_bytes);
    Ok(StoredHead {
        status,
        validators: Validators::of(&fields, meta.response_time),
        fields,
        target: Target {
            host: meta.host.into(),
            path: meta.path.into(),
            query: meta.query.into(),
        },
        route: Arc::from(meta.route),
        vary: vary_names(&meta.vary)?,
        secondary: meta.secondary,
        // Another instance's clients are found by what they sent.
        language_keys: Box::default(),
        request_time: meta.request_time,
        response_time: meta.response_time,
        freshness,
        tags: meta.tags.into_iter().map(Box::from).collect(),
        position: Position {
            local: 0,
            log: meta.position,
        },
        fetch_cost: meta.fetch_cost,
    })
}

/// Whether a whole response of this status can have such a body: nothing that
/// is not final, no part, and no body where the status has none.
fn can_be_stored(status: StatusCode, body_bytes: usize) -> bool {
    let is_final_and_whole = status.as_u16() >= 200
        && status != StatusCode::PARTIAL_CONTENT
        && status != StatusCode::NOT_MODIFIED;
    let has_no_body = [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT].contains(&status);
    is_final_and_whole && (body_bytes == 0 || !has_no_body)
}

/// Drops what would frame the message otherwise than its body does, and what
/// speaks of a connection that is not ours.
fn keep_end_to_end(fields: &mut HeaderMap, body_bytes: usize) {
    strip_hop_by_hop(fields);
    let is_of_a_proxy = |name: &HeaderName| {
        let name = name.as_str();
        name.starts_with("proxy-") && name != "proxy-status"
    };
    let dropped: Vec<HeaderName> = fields
        .keys()
        .filter(|name| is_of_a_proxy(name))
        .cloned()
        .collect();
    for name in dropped {
        fields.remove(name);
    }
    if fields.contains_key(CONTENT_LENGTH) {
        fields.insert(CONTENT_LENGTH, body_bytes.into());
    }
}

fn vary_names(names: &[&str]) -> Result<VaryNames, DecodeError> {
    if names.len() > VARY_NAMES_MAX {
        return Err(DecodeError::Content);
    }
    let names: Result<Vec<HeaderName>, _> =
        names.iter().copied().map(HeaderName::try_from).collect();
    names
        .map(VaryNames::from_names)
        .map_err(|_| DecodeError::Content)
}

fn parse<'a, T: Deserialize<'a>>(meta: &'a [u8]) -> Result<T, DecodeError> {
    match postcard::take_from_bytes(meta) {
        Ok((value, [])) => Ok(value),
        _ => Err(DecodeError::Content),
    }
}

fn assemble(
    kind: u8,
    meta: &[u8],
    body: &[u8],
    compressed_body: Option<Vec<u8>>,
) -> Result<Vec<u8>, EncodeError> {
    if meta.len() > META_BYTES_MAX {
        return Err(EncodeError::TooLarge);
    }
    let compressed_meta = compressed(meta);
    let mut flags = 0;
    if compressed_meta.is_some() {
        flags |= META_IS_COMPRESSED;
    }
    if compressed_body.is_some() {
        flags |= BODY_IS_COMPRESSED;
    }
    let meta_section = compressed_meta.as_deref().unwrap_or(meta);
    let body_section = compressed_body.as_deref().unwrap_or(body);

    let mut record = Vec::with_capacity(HEADER_BYTES + meta_section.len() + body_section.len());
    record.extend_from_slice(MAGIC);
    record.extend_from_slice(&[VERSION, kind, flags, 0, 0, 0, 0]);
    for length in [
        meta_section.len(),
        meta.len(),
        body_section.len(),
        body.len(),
    ] {
        let length = u32::try_from(length).map_err(|_| EncodeError::TooLarge)?;
        record.extend_from_slice(&length.to_le_bytes());
    }
    record.extend_from_slice(meta_section);
    record.extend_from_slice(body_section);
    let checksum = checksum(&record);
    record[CRC_AT..LENGTHS_AT].copy_from_slice(&checksum.to_le_bytes());
    Ok(record)
}

/// Magic, version, checksum; gives kind and flags.
fn check_header(record: &[u8]) -> Result<(u8, u8), DecodeError> {
    if !record.starts_with(MAGIC) {
        return Err(DecodeError::Magic);
    }
    if record.len() < HEADER_BYTES {
        return Err(DecodeError::Length);
    }
    if record[3] != VERSION {
        return Err(DecodeError::Version(record[3]));
    }
    if checksum(record).to_le_bytes() != record[CRC_AT..LENGTHS_AT] {
        return Err(DecodeError::Checksum);
    }
    Ok((record[4], record[5]))
}

/// The four lengths of a record at least a header long.
fn lengths(record: &[u8]) -> [usize; 4] {
    let mut lengths = [0; 4];
    let fields = record[LENGTHS_AT..HEADER_BYTES].chunks_exact(4);
    for (length, bytes) in lengths.iter_mut().zip(fields) {
        *length = bytes
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | usize::from(*byte));
    }
    lengths
}

fn checksum(record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&record[..CRC_AT]);
    hasher.update(&record[LENGTHS_AT..]);
    hasher.finalize()
}

/// The compressed form, where it saves at least an eighth.
fn compressed(raw: &[u8]) -> Option<Vec<u8>> {
    if raw.len() < COMPRESS_BYTES_MIN {
        return None;
    }
    let compressed = lz4_flex::block::compress(raw);
    (compressed.len() <= raw.len() - raw.len() / 8).then_some(compressed)
}

fn section(stored: Bytes, raw_len: usize, is_compressed: bool) -> Result<Bytes, DecodeError> {
    if !is_compressed {
        return if stored.len() == raw_len {
            Ok(stored)
        } else {
            Err(DecodeError::Length)
        };
    }
    // One byte of LZ4 stands for at most 255: what claims more lies, and is
    // not given memory to lie in.
    if raw_len > stored.len().saturating_mul(255) {
        return Err(DecodeError::Compression);
    }
    let mut raw = vec![0; raw_len];
    match lz4_flex::block::decompress_into(&stored, &mut raw) {
        Ok(len) if len == raw_len => Ok(Bytes::from(raw)),
        _ => Err(DecodeError::Compression),
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
