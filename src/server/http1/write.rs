//! The one writer of responses that come as a map of fields: their heads, and
//! how their content is framed (RFC 9112, section 6).

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, DATE, HOST, MAX_FORWARDS, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::Body as _;

use crate::message::Body;
use crate::message::digits::push_number;
use crate::message::outgoing::Outgoing;

/// What the head of the answer depends on, of the request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// Whether it is of HTTP/1.1, and not 1.0.
    pub(super) is_http_11: bool,
    /// Whether it was HEAD: whatever the head says, there is no content.
    pub(super) is_head: bool,
    /// Whether the connection may be used again.
    pub(super) keeps_alive: bool,
    /// Whether its client takes trailers.
    pub(super) takes_trailers: bool,
}

/// How the content of an answer ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// There is none.
    Absent,
    /// After so many bytes more.
    Counted(u64),
    /// After the last chunk, and the trailers of these names.
    Chunked(Vec<HeaderName>),
    /// With the connection.
    UntilClose,
}

/// What was written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) content: Content,
    pub(super) keeps_alive: bool,
}

/// Writes the head of `response`.
pub(super) fn write_head(out: &mut Vec<u8>, response: &Response<Body>, asked: Asked) -> Written {
    let status = response.status();
    let fields = response.headers();
    out.reserve(128 + fields.len() * 40);
    write_status(out, status, asked.is_http_11);
    let (content, length) = content_of(response, asked);
    let mut keeps_alive = asked.keeps_alive && content != Content::UntilClose;
    let is_switch = status == StatusCode::SWITCHING_PROTOCOLS;
    let mut has_date = false;
    for (name, value) in fields {
        // Standard names compare as numbers.
        match *name {
            // Ours to say.
            CONTENT_LENGTH | TRANSFER_ENCODING => continue,
            CONNECTION if !is_switch => {
                keeps_alive &= !has_close(value);
                continue;
            }
            TRAILER if !matches!(content, Content::Chunked(_)) => continue,
            DATE => has_date = true,
            _ => {}
        }
        write_field(out, name.as_str(), value.as_bytes());
    }
    match &content {
        Content::Chunked(_) => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        _ => {
            if let Some(length) = length {
                out.extend_from_slice(b"content-length: ");
                push_number(out, length);
                out.extend_from_slice(b"\r\n");
            }
        }
    }
    if is_switch {
        keeps_alive = false;
    } else if !keeps_alive {
        out.extend_from_slice(b"connection: close\r\n");
    } else if !asked.is_http_11 {
        out.extend_from_slice(b"connection: keep-alive\r\n");
    }
    if !has_date {
        write_date(out);
    }
    out.extend_from_slice(b"\r\n");
    Written {
        content,
        keeps_alive,
    }
}

/// How the content ends, and what length is told.
fn content_of(response: &Response<Body>, asked: Asked) -> (Content, Option<u64>) {
    let status = response.status();
    if status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
    {
        return (Content::Absent, None);
    }
    let body = response.body();
    let told = response.headers().get(CONTENT_LENGTH).and_then(length_in);
    let is_over = body.is_end_stream();
    let exact = body.size_hint().exact().filter(|_| !is_over);
    if asked.is_head {
        return (Content::Absent, exact.or(told));
    }
    if is_over {
        return (Content::Absent, Some(0));
    }
    match exact.or(told) {
        Some(length) => (Content::Counted(length), Some(length)),
        None if asked.is_http_11 => {
            let trailers = if asked.takes_trailers {
                announced_trailers(response.headers())
            } else {
                Vec::new()
            };
            (Content::Chunked(trailers), None)
        }
        None => (Content::UntilClose, None),
    }
}

fn length_in(value: &HeaderValue) -> Option<u64> {
    let digits = value.as_bytes();
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits)
        .ok()
        .filter(|_| is_number)?
        .parse()
        .ok()
}

