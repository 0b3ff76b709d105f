//! A response is what it is, however its bytes arrive.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

type Fields = Vec<(String, Vec<u8>)>;

/// What a client would be told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    interim: Vec<u16>,
    head: Option<(u16, Fields)>,
    content: Vec<u8>,
    trailers: Option<HeaderMap>,
}

impl Sink for Told {
    fn interim(&mut self, head: &Head<'_>) {
        self.interim.push(head.status.as_u16());
    }

    fn head(&mut self, head: &Head<'_>) {
        assert_eq!(self.head, None, "there is one");
        let fields = head.fields.iter();
        let fields = fields.map(|field| (field.name.to_owned(), field.value.to_owned()));
        self.head = Some((head.status.as_u16(), fields.collect()));
    }

    fn content(&mut self, piece: Piece<'_>) {
        assert!(self.head.is_some() && !piece.bytes().is_empty());
        self.content.extend_from_slice(&piece.take());
    }

    fn trailers(&mut self, fields: HeaderMap) {
        self.trailers = Some(fields);
    }
}

/// How a response ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    NotYet,
    Whole { is_clean: bool },
    Malformed,
}

fn receive(pieces: &[&[u8]]) -> (Told, Ended) {
    let (mut response, mut told) = (Response::default(), Told::default());
    for (at, piece) in pieces.iter().enumerate() {
        match response.receive(&mut BytesMut::from(*piece), &mut told) {
            Ok(Received { end: None, .. }) => {}
            Ok(Received { end: Some(end), .. }) => {
                // What is behind it came along, or it did not.
                let is_last = pieces[at + 1..].iter().all(|piece| piece.is_empty());
                let is_clean = end == End::Clean && is_last;
                return (told, Ended::Whole { is_clean });
            }
            Err(_) => return (told, Ended::Malformed),
        }
    }
    (told, Ended::NotYet)
}

/// Responses and what is nearly one; each ends its head.
fn some_response() -> impl Strategy<Value = Vec<u8>> {
    let interim = select(vec!["", "HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n"]);
    let status = select(vec!["1.1 200 OK", "1.0 200 OK", "1.1 204 No", "1.1 2x0"]);
    let field = select(vec![
        "Content-Length: 5",
        "Content-Length: 6",
        "Transfer-Encoding: chunked",
        "Connection: close",
        "X-F: a\r\n b",
        "X-S : a",
        "X-A:  b ",
        "no colon",
    ]);
    let behind = select(vec![
        "",
        "hello",
        "hello!",
        "5\r\nhello\r\n0\r\n\r\n",
        "5;a=b\r\nhello\r\n0\r\nX-T: 1\r\n\r\nHTTP",
        "5\r\nhello0",
        "zz\r\n",
    ]);
    (interim, status, vec(field, 0..3), behind).prop_map(|(interim, status, fields, behind)| {
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        format!("{interim}HTTP/{status}\r\n{fields}\r\n{behind}").into_bytes()
    })
}

proptest! {
    #[test]
    fn a_response_is_read_alike_however_it_is_cut(
        bytes in some_response(),
        cuts in vec(any::<Index>(), 0..6),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts {
            pieces.push(&bytes[from..cut]);
            from = cut;
        }
        pieces.push(&bytes[from..]);
        pieces.retain(|piece| !piece.is_empty());
        prop_assert_eq!(receive(&pieces), receive(&[&bytes]));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..200)) {
        let start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        receive(&[&bytes]);
        receive(&[start, &bytes]);
    }
}

#[test]
fn content_is_kept_in_little_more_memory_than_it_takes() {
    for (length, is_moved) in [(10, false), (700, false), (770, true), (1_000, true)] {
        let mut buffer = BytesMut::with_capacity(1_024);
        buffer.resize(length, b'x');
        let read_into = buffer.as_ptr();
        let content = 2..length;
        let piece = Piece {
            buffer: &mut buffer,
            content,
        };
        let taken = piece.take();
        assert_eq!(taken.len(), length - 2);
        assert_eq!(taken.as_ptr() == read_into.wrapping_add(2), is_moved);
    }
}
