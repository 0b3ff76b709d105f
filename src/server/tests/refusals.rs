//! What is refused, and how the client is told.

use super::support::{Server, limits, responses};
use std::time::Duration;

const GOOD: &str = "GET /good HTTP/1.1\r\nHost: a\r\n\r\n";
const AFTER: &str = "GET /after HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// Heads (with what follows them) that are refused, and the status.
pub(super) fn refused() -> Vec<(String, u16)> {
    let get = |fields: &str| format!("GET / HTTP/1.1\r\n{fields}\r\n");
    let post = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n0\r\n\r\n");
    let line = |line: &str| format!("{line}\r\nHost: a\r\n\r\n");
    vec![
        // Two lengths, two framings.
        (
            post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
            400,
        ),
        (
            post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
            400,
        ),
        (post("Content-Length: 5\r\nContent-Length: 5\r\n"), 400),
        (post("Content-Length: 5\r\nContent-Length: 6\r\n"), 400),
        (post("Content-Length: 5, 5\r\n"), 400),
        (post("Content-Length: +5\r\n"), 400),
        (post("Content-Length: 99999999999999999999\r\n"), 400),
        (
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
            400,
        ),
        (post("Transfer-Encoding: xchunked\r\n"), 400),
        (post("Transfer-Encoding: chunked, identity\r\n"), 400),
        (post("Transfer-Encoding: gzip, chunked\r\n"), 501),
        (post("Transfer-Encoding: \x0bchunked\r\n"), 400),
        (post("Transfer-Encoding: chunked\x0b\r\n"), 400),
        (post("Transfer-Encoding : chunked\r\n"), 400),
        (post("Transfer-Encoding\t: chunked\r\n"), 400),
        (post("\x0bTransfer-Encoding: chunked\r\n"), 400),
        (post("X: y\r\n Transfer-Encoding: chunked\r\n"), 400),
        (post("Transfer-Encoding:\r\n chunked\r\n"), 400),
        (
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
            400,
        ),
        // Line ends.
        ("GET / HTTP/1.1\nHost: a\n\n".into(), 400),
        (get("Host: a\nX: y\r\n"), 400),
        (get("Host: a\r\nX: y\rZ: z\r\n"), 400),
        (get("Host: a\r\nX: a\0b\r\n"), 400),
        (get("Host: a\r\n folded\r\n"), 400),
        (get("Host: a\r\nX\r\n"), 400),
        (get("Host: a\r\n: x\r\n"), 400),
        // Host.
        (get(""), 400),
        (get("Host: a\r\nHost: a\r\n"), 400),
        (get("Host:\r\n"), 400),
        (get("Host: a b\r\n"), 400),
        (get("Host: a/b\r\n"), 400),
        (get("Host: u@a\r\n"), 400),
        (get("Host: a, b\r\n"), 400),
        (get("Host: a:http\r\n"), 400),
        (line("GET http://b/ HTTP/1.1"), 400),
        (line("GET http://a:81/ HTTP/1.1"), 400),
        // Targets.
        (line("GET * HTTP/1.1"), 400),
        (line("GET a HTTP/1.1"), 400),
        (line("GET ftp://a/ HTTP/1.1"), 400),
        (line("GET /a#b HTTP/1.1"), 400),
        (line("GET /a\x01 HTTP/1.1"), 400),
        (line("GET /\u{1} HTTP/1.1"), 400),
        (line("GET /a b HTTP/1.1"), 400),
        (line("GET /a\tb HTTP/1.1"), 400),
        (line("CONNECT a:80 HTTP/1.1"), 501),
        (line(&format!("GET /{} HTTP/1.1", "x".repeat(1024))), 414),
        // Versions and lines.
        (line("GET / HTTP/2.0"), 505),
        (line("GET / HTTP/1.2"), 505),
        (line("GET / http/1.1"), 400),
        (line("GET /"), 400),
        (line("G\u{e4}T / HTTP/1.1"), 400),
        (line("GET  / HTTP/1.1"), 400),
        ("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".into(), 505),
        ("\x16\x03\x01\x02\0".into(), 400),
        // Sizes.
        (get(&format!("Host: a\r\nX: {}\r\n", "x".repeat(4096))), 431),
        (get(&format!("Host: a\r\n{}", "X: y\r\n".repeat(100))), 431),
    ]
}

