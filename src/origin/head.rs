//! The head of a response, as a client of HTTP/1 has to read it (RFC 9112).
//!
//! Promises: whatever an origin says of where its content ends, more than once
//! or in more than one way, one thing is made of it here, and those who pass the
//! response on are told nothing else.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use httparse::{Header, Status};

use super::error::OriginErrorKind;

/// Fields in one head; more make it invalid.
const FIELDS_MAX: usize = 100;

/// A head that was read.
#[derive(Debug)]
pub struct Head<'a> {
    /// Its status.
    pub status: StatusCode,
    /// Whether it is in HTTP/1.0, not HTTP/1.1.
    pub is_http_10: bool,
    /// Its fields.
    pub fields: &'a [Header<'a>],
    /// Where its content ends.
    pub framing: Framing,
    /// What it says of a length: of its content, or of that which the response
    /// to a GET would have had.
    length: Option<u64>,
    /// Says both where its content ends and how long it is. Whoever wrote that
    /// may have meant to deceive (RFC 9112 §6.3).
    is_doubtful: bool,
}

/// Where the content of a response ends (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Absent,
    /// After so many bytes.
    Counted(u64),
    /// After the last chunk and its trailer section.
    Chunked,
    /// With the connection.
    UntilClose,
    /// What follows is in another protocol.
    Switched,
}

/// What the response to a request may be like.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Expected {
    /// It has no content, whatever its fields say.
    pub(super) is_to_head: bool,
    /// Another protocol was offered.
    pub(super) may_switch: bool,
}

/// `Via`, `Date`, and what every response has of ours.
const FIELDS_ADDED: usize = 8;

impl Head<'_> {
    /// Whether the connection can be used for another exchange after this one.
    pub(super) fn keeps_alive(&self) -> bool {
        let has = |option: &str| {
            let lines = named(self.fields, "connection").flat_map(|value| value.split(is_comma));
            lines
                .map(<[u8]>::trim_ascii)
                .any(|member| member.eq_ignore_ascii_case(option.as_bytes()))
        };
        let keeps = if self.is_http_10 {
            has("keep-alive") && !has("close")
        } else {
            !has("close")
        };
        keeps && !self.is_doubtful && self.framing != Framing::UntilClose
    }

    /// Its fields as a map, with one length at most. Their values are parts of
    /// one piece of memory. `None` where one of them is larger than can be.
    pub(super) fn to_map(&self) -> Option<HeaderMap> {
        let bytes = self.fields.iter().map(|field| field.value.len()).sum();
        let mut values = BytesMut::with_capacity(bytes);
        for field in self.fields {
            values.extend_from_slice(field.value);
        }
        let mut values = values.freeze();
        let mut length = self.length;
        // With room for what is added on the way to the client.
        let mut map = HeaderMap::with_capacity(self.fields.len() + FIELDS_ADDED);
        for field in self.fields {
            let value = values.split_to(field.value.len());
            let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
            let value = if name != http::header::CONTENT_LENGTH {
                HeaderValue::from_maybe_shared(value).ok()?
            } else if let Some(length) = length.take() {
                HeaderValue::from(length)
            } else {
                continue;
            };
            map.try_append(name, value).ok()?;
        }
        Some(map)
    }
}

