//! Field lines as they go to an HTTP/1 client: written when a response is
//! stored, copied at every hit, read again where somebody needs the fields.

use bytes::Bytes;
use http::header::AGE;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::message::lines::FieldLines;
use crate::message::targeted::PANNIER_CACHE_CONTROL;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Fields that every answer gets anew.
const OURS: [HeaderName; 4] = [
    AGE,
    HeaderName::from_static("x-cache"),
    HeaderName::from_static("x-cache-age"),
    HeaderName::from_static("x-process-time"),
];

const LINE_END: &[u8] = b"\r\n";

/// Where some of the lines begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// Those of `Cache-Status`, to which our member is appended.
    pub(super) cache_status: u32,
    /// Those that spoke to us and go to no client.
    pub(super) hidden: u32,
}

/// Writes the lines of these fields: most of them, `Cache-Status`, what no
/// client gets. `None` where they are too long to tell.
pub(super) fn write(lines: &mut Vec<u8>, fields: &HeaderMap) -> Option<Places> {
    let bytes: usize = fields
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    lines.reserve(bytes);
    for (name, value) in fields {
        if name != CACHE_STATUS && name != PANNIER_CACHE_CONTROL && !OURS.contains(name) {
            write_line(lines, name, value);
        }
    }
    let cache_status = u32::try_from(lines.len()).ok()?;
    for value in fields.get_all(CACHE_STATUS) {
        write_line(lines, &CACHE_STATUS, value);
    }
    let hidden = u32::try_from(lines.len()).ok()?;
    for value in fields.get_all(PANNIER_CACHE_CONTROL) {
        write_line(lines, &PANNIER_CACHE_CONTROL, value);
    }
    Some(Places {
        cache_status,
        hidden,
    })
}

fn write_line(lines: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    lines.extend_from_slice(name.as_str().as_bytes());
    lines.extend_from_slice(b": ");
    lines.extend_from_slice(value.as_bytes());
    lines.extend_from_slice(LINE_END);
}

/// How our member of `Cache-Status` begins on a line of its own.
pub(super) const CACHE_STATUS_BEGIN: &[u8] = b"cache-status: ";

/// Appends what clients get of `lines` to a head, up to the place where our
/// member of `Cache-Status` is appended.
pub(super) fn append_for_client(head: &mut Vec<u8>, lines: &[u8], places: Places) {
    head.extend_from_slice(&lines[..places.cache_status as usize]);
    append_cache_status(head, lines, places);
}

/// The same of `Cache-Status` alone: a list on one line goes on there; one
/// on several gets another line.
pub(super) fn append_cache_status(head: &mut Vec<u8>, lines: &[u8], places: Places) {
    let earlier = &lines[places.cache_status as usize..places.hidden as usize];
    let is_one_line = memchr::memchr(b'\n', earlier) == earlier.len().checked_sub(1);
    if is_one_line && !earlier.is_empty() {
        head.extend_from_slice(&earlier[..earlier.len() - LINE_END.len()]);
        head.extend_from_slice(b", ");
    } else {
        head.extend_from_slice(earlier);
        head.extend_from_slice(CACHE_STATUS_BEGIN);
    }
}

/// Appends those of the lines before `Cache-Status` whose names are `wanted`.
pub(super) fn append_some(
    head: &mut Vec<u8>,
    lines: &[u8],
    places: Places,
    wanted: impl Fn(&str) -> bool,
) {
    let lines = StoredLines::new(&lines[..places.cache_status as usize]);
    for line in lines.iter().filter(|line| wanted(line.name)) {
        head.extend_from_slice(line.whole);
    }
}

/// Lines that were written here, as fields.
#[derive(Clone, Copy, Debug)]
pub struct StoredLines<'a>(&'a [u8]);

/// One of them.
struct Line<'a> {
    name: &'a str,
    value: &'a [u8],
    /// With its end.
    whole: &'a [u8],
}

impl<'a> StoredLines<'a> {
    pub(super) fn new(lines: &'a [u8]) -> Self {
        Self(lines)
    }

