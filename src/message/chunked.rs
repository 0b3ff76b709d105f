//! Follows a chunked body (RFC 9112, section 7.1) to its end, strictly.
//!
//! Passes content through untouched; only finds where it ends. No leniency
//! towards a client: CRLF and nothing else ends a line, a size is hexadecimal
//! digits and nothing else, and what may surround content without being content
//! (extensions, trailer fields) is bounded. An origin may put spaces after a
//! size, as some have always done.

use std::ops::Range;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Digits of one chunk size: fifteen, so that a size never overflows.
const SIZE_DIGITS_MAX: u8 = 15;
/// Bytes of all chunk extensions of one body.
const EXTENSION_BYTES_MAX: u32 = 4 * 1024;
/// Bytes of the trailer section.
const TRAILER_BYTES_MAX: u32 = 8 * 1024;
/// Trailer fields of one body; more are dropped.
const TRAILERS_MAX: usize = 100;

/// Where in a chunked body the next byte stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunked {
    state: State,
    /// Of this chunk, so far; then what is left of its content.
    size: u64,
    digits: u8,
    extension_bytes: u32,
    trailer_bytes: u32,
    /// The lines of the trailer section, as far as they came.
    trailers: Vec<u8>,
    /// Whether spaces may follow a size.
    allows_spaces: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    SizeSpaces,
    Extension,
    SizeLf,
    Content,
    ContentCr,
    ContentLf,
    /// At the start of a line of the trailer section.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    End,
    Malformed,
}

/// What was found in some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// So many bytes from the front belong to the body and are well-formed.
    pub passed: usize,
    /// How it goes on after them.
    pub then: Then,
}

/// One step through a body.
enum Step {
    /// Content, as far as it goes on.
    Content(Range<usize>),
    Over(Found),
}

/// How a body goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// With more bytes.
    More,
    /// Not at all: it ended.
    End,
    /// With a byte that must not be there.
    Malformed,
}

impl Chunked {
    /// Before the first byte of a request's body.
    #[must_use]
    pub fn of_request() -> Self {
        Self {
            state: State::Size,
            size: 0,
            digits: 0,
            extension_bytes: 0,
            trailer_bytes: 0,
            trailers: Vec::new(),
            allows_spaces: false,
        }
    }

    /// Before the first byte of a response's body.
    #[must_use]
    pub fn of_response() -> Self {
        Self {
            allows_spaces: true,
            ..Self::of_request()
        }
    }

    /// Moves the content in `bytes` together, so that nothing but content is
    /// between its first byte and its last: where it stands then, and what was
    /// found.
    pub fn gather(&mut self, bytes: &mut [u8]) -> (Range<usize>, Found) {
        let mut content = 0..0;
        let mut passed = 0;
        loop {
            match self.step(bytes, passed) {
                Step::Content(piece) if content.is_empty() => {
                    passed = piece.end;
                    content = piece;
                }
                Step::Content(piece) => {
                    passed = piece.end;
                    let length = piece.len();
                    bytes.copy_within(piece, content.end);
                    content.end += length;
                }
                Step::Over(found) => return (content, found),
            }
        }
    }

    /// Follows the body through `bytes`.
    pub fn follow(&mut self, bytes: &[u8]) -> Found {
        self.take_content(bytes, |_| {})
    }

