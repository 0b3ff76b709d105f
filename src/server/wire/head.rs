//! One HTTP/1 request head, checked.
//!
//! Says what follows the head, or why the request is refused. The refusals are
//! those of RFC 9112 read at its strictest: what the standard lets a recipient
//! repair (a list of equal lengths, a bare LF, a folded field) is refused,
//! because two recipients may repair it differently.

use std::mem::MaybeUninit;

use httparse::Error;

use super::{authority, target};
use crate::server::Problem;
use target::Target;

/// Fields in one head, hyper's bound too; past it `431`.
const FIELDS_MAX: usize = 100;

/// Digits of a `Content-Length`: as many as fit an `i64` whatever they are;
/// past it `400`.
const LENGTH_DIGITS_MAX: usize = 18;

/// What a head says of its message and the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct Message {
    /// The framing of its content.
    pub(in crate::server) framing: Framing,
    /// Whether it offers to switch protocols: what follows then waits for the
    /// response.
    pub(in crate::server) switch: bool,
    /// Whether it is of HTTP/1.1, and not 1.0.
    pub(in crate::server) is_http_11: bool,
    /// Whether the connection may be used again.
    pub(in crate::server) keeps_alive: bool,
    /// Whether its client waits for `100 Continue`.
    pub(in crate::server) expects_continue: bool,
    /// Whether its client takes trailers.
    pub(in crate::server) takes_trailers: bool,
    /// Whether its target is not what is made of it.
    pub(in crate::server) is_rewritten: bool,
}

/// Where a message ends (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Framing {
    /// After so many bytes of content.
    Counted(u64),
    /// After the last chunk and its trailer section.
    Chunked,
}

/// Checks a head that is complete, from the first byte of its request line to
/// the empty line. One that passes is shown to `see`.
pub(super) fn check(
    head: &[u8],
    see: &mut dyn FnMut(&httparse::Request<'_, '_>, Message),
) -> Result<Message, Problem> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut fields) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(Problem::bad_request("The request head is not complete.")),
        Err(error) => return Err(refusal_of(error, head)),
    }
    let (Some(method), Some(path), Some(version)) = (request.method, request.path, request.version)
    else {
        return Err(Problem::bad_request("The request line is not complete."));
    };
    if method == "CONNECT" {
        return Err(Problem::not_implemented("Tunnels are not opened here."));
    }

    let target = target::check(method, path.as_bytes())?;
    let fields = Fields::collect(request.headers)?;
    let is_http_11 = version == 1;
    check_host(&fields, &target, is_http_11)?;
    let message = Message {
        framing: framing(&fields, is_http_11)?,
        switch: is_http_11 && fields.switch,
        is_http_11,
        keeps_alive: !fields.close && (is_http_11 || fields.keep_alive),
        expects_continue: is_http_11 && fields.expects_continue,
        takes_trailers: is_http_11 && fields.takes_trailers,
        is_rewritten: target::has_unsafe_bytes(path.as_bytes()),
    };
    see(&request, message);
    Ok(message)
}

/// Whether an `Upgrade` of these values may end in another protocol. A lone
/// `h2c` may not: it is declined by ignoring it (RFC 9110, section 7.8), so
/// that clients which always offer it keep their connections.
pub(in crate::server) fn offers_switch<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> bool {
    let mut values = values.into_iter();
    values.any(|value| !value.eq_ignore_ascii_case(b"h2c"))
}

/// The fields that decide about a message's shape.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a [u8]>,
    content_length: Option<&'a [u8]>,
    transfer_encoding: Option<&'a [u8]>,
    switch: bool,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
    takes_trailers: bool,
}

/// Whether one of the members of a list is `member`.
fn has_member(list: &[u8], member: &[u8]) -> bool {
    let mut members = list.split(|&byte| byte == b',');
    members.any(|one| one.trim_ascii().eq_ignore_ascii_case(member))
}

