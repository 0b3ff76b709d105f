//! The head of a response, as a client of HTTP/1 has to read it (RFC 9112).

use http::StatusCode;
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
}

/// Where the content of a response to a GET ends (RFC 9112 §6.3).
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
}

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
        keeps && self.framing != Framing::UntilClose
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
    take: impl FnOnce(&Head<'_>) -> T,
) -> Result<Option<(usize, T)>, OriginErrorKind> {
    let mut fields = [const { std::mem::MaybeUninit::uninit() }; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        &mut fields,
    );
    let length = match parsed {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(_) => return Err(OriginErrorKind::Protocol),
    };
    let status = response
        .code
        .and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(OriginErrorKind::Protocol)?;
    let is_http_10 = response.version != Some(1);
    let head = Head {
        status,
        is_http_10,
        framing: framing(status, is_http_10, response.headers)?,
        fields: response.headers,
    };
    Ok(Some((length, take(&head))))
}

fn framing(
    status: StatusCode,
    is_http_10: bool,
    fields: &[Header<'_>],
) -> Result<Framing, OriginErrorKind> {
    // Nobody asked for another protocol.
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(OriginErrorKind::Protocol);
    }
    let has_content = !status.is_informational()
        && status != StatusCode::NO_CONTENT
        && status != StatusCode::NOT_MODIFIED;
    if !has_content {
        return Ok(Framing::Absent);
    }
    if let Some(codings) = named(fields, "transfer-encoding").last() {
        if is_http_10 {
            return Err(OriginErrorKind::Protocol);
        }
        let last = codings.rsplit(is_comma).next().unwrap_or_default();
        return Ok(if last.trim_ascii().eq_ignore_ascii_case(b"chunked") {
            Framing::Chunked
        } else {
            Framing::UntilClose
        });
    }
    let mut lengths = named(fields, "content-length").flat_map(|value| value.split(is_comma));
    let Some(first) = lengths.next() else {
        return Ok(Framing::UntilClose);
    };
    let length = number(first).ok_or(OriginErrorKind::Protocol)?;
    // Said more than once is as good, if it is the same.
    if lengths.all(|other| number(other) == Some(length)) {
        Ok(Framing::Counted(length))
    } else {
        Err(OriginErrorKind::Protocol)
    }
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
        let read = read(text.as_bytes(), |head| head.framing)?;
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
            ("1 200 OK\r\nTransfer-Encoding: gzip", UntilClose),
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
            "0 200 OK\r\nTransfer-Encoding: chunked",
            "1 101 Switching\r\nUpgrade: x",
            "1 020 OK",
            "1 2x0 OK",
            "1 200 OK\r\nno colon",
        ] {
            assert_eq!(framing_of(head), Err(OriginErrorKind::Protocol), "{head}");
        }
    }
}
