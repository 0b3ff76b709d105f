//! What an origin's bytes mean here, held against what hyper's client makes of
//! them.
//!
//! | where the two differ | why |
//! |---|---|
//! | we refuse, hyper does not | 101 without an offer, codings that nobody would undo, empty members among them, and the grammar of chunks |
//! | lengths, where there are several or a coding beside | we tell of one, or none |
//! | how many blanks there are where a folded line was, and which | we make a blank of each byte, so that nothing moves |
//!
//! All else is a failure: status, version, fields, content, trailers, whether the
//! response is whole, and whether the connection may be used again.

use std::cell::{Cell, RefCell};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Empty};
use hyper::rt::ReadBufCursor;

use super::head::{Expected, Head};
use super::response::{End, Piece, Response, Sink};
use crate::message::samples::Dice;

type Fields = Vec<(String, Vec<u8>)>;

/// A response as somebody read it.
#[derive(Clone, Debug, Default)]
struct Taken {
    /// Status, whether it is in HTTP/1.0, fields.
    head: Option<(u16, bool, Fields)>,
    content: Vec<u8>,
    trailers: Fields,
    how: How,
    is_reusable: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum How {
    #[default]
    Open,
    Whole,
    Failed,
}

/// What follows the last piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Silence,
    End,
}

fn listed(map: &HeaderMap) -> Fields {
    let is_other = |name: &http::HeaderName| *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING;
    let fields = map.iter().filter(|(name, _)| is_other(name));
    let fields = fields.map(|(name, value)| {
        let mut value = value.as_bytes().to_vec();
        value.dedup_by(|next, byte| is_blank(*next) && is_blank(*byte));
        let blanks = value.iter_mut().filter(|byte| is_blank(**byte));
        blanks.for_each(|byte| *byte = b' ');
        (name.to_string(), value)
    });
    let mut fields: Vec<_> = fields.collect();
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    fields
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

impl Sink for Taken {
    fn interim(&mut self, _head: &Head<'_>) {}

    fn head(&mut self, head: &Head<'_>) {
        let fields = listed(&head.to_map().expect("a head that passes is a map"));
        self.head = Some((head.status.as_u16(), head.is_http_10, fields));
    }

    fn content(&mut self, piece: Piece<'_>) {
        self.content.extend_from_slice(piece.bytes());
    }

    fn trailers(&mut self, fields: HeaderMap) {
        self.trailers = listed(&fields);
    }
}

fn ours(pieces: &[&[u8]], is_to_head: bool, then: Then) -> Taken {
    let mut taken = Taken::default();
    let mut response = Response::new(Expected {
        is_to_head,
        may_switch: false,
    });
    let mut rest = pieces.iter().filter(|piece| !piece.is_empty());
    while let Some(piece) = rest.next() {
        match response.receive(&mut BytesMut::from(*piece), &mut taken) {
            Err(_) => {
                taken.how = How::Failed;
                return taken;
            }
            Ok(received) => {
                if let Some(end) = received.end {
                    taken.how = How::Whole;
                    taken.is_reusable = end == End::Clean && rest.next().is_none();
                    return taken;
                }
            }
        }
    }
    if then == Then::End {
        taken.how = match response.ends_with_connection() {
            true => How::Whole,
            false => How::Failed,
        };
    }
    taken
}

/// A connection on which pieces come, one a read, once the request was sent.
struct Script<'a> {
    pieces: &'a [&'a [u8]],
    at: usize,
    then: Then,
    is_asked: bool,
}

impl hyper::rt::Read for Script<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        if !self.is_asked {
            return Poll::Pending;
        }
        while let Some((piece, rest)) = self.pieces.split_first() {
            let piece = &piece[self.at..];
            if piece.is_empty() {
                self.pieces = rest;
                self.at = 0;
                continue;
            }
            let count = piece.len().min(buf.remaining());
            buf.put_slice(&piece[..count]);
            self.at += count;
            return Poll::Ready(Ok(()));
        }
        match self.then {
            Then::Silence => Poll::Pending,
            Then::End => Poll::Ready(Ok(())),
        }
    }
}