impl<'a> Fields<'a> {
    fn collect(fields: &[httparse::Header<'a>]) -> Result<Self, Problem> {
        let mut found = Self::default();
        for field in fields {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            let earlier = match field.name.len() {
                // The length first: it tells most names apart at once.
                4 if is("host") => found.host.replace(field.value),
                14 if is("content-length") => found.content_length.replace(field.value),
                17 if is("transfer-encoding") => found.transfer_encoding.replace(field.value),
                7 if is("upgrade") => {
                    found.switch |= offers_switch([field.value]);
                    None
                }
                10 if is("connection") => {
                    found.close |= has_member(field.value, b"close");
                    // What is no ASCII text some pass over: they close.
                    found.keep_alive |=
                        field.value.is_ascii() && has_member(field.value, b"keep-alive");
                    None
                }
                6 if is("expect") => {
                    found.expects_continue |= field.value.eq_ignore_ascii_case(b"100-continue");
                    None
                }
                2 if is("te") => {
                    found.takes_trailers |= has_member(field.value, b"trailers");
                    None
                }
                _ => None,
            };
            if earlier.is_some() {
                return Err(Problem::bad_request(
                    "Host, Content-Length or Transfer-Encoding is there more than once.",
                ));
            }
        }
        Ok(found)
    }
}

fn check_host(fields: &Fields<'_>, target: &Target<'_>, is_http_11: bool) -> Result<(), Problem> {
    let Some(host) = fields.host else {
        return if is_http_11 {
            Err(Problem::bad_request("The Host field is missing."))
        } else {
            Ok(())
        };
    };
    if authority::parse(host).is_none() {
        return Err(Problem::bad_request("The Host field is not valid."));
    }
    match *target {
        Target::Absolute(named, default_port)
            if !authority::same_authority(named, host, default_port) =>
        {
            Err(Problem::bad_request(
                "The request target and the Host field name different hosts.",
            ))
        }
        _ => Ok(()),
    }
}

fn framing(fields: &Fields<'_>, is_http_11: bool) -> Result<Framing, Problem> {
    match (fields.transfer_encoding, fields.content_length) {
        (None, None) => Ok(Framing::Counted(0)),
        (None, Some(length)) => Ok(Framing::Counted(content_length(length)?)),
        (Some(_), Some(_)) => Err(Problem::bad_request(
            "Content-Length and Transfer-Encoding exclude each other.",
        )),
        (Some(_), None) if !is_http_11 => {
            Err(Problem::bad_request("HTTP/1.0 has no Transfer-Encoding."))
        }
        (Some(codings), None) if codings.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
        (Some(codings), None) => Err(unknown_coding(codings)),
    }
}

/// A well-formed list that ends in `chunked` asks for something not done here
/// (RFC 9112, section 6.1); in anything else the end cannot be found.
fn unknown_coding(codings: &[u8]) -> Problem {
    let mut list = codings.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let is_token = |coding: &[u8]| {
        !coding.is_empty()
            && coding
                .iter()
                .all(|&byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let ends_in_chunked = list.next_back().is_some_and(is_chunked);
    let others_are_codings = list.all(|coding| is_token(coding) && !is_chunked(coding));
    if ends_in_chunked && others_are_codings {
        Problem::not_implemented("The only transfer coding understood here is chunked.")
    } else {
        Problem::bad_request("Transfer-Encoding is not chunked.")
    }
}

fn content_length(value: &[u8]) -> Result<u64, Problem> {
    let is_number =
        (1..=LENGTH_DIGITS_MAX).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    if !is_number {
        return Err(Problem::bad_request(
            "Content-Length is not a valid length.",
        ));
    }
    Ok(value
        .iter()
        .fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
}

fn refusal_of(error: Error, head: &[u8]) -> Problem {
    match error {
        Error::TooManyHeaders => Problem::new(
            http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "A request may have up to 100 fields.",
        ),
        Error::Version if names_another_version(head) => Problem::version_not_supported(),
        Error::HeaderName => Problem::bad_request("A field name is not valid."),
        Error::HeaderValue => Problem::bad_request("A field value is not valid."),
        Error::NewLine => Problem::bad_request("A line does not end in CRLF."),
        Error::Version | Error::Token | Error::Status => {
            Problem::bad_request("The request line is not valid.")
        }
    }
}

/// Whether the request line ends in `HTTP/` DIGIT `.` DIGIT.
fn names_another_version(head: &[u8]) -> bool {
    let line_end = memchr::memchr(b'\r', head).unwrap_or(head.len());
    let version = head[..line_end].splitn(3, |&byte| byte == b' ').nth(2);
    matches!(version, Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
        if major.is_ascii_digit() && minor.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(head: &str) -> u16 {
        match check(head.as_bytes(), &mut |_, _| {}) {
            Ok(_) => 200,
            Err(problem) => problem.status.as_u16(),
        }
    }

    #[test]
    fn transfer_codings_other_than_chunked_are_refused() {
        for (value, expected) in [
            ("chunked", 200),
            ("Chunked", 200),
            ("\tchunked\t", 200),
            ("gzip, chunked", 501),
            ("xchunked", 400),
            ("chunked, identity", 400),
            ("identity", 400),
            ("chunked, chunked", 400),
            ("chunked,", 400),
            (", chunked", 400),
            ("\"chunked\"", 400),
            ("chunked;q=1", 400),
            ("\x0bchunked", 400),
            ("chunked\x0b", 400),
            ("chu\tnked", 400),
            ("", 400),
        ] {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {value}\r\n\r\n");
            assert_eq!(status(&head), expected, "{value:?}");
        }
    }

    #[test]
    fn lengths_that_are_not_one_number_are_refused() {
        for (value, expected) in [
            ("0", 200),
            ("000000000000000005", 200),
            ("5, 5", 400),
            ("+5", 400),
            ("-5", 400),
            ("0x5", 400),
            ("5 ", 200),
            ("5 5", 400),
            ("", 400),
            ("99999999999999999999", 400),
        ] {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {value}\r\n\r\n");
            assert_eq!(status(&head), expected, "{value:?}");
        }
    }

    #[test]
    fn a_connection_goes_on_where_its_client_says_so() {
        let keeps_alive = |version: &str, fields: &str| {
            let head = format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
            check(head.as_bytes(), &mut |_, _| {}).unwrap().keeps_alive
        };
        assert!(keeps_alive("1.1", ""));
        assert!(keeps_alive("1.1", "Connection: keep-alive\r\n"));
        assert!(!keeps_alive("1.1", "Connection: x, Close\r\n"));
        assert!(!keeps_alive(
            "1.1",
            "Connection: keep-alive\r\nConnection: close\r\n"
        ));
        assert!(!keeps_alive("1.0", ""));
        assert!(keeps_alive("1.0", "Connection: Keep-Alive\r\n"));
        assert!(!keeps_alive("1.0", "Connection: \u{e9}, keep-alive\r\n"));
    }

    #[test]
    fn other_versions_are_named_as_such() {
        assert_eq!(status("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), 505);
        assert_eq!(status("GET / HTTP/1.2\r\nHost: a\r\n\r\n"), 505);
        assert_eq!(status("GET / HTTX/1.1\r\nHost: a\r\n\r\n"), 400);
        assert_eq!(status("GET /\r\nHost: a\r\n\r\n"), 400);
    }

    #[test]
    fn only_an_offer_that_could_be_taken_holds_the_connection() {
        let switch = |fields: &str| {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
            check(head.as_bytes(), &mut |_, _| {}).unwrap().switch
        };
        assert!(switch("Upgrade: websocket\r\n"));
        assert!(switch("Upgrade: h2c\r\nUpgrade: websocket\r\n"));
        assert!(!switch("Upgrade: h2c\r\n"));
        assert!(!switch(""));
    }
}