    /// The same, giving each piece of content to `take`.
    pub fn take_content(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8])) -> Found {
        let mut passed = 0;
        loop {
            match self.step(bytes, passed) {
                Step::Content(piece) => {
                    passed = piece.end;
                    take(&bytes[piece]);
                }
                Step::Over(found) => return found,
            }
        }
    }

    /// The trailer fields, once the body has ended; `None` where there are none
    /// or they cannot be read.
    #[must_use]
    pub fn trailers(&self) -> Option<HeaderMap> {
        if self.trailers.is_empty() {
            return None;
        }
        let section = [&*self.trailers, b"\r\n"].concat();
        let mut fields = [httparse::EMPTY_HEADER; TRAILERS_MAX];
        let Ok(httparse::Status::Complete((_, parsed))) =
            httparse::parse_headers(&section, &mut fields)
        else {
            return None;
        };
        let mut trailers = HeaderMap::new();
        for field in parsed {
            let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
            let value = HeaderValue::from_bytes(field.value).ok()?;
            trailers.append(name, value);
        }
        Some(trailers)
    }

    /// Goes on behind `passed` bytes to the end of the next piece of content.
    fn step(&mut self, bytes: &[u8], mut passed: usize) -> Step {
        while let Some(&byte) = bytes.get(passed) {
            if self.state == State::Content {
                let here = usize::try_from(self.size)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len() - passed);
                self.size -= here as u64;
                if self.size == 0 {
                    self.state = State::ContentCr;
                }
                return Step::Content(passed..passed + here);
            }
            let was = self.state;
            self.state = self.after(byte);
            let then = match self.state {
                State::Malformed => Then::Malformed,
                State::End => {
                    passed += 1;
                    Then::End
                }
                State::TrailerName | State::TrailerValue | State::TrailerLf => {
                    self.trailers.push(byte);
                    passed += 1;
                    continue;
                }
                State::Trailer => {
                    if was == State::TrailerLf {
                        self.trailers.push(byte);
                    }
                    passed += 1;
                    continue;
                }
                _ => {
                    passed += 1;
                    continue;
                }
            };
            return Step::Over(Found { passed, then });
        }
        Step::Over(Found {
            passed,
            then: Then::More,
        })
    }

    /// The state after a byte that is not content.
    fn after(&mut self, byte: u8) -> State {
        match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => self.digit(byte),
            (State::Size, b'\r') if self.digits > 0 => State::SizeLf,
            (State::Size, b';') if self.digits > 0 => State::Extension,
            (State::Size, b' ' | b'\t') if self.digits > 0 && self.allows_spaces => {
                State::SizeSpaces
            }
            (State::SizeSpaces, b' ' | b'\t') => {
                self.extension_bytes += 1;
                within(self.extension_bytes, EXTENSION_BYTES_MAX, State::SizeSpaces)
            }
            (State::SizeSpaces, b';') => State::Extension,
            (State::SizeSpaces | State::Extension, b'\r') => State::SizeLf,
            (State::Extension, byte) if is_text(byte) => {
                self.extension_bytes += 1;
                within(self.extension_bytes, EXTENSION_BYTES_MAX, State::Extension)
            }
            (State::SizeLf, b'\n') => {
                self.digits = 0;
                if self.size == 0 {
                    State::Trailer
                } else {
                    State::Content
                }
            }
            (State::ContentCr, b'\r') => State::ContentLf,
            (State::ContentLf, b'\n') => State::Size,
            (State::Trailer, b'\r') => State::EndLf,
            (State::Trailer, byte) if is_token(byte) => self.trailer(State::TrailerName),
            (State::TrailerName, b':') => self.trailer(State::TrailerValue),
            (State::TrailerName, byte) if is_token(byte) => self.trailer(State::TrailerName),
            (State::TrailerValue, b'\r') => State::TrailerLf,
            (State::TrailerValue, byte) if is_text(byte) => self.trailer(State::TrailerValue),
            (State::TrailerLf, b'\n') => State::Trailer,
            (State::EndLf, b'\n') => State::End,
            _ => State::Malformed,
        }
    }

    fn digit(&mut self, byte: u8) -> State {
        let value = match byte {
            b'0'..=b'9' => byte - b'0',
            _ => (byte | 0x20) - b'a' + 10,
        };
        self.size = self.size << 4 | u64::from(value);
        self.digits += 1;
        within(self.digits, SIZE_DIGITS_MAX, State::Size)
    }

    fn trailer(&mut self, state: State) -> State {
        self.trailer_bytes += 1;
        within(self.trailer_bytes, TRAILER_BYTES_MAX, state)
    }
}

/// Appends the line before a chunk of so many bytes, which are not none.
pub fn push_size(text: &mut Vec<u8>, size: usize) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4);
    for place in (0..digits).rev() {
        text.push(DIGITS[(size >> (4 * place)) & 0xf]);
    }
    text.extend_from_slice(b"\r\n");
}

fn within<T: PartialOrd>(count: T, max: T, state: State) -> State {
    if count <= max {
        state
    } else {
        State::Malformed
    }
}