impl hyper::rt::Write for Script<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.is_asked = true;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn theirs(pieces: &[&[u8]], is_to_head: bool, then: Then) -> Taken {
    let taken = RefCell::new(Taken::default());
    let is_reusable = Cell::new(false);
    let mut cx = Context::from_waker(Waker::noop());
    let script = Script {
        pieces,
        at: 0,
        then,
        is_asked: false,
    };
    let mut client = hyper::client::conn::http1::Builder::new();
    client
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true);
    let mut made = pin!(client.handshake::<_, Empty<Bytes>>(script));
    let Poll::Ready(Ok((mut sender, connection))) = made.as_mut().poll(&mut cx) else {
        panic!("a connection");
    };
    let mut connection = pin!(connection);
    let method = if is_to_head { "HEAD" } else { "GET" };
    let request = Request::builder()
        .method(method)
        .uri("/")
        .header("host", "a");
    let request = request.body(Empty::new()).unwrap();
    let mut asking = pin!(async {
        let Ok(response) = sender.send_request(request).await else {
            taken.borrow_mut().how = How::Failed;
            return;
        };
        let (parts, mut body) = response.into_parts();
        let is_http_10 = parts.version == http::Version::HTTP_10;
        taken.borrow_mut().head = Some((parts.status.as_u16(), is_http_10, listed(&parts.headers)));
        loop {
            let frame = body.frame().await;
            let mut taken = taken.borrow_mut();
            match frame {
                None => {
                    taken.how = How::Whole;
                    break;
                }
                Some(Err(_)) => {
                    taken.how = How::Failed;
                    break;
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => taken.content.extend_from_slice(&data),
                    Err(frame) => taken.trailers = frame.trailers_ref().map_or(vec![], listed),
                },
            }
        }
        let is_ready = std::future::poll_fn(|cx| sender.poll_ready(cx)).await;
        is_reusable.set(is_ready.is_ok());
    });
    let (mut is_connected, polls) = (true, 10 + pieces.concat().len());
    for _ in 0..polls {
        if is_connected && connection.as_mut().poll(&mut cx).is_ready() {
            is_connected = false;
        }
        if asking.as_mut().poll(&mut cx).is_ready() {
            break;
        }
    }
    let mut taken = taken.borrow().clone();
    taken.is_reusable = is_reusable.get() && is_connected;
    taken
}

/// What came of the comparisons.
#[derive(Debug, Default)]
struct Count {
    inputs: u64,
    both: u64,
    stricter: u64,
    reusable: u64,
}

fn compare(pieces: &[&[u8]], is_to_head: bool, then: Then, count: &mut Count) {
    let our = ours(pieces, is_to_head, then);
    let their = theirs(pieces, is_to_head, then);
    let told = || {
        let bytes = pieces.concat();
        let cuts: Vec<_> = pieces.iter().map(|piece| piece.len()).collect();
        let text = bytes.escape_ascii();
        format!(
            "{text}\nto HEAD: {is_to_head}, then {then:?}, cut as {cuts:?}\nours {our:?}\ntheirs {their:?}"
        )
    };
    count.inputs += 1;
    if our.head.is_some() {
        assert_eq!(our.head, their.head, "another head: {}", told());
    }
    match our.how {
        How::Whole => {
            assert_eq!(their.how, How::Whole, "only ours ends: {}", told());
            assert_eq!(our.content, their.content, "other content: {}", told());
            assert_eq!(our.trailers, their.trailers, "other trailers: {}", told());
            count.both += 1;
        }
        How::Open => {
            assert_ne!(their.how, How::Whole, "only theirs ends: {}", told());
            assert_eq!(our.content, their.content, "other content: {}", told());
        }
        How::Failed => {
            count.stricter += u64::from(their.how == How::Whole);
            assert!(
                their.content.starts_with(&our.content) || their.how != How::Whole,
                "{}",
                told()
            );
        }
    }
    if our.is_reusable && then == Then::Silence {
        assert!(their.is_reusable, "only we use it again: {}", told());
        count.reusable += 1;
    }
}

