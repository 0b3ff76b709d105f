//! What comes before it was asked for is no answer.

use std::future::poll_fn;

use http::{HeaderMap, Method};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpStream};

use super::super::connection::Connection;
use super::super::head::Head;
use super::super::response::Piece;
use super::*;
use crate::config::{Config, Upstream};
use crate::telemetry::upstream::UpstreamCounters;

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// The status of what was taken for an answer.
#[derive(Default)]
struct Taken(Option<u16>);

impl Sink for Taken {
    fn interim(&mut self, _head: &Head<'_>) {}

    fn head(&mut self, head: &Head<'_>) {
        self.0 = Some(head.status.as_u16());
    }

    fn content(&mut self, _piece: Piece<'_>) {}

    fn trailers(&mut self, _fields: HeaderMap) {}
}

async fn read_head(stream: &mut TcpStream) {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(stream.read_u8().await.unwrap());
    }
}

/// A request whose content is on its way.
fn upload() -> (crate::message::piped::Feeder, Request<Body>) {
    let (feeder, piped) = crate::message::piped::piped(Some(2));
    let body = http_body_util::BodyExt::map_err(piped, |error| {
        crate::message::BodyError::Broken(error.into())
    });
    let request = Request::builder()
        .method(Method::POST)
        .uri("/x")
        .header("content-length", "2")
        .body(Body::boxed(body))
        .unwrap();
    (feeder, request)
}

async fn answered(exchange: &mut Exchange) -> Taken {
    let mut taken = Taken::default();
    while taken.0.is_none() {
        poll_fn(|cx| exchange.poll(cx, &mut taken)).await.unwrap();
    }
    taken
}

#[tokio::test]
async fn what_comes_before_the_request_was_sent_does_not_answer_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = Upstream::Http {
        authority: listener.local_addr().unwrap().to_string().parse().unwrap(),
    };
    let config = Config::default_for(upstream.clone()).origin;
    let counters = Arc::new(UpstreamCounters::default());
    let pool = Pool::new(&upstream, &config, &counters).unwrap();
    let permit = || counters.exchanges.try_enter().unwrap();

    // A connection that is used again.
    let get = Request::new(Body::Empty);
    let mut first = Exchange::of(&pool, permit(), get);
    let (taken, mut origin) = tokio::join!(answered(&mut first), async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        let reply = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(reply).await.unwrap();
        stream
    });
    assert_eq!(taken.0, Some(200));

    // The origin has something to say before it is asked.
    let (mut feeder, request) = upload();
    let mut second = Exchange::of(&pool, permit(), request);
    let late = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n";
    origin.write_all(late).await.unwrap();
    let Way::Open(connection) = &second.way else {
        panic!("the connection is used again");
    };
    connection.has_something().await;
    let (taken, ()) = tokio::join!(answered(&mut second), async {
        let another = tokio::time::timeout(PATIENCE, listener.accept()).await;
        let (mut stream, _) = another.expect("another connection").unwrap();
        feeder.end(Bytes::from_static(b"hi"), None);
        read_head(&mut stream).await;
        let reply = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(reply).await.unwrap();
    });
    assert_eq!(taken.0, Some(201));
}

impl Connection {
    /// Waits until something can be read.
    async fn has_something(&self) {
        self.tcp().ready(Interest::READABLE).await.unwrap();
    }
}
