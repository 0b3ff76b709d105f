//! How uploads go on to the origin, claim by claim.

use std::io;

use super::*;
use futures_util::{FutureExt, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::advance;

const LIMIT: Duration = Duration::from_secs(1);
const LESS: Duration = Duration::from_millis(600);

/// A body whose pieces come when the test sends them.
fn fed() -> (UnboundedSender<Bytes>, Body) {
    let (feed, mut pieces) = unbounded_channel();
    let stream = futures_util::stream::poll_fn(move |cx| pieces.poll_recv(cx));
    let frames = stream.map(|piece| Ok(Frame::data(piece)));
    (feed, Body::boxed(StreamBody::new(frames)))
}

#[tokio::test(start_paused = true)]
async fn the_time_a_client_takes_is_not_the_origin_s() {
    let (feed, body) = fed();
    let (mut upload, progress) = Upload::of(body);
    let mut late = std::pin::pin!(progress.none_for(LIMIT));
    for _ in 0..5 {
        assert!(upload.frame().now_or_never().is_none());
        advance(LESS).await;
        assert!(late.as_mut().now_or_never().is_none());
        feed.send(Bytes::from_static(b"x")).expect("a reader");
        assert!(upload.frame().now_or_never().is_some());
    }
    drop(feed);
    assert!(upload.frame().await.is_none());
    let ended = Instant::now();
    late.await;
    assert!(ended.elapsed() >= LIMIT, "the origin has all its time");
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_takes_no_more_is_out_of_time() {
    let (_feed, body) = fed();
    let (_upload, progress) = Upload::of(body);
    let started = Instant::now();
    progress.none_for(LIMIT).await;
    assert!(started.elapsed() < LIMIT + LESS);
}

#[tokio::test]
async fn pieces_are_small_and_all_there() {
    let (feed, body) = fed();
    let (mut upload, progress) = Upload::of(body);
    let sent: Vec<u8> = (0..10_000_u32).flat_map(u32::to_be_bytes).collect();
    feed.send(Bytes::from(sent.clone())).expect("a reader");
    drop(feed);
    let mut got = Vec::new();
    while let Some(frame) = upload.frame().await {
        let piece = frame.unwrap().into_data().unwrap();
        assert!(!piece.is_empty() && piece.len() <= PIECE_BYTES_MAX);
        got.extend_from_slice(&piece);
    }
    assert!(got == sent);
    assert!(progress.is_whole());
}

/// A connection whose other end reads nothing.
struct Deaf;

impl AsyncRead for Deaf {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Deaf {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    // As sockets do: hyper queues pieces, and copies none.
    fn is_write_vectored(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn no_more_is_taken_than_may_wait_for_an_origin_that_reads_nothing() {
    // Each is as large as one that is given on.
    let piece = Bytes::from(vec![b'x'; PIECE_BYTES_MAX]);
    let taken = Arc::new(Mutex::new(0_usize));
    let counter = Arc::clone(&taken);
    let endless = futures_util::stream::repeat_with(move || {
        *counter.lock() += PIECE_BYTES_MAX;
        Ok(Frame::data(piece.clone()))
    });
    let (upload, _progress) = Upload::of(Body::boxed(StreamBody::new(endless)));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(Deaf))
        .await
        .unwrap();
    let mut connection = std::pin::pin!(connection);
    let request = http::Request::post("/").body(upload).unwrap();
    let mut answer = std::pin::pin!(sender.send_request(request));
    for _ in 0..100 {
        assert!(answer.as_mut().now_or_never().is_none());
        assert!(connection.as_mut().now_or_never().is_none());
    }
    let taken = *taken.lock();
    assert!((1..=32 * 1024).contains(&taken), "{taken} bytes");
}
