//! Requests that were never written by a friend.

use crate::message::samples::Dice;

const METHODS: &[&str] = &[
    "GET", "POST", "HEAD", "PUT", "OPTIONS", "CONNECT", "get", "G\u{e9}T", "", "PRI",
];
const TARGETS: &[&str] = &[
    "/",
    "/a",
    "/a?b=c",
    "*",
    "http://a/x",
    "HTTP://A:80/",
    "http://b/",
    "http://a",
    "http://a?q",
    "/<x>",
    "/a\"b`",
    "/%00",
    "/a b",
    "/\u{e9}",
    "a:80",
    "//a",
    "/a#b",
    "https://a/",
    "/\\",
    "?a",
    "/a?{|}^",
    "http://u@a/",
    "/\t",
    "",
];
const VERSIONS: &[&str] = &[
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/1.2",
    "http/1.1",
    "HTTP/2.0",
    "HTTP/1.1 ",
    "HTTP/01.1",
    "",
];
const LINES: &[&str] = &[
    "Host: a",
    "host:a",
    "Host: b",
    "Host:",
    "Host: a, b",
    "Host : a",
    "Content-Length: 0",
    "Content-Length: 3",
    "content-length: 3",
    "Content-Length: 3, 3",
    "Content-Length: +3",
    "Content-Length: 0x3",
    "Content-Length: 03",
    "Content-Length: 3 ",
    "Content-Length:\t3",
    "Content-Length: 18446744073709551616",
    "Content-Length: 999999999999999999",
    "Content-Length: -1",
    "Content-Length : 3",
    "Content-Length",
    "Content-Length: 3;x",
    "Content-Length: 12",
    "Transfer-Encoding: chunked",
    "transfer-encoding: Chunked",
    "Transfer-Encoding: chunked ",
    "Transfer-Encoding:\tchunked",
    "Transfer-Encoding: \x0bchunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding:\r\n chunked",
    "Transfer_Encoding: chunked",
    "Transfer-Encoding: chunked\rX",
    "Connection: close",
    "Connection: keep-alive",
    "Connection: close, keep-alive",
    "Connection: keep-alive, Upgrade",
    "Connection: content-length",
    "Connection: transfer-encoding",
    "Connection: x,\tclose",
    "Connection: \"close\"",
    "Connection:close;x",
    "Keep-Alive: timeout=5",
    "Proxy-Connection: close",
    "Expect: 100-continue",
    "Expect: 100-Continue",
    "Expect: x",
    "Upgrade: websocket",
    "Upgrade: h2c",
    "HTTP2-Settings: AAA",
    "TE: trailers",
    "Trailer: X-Sum",
    "X-A: b",
    "X-A:  b\t",
    "X-A:",
    " X-A: b",
    "X-A: b\r\n c",
    "X-A: b\x00",
    "X-A: b\rc",
    "X-A: b\nc",
    "X A: b",
    ": b",
    "X-\u{e9}: b",
    "X-A: \u{e9}",
    "X-A: \x7f",
    "X\t: b",
    "X-(A): b",
    "X-A b",
];
pub(super) const CONTENTS: &[&str] = &[
    "",
    "abc",
    "abcdef",
    "3\r\nabc\r\n0\r\n\r\n",
    "3;x=y\r\nabc\r\n0\r\n\r\n",
    "3 \r\nabc\r\n0\r\n\r\n",
    "03\r\nabc\r\n000\r\n\r\n",
    "0\r\nX-Sum: 1\r\nY: \r\n\r\n",
    "3\r\nabc\r\n0\r\nContent-Length: 5\r\n\r\n",
    "3\nabc\n0\n\n",
    "3\r\nabcd\r\n0\r\n\r\n",
    "0x3\r\nabc\r\n0\r\n\r\n",
    "ffffffffffffffff\r\nabc",
    "fffffffffffffff\r\nabc",
    "10000000000000003\r\nabc\r\n0\r\n\r\n",
    "3;\n\r\nabc\r\n0\r\n\r\n",
    "-3\r\nabc\r\n0\r\n\r\n",
    "3\r\nabc\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n",
    "3\r\nabc0\r\n\r\n",
    "A\r\n0123456789\r\n0\r\n\r\n",
    "3;a=\"\r\n\"\r\nabc\r\n0\r\n\r\n",
    "3\r\n\r\na\r\n0\r\n\r\n",
    "0\r\n\r\n",
    "\r\n",
    "0\r\nX: a\r\n b\r\n\r\n",
    "3;\rabc\r\nabc\r\n0\r\n\r\n",
    "0\r\nX : 1\r\n\r\n",
    "0\r\n: 1\r\n\r\n",
    "2\r\n\r\n\r\n0\r\n\r\n",
];
/// What is put in the place of a byte.
const BYTES: &[u8] = b"\r\n \t:;,/0135aA\"\0\x0b\x0c\x7f\x80\xff<?#%";

/// A few requests, good and evil, somewhat mangled.
pub(super) fn any_requests(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..1 + dice.below(3) {
        let is_good = dice.below(3) > 0;
        let pick = |dice: &mut Dice, from: &[&'static str], good: usize| {
            let among = if is_good { good } else { from.len() };
            from[dice.below(among)]
        };
        let method = pick(dice, METHODS, 4);
        let target = pick(dice, TARGETS, 3);
        let version = pick(dice, VERSIONS, 4);
        bytes.extend(format!("{method} {target} {version}\r\n").bytes());
        if dice.below(10) > 0 {
            bytes.extend(b"Host: a\r\n");
        }
        for _ in 0..dice.below(4) {
            bytes.extend(LINES[dice.below(LINES.len())].bytes());
            bytes.extend(b"\r\n");
        }
        let framing = [
            "",
            "Content-Length: 3\r\n",
            "Transfer-Encoding: chunked\r\n",
        ];
        let framing = framing[dice.below(3)];
        bytes.extend(framing.bytes());
        bytes.extend(b"\r\n");
        let content = match framing {
            "" if is_good => "",
            "Content-Length: 3\r\n" if is_good => "abc",
            _ => CONTENTS[dice.below(CONTENTS.len())],
        };
        bytes.extend(content.bytes());
    }
    dice.mangle(&mut bytes, BYTES);
    bytes
}