    fn iter(&self) -> impl Iterator<Item = Line<'a>> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let colon = memchr::memchr(b':', rest)?;
            let end = colon + memchr::memchr(b'\n', &rest[colon..])? + 1;
            let (whole, after) = rest.split_at(end);
            rest = after;
            Some(Line {
                name: std::str::from_utf8(&whole[..colon]).ok()?,
                value: &whole[colon + 2..end - LINE_END.len()],
                whole,
            })
        })
    }
}

impl FieldLines for StoredLines<'_> {
    fn lines<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        let named = self.iter().filter(move |line| line.name == name.as_str());
        named.map(|line| line.value)
    }

    fn all(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.iter().map(|line| (line.name, line.value))
    }
}

/// The fields of lines that were written here.
pub(super) fn read(lines: &[u8]) -> Option<HeaderMap> {
    read_some(lines, |_| true)
}

/// Those of them whose names are `wanted`.
pub(super) fn read_some(lines: &[u8], wanted: impl Fn(&str) -> bool) -> Option<HeaderMap> {
    let lines = Bytes::copy_from_slice(lines);
    let ends = memchr::memchr_iter(b'\n', &lines);
    let mut fields = HeaderMap::with_capacity(ends.clone().count());
    let mut start = 0;
    for end in ends {
        let colon = start + memchr::memchr(b':', &lines[start..end])?;
        let name = HeaderName::from_bytes(&lines[start..colon]).ok()?;
        if wanted(name.as_str()) {
            let value = lines.slice(colon + 2..end - 1);
            fields.append(name, HeaderValue::from_maybe_shared(value).ok()?);
        }
        start = end + 1;
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::samples::fields;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[test]
    fn fields_are_read_as_they_were_written_but_for_ours() {
        let written = fields(&[
            ("x-two", "1"),
            ("x-two", ""),
            ("cache-status", "cdn; hit"),
            ("etag", "\"a: b\""),
            ("pannier-cache-control", "max-age=1"),
            ("x-cache", "HIT"),
        ]);
        let mut lines = Vec::new();
        write(&mut lines, &written).unwrap();
        let mut expected = written;
        expected.remove("x-cache");
        assert_eq!(read(&lines).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn any_field_is_read_as_it_was_written_and_in_its_place(
            written in vec(("[a-z][a-z0-9!#$%&'*+.^_`|~-]{0,12}", vec(value_byte(), 0..40)), 0..24),
        ) {
            let mut map = HeaderMap::new();
            for (name, value) in &written {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                map.append(name, HeaderValue::from_bytes(value).unwrap());
            }
            let mut lines = Vec::new();
            write(&mut lines, &map).unwrap();
            let again = read(&lines).unwrap();
            prop_assert_eq!(Vec::from_iter(&again), Vec::from_iter(&map));
        }
    }

    /// Whatever a value may consist of (RFC 9110 §5.5).
    fn value_byte() -> impl Strategy<Value = u8> {
        prop_oneof![Just(b'\t'), Just(b':'), 0x20..=0x7e_u8, 0x80..=0xff_u8]
    }

    #[test]
    fn our_member_of_cache_status_has_its_place() {
        for (earlier, end) in [
            (&[][..], "etag: x\r\ncache-status: "),
            (&["a; hit"][..], "etag: x\r\ncache-status: a; hit, "),
            (
                &["a; hit", "b"][..],
                "etag: x\r\ncache-status: a; hit\r\ncache-status: b\r\ncache-status: ",
            ),
        ] {
            let mut written = fields(&[("etag", "x")]);
            for value in earlier {
                written.append(CACHE_STATUS, HeaderValue::from_static(value));
            }
            let mut lines = Vec::new();
            written.append(PANNIER_CACHE_CONTROL, HeaderValue::from_static("max-age=1"));
            let places = write(&mut lines, &written).unwrap();
            let mut head = Vec::new();
            append_for_client(&mut head, &lines, places);
            assert_eq!(std::str::from_utf8(&head).unwrap(), end);
        }
    }
}
