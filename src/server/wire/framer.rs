//! Strings the messages of an HTTP/1 connection together: head, content, head.
//!
//! Pure: bytes in, what may be done with them out; the socket is the guard's.
//! A head passes whole or not at all, content passes as it comes.

use super::head::{self, Framing};
use crate::message::chunked::{Chunked, Then, is_token};
use crate::proxy::Plain;
use crate::server::Problem;

/// Empty lines taken (and dropped) before a request line (RFC 9112, section
/// 2.2); past it `400`.
const EMPTY_LINES_MAX: u8 = 4;

/// Bounds on a head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Request line and fields together; past it `431`.
    pub(super) head_bytes_max: usize,
    /// Request target; past it `414`.
    pub(super) target_bytes_max: usize,
}

/// What may be done with the bytes at hand.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// So many from the front pass.
    Pass(usize),
    /// So many from the front are dropped.
    Drop(usize),
    /// So many from the front are a request that has been answered.
    Answered(usize),
    /// Nothing until there are more.
    More,
    /// Nothing until the response has decided which protocol they are in.
    Switch,
    /// Nothing any more: the request they begin is refused.
    Refuse(Problem),
    /// Nothing any more: they break the framing of the content under way.
    Broken,
}

/// Follows one connection.
#[derive(Debug)]
pub(super) struct Framer {
    bounds: Bounds,
    state: State,
    /// Heads seen but for those answered at once, refused ones included: the
    /// ordinal of the request under way.
    heads: u64,
    /// Whether the request under way offered to switch protocols.
    switch: bool,
}

#[derive(Debug)]
enum State {
    Head(Scan),
    Counted(u64),
    Chunked(Chunked),
    Switching,
    Refused,
    Broken,
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
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            state: State::Head(Scan::default()),
            heads: 0,
            switch: false,
        }
    }

    /// Heads seen so far.
    pub(super) fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether the next byte belongs to a head.
    pub(super) fn is_in_head(&self) -> bool {
        matches!(self.state, State::Head(_))
    }

    /// Whether the next byte belongs to a request's content.
    pub(super) fn is_in_content(&self) -> bool {
        matches!(self.state, State::Counted(_) | State::Chunked(_))
    }

    /// Whether the next byte waits for a response to decide.
    pub(super) fn is_switching(&self) -> bool {
        matches!(self.state, State::Switching)
    }

    /// Refuses the request whose head is under way.
    pub(super) fn refuse(&mut self) {
        self.heads += 1;
        self.state = State::Refused;
    }

    /// Looks at `bytes`: those that did not pass yet, in the order they came.
    #[cfg(test)]
    pub(super) fn step(&mut self, bytes: &[u8]) -> Step {
        self.step_or_answer(bytes, &mut |_| false)
    }

    /// The same, showing plain requests to `answer` first, which says whether
    /// it has answered them.
    pub(super) fn step_or_answer(
        &mut self,
        bytes: &[u8],
        answer: &mut dyn FnMut(&Plain<'_>) -> bool,
    ) -> Step {
        match &mut self.state {
            State::Head(scan) => match scan.look(bytes, self.bounds) {
                Ok(Look::More) => Step::More,
                Ok(Look::EmptyLine) => Step::Drop(2),
                Ok(Look::Complete(length)) => self.judge(&bytes[..length], answer),
                Err(problem) => {
                    self.refuse();
                    Step::Refuse(problem)
                }
            },
            State::Counted(left) => {
                let here = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                *left -= here as u64;
                if *left == 0 {
                    self.end_message();
                }
                Step::Pass(here)
            }
            State::Chunked(chunked) => {
                let found = chunked.follow(bytes);
                match found.then {
                    Then::More => {}
                    Then::End => self.end_message(),
                    Then::Malformed => self.state = State::Broken,
                }
                Step::Pass(found.passed)
            }
            State::Switching => Step::Switch,
            State::Refused => Step::More,
            State::Broken => Step::Broken,
        }
    }

    fn judge(&mut self, head: &[u8], answer: &mut dyn FnMut(&Plain<'_>) -> bool) -> Step {
        match head::check(head, answer) {
            Ok(message) if message.is_answered => {
                self.state = State::Head(Scan::default());
                Step::Answered(head.len())
            }
            Ok(message) => {
                self.heads += 1;
                self.switch = message.switch;
                match message.framing {
                    Framing::Counted(0) => self.end_message(),
                    Framing::Counted(length) => self.state = State::Counted(length),
                    Framing::Chunked => self.state = State::Chunked(Chunked::of_request()),
                }
                Step::Pass(head.len())
            }
            Err(problem) => {
                self.refuse();
                Step::Refuse(problem)
            }
        }
    }

    fn end_message(&mut self) {
        self.state = if self.switch {
            State::Switching
        } else {
            State::Head(Scan::default())
        };
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

    fn refused(bytes: &[u8]) -> u16 {
        match Framer::new(BOUNDS).step(bytes) {
            Step::Refuse(problem) => problem.status.as_u16(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_head_passes_whole_and_its_content_as_it_comes() {
        let mut framer = Framer::new(BOUNDS);
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(framer.step(&head[..20]), Step::More);
        assert_eq!(framer.step(head), Step::Pass(head.len()));
        assert_eq!(framer.step(b"x"), Step::Pass(1));
        assert_eq!(framer.step(b"xxGET"), Step::Pass(2));
        assert_eq!(framer.step(b"GET"), Step::More);
        assert_eq!(framer.heads(), 1);
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
        assert_eq!(
            Framer::new(BOUNDS).step(longest.as_bytes()),
            Step::Pass(longest.len())
        );
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
            assert_eq!(framer.step(b"\r\n"), Step::Drop(2));
        }
        assert!(matches!(framer.step(b"\r\n"), Step::Refuse(_)));
    }

    #[test]
    fn after_an_offer_to_switch_nothing_passes() {
        let mut framer = Framer::new(BOUNDS);
        let head = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(framer.step(head), Step::Pass(head.len()));
        assert_eq!(framer.step(b"GET / HTTP/1.1\r\n"), Step::Switch);
    }

    #[test]
    fn broken_chunks_stop_everything() {
        let mut framer = Framer::new(BOUNDS);
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(framer.step(head), Step::Pass(head.len()));
        assert_eq!(framer.step(b"1\r\naGET"), Step::Pass(4));
        assert_eq!(framer.step(b"GET"), Step::Broken);
    }
}
