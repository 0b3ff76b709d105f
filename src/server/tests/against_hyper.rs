//! What a client's bytes mean here, held against what hyper's server makes of
//! them: two readers that disagree about where a request ends are how requests
//! are smuggled.
//!
//! | where the two differ | why |
//! |---|---|
//! | we refuse, hyper does not | the grammar of `wire` is the stricter one |
//! | hyper does not take some targets with `"`, `<`, `>` or a backtick | we encode these bytes (`as_uri`), for everyone who decodes a target the same |
//!
//! All else is a failure: method, target, version, fields, content, trailers,
//! and where the next request begins.

use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::rt::ReadBufCursor;
use hyper::service::service_fn;

use super::any_requests::{CONTENTS, any_requests};
use crate::message::chunked::Then;
use crate::message::samples::Dice;
use crate::server::wire::{Bounds, Framer, Step, as_uri, has_unsafe_bytes};

const BOUNDS: Bounds = Bounds {
    head_bytes_max: 16 * 1024,
    target_bytes_max: 4 * 1024,
};

/// A request as somebody read it.
#[derive(Clone, Debug, Default)]
struct Taken {
    method: String,
    target: String,
    is_http_11: bool,
    fields: Vec<(String, Vec<u8>)>,
    content: Vec<u8>,
    trailers: Vec<(String, Vec<u8>)>,
    end: End,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    /// It has not come.
    #[default]
    Open,
    Whole,
    Failed,
}

fn listed(map: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let fields = map.iter();
    let fields = fields.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
    let mut fields: Vec<_> = fields.collect();
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    fields
}

/// What the framer makes of bytes that come in these pieces, up to a request
/// after which the connection ends.
fn ours(pieces: &[&[u8]]) -> Vec<Taken> {
    let mut framer = Framer::new(BOUNDS);
    let mut taken: Vec<Taken> = Vec::new();
    let mut held = Vec::new();
    let mut is_last = false;
    for piece in pieces {
        held.extend_from_slice(piece);
        loop {
            if framer.is_over() {
                return taken;
            }
            if framer.is_in_content() {
                let Some(open) = taken.last_mut() else {
                    panic!("content before a head");
                };
                let found = framer.content(&held, |piece| open.content.extend_from_slice(piece));
                held.drain(..found.passed);
                match found.then {
                    Then::More => break,
                    Then::Malformed => open.end = End::Failed,
                    Then::End => {
                        open.end = End::Whole;
                        open.trailers = framer.take_trailers().as_ref().map_or(vec![], listed);
                    }
                }
                continue;
            }
            if is_last || held.is_empty() {
                break;
            }
            let mut next = None;
            let step = framer.step(&held, &mut |_, parsed, _| {
                let mut fields: Vec<_> = parsed
                    .headers
                    .iter()
                    .map(|field| (field.name.to_ascii_lowercase(), field.value.to_vec()))
                    .collect();
                fields.sort_by(|one, other| one.0.cmp(&other.0));
                next = Some(Taken {
                    method: parsed.method.unwrap_or_default().to_owned(),
                    target: parsed.path.unwrap_or_default().to_owned(),
                    is_http_11: parsed.version == Some(1),
                    fields,
                    ..Taken::default()
                });
            });
            match step {
                Step::Drop(count) => drop(held.drain(..count)),
                Step::Head(count, message) => {
                    held.drain(..count);
                    let mut next = next.expect("a head that passes is shown");
                    if !framer.is_in_content() {
                        next.end = End::Whole;
                    }
                    is_last = !message.keeps_alive;
                    taken.push(next);
                }
                Step::More => break,
                Step::Refuse(_) => return taken,
            }
        }
    }
    taken
}

/// A connection on which pieces come, one a read, and then the end.
struct Script<'a> {
    pieces: &'a [&'a [u8]],
    at: usize,
}