fn has_close(value: &HeaderValue) -> bool {
    let mut members = value.as_bytes().split(|&byte| byte == b',');
    members.any(|member| member.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// The fields that `Trailer` names, and that may come behind content.
fn announced_trailers(fields: &HeaderMap) -> Vec<HeaderName> {
    let values = fields.get_all(TRAILER).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .filter(may_be_trailer)
        .collect()
}

/// Not what frames or routes a message, and not what has to be known before
/// its content (RFC 9110, section 6.5.1).
fn may_be_trailer(name: &HeaderName) -> bool {
    !matches!(
        *name,
        AUTHORIZATION
            | CACHE_CONTROL
            | CONNECTION
            | CONTENT_ENCODING
            | CONTENT_LENGTH
            | CONTENT_RANGE
            | CONTENT_TYPE
            | HOST
            | MAX_FORWARDS
            | SET_COOKIE
            | TE
            | TRAILER
            | TRANSFER_ENCODING
    )
}

fn write_status(out: &mut Vec<u8>, status: StatusCode, is_http_11: bool) {
    let version: &[u8] = if is_http_11 {
        b"HTTP/1.1 "
    } else {
        b"HTTP/1.0 "
    };
    out.extend_from_slice(version);
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    let reason = status.canonical_reason().unwrap_or_default();
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Adds a piece of content as a chunk; the last one ends the content too.
pub(super) fn push_chunk(outgoing: &mut Outgoing, piece: &Bytes, is_last: bool) {
    let head = outgoing.head();
    push_hex(head, piece.len());
    head.extend_from_slice(b"\r\n");
    outgoing.body(piece.into());
    outgoing.tail(if is_last { b"\r\n0\r\n\r\n" } else { b"\r\n" });
}

/// Ends chunked content, with those trailers that were announced.
pub(super) fn push_last_chunk(
    outgoing: &mut Outgoing,
    trailers: Option<&HeaderMap>,
    announced: &[HeaderName],
) {
    let head = outgoing.head();
    head.extend_from_slice(b"0\r\n");
    let trailers = trailers.into_iter().flatten();
    for (name, value) in trailers.filter(|(name, _)| announced.contains(name)) {
        write_field(head, name.as_str(), value.as_bytes());
    }
    head.extend_from_slice(b"\r\n");
}

fn push_hex(out: &mut Vec<u8>, number: usize) {
    let digits = (usize::BITS - number.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        out.push(b"0123456789abcdef"[number >> (digit * 4) & 0xf]);
    }
}

thread_local! {
    /// The second for which a date was formatted last, and the date.
    static DATE_LINE: Cell<(u64, [u8; 29])> = const { Cell::new((0, [0; 29])) };
}

fn write_date(out: &mut Vec<u8>) {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let second = since.unwrap_or_default().as_secs();
    let (known, mut date) = DATE_LINE.get();
    if known != second {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        date.copy_from_slice(&httpdate::fmt_http_date(at).as_bytes()[..29]);
        DATE_LINE.set((second, date));
    }
    write_field(out, "date", &date);
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Asked = Asked {
        is_http_11: true,
        is_head: false,
        keeps_alive: true,
        takes_trailers: false,
    };

    /// Of content whose length nobody knows.
    fn streamed() -> Body {
        let (_, body) = crate::message::piped::piped(None);
        Body::boxed(http_body_util::BodyExt::map_err(body, |error| {
            crate::message::BodyError::Broken(error.into())
        }))
    }

    fn written(
        asked: Asked,
        status: u16,
        fields: &[(&'static str, &'static str)],
        body: Body,
    ) -> (String, Written) {
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        for (name, value) in fields {
            let value = HeaderValue::from_static(value);
            response.headers_mut().append(*name, value);
        }
        let mut out = Vec::new();
        let written = write_head(&mut out, &response, asked);
        (String::from_utf8(out).unwrap(), written)
    }

    #[test]
    fn a_length_is_told_where_it_is_known() {
        let date = ("date", "x");
        let (text, written_as) = written(ASKED, 200, &[date], Body::full("abc"));
        let expected = "HTTP/1.1 200 OK\r\ndate: x\r\ncontent-length: 3\r\n\r\n";
        assert_eq!(text, expected);
        assert_eq!(written_as.content, Content::Counted(3));
        assert!(written_as.keeps_alive);
        let (text, _) = written(ASKED, 200, &[date], Body::Empty);
        assert_eq!(text, expected.replace('3', "0"));
        let (text, written_as) = written(ASKED, 200, &[("content-length", "7")], streamed());
        assert!(text.contains("content-length: 7\r\n"), "{text}");
        assert_eq!(written_as.content, Content::Counted(7));
    }

    #[test]
    fn content_of_unknown_length_is_framed_as_the_client_can_read_it() {
        let (text, written_as) = written(ASKED, 200, &[], streamed());
        assert!(text.contains("transfer-encoding: chunked\r\n"), "{text}");
        assert_eq!(written_as.content, Content::Chunked(Vec::new()));
        let old = Asked {
            is_http_11: false,
            ..ASKED
        };
        let (text, written_as) = written(old, 200, &[], streamed());
        assert!(text.starts_with("HTTP/1.0 200 OK\r\n"), "{text}");
        assert!(text.contains("connection: close\r\n"), "{text}");
        assert!(!text.contains("transfer-encoding"), "{text}");
        assert_eq!(written_as.content, Content::UntilClose);
        assert!(!written_as.keeps_alive);
        let (text, written_as) = written(old, 200, &[], Body::full("abc"));
        assert!(text.contains("connection: keep-alive\r\n"), "{text}");
        assert!(written_as.keeps_alive);
    }

    #[test]
    fn some_answers_have_no_content_whatever_they_say() {
        for status in [204, 304] {
            let (text, written_as) = written(ASKED, status, &[("content-length", "5")], streamed());
            assert!(!text.contains("content-length"), "{text}");
            assert_eq!(written_as.content, Content::Absent);
        }
        let head = Asked {
            is_head: true,
            ..ASKED
        };
        let (text, written_as) = written(head, 200, &[("content-length", "5")], Body::Empty);
        assert!(text.contains("content-length: 5\r\n"), "{text}");
        assert_eq!(written_as.content, Content::Absent);
    }

    #[test]
    fn what_the_map_says_of_the_connection_is_said_once() {
        let fields = [
            ("connection", "x, Close"),
            ("transfer-encoding", "gzip"),
            ("connection", "y"),
        ];
        let (text, written_as) = written(ASKED, 200, &fields, Body::Empty);
        assert_eq!(text.matches("connection").count(), 1, "{text}");
        assert!(text.contains("connection: close\r\n"), "{text}");
        assert!(!text.contains("gzip"), "{text}");
        assert!(!written_as.keeps_alive);
    }

    #[test]
    fn only_announced_trailers_go_to_a_client_that_takes_them() {
        let asked = Asked {
            takes_trailers: true,
            ..ASKED
        };
        let fields = [("trailer", "X-Sum, Content-Length")];
        let (_, written_as) = written(asked, 200, &fields, streamed());
        let Content::Chunked(announced) = written_as.content else {
            panic!("{written_as:?}");
        };
        let mut trailers = HeaderMap::new();
        for name in ["x-sum", "content-length", "x-other"] {
            trailers.insert(name, HeaderValue::from_static("1"));
        }
        let mut outgoing = Outgoing::default();
        push_last_chunk(&mut outgoing, Some(&trailers), &announced);
        assert_eq!(outgoing.into_text(), "0\r\nx-sum: 1\r\n\r\n");
    }

    #[test]
    fn chunks_are_written_as_they_are_read() {
        let mut outgoing = Outgoing::default();
        push_chunk(&mut outgoing, &Bytes::from(vec![b'x'; 26]), false);
        push_chunk(&mut outgoing, &Bytes::from_static(b"y"), true);
        let expected = format!("1a\r\n{}\r\n1\r\ny\r\n0\r\n\r\n", "x".repeat(26));
        assert_eq!(outgoing.into_text(), expected);
    }
}