/// Reads a head from the front of `bytes` and gives it to `take`: its length;
/// `None` where the bytes end before it does.
///
/// # Errors
/// [`OriginErrorKind::Protocol`] where it is no head, or where it leaves open
/// where the content ends.
pub(super) fn read<T>(
    bytes: &[u8],
    expected: Expected,
    take: impl FnOnce(&Head<'_>) -> T,
) -> Result<Option<(usize, T)>, OriginErrorKind> {
    let mut fields = [const { std::mem::MaybeUninit::uninit() }; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let mut parser = httparse::ParserConfig::default();
    // Both are for us to undo (RFC 9112 §5.1, §5.2).
    parser
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true);
    let parsed = parser.parse_response_with_uninit_headers(&mut response, bytes, &mut fields);
    let length = match parsed {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(_) => return Err(OriginErrorKind::Protocol),
    };
    let is_folded = |field: &Header<'_>| memchr::memchr(b'\n', field.value).is_some();
    if response.headers.iter().any(is_folded) {
        let unfolded = unfold(&bytes[..length]);
        let read = read(&unfolded, expected, take)?;
        return Ok(read.map(|(_, taken)| (length, taken)));
    }
    let status = response
        .code
        .and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(OriginErrorKind::Protocol)?;
    let is_http_10 = response.version != Some(1);
    let fields: &[Header<'_>] = response.headers;
    let has_codings = named(fields, "transfer-encoding").next().is_some();
    let length_said = length_said(fields);
    let framing = if is_without_content(status, expected) {
        Framing::Absent
    } else if status == StatusCode::SWITCHING_PROTOCOLS {
        if !expected.may_switch {
            return Err(OriginErrorKind::Protocol);
        }
        Framing::Switched
    } else if has_codings {
        coded(is_http_10, fields)?
    } else {
        match length_said? {
            Some(length) => Framing::Counted(length),
            None => Framing::UntilClose,
        }
    };
    let has_no_length =
        has_codings || status.is_informational() || status == StatusCode::NO_CONTENT;
    let head = Head {
        status,
        is_http_10,
        fields,
        framing,
        length: length_said.ok().flatten().filter(|_| !has_no_length),
        is_doubtful: has_codings && length_said != Ok(None),
    };
    Ok(Some((length, take(&head))))
}

fn is_without_content(status: StatusCode, expected: Expected) -> bool {
    match status {
        StatusCode::SWITCHING_PROTOCOLS => false,
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => true,
        _ => expected.is_to_head || status.is_informational(),
    }
}

/// Transfer codings that the recipient would have to undo (RFC 9112
/// §7.2).
const COMPRESSING: [&[u8]; 5] = [b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress"];

/// Where content in transfer codings ends (RFC 9112 §6.3). Those that compress
/// were not asked for, and nobody behind us is told of them: they are refused.
/// What nobody knows changes nothing but where the content ends. Some take an
/// empty member for the last one, others for none: it is refused, too; and so is
/// what is no ASCII text, for which some pass over the whole field.
fn coded(is_http_10: bool, fields: &[Header<'_>]) -> Result<Framing, OriginErrorKind> {
    if is_http_10 {
        return Err(OriginErrorKind::Protocol);
    }
    let codings = named(fields, "transfer-encoding").flat_map(|value| value.split(is_comma));
    let (mut is_last, mut chunkings) = (false, 0);
    for coding in codings.map(<[u8]>::trim_ascii) {
        is_last = coding.eq_ignore_ascii_case(b"chunked");
        chunkings += u32::from(is_last);
        let compresses = |known: &&[u8]| coding.eq_ignore_ascii_case(known);
        if coding.is_empty() || !coding.is_ascii() || COMPRESSING.iter().any(compresses) {
            return Err(OriginErrorKind::Protocol);
        }
    }
    match chunkings {
        1 if is_last => Ok(Framing::Chunked),
        0 | 1 => Ok(Framing::UntilClose),
        _ => Err(OriginErrorKind::Protocol),
    }
}

/// The length that is said: more than once is as good, if it is the same.
fn length_said(fields: &[Header<'_>]) -> Result<Option<u64>, OriginErrorKind> {
    let mut lengths = named(fields, "content-length").flat_map(|value| value.split(is_comma));
    let Some(first) = lengths.next() else {
        return Ok(None);
    };
    let length = number(first).ok_or(OriginErrorKind::Protocol)?;
    if lengths.all(|other| number(other) == Some(length)) {
        Ok(Some(length))
    } else {
        Err(OriginErrorKind::Protocol)
    }
}

/// The same head with every line that goes on in the next one made one line
/// (RFC 9112 §5.2).
fn unfold(head: &[u8]) -> Vec<u8> {
    let mut unfolded = head.to_vec();
    for at in memchr::memchr_iter(b'\n', head) {
        if !matches!(head.get(at + 1), Some(b' ' | b'\t')) {
            continue;
        }
        unfolded[at] = b' ';
        if at > 0 && head[at - 1] == b'\r' {
            unfolded[at - 1] = b' ';
        }
    }
    unfolded
}

fn named<'a>(fields: &'a [Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    fields
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name))
        .map(|field| field.value)
}

fn number(digits: &[u8]) -> Option<u64> {
    let digits = digits.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // What is above is what other implementations use for marks of their own.
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (number <= u64::MAX - 2).then_some(number)
}

fn is_comma(byte: &u8) -> bool {
    *byte == b','
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing_of(head: &str) -> Result<Framing, OriginErrorKind> {
        let text = format!("HTTP/1.{head}\r\n\r\n");
        let read = read(text.as_bytes(), Expected::default(), |head| head.framing)?;
        let (length, framing) = read.expect("a whole head");
        assert_eq!(length, text.len());
        Ok(framing)
    }

    #[test]
    fn the_end_of_the_content_is_where_rfc9112_says() {
        use Framing::{Absent, Chunked, Counted, UntilClose};
        for (head, expected) in [
            ("1 200 OK\r\nContent-Length: 5", Counted(5)),
            ("0 200 OK\r\nContent-Length: 5", Counted(5)),
            ("1 200 OK\r\nContent-Length: 5, 5", Counted(5)),
            (
                "1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5",
                Counted(5),
            ),
            ("1 200 OK", UntilClose),
            ("1 200 OK\r\nTransfer-Encoding: Chunked", Chunked),
            (
                "1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
                Chunked,
            ),
            ("1 200 OK\r\nTransfer-Encoding : chunked", Chunked),
            ("1 200 OK\r\nTransfer-Encoding:\r\n chunked", Chunked),
            ("1 200 OK\r\nTransfer-Encoding: identity, chunked", Chunked),
            (
                "1 200 OK\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked",
                Chunked,
            ),
            (
                "1 200 OK\r\nContent-Length: 5, 6\r\nTransfer-Encoding: chunked",
                Chunked,
            ),
            ("1 200 OK\r\nTransfer-Encoding: identity", UntilClose),
            ("1 200 OK\r\nTransfer-Encoding: xchunked", UntilClose),
            ("1 200 OK\r\nTransfer-Encoding: x-new, chunked", Chunked),
            (
                "1 200 OK\r\nTransfer-Encoding: chunked, identity",
                UntilClose,
            ),
            ("1 200 OK\r\nContent-Length : 5", Counted(5)),
            ("1 200 OK\r\nContent-Length:\r\n\t5", Counted(5)),
            ("1 204 No\r\nContent-Length: 5", Absent),
            ("1 304 No\r\nTransfer-Encoding: chunked", Absent),
            ("1 103 Early\r\nLink: x", Absent),
        ] {
            assert_eq!(framing_of(head), Ok(expected), "{head}");
        }
        for head in [
            "1 200 OK\r\nContent-Length: 5, 6",
            "1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6",
            "1 200 OK\r\nContent-Length: +5",
            "1 200 OK\r\nContent-Length:",
            "1 200 OK\r\nContent-Length: 18446744073709551615",
            "1 200 OK\r\nContent-Length: 5,",
            "1 200 OK\r\nContent-Length: 5\r\n 6",
            "0 200 OK\r\nTransfer-Encoding: chunked",
            "1 200 OK\r\nTransfer-Encoding: gzip",
            "1 200 OK\r\nTransfer-Encoding: gzip, chunked",
            "1 200 OK\r\nTransfer-Encoding: chunked, chunked",
            "1 200 OK\r\nTransfer-Encoding: chunked,",
            "1 200 OK\r\nTransfer-Encoding: , chunked",
            "1 200 OK\r\nTransfer-Encoding:",
            "1 200 OK\r\nTransfer-Encoding: \u{e9}, chunked",
            "1 101 Switching\r\nUpgrade: x",
            "1 020 OK",
            "1 2x0 OK",
            "1 200 OK\r\nno colon",
        ] {
            assert_eq!(framing_of(head), Err(OriginErrorKind::Protocol), "{head}");
        }
    }

    fn map_of(head: &str, expected: Expected) -> (bool, Vec<(String, String)>) {
        let text = format!("HTTP/1.1 {head}\r\n\r\n");
        let read = read(text.as_bytes(), expected, |head| {
            let map = head.to_map().expect("a map");
            let text = |value: &HeaderValue| value.to_str().expect("text").to_owned();
            let fields = map
                .iter()
                .map(|(name, value)| (name.to_string(), text(value)));
            (head.keeps_alive(), fields.collect())
        });
        read.expect("a head").expect("all of it").1
    }

    #[test]
    fn one_framing_at_most_goes_on_rfc9112_6_3() {
        let to_head = Expected {
            is_to_head: true,
            may_switch: false,
        };
        let plain = Expected::default();
        let five = [("content-length", "5")].as_slice();
        let chunked = [("transfer-encoding", "chunked")].as_slice();
        for (head, expected, keeps_alive, fields) in [
            ("200 OK\r\nContent-Length: 5, 05", plain, true, five),
            (
                "200 OK\r\nContent-Length : 5\r\nContent-Length: 5",
                plain,
                true,
                five,
            ),
            (
                "200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
                plain,
                false,
                chunked,
            ),
            (
                "200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: x",
                to_head,
                false,
                chunked,
            ),
            ("200 OK\r\nContent-Length: 5,5", to_head, true, five),
            ("200 OK\r\nContent-Length: 5, 6", to_head, true, &[]),
            ("304 No\r\nContent-Length: 5", plain, true, five),
            ("204 No\r\nContent-Length: 5", plain, true, &[]),
        ] {
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            assert_eq!(map_of(head, expected), (keeps_alive, fields), "{head}");
        }
    }

    #[test]
    fn what_rfc9112_5_lets_a_proxy_undo_is_undone() {
        let (_, fields) = map_of(
            "200 OK\r\nX-A \t: b\r\nX-B: c\r\n  d\r\nX-C:\r\n e",
            Expected::default(),
        );
        let expected = [("x-a", "b"), ("x-b", "c    d"), ("x-c", "e")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(fields, expected);
    }
}