#[tokio::test]
async fn what_is_refused_is_told_as_a_problem_and_goes_nowhere() {
    for (head, status) in refused() {
        let server = Server::run().await;
        let text = server.tell(format!("{head}{AFTER}")).await;
        let found = responses(&text);
        assert_eq!(found.len(), 1, "{head:?}: {text}");
        assert_eq!(found[0].0, status, "{head:?}: {text}");
        assert!(text.contains("content-type: application/problem+json\r\n"));
        assert!(text.contains("connection: close\r\n"), "{text}");
        assert!(text.contains("x-cache: BYPASS\r\n"), "{text}");
        assert!(text.contains("x-process-time: "), "{text}");
        let document: serde_json::Value = serde_json::from_str(&found[0].1).unwrap();
        assert_eq!(document["status"], status);
        assert!(server.requests().is_empty(), "{head:?}");
    }
}

#[tokio::test]
async fn refusals_are_answered_in_their_turn() {
    for (head, status) in refused() {
        let server = Server::run().await;
        let text = server.tell(format!("{GOOD}{GOOD}{head}{AFTER}")).await;
        let found: Vec<u16> = responses(&text)
            .into_iter()
            .map(|(status, _)| status)
            .collect();
        assert_eq!(found, [200, 200, status], "{head:?}");
        assert_eq!(server.requests(), ["GET /good ", "GET /good "], "{head:?}");
    }
}

#[tokio::test]
async fn a_refusal_waits_for_a_response_that_takes_its_time() {
    let server = Server::run().await;
    let mut client = server.connect().await;
    client.send("GET /gate HTTP/1.1\r\nHost: a\r\n\r\n").await;
    server.seen.at_gate().await;
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    client.send(AFTER).await;
    server.seen.open_gate();
    let found = responses(&client.rest().await);
    assert_eq!(found[0], (200, "GET /gate ".to_owned()));
    assert_eq!((found.len(), found[1].0), (2, 400));
    assert_eq!(server.requests(), ["GET /gate "]);
}

#[tokio::test]
async fn a_client_that_is_still_sending_reads_the_refusal() {
    let server = Server::run().await;
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    for _ in 0..100 {
        client.send([b'x'; 64 * 1024]).await;
    }
    assert_eq!(responses(&client.rest().await)[0].0, 400);
}

#[tokio::test]
async fn a_slow_head_gets_408() {
    let mut limits = limits();
    limits.head_timeout = Duration::from_millis(50);
    let server = Server::with(limits).await;
    for start in ["G", "PRI * HTTP", "GET / HTTP/1.1\r\nHost: a\r\n"] {
        assert_eq!(responses(&server.tell(start).await)[0].0, 408, "{start}");
    }
    let found = responses(&server.tell(format!("{GOOD}GET /x")).await);
    assert_eq!((found[0].0, found[1].0, found.len()), (200, 408, 2));
    assert_eq!(server.requests(), ["GET /good "]);
}

#[tokio::test]
async fn a_silent_client_is_closed_without_a_word() {
    let mut limits = limits();
    limits.head_timeout = Duration::from_millis(50);
    let server = Server::with(limits).await;
    assert_eq!(server.tell("").await, "");
}

#[tokio::test]
async fn an_unused_connection_is_closed_without_a_word() {
    let mut limits = limits();
    limits.idle_timeout = Duration::from_millis(50);
    let server = Server::with(limits).await;
    let found = responses(&server.tell(format!("{GOOD}\r\n")).await);
    // An empty line is not the beginning of anything.
    assert_eq!(found, [(200, "GET /good ".to_owned())]);
}

#[tokio::test]
async fn a_request_that_takes_its_time_is_not_idle() {
    let mut limits = limits();
    limits.idle_timeout = Duration::from_millis(20);
    let server = Server::with(limits).await;
    let mut client = server.connect().await;
    client.send("GET /gate HTTP/1.1\r\nHost: a\r\n\r\n").await;
    server.seen.at_gate().await;
    // Another connection lives and dies of idleness meanwhile.
    let mut other = server.connect().await;
    other.send(GOOD).await;
    assert_eq!(responses(&other.rest().await).len(), 1);
    server.seen.open_gate();
    assert_eq!(responses(&client.rest().await).len(), 1);
}
