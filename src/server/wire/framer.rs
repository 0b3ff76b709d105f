//! Strings the messages of an HTTP/1 connection together: head, content, head.
//!
//! Pure: bytes in, what they are out; the socket is the session's. A head passes
//! whole or not at all, content passes as it comes.

use http::HeaderMap;

use super::head::{self, Framing, Message};
use crate::message::chunked::{Chunked, Found, Then, is_token};
use crate::server::Problem;

/// Empty lines taken (and dropped) before a request line (RFC 9112, section
/// 2.2); past it `400`.
const EMPTY_LINES_MAX: u8 = 4;

/// Bounds on a head.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Bounds {
    /// Request line and fields together; past it `431`.
    pub(in crate::server) head_bytes_max: usize,
    /// Request target; past it `414`.
    pub(in crate::server) target_bytes_max: usize,
}

/// What the bytes at hand begin with, where a message begins.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::server) enum Step {
    /// An empty line of so many bytes, which means nothing.
    Drop(usize),
    /// A head of so many bytes.
    Head(usize, Message),
    /// Part of a head: nothing until there are more.
    More,
    /// A request that is refused: nothing after it is looked at.
    Refuse(Problem),
}

/// Is shown a head that was checked, and what it parsed to.
pub(in crate::server) type See<'a> = dyn FnMut(&[u8], &httparse::Request<'_, '_>, Message) + 'a;

/// Follows one connection.
#[derive(Debug)]
pub(in crate::server) struct Framer {
    bounds: Bounds,
    state: State,
    /// Of the content that ended last.
    trailers: Option<Box<HeaderMap>>,
}

#[derive(Debug)]
enum State {
    Head(Scan),
    Counted(u64),
    Chunked(Chunked),
    /// Refused, or broken: nothing follows.
    Over,
}

/// How far an incomplete head has been looked through.
#[derive(Debug, Default)]
struct Scan {
    /// Bytes looked through.
    scanned: usize,
    /// Where the line under way begins.
    line: usize,
    /// Empty lines dropped before the head.
    empty_lines: u8,
}

impl Framer {
    pub(in crate::server) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            state: State::Head(Scan::default()),
            trailers: None,
        }
    }

    /// The trailers of the content that ended last, once.
    pub(in crate::server) fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take().map(|trailers| *trailers)
    }

    /// Whether the next byte belongs to a request's content.
    pub(in crate::server) fn is_in_content(&self) -> bool {
        matches!(self.state, State::Counted(_) | State::Chunked(_))
    }

    /// Whether nothing that follows is looked at.
    pub(in crate::server) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Refuses the request whose head is under way.
    pub(in crate::server) fn refuse(&mut self) {
        self.state = State::Over;
    }

    /// Looks at `bytes` where a message begins: those since its beginning, in
    /// the order they came. A head that is complete and passes is shown to
    /// `see`.
    pub(in crate::server) fn step(&mut self, bytes: &[u8], see: &mut See<'_>) -> Step {
        let State::Head(scan) = &mut self.state else {
            return Step::More;
        };
        let judged = match scan.look(bytes, self.bounds) {
            Ok(Look::More) => return Step::More,
            Ok(Look::EmptyLine) => return Step::Drop(2),
            Ok(Look::Complete(length)) => {
                let head = &bytes[..length];
                let mut see = |request: &httparse::Request<'_, '_>, message| {
                    see(head, request, message);
                };
                head::check(head, &mut see).map(|message| (length, message))
            }
            Err(problem) => Err(problem),
        };
        match judged {
            Ok((length, message)) => {
                self.state = match message.framing {
                    Framing::Counted(0) => State::Head(Scan::default()),
                    Framing::Counted(length) => State::Counted(length),
                    Framing::Chunked => State::Chunked(Chunked::of_request()),
                };
                Step::Head(length, message)
            }
            Err(problem) => {
                self.refuse();
                Step::Refuse(problem)
            }
        }
    }

    /// Follows the content of the message under way through `bytes`, giving
    /// each piece of it to `take`.
    pub(in crate::server) fn content(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(&[u8]),
    ) -> Found {
        let found = match &mut self.state {
            State::Counted(left) => {
                let here = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                take(&bytes[..here]);
                *left -= here as u64;
                Found {
                    passed: here,
                    then: if *left == 0 { Then::End } else { Then::More },
                }
            }
            State::Chunked(chunked) => chunked.take_content(bytes, take),
            State::Head(_) | State::Over => Found {
                passed: 0,
                then: Then::Malformed,
            },
        };
        match found.then {
            Then::More => {}
            Then::End => {
                if let State::Chunked(chunked) = &self.state {
                    self.trailers = chunked.trailers().map(Box::new);
                }
                self.state = State::Head(Scan::default());
            }
            Then::Malformed => self.state = State::Over,
        }
        found
    }
}

enum Look {
    More,
    EmptyLine,
    Complete(usize),
}