impl hyper::rt::Read for Script<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
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
            break;
        }
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Script<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What hyper's server makes of the same.
fn theirs(pieces: &[&[u8]]) -> Vec<Taken> {
    let taken = Rc::new(RefCell::new(Vec::<Taken>::new()));
    let service = service_fn(|request: Request<Incoming>| {
        let taken = Rc::clone(&taken);
        async move {
            let (parts, mut body) = request.into_parts();
            let at = taken.borrow().len();
            taken.borrow_mut().push(Taken {
                method: parts.method.to_string(),
                target: parts.uri.to_string(),
                is_http_11: parts.version == http::Version::HTTP_11,
                fields: listed(&parts.headers),
                ..Taken::default()
            });
            loop {
                let frame = body.frame().await;
                let mut taken = taken.borrow_mut();
                let open = &mut taken[at];
                match frame {
                    None => {
                        open.end = End::Whole;
                        break;
                    }
                    Some(Err(_)) => {
                        open.end = End::Failed;
                        break;
                    }
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => open.content.extend_from_slice(&data),
                        Err(frame) => {
                            open.trailers = frame.trailers_ref().map_or(vec![], listed);
                        }
                    },
                }
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server.half_close(true).header_read_timeout(None);
    {
        let connection = server.serve_connection(Script { pieces, at: 0 }, service);
        let mut connection = pin!(connection);
        let mut cx = Context::from_waker(Waker::noop());
        let polls = 10 + pieces.iter().map(|piece| piece.len()).sum::<usize>();
        (0..polls).find(|_| connection.as_mut().poll(&mut cx).is_ready());
    }
    taken.take()
}

/// How much of some bytes both readers took.
#[derive(Debug, Default)]
struct Count {
    inputs: u64,
    /// Requests that were taken whole by both.
    both: u64,
    /// Inputs of which we took less.
    stricter: u64,
    /// Requests that only we take, for the reasons told above.
    explained: u64,
}

/// Compares the two.
fn compare(pieces: &[&[u8]], count: &mut Count) {
    let (ours, theirs) = (ours(pieces), theirs(pieces));
    let told = || {
        let bytes = pieces.concat();
        let cuts: Vec<_> = pieces.iter().map(|piece| piece.len()).collect();
        let text = bytes.escape_ascii();
        format!("{text}\ncut as {cuts:?}\nours {ours:#?}\ntheirs {theirs:#?}")
    };
    count.inputs += 1;
    for (at, our) in ours.iter().enumerate() {
        let Some(their) = theirs.get(at) else {
            let target = our.target.as_bytes();
            assert!(has_unsafe_bytes(target), "only we take it: {}", told());
            assert!(as_uri(target).is_ok());
            count.explained += 1;
            return;
        };
        let is_same = our.method == their.method
            && our.is_http_11 == their.is_http_11
            && our.fields == their.fields;
        assert!(is_same, "another head: {}", told());
        let uri = |taken: &Taken| as_uri(taken.target.as_bytes()).unwrap();
        assert_eq!(uri(our), uri(their), "another target: {}", told());
        match our.end {
            End::Whole => {
                assert_eq!(their.end, End::Whole, "only ours ends: {}", told());
                assert_eq!(our.content, their.content, "other content: {}", told());
                assert_eq!(our.trailers, their.trailers, "other trailers: {}", told());
                count.both += 1;
            }
            End::Open => {
                assert_ne!(their.end, End::Whole, "only theirs ends: {}", told());
                assert_eq!(our.content, their.content, "other content: {}", told());
            }
            End::Failed => {
                assert!(their.content.starts_with(&our.content), "{}", told());
            }
        }
    }
    let is_stricter = |our: &Taken| our.end == End::Failed;
    count.stricter += u64::from(ours.len() < theirs.len() || ours.last().is_some_and(is_stricter));
}

fn run(seed: u64, inputs: u64) -> Count {
    let mut dice = Dice::new(seed);
    let mut count = Count::default();
    while count.inputs < inputs {
        let bytes = any_requests(&mut dice);
        compare(&[&bytes], &mut count);
        let cut = dice.below(bytes.len() + 1);
        let (first, second) = bytes.split_at(cut);
        compare(&[first, second], &mut count);
    }
    count
}

/// `INPUTS` and `SEED` in the environment let it run for longer.
#[test]
fn a_request_means_the_same_here_as_to_hyper() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let count = run(
        number("SEED").unwrap_or(1),
        number("INPUTS").unwrap_or(40_000),
    );
    assert!(count.both > count.inputs / 10, "{count:?}");
    assert!(count.stricter > count.inputs / 100, "{count:?}");
    println!("{count:?}");
}

#[test]
fn bytes_cut_anywhere_mean_the_same_here_as_to_hyper() {
    let mut count = Count::default();
    for framing in ["Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n"] {
        for content in CONTENTS {
            let bytes = format!(
                "POST /a HTTP/1.1\r\nHost: a\r\n{framing}\r\n{content}GET /b HTTP/1.1\r\nHost: a\r\n\r\n"
            );
            for cut in 0..bytes.len() {
                let (first, second) = bytes.as_bytes().split_at(cut);
                compare(&[first, second], &mut count);
            }
        }
    }
    assert!(count.both > count.inputs / 2, "{count:?}");
}
