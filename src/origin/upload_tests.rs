//! How requests go on to the origin, claim by claim.

use std::sync::Arc;

use super::*;
use futures_util::{FutureExt, StreamExt};
use http_body::Frame;
use http_body_util::StreamBody;
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::advance;

const LIMIT: Duration = Duration::from_secs(1);
const LESS: Duration = Duration::from_millis(600);

/// A body whose frames come when the test sends them.
fn fed() -> (UnboundedSender<Frame<Bytes>>, Body) {
    let (feed, mut frames) = unbounded_channel();
    let stream = futures_util::stream::poll_fn(move |cx| frames.poll_recv(cx));
    (feed, Body::boxed(StreamBody::new(stream.map(Ok))))
}

fn data(bytes: &'static str) -> Frame<Bytes> {
    Frame::data(Bytes::from_static(bytes.as_bytes()))
}

fn upload_of(method: Method, fields: &[(&'static str, &'static str)], body: Body) -> Upload {
    let mut request = http::Request::builder().method(method).uri("/x?y");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let (parts, body) = request.body(body).unwrap().into_parts();
    Upload::of(&parts, body)
}

/// A connection that takes so many bytes, and so many at once.
#[derive(Default)]
struct Taking {
    room: usize,
    taken: Vec<u8>,
    writes: usize,
}

impl Taking {
    fn all() -> Self {
        Self {
            room: usize::MAX,
            ..Self::default()
        }
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.taken).unwrap()
    }
}

