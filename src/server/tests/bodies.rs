//! Bodies that are too large, too slow or broken.

use std::time::Duration;

use super::support::{Server, limits, responses};

const HEAD: &str = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
const AFTER: &str = "GET /after HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_refused_at_once() {
    let server = Server::run().await;
    let head =
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n";
    let text = server.tell(head).await;
    assert_eq!(responses(&text)[0].0, 413, "{text}");
    assert!(text.contains("connection: close\r\n"));
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_client_that_sends_too_much_still_reads_413() {
    let server = Server::run().await;
    let mut client = server.connect().await;
    client
        .send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n")
        .await;
    client.send(vec![b'x'; 20_000_000]).await;
    assert_eq!(responses(&client.rest().await)[0].0, 413);
}

#[tokio::test]
async fn a_body_that_grows_too_large_is_refused_when_it_does() {
    let server = Server::run().await;
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    let text = server
        .tell(format!("{HEAD}{chunk}{chunk}{chunk}0\r\n\r\n{AFTER}"))
        .await;
    let found = responses(&text);
    assert_eq!((found[0].0, found.len()), (413, 1), "{text}");
    assert!(server.requests().is_empty());
    let text = server
        .tell(format!("{HEAD}{chunk}{chunk}0\r\n\r\n{AFTER}"))
        .await;
    assert_eq!(responses(&text).len(), 2);
}

#[tokio::test]
async fn a_body_that_stops_coming_gets_408() {
    let mut limits = limits();
    limits.body_idle_timeout = Duration::from_millis(50);
    let server = Server::with(limits).await;
    let text = server.tell(format!("{HEAD}5\r\nhel")).await;
    assert_eq!(responses(&text)[0].0, 408, "{text}");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn broken_chunks_break_the_request_and_the_connection() {
    for bad in [
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX : y\r\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
    ] {
        let server = Server::run().await;
        let text = server.tell(format!("{HEAD}{bad}{AFTER}")).await;
        let found = responses(&text);
        assert_eq!((found[0].0, found.len()), (400, 1), "{bad:?}: {text}");
        assert!(text.contains("connection: close\r\n"), "{text}");
        assert!(server.requests().is_empty(), "{bad:?}");
    }
}

#[tokio::test]
async fn requests_before_a_broken_body_are_answered() {
    let server = Server::run().await;
    let mut client = server.connect().await;
    client.send("GET /gate HTTP/1.1\r\nHost: a\r\n\r\n").await;
    server.seen.at_gate().await;
    client.send(format!("{HEAD}zz\r\n")).await;
    server.seen.open_gate();
    let found = responses(&client.rest().await);
    assert_eq!(found[0], (200, "GET /gate ".to_owned()));
    assert_eq!((found[1].0, found.len()), (400, 2));
}