impl Scan {
    /// Looks for the end of the head, line by line, each byte once.
    fn look(&mut self, bytes: &[u8], bounds: Bounds) -> Result<Look, Problem> {
        if bytes.starts_with(b"\r\n") {
            self.empty_lines += 1;
            return if self.empty_lines <= EMPTY_LINES_MAX {
                Ok(Look::EmptyLine)
            } else {
                Err(Problem::bad_request("There is no request line."))
            };
        }
        if bytes
            .first()
            .is_some_and(|&byte| !is_token(byte) && byte != b'\r')
        {
            return Err(Problem::bad_request("The request line is not valid."));
        }
        while let Some(distance) = memchr::memchr(b'\n', &bytes[self.scanned..]) {
            let lf = self.scanned + distance;
            let is_crlf = lf > 0 && bytes[lf - 1] == b'\r';
            // The bounds first, which may have been passed before the line's
            // end came: what is said does not depend on when bytes arrive.
            if self.line == 0 {
                let end = if is_crlf { lf - 1 } else { lf };
                check_target_length(&bytes[..end], bounds.target_bytes_max)?;
            }
            check_head_length(lf + 1, bounds.head_bytes_max)?;
            if !is_crlf {
                return Err(Problem::bad_request("A line does not end in CRLF."));
            }
            let is_empty_line = lf - self.line == 1;
            self.scanned = lf + 1;
            self.line = lf + 1;
            if is_empty_line {
                return Ok(Look::Complete(lf + 1));
            }
        }
        self.scanned = bytes.len();
        if self.line == 0 {
            // The version that is still to come is not the target's.
            let slack = bounds.target_bytes_max.saturating_add(" HTTP/1.1\r".len());
            check_target_length(bytes, slack)
                .map_err(|_| Problem::target_too_long(bounds.target_bytes_max))?;
        }
        check_head_length(bytes.len(), bounds.head_bytes_max)?;
        Ok(Look::More)
    }
}

/// Of a request line, or of as much of it as there is.
fn check_target_length(line: &[u8], bytes_max: usize) -> Result<(), Problem> {
    let target = line.splitn(3, |&byte| byte == b' ').nth(1).unwrap_or(&[]);
    if target.len() <= bytes_max {
        Ok(())
    } else {
        Err(Problem::target_too_long(bytes_max))
    }
}

fn check_head_length(length: usize, bytes_max: usize) -> Result<(), Problem> {
    if length <= bytes_max {
        Ok(())
    } else {
        Err(Problem::head_too_large(bytes_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        head_bytes_max: 200,
        target_bytes_max: 50,
    };

    fn step(framer: &mut Framer, bytes: &[u8]) -> Step {
        framer.step(bytes, &mut |_, _, _| {})
    }

    /// How many bytes of content there are, and how it goes on.
    fn content(framer: &mut Framer, bytes: &[u8]) -> (usize, Then) {
        let found = framer.content(bytes, |_| {});
        (found.passed, found.then)
    }

    fn refused(bytes: &[u8]) -> u16 {
        match step(&mut Framer::new(BOUNDS), bytes) {
            Step::Refuse(problem) => problem.status.as_u16(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_head_passes_whole_and_its_content_as_it_comes() {
        let mut framer = Framer::new(BOUNDS);
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(step(&mut framer, &head[..20]), Step::More);
        assert!(matches!(step(&mut framer, head), Step::Head(length, _) if length == head.len()));
        assert_eq!(content(&mut framer, b"x"), (1, Then::More));
        assert_eq!(content(&mut framer, b"xxGET"), (2, Then::End));
        assert_eq!(step(&mut framer, b"GET"), Step::More);
    }

    #[test]
    fn bounds_hold_before_the_head_is_complete() {
        let target = format!("GET /{}", "x".repeat(70));
        assert_eq!(refused(target.as_bytes()), 414);
        let head = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(300));
        assert_eq!(refused(head.as_bytes()), 431);
    }

    #[test]
    fn bounds_hold_to_the_byte() {
        let target = |length: usize| {
            format!(
                "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
                "x".repeat(length - 1)
            )
        };
        assert_eq!(refused(target(51).as_bytes()), 414);
        let longest = target(50);
        let passed = step(&mut Framer::new(BOUNDS), longest.as_bytes());
        assert!(matches!(passed, Step::Head(length, _) if length == longest.len()));
    }

    #[test]
    fn a_bound_says_the_same_before_and_after_the_end_of_a_line() {
        for (line, status) in [
            (format!("GET /{}\n", "x".repeat(70)), 414),
            (format!("GET / HTTP/1.1\r\nX: {}\n", "x".repeat(300)), 431),
        ] {
            assert_eq!(refused(line.as_bytes()), status);
            assert_eq!(refused(line.trim_end().as_bytes()), status);
        }
    }

    #[test]
    fn what_cannot_become_a_request_line_is_refused_at_once() {
        assert_eq!(refused(b"\x16\x03\x01"), 400);
        assert_eq!(refused(b"\n"), 400);
        assert_eq!(refused(b" GET / HTTP/1.1"), 400);
        assert_eq!(refused(b"GET / HTTP/1.1\n"), 400);
    }

    #[test]
    fn a_few_empty_lines_before_a_request_are_dropped() {
        let mut framer = Framer::new(BOUNDS);
        for _ in 0..EMPTY_LINES_MAX {
            assert_eq!(step(&mut framer, b"\r\n"), Step::Drop(2));
        }
        assert!(matches!(step(&mut framer, b"\r\n"), Step::Refuse(_)));
    }

    #[test]
    fn broken_chunks_stop_everything() {
        let mut framer = Framer::new(BOUNDS);
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(matches!(step(&mut framer, head), Step::Head(..)));
        assert_eq!(content(&mut framer, b"1\r\naGET"), (4, Then::Malformed));
        assert!(framer.is_over());
        assert_eq!(content(&mut framer, b"GET"), (0, Then::Malformed));
        assert_eq!(step(&mut framer, b"GET / HTTP/1.1\r\n\r\n"), Step::More);
    }
}