impl AsyncWrite for Taking {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let here = bytes.len().min(self.room);
        if here == 0 {
            return Poll::Pending;
        }
        self.room -= here;
        self.taken.extend_from_slice(&bytes[..here]);
        self.writes += 1;
        Poll::Ready(Ok(here))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Sends as far as that goes without waiting.
fn send(upload: &mut Upload, connection: &mut Taking) -> Option<Result<(), Failed>> {
    for _ in 0..TURNS_WAITED {
        let sent = std::future::poll_fn(|cx| upload.poll(cx, connection)).now_or_never();
        if sent.is_some() {
            return sent;
        }
    }
    std::future::poll_fn(|cx| upload.poll(cx, connection)).now_or_never()
}

#[tokio::test(start_paused = true)]
async fn the_time_a_client_takes_is_not_the_origin_s() {
    let (feed, body) = fed();
    let mut upload = upload_of(Method::POST, &[], body);
    let mut connection = Taking::all();
    for _ in 0..5 {
        assert!(send(&mut upload, &mut connection).is_none());
        advance(LESS).await;
        assert_eq!(upload.patience(LIMIT), Instant::now() + LIMIT);
        feed.send(data("x")).unwrap();
    }
    drop(feed);
    assert!(!upload.is_whole());
    assert!(matches!(send(&mut upload, &mut connection), Some(Ok(()))));
    assert!(upload.is_whole());
    let ended = Instant::now();
    advance(LESS).await;
    assert_eq!(
        upload.patience(LIMIT),
        ended + LIMIT,
        "the origin has all its time"
    );
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_takes_no_more_is_out_of_time() {
    let (feed, body) = fed();
    let mut upload = upload_of(Method::POST, &[], body);
    feed.send(data("content")).unwrap();
    let mut connection = Taking::default();
    let started = Instant::now();
    for _ in 0..5 {
        assert!(send(&mut upload, &mut connection).is_none());
        advance(LESS).await;
    }
    assert_eq!(upload.patience(LIMIT), started + LIMIT);
}

#[tokio::test]
async fn the_head_says_how_the_content_is_framed() {
    let fed = || fed().1;
    let whole = || Body::full("hello");
    for (method, field, body, expected) in [
        (Method::GET, None, Body::Empty, "GET /x?y HTTP/1.1\r\n\r\n"),
        (
            Method::POST,
            None,
            Body::Empty,
            "POST /x?y HTTP/1.1\r\n\r\n",
        ),
        (
            Method::POST,
            Some(("content-length", "0")),
            Body::Empty,
            "POST /x?y HTTP/1.1\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            Method::DELETE,
            None,
            whole(),
            "DELETE /x?y HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello",
        ),
        (
            Method::GET,
            Some(("content-length", "5")),
            whole(),
            "GET /x?y HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello",
        ),
        (
            Method::GET,
            Some(("transfer-encoding", "gzip")),
            fed(),
            "GET /x?y HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
    ] {
        let mut connection = Taking::all();
        let mut upload = upload_of(method, field.as_slice(), body);
        assert!(matches!(send(&mut upload, &mut connection), Some(Ok(()))));
        assert_eq!(connection.text(), expected);
    }
}

#[tokio::test]
async fn small_content_that_is_there_goes_with_the_head() {
    let (feed, body) = fed();
    let mut upload = upload_of(Method::POST, &[("content-length", "10")], body);
    let mut connection = Taking::all();
    let sent = std::future::poll_fn(|cx| upload.poll(cx, &mut connection));
    assert!(sent.now_or_never().is_none());
    assert_eq!(connection.writes, 0, "it may come at once");
    feed.send(data("0123456789")).unwrap();
    assert!(matches!(send(&mut upload, &mut connection), Some(Ok(()))));
    assert_eq!(connection.writes, 1);

    let (feed, body) = fed();
    let mut upload = upload_of(Method::POST, &[], body);
    let mut connection = Taking::all();
    feed.send(data("0123456789")).unwrap();
    drop(feed);
    assert!(matches!(send(&mut upload, &mut connection), Some(Ok(()))));
    assert!(
        connection
            .text()
            .ends_with("\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n")
    );
}

#[tokio::test]
async fn announced_trailers_go_on_and_no_others() {
    let (feed, body) = fed();
    let mut upload = upload_of(Method::POST, &[("trailer", "x-sum, host")], body);
    let mut trailers = HeaderMap::new();
    for name in ["x-sum", "x-other", "host"] {
        trailers.insert(name, "1".parse().unwrap());
    }
    feed.send(data("a")).unwrap();
    feed.send(Frame::trailers(trailers)).unwrap();
    let mut connection = Taking::all();
    assert!(matches!(send(&mut upload, &mut connection), Some(Ok(()))));
    assert!(
        connection
            .text()
            .ends_with("\r\n1\r\na\r\n0\r\nx-sum: 1\r\n\r\n")
    );
}

#[tokio::test]
async fn content_of_another_length_than_announced_breaks_off() {
    for content in ["much too long", "few"] {
        let (feed, body) = fed();
        let mut upload = upload_of(Method::POST, &[("content-length", "5")], body);
        feed.send(data(content)).unwrap();
        drop(feed);
        let mut connection = Taking::all();
        let sent = send(&mut upload, &mut connection);
        assert!(matches!(sent, Some(Err(Failed::Content(_)))), "{content}");
        assert!(!upload.is_whole());
    }
}

#[tokio::test]
async fn pieces_are_all_there_however_few_bytes_are_taken_at_once() {
    let expected: String = (0..10_000).map(|number| format!("{number} ")).collect();
    let pieces: Vec<Bytes> = expected
        .as_bytes()
        .chunks(20_000)
        .map(Bytes::copy_from_slice)
        .collect();
    let length: &'static str = expected.len().to_string().leak();
    let (feed, body) = fed();
    let mut upload = upload_of(Method::PUT, &[("content-length", length)], body);
    for piece in pieces {
        feed.send(Frame::data(piece)).unwrap();
    }
    let mut connection = Taking::default();
    while !upload.is_whole() {
        connection.room = 777;
        if let Some(sent) = send(&mut upload, &mut connection) {
            sent.unwrap();
        }
    }
    let (_, content) = connection.text().split_once("\r\n\r\n").unwrap();
    assert!(content == expected);
}

#[tokio::test]
async fn no_more_is_taken_than_one_piece_for_an_origin_that_reads_nothing() {
    let piece = Bytes::from(vec![b'x'; 20 * 1024]);
    let taken = Arc::new(Mutex::new(0_usize));
    let counter = Arc::clone(&taken);
    let endless = futures_util::stream::repeat_with(move || {
        *counter.lock() += 1;
        Ok(Frame::data(piece.clone()))
    });
    let body = Body::boxed(StreamBody::new(endless));
    let mut upload = upload_of(Method::POST, &[], body);
    let mut connection = Taking::default();
    for _ in 0..100 {
        assert!(send(&mut upload, &mut connection).is_none());
    }
    assert_eq!(*taken.lock(), 1, "pieces");
}

#[tokio::test]
async fn a_request_begins_again_where_that_is_safe_and_can_be() {
    let long = "x".repeat(AT_ONCE_BYTES_MAX + 1);
    let (big, small) = (Body::full(long), || Body::full("x"));
    for (method, body, room, may) in [
        (Method::GET, Body::Empty, 5, true),
        (Method::PUT, small(), 50, true),
        (Method::POST, Body::Empty, 5, false),
        (Method::POST, small(), 0, true),
        (Method::PUT, big, 5, false),
    ] {
        let mut upload = upload_of(method.clone(), &[], body);
        let mut connection = Taking {
            room,
            ..Taking::default()
        };
        let _ = send(&mut upload, &mut connection);
        upload.break_off();
        assert_eq!(upload.can_begin_again(), may, "{method} {room}");
        if may {
            upload.begin_again();
            let mut other = Taking::all();
            assert!(matches!(send(&mut upload, &mut other), Some(Ok(()))));
            assert!(
                other.text().starts_with(method.as_str()),
                "from the first byte"
            );
        }
    }
}