const STATUSES: &[&str] = &[
    "HTTP/1.1 200 OK",
    "HTTP/1.1 200 OK",
    "HTTP/1.1 404 Not Found",
    "HTTP/1.1 204 No",
    "HTTP/1.1 304 Not Modified",
    "HTTP/1.0 200 OK",
    "HTTP/1.1 100 Continue",
    "HTTP/1.1 103 Early Hints",
    "HTTP/1.1 101 Switching",
    "HTTP/1.1 200",
    "HTTP/1.1 200 ",
    "HTTP/1.1 099 X",
    "HTTP/1.1 999 X",
    "HTTP/1.1 2000 X",
    "HTTP/1.2 200 OK",
    "HTTP/2.0 200 OK",
    "http/1.1 200 OK",
    "HTTP/1.1  200 OK",
    "HTTP/1.1 200 \u{e9}",
    "HTTP/1.1 200 O\rK",
    "",
    "HTTP/1.1 205 Reset",
];
const LINES: &[&str] = &[
    "Content-Length: 0",
    "Content-Length: 3",
    "content-length: 3",
    "Content-Length: 3, 3",
    "Content-Length: 3, 4",
    "Content-Length: +3",
    "Content-Length: 03",
    "Content-Length: 0x3",
    "Content-Length:\t3",
    "Content-Length : 3",
    "Content-Length: -1",
    "Content-Length: 3;",
    "Content-Length: 3,",
    "Content-Length:",
    "Content-Length: 12",
    "Content-Length:\r\n 3",
    "Content-Length: 1\r\n 2",
    "Content-Length: 18446744073709551615",
    "Content-Length: 18446744073709551613",
    "Content-Length: 99999999999999999999",
    "Transfer-Encoding: chunked",
    "transfer-encoding:Chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding:\r\n\tchunked",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding:",
    "Transfer-Encoding: ,chunked",
    "Transfer-Encoding: chunked,",
    "Connection: close",
    "Connection: keep-alive",
    "Connection: close, x",
    "Connection: x,Close",
    "Connection: upgrade",
    "Connection: content-length",
    "Connection: \"close\"",
    "Connection:\r\n close",
    "Keep-Alive: timeout=5",
    "Upgrade: websocket",
    "Trailer: X-Sum",
    "X-A: b",
    "X-A: b\t ",
    "X-A:",
    "X-A: b\r\n c",
    "X-A: b\n c",
    "X-A:\r\n \r\n c",
    "X-A: b\r\n \r\n",
    " X-A: b",
    "X-A: b\0",
    "X-A: b\rc",
    "X A: b",
    ": b",
    "X-A",
    "X-A : b",
    "X-\u{e9}: b",
    "X-A: \u{e9}",
    "X-A: \x7f",
    "Date: x",
];
const CONTENTS: &[&str] = &[
    "",
    "abc",
    "abcdef",
    "3\r\nabc\r\n0\r\n\r\n",
    "3;x=y\r\nabc\r\n0\r\n\r\n",
    "3 \r\nabc\r\n0\r\n\r\n",
    "3\t ;x\r\nabc\r\n0\r\n\r\n",
    "03\r\nabc\r\n000\r\n\r\n",
    "0\r\nX-Sum: 1\r\nY: \r\n\r\n",
    "3\nabc\n0\n\n",
    "3\r\nabcd\r\n0\r\n\r\n",
    "0x3\r\nabc\r\n0\r\n\r\n",
    "ffffffffffffffff\r\nabc",
    "3;\n\r\nabc\r\n0\r\n\r\n",
    "-3\r\nabc\r\n0\r\n\r\n",
    "3\r\nabc\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "3\r\nabc0\r\n\r\n",
    "A\r\n0123456789\r\n0\r\n\r\n",
    "0\r\n\r\n",
    "\r\n",
    "0\r\nX: a\r\n b\r\n\r\n",
    "0\r\nX : 1\r\n\r\n",
    "2\r\n\r\n\r\n0\r\n\r\n",
    "abcHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
];
const BYTES: &[u8] = b"\r\n \t:;,/0135aA\"\0\x0b\x0c\x7f\x80\xff";

/// A response or two, well made or not, somewhat mangled.
fn any_response(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..1 + dice.below(4) / 3 {
        let statuses = if dice.below(3) > 0 { 6 } else { STATUSES.len() };
        bytes.extend(STATUSES[dice.below(statuses)].bytes());
        bytes.extend(b"\r\n");
        for _ in 0..dice.below(4) {
            bytes.extend(LINES[dice.below(LINES.len())].bytes());
            bytes.extend(b"\r\n");
        }
        let framing = dice.below(3);
        bytes.extend(
            [
                "",
                "Content-Length: 3\r\n",
                "Transfer-Encoding: chunked\r\n",
            ][framing]
                .bytes(),
        );
        bytes.extend(b"\r\n");
        match (framing, dice.below(2)) {
            (1, 0) => bytes.extend(b"abc"),
            (2, 0) => bytes.extend(b"3\r\nabc\r\n0\r\n\r\n"),
            _ => bytes.extend(CONTENTS[dice.below(CONTENTS.len())].bytes()),
        }
    }
    dice.mangle(&mut bytes, BYTES);
    bytes
}

fn run(seed: u64, inputs: u64) -> Count {
    let mut dice = Dice::new(seed);
    let mut count = Count::default();
    while count.inputs < inputs {
        let bytes = any_response(&mut dice);
        let is_to_head = dice.below(6) == 0;
        let (first, second) = bytes.split_at(dice.below(bytes.len() + 1));
        for then in [Then::End, Then::Silence] {
            compare(&[&bytes], is_to_head, then, &mut count);
            compare(&[first, second], is_to_head, then, &mut count);
        }
    }
    count
}

/// `INPUTS` and `SEED` in the environment let it run for longer.
#[test]
fn a_response_means_the_same_here_as_to_hyper() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let count = run(
        number("SEED").unwrap_or(1),
        number("INPUTS").unwrap_or(20_000),
    );
    assert!(count.both > count.inputs / 10, "{count:?}");
    assert!(count.stricter > count.inputs / 100, "{count:?}");
    assert!(count.reusable > count.inputs / 200, "{count:?}");
    println!("{count:?}");
}