/// `HTAB / SP / VCHAR / obs-text`
const fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// `tchar`
#[must_use]
pub const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(bytes: &[u8]) -> Found {
        Chunked::of_request().follow(bytes)
    }

    #[test]
    fn the_end_is_found_wherever_the_bytes_are_split() {
        let body = b"4;x=\"y\"\r\nab\r\n\r\n00A\r\n0123456789\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\nGET /";
        let length = body.len() - "GET /".len();
        for first in 0..length {
            for second in first..length {
                let mut chunked = Chunked::of_request();
                assert_eq!(chunked.follow(&body[..first]).then, Then::More);
                assert_eq!(chunked.follow(&body[first..second]).then, Then::More);
                let found = chunked.follow(&body[second..]);
                assert_eq!(found.then, Then::End);
                assert_eq!(found.passed, length - second);
            }
        }
    }

    #[test]
    fn nothing_but_the_grammar_passes() {
        for bad in [
            "\r\n",
            "g\r\n",
            " 5\r\n",
            "5 \r\n",
            "+5\r\n",
            "0x5\r\n",
            "5\n",
            "5\rx",
            ";x\r\n",
            "1234567890123456\r\n",
            "1\r\nab\r\n",
            "1\r\na\n",
            "1\r\na0\r\n",
            "0\r\n\n",
            "0\r\n x: y\r\n",
            "0\r\n: y\r\n",
            "0\r\nx : y\r\n",
            "0\r\nx\r\n",
            "0\r\nx: y\n",
            "0\r\n\rx",
            "1;\0\r\n",
            "0\r\nx: \0\r\n",
            "-1\r\n",
            "1,\r\n",
        ] {
            assert_eq!(follow(bad.as_bytes()).then, Then::Malformed, "{bad:?}");
        }
    }

    #[test]
    fn content_is_gathered_from_what_surrounds_it() {
        let body = b"3 \r\nabc\r\n2\t;x\r\nde\r\n0\r\nx: y\r\nz:\r\n\r\nHTTP";
        for cut in 0..body.len() - 4 {
            let mut content = Vec::new();
            let mut chunked = Chunked::of_response();
            let mut found = None;
            for part in [&body[..cut], &body[cut..]] {
                let mut part = part.to_vec();
                let (range, then) = chunked.gather(&mut part);
                content.extend_from_slice(&part[range]);
                found = Some(then);
            }
            let expected = Found {
                passed: body.len() - 4 - cut,
                then: Then::End,
            };
            assert_eq!(found, Some(expected));
            assert_eq!(content, b"abcde");
            let trailers = chunked.trailers().unwrap();
            assert_eq!(
                (&trailers["x"], &trailers["z"]),
                (&"y".parse().unwrap(), &"".parse().unwrap())
            );
        }
        assert_eq!(follow(body).then, Then::Malformed);
    }

    #[test]
    fn a_size_is_written_as_it_is_read() {
        for size in [1, 9, 10, 255, 256, 65_536] {
            let mut text = Vec::new();
            push_size(&mut text, size);
            assert_eq!(text, format!("{size:X}\r\n").into_bytes());
        }
    }

    #[test]
    fn what_is_not_content_is_bounded() {
        let extension = format!("1;{}\r\na\r\n", "x".repeat(5_000));
        assert_eq!(follow(extension.as_bytes()).then, Then::Malformed);
        let small = "1;xxxxxxx\r\na\r\n".repeat(1_000);
        assert_eq!(follow(small.as_bytes()).then, Then::Malformed);
        let trailers = format!("0\r\n{}", "a: b\r\n".repeat(3_000));
        assert_eq!(follow(trailers.as_bytes()).then, Then::Malformed);
    }

    #[test]
    fn trailers_of_a_request_are_kept() {
        let body = b"1\r\na\r\n0\r\nX-Sum: 1\r\nx-sum:2\r\n\r\nGET /";
        for cut in 0..body.len() {
            let mut chunked = Chunked::of_request();
            chunked.follow(&body[..cut]);
            if chunked.state != State::End {
                assert_eq!(chunked.follow(&body[cut..]).then, Then::End);
            }
            let trailers = chunked.trailers().unwrap();
            let values: Vec<_> = trailers.get_all("x-sum").iter().collect();
            assert_eq!(values, ["1", "2"]);
        }
        let mut without = Chunked::of_request();
        without.follow(b"0\r\n\r\n");
        assert!(without.trailers().is_none());
    }
}
