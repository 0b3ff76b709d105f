//! Clients that do not take what they are given: what waits for them is bounded,
//! and so is the wait.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout};

use super::support::{Failure, PATIENCE, limits};
use crate::drain::Drain;
use crate::message::Body;
use crate::proxy::Received;
use crate::server::connection;
use crate::server::listener::{Entrance, Place};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// A client that asks once, takes what it is given once it is told to, and
/// never the last word of the connection.
struct Reluctant {
    asking: &'static [u8],
    takes: Arc<AtomicBool>,
    taken: Arc<Mutex<Vec<u8>>>,
}

impl AsyncRead for Reluctant {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.asking.is_empty() {
            return Poll::Pending;
        }
        buf.put_slice(std::mem::take(&mut self.asking));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Reluctant {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.takes.load(Ordering::SeqCst) {
            return Poll::Pending;
        }
        self.taken.lock().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

/// What a client was given in the end, which takes nothing before the service
/// has told it so many hints; and how long it was borne.
async fn borne(hints: usize) -> (String, Duration) {
    let started = Instant::now();
    let (takes, taken) = (Arc::new(AtomicBool::new(false)), Arc::default());
    let client = Reluctant {
        asking: GET,
        takes: Arc::clone(&takes),
        taken: Arc::clone(&taken),
    };
    let service = tower::service_fn(move |request: Request<Body>| {
        let takes = Arc::clone(&takes);
        async move {
            let received = request.extensions().get::<Received>().cloned();
            let interim = received.and_then(|received| received.interim).unwrap();
            let mut fields = HeaderMap::new();
            let large = HeaderValue::try_from("x".repeat(30_000)).unwrap();
            fields.insert("link", large);
            for _ in 0..hints {
                interim.tell(StatusCode::EARLY_HINTS, &fields);
                tokio::task::yield_now().await;
            }
            takes.store(true, Ordering::SeqCst);
            Ok::<_, Failure>(Response::new(Body::full("answer")))
        }
    });
    let connection = connection::serve(
        client,
        [192, 0, 2, 1].into(),
        Arc::new(Entrance::plain("192.0.2.2:80".parse().unwrap())),
        Place::lone(&Drain::new()),
        service,
        Arc::new(limits()),
    );
    // Time is paused: this is how long nothing may keep it, not a wait.
    let ended = timeout(Duration::from_secs(3600), connection).await;
    ended.expect("every connection ends");
    let text = String::from_utf8(taken.lock().clone()).unwrap();
    (text, started.elapsed())
}

#[tokio::test(start_paused = true)]
async fn hints_that_a_client_does_not_take_are_left_out() {
    let (few, _) = borne(2).await;
    assert_eq!(few.matches("103 Early Hints").count(), 2);
    assert!(few.ends_with("answer"));
    let (many, _) = borne(200).await;
    assert!(many.ends_with("answer"));
    assert!(many.len() < 256 * 1024, "{} bytes waited", many.len());
}

#[tokio::test(start_paused = true)]
async fn the_last_word_of_a_connection_is_not_waited_for_for_ever() {
    let (answer, took) = borne(0).await;
    assert!(answer.ends_with("answer"));
    assert_eq!(took, PATIENCE);
}
