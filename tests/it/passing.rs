//! Plain reads that no route matches take a way of their own to the origin and
//! back. Whatever the origin does, the client sees what it sees on the long way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};

use super::support::proxy::{self, Builder, Proxy};
use super::support::wire::{Head, Wire};
use super::support::{Bypass, Feed, Gate, eventually, fed, ok, origin, silence, within};

/// Sent the short way.
const PLAIN: &str = "";
/// Says nothing, and is for the long way.
const LONG_WAY: &str = "Connection: keep-alive, x-nothing\r\n";

/// A proxy with a route for nothing that is asked for here.
fn passing(upstream: SocketAddr) -> Builder {
    proxy::in_front_of(&format!("http://{upstream}")).route("/stored", |route| route)
}

fn request(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: pannier.test\r\n{fields}\r\n")
}

/// An origin that a test plays by hand.
async fn by_hand() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a peer");
    let address = listener.local_addr().expect("a peer");
    (listener, address)
}

async fn accept(listener: &TcpListener) -> Wire {
    let accepted = within("a connection to the origin", listener.accept()).await;
    let (stream, _) = accepted.expect("a peer");
    stream.set_nodelay(true).expect("a peer");
    Wire::new(stream)
}

/// A new connection to the origin, whose first request has come.
async fn taken(listener: &TcpListener) -> Wire {
    let mut origin = accept(listener).await;
    asked(&mut origin).await;
    origin
}

async fn connect(proxy: &Proxy) -> Wire {
    Wire::new(TcpStream::connect(proxy.address).await.expect("a peer"))
}

/// The next request's head.
async fn asked(origin: &mut Wire) -> Head {
    let head = within("a request", origin.head()).await;
    head.expect("a head").expect("a request and not the end")
}

/// An answer: its heads, the final one last, its content, and whether that
/// ended as it should.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    heads: Vec<(String, Vec<(String, String)>)>,
    content: String,
    is_whole: bool,
}

async fn seen(client: &mut Wire) -> Option<Seen> {
    let mut heads = Vec::new();
    let last = loop {
        let head = within("a head", client.head()).await.ok().flatten()?;
        heads.push(comparable(&head));
        if !head.word(1).starts_with('1') {
            break head;
        }
    };
    let mut content = Vec::new();
    let reading = client.body(&last, |piece| content.extend_from_slice(&piece));
    let is_whole = within("the content", reading).await.is_ok();
    Some(Seen {
        heads,
        content: String::from_utf8_lossy(&content).into_owned(),
        is_whole,
    })
}

/// What does not depend on the moment, in an order that does not matter.
fn comparable(head: &Head) -> (String, Vec<(String, String)>) {
    let mut fields = head.fields.clone();
    for (name, value) in &mut fields {
        if name == "x-process-time" || name == "date" {
            value.clear();
        }
    }
    fields.sort();
    (head.start.clone(), fields)
}

/// Answers by the number in the path, on every connection; closes after each
/// answer that it is told to.
async fn answering(answers: &'static [(&'static str, bool)]) -> (SocketAddr, Arc<AtomicUsize>) {
    let (listener, address) = by_hand().await;
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let mut wire = accept_forever(&listener).await;
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                while let Ok(Some(head)) = wire.head().await {
                    let number: usize = head.word(1)[1..].parse().expect("a number");
                    let (answer, closes) = answers[number];
                    wire.send(answer.as_bytes()).await.expect("a peer");
                    if closes {
                        break;
                    }
                }
            });
        }
    });
    (address, connections)
}

async fn accept_forever(listener: &TcpListener) -> Wire {
    Wire::new(listener.accept().await.expect("a peer").0)
}

const ANSWERS: &[(&str, bool)] = &[
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\nx-a: 2\r\n\r\nok",
        false,
    ),
    (
        "HTTP/1.1 200 Fine\r\nContent-Length: 0\r\nDate: Sat, 01 Aug 2026 10:00:00 GMT\r\n\r\n",
        false,
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n3;x=y\r\nyes\r\n0\r\nX-Sum: 1\r\n\r\n",
        false,
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n0\r\nX-Sum: 1\r\n\r\n",
        false,
    ),
    ("HTTP/1.1 200 OK\r\n\r\nuntil the end", true),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nuntil the end",
        true,
    ),
    ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", true),
    (
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
        false,
    ),
    ("HTTP/1.0 200 OK\r\n\r\nold", true),
    ("HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n", false),
    ("HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n", false),
    (
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: \"1\"\r\n\r\n",
        false,
    ),
    (
        "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnone",
        true,
    ),
    ("HTTP/1.1 299 \r\nContent-Length: 2\r\n\r\nok", false),
    ("HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno", false),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Hop, Cache-Control\r\nX-Hop: 1\r\nCache-Control: no-store\r\nKeep-Alive: 5\r\nUpgrade: h2c\r\n\r\nok",
        false,
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nVia: 1.0 a\r\nCache-Status: a; hit\r\nX-Cache: HIT\r\nX-Cache-Age: 5\r\nX-Process-Time: 1\r\nAge: 3\r\nPannier-Cache-Control: no-store\r\n\r\nok",
        false,
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nVia: 1.0 a\r\nVia: 1.0 b\r\nCache-Status: a\r\nCache-Status: b\r\n\r\nok",
        false,
    ),
    (
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        false,
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok",
        false,
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Latin: \u{e9}\r\nX-Empty:\r\n\r\nok",
        false,
    ),
    // Not answers.
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        true,
    ),
    ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", true),
    (
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        true,
    ),
    ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", true),
    (
        "HTTP/1.1 200 OK\r\nX-A: 1\r\n folded\r\nContent-Length: 0\r\n\r\n",
        true,
    ),
    ("SSH-2.0-x\r\n", true),
    ("HTTP/1.1 200 OK\r\nContent-Le", true),
    ("", true),
    // Answers that break off.
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", true),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok",
        true,
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        true,
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nx\r\n",
        true,
    ),
];

#[tokio::test]
async fn every_answer_is_what_it_is_on_the_long_way() {
    let (address, _) = answering(ANSWERS).await;
    let proxy = passing(address).run().await;
    let mut differences = Vec::new();
    for (number, (answer, _)) in ANSWERS.iter().enumerate() {
        let mut both = Vec::new();
        for fields in [PLAIN, LONG_WAY] {
            let mut client = connect(&proxy).await;
            let asking = request(&format!("/{number}"), fields);
            client.send(asking.as_bytes()).await.unwrap();
            both.push(seen(&mut client).await);
        }
        assert!(both[0].is_some(), "no answer to {answer:?}");
        if both[0] != both[1] {
            differences.push((answer, both));
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
}

#[tokio::test]
async fn every_request_reaches_the_origin_as_on_the_long_way() {
    let (listener, address) = by_hand().await;
    for limits in ["", "[limits]\ntrusted_proxies = [\"127.0.0.1\"]"] {
        let proxy = passing(address).toml(limits).run().await;
        for fields in [
            "",
            "Accept: a\r\naccept: b\r\nCookie: c=1\r\nAuthorization: Bearer x\r\n",
            "Via: 1.1 edge\r\nX-Forwarded-For: 10.0.0.1\r\nForwarded: for=10.0.0.1\r\n",
            "Via: 1.1 edge, 1.1 pannier\r\n",
            "Via: 1.1 a\r\nVia: 1.1 b\r\nX-Forwarded-For: 1\r\nX-Forwarded-For: 2\r\n",
            "X-Forwarded-Proto: https\r\nX-Forwarded-Host: a\r\nX-Forwarded-Port: 1\r\n",
            "Keep-Alive: 5\r\nProxy-Authorization: Basic x\r\nProxy-Connection: close\r\n",
            "If-None-Match: \"1\"\r\nRange: bytes=0-1\r\nCache-Control: no-cache\r\nPragma: x\r\n",
        ] {
            for target in ["/", "/a?b=c", "/a?", "/%41/b;c?d&e"] {
                let mut both = Vec::new();
                for way in [PLAIN, LONG_WAY] {
                    let mut client = connect(&proxy).await;
                    let asking = request(target, &[fields, way].concat());
                    client.send(asking.as_bytes()).await.unwrap();
                    let mut upstream = accept(&listener).await;
                    both.push(comparable(&asked(&mut upstream).await));
                }
                assert_eq!(both[0], both[1], "{target} {fields:?}");
            }
        }
    }
}

#[tokio::test]
async fn connections_to_the_origin_are_kept_for_either_way() {
    let (address, connections) = answering(ANSWERS).await;
    let proxy = passing(address).threads(1).run().await;
    let mut plain = connect(&proxy).await;
    let mut long = connect(&proxy).await;
    for number in [0, 2, 9, 18] {
        for (client, fields) in [(&mut plain, PLAIN), (&mut long, LONG_WAY)] {
            let asking = request(&format!("/{number}"), fields);
            client.send(asking.as_bytes()).await.unwrap();
            assert!(seen(client).await.unwrap().is_whole);
        }
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_answer_may_come_in_any_pieces() {
    let (listener, address) = by_hand().await;
    let proxy = passing(address).run().await;
    let mut client = connect(&proxy).await;
    let answer: &[u8] = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n2;x=y\r\nde\r\n0\r\nt: u\r\n\r\n";
    client.send(request("/", PLAIN).as_bytes()).await.unwrap();
    let mut upstream = taken(&listener).await;
    for byte in answer {
        upstream.send(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let answered = seen(&mut client).await.unwrap();
    assert_eq!(
        (answered.content.as_str(), answered.is_whole),
        ("abcde", true)
    );
    assert_eq!(answered.heads.len(), 2);
    for split in 1..answer.len() {
        client.send(request("/", PLAIN).as_bytes()).await.unwrap();
        // The same connection: nothing was left on it.
        asked(&mut upstream).await;
        upstream.send(&answer[..split]).await.unwrap();
        tokio::task::yield_now().await;
        upstream.send(&answer[split..]).await.unwrap();
        let answered = seen(&mut client).await.unwrap();
        assert_eq!(
            (answered.content.as_str(), answered.is_whole),
            ("abcde", true)
        );
    }
}

#[tokio::test]
async fn a_length_that_is_said_twice_is_said_once() {
    let (listener, address) = by_hand().await;
    let proxy = passing(address).run().await;
    let mut client = connect(&proxy).await;
    let mut upstream = None;
    for (framing, content, length) in [
        ("Content-Length: 2, 2", "ok", Some("2")),
        ("Content-Length: 2\r\nContent-Length: 2", "ok", Some("2")),
        // The last over this connection.
        (
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
            "2\r\nok\r\n0\r\n\r\n",
            None,
        ),
    ] {
        client.send(request("/", PLAIN).as_bytes()).await.unwrap();
        let upstream = match &mut upstream {
            Some(upstream) => upstream,
            none => none.insert(accept(&listener).await),
        };
        asked(upstream).await;
        let answer = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{content}");
        upstream.send(answer.as_bytes()).await.unwrap();
        let answered = seen(&mut client).await.unwrap();
        assert_eq!(answered.content, "ok");
        let fields = answered.heads[0].1.iter();
        let lengths = fields.filter(|(name, _)| name == "content-length");
        assert_eq!(lengths.map(|(_, value)| value.as_str()).next(), length);
    }
    within("the connection to be closed", upstream.unwrap().closed()).await;
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_replaced_once() {
    let (listener, address) = by_hand().await;
    let proxy = passing(address).run().await;
    let mut client = connect(&proxy).await;
    client.send(request("/", PLAIN).as_bytes()).await.unwrap();
    let mut first = taken(&listener).await;
    first.send(ANSWERS[0].0.as_bytes()).await.unwrap();
    assert!(seen(&mut client).await.unwrap().is_whole);

    // It closes only when it is asked again.
    client.send(request("/", PLAIN).as_bytes()).await.unwrap();
    asked(&mut first).await;
    drop(first);
    let second = taken(&listener).await;
    drop(second);
    let refused = seen(&mut client).await.unwrap();
    assert!(refused.heads[0].0.contains("502"), "{refused:?}");

    // The connection to the client goes on.
    client.send(request("/", PLAIN).as_bytes()).await.unwrap();
    let mut third = taken(&listener).await;
    third.send(ANSWERS[0].0.as_bytes()).await.unwrap();
    assert_eq!(seen(&mut client).await.unwrap().content, "ok");
}

#[tokio::test]
async fn what_is_behind_an_answer_is_no_answer_to_the_next() {
    let (listener, address) = by_hand().await;
    let proxy = passing(address).run().await;
    let mut client = connect(&proxy).await;
    client.send(request("/", PLAIN).as_bytes()).await.unwrap();
    let mut first = taken(&listener).await;
    let smuggled = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let both = [ANSWERS[0].0, smuggled].concat();
    first.send(both.as_bytes()).await.unwrap();
    assert_eq!(seen(&mut client).await.unwrap().content, "ok");
    client.send(request("/", PLAIN).as_bytes()).await.unwrap();
    let mut second = taken(&listener).await;
    second.send(ANSWERS[0].0.as_bytes()).await.unwrap();
    assert_eq!(seen(&mut client).await.unwrap().content, "ok");
}

#[tokio::test]
async fn a_head_without_end_is_a_bad_gateway() {
    let (listener, address) = by_hand().await;
    let proxy = passing(address).run().await;
    let mut client = connect(&proxy).await;
    client.send(request("/", PLAIN).as_bytes()).await.unwrap();
    let mut upstream = taken(&listener).await;
    let line = format!("X-A: {}\r\n", "x".repeat(10_000));
    upstream.send(b"HTTP/1.1 200 OK\r\n").await.unwrap();
    while upstream.send(line.as_bytes()).await.is_ok() {}
    let refused = seen(&mut client).await.unwrap();
    assert!(refused.heads[0].0.contains("502"), "{refused:?}");
}

#[tokio::test]
async fn an_origin_that_is_silent_is_left_in_time() {
    let feed = Feed::new();
    let origin = origin::new()
        .get("/silent", silence())
        .get("/stalls", fed(&feed))
        .run()
        .await;
    let proxy = passing(origin.address())
        .toml("[origin]\nresponse_timeout = \"200ms\"\nbody_idle_timeout = \"200ms\"")
        .run()
        .await;
    proxy.get("/silent").await.is_problem(504);
    feed.send("some");
    proxy.get("/stalls").open().await.breaks().await;
    feed.abandoned().await;
    let none = proxy::in_front_of("http://127.0.0.1:1").route("/stored", |route| route);
    none.run().await.get("/x").await.is_problem(502);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let gate = Gate::new();
    let origin = origin::new()
        .get("/a", ok("a").held_by(&gate))
        .get("/b", ok("b"))
        .get("/stored", ok("c").max_age(60))
        .run()
        .await;
    let proxy = passing(origin.address()).run().await;
    proxy.get("/stored").await.is("c");
    let mut client = connect(&proxy).await;
    let pipelined: String = ["/a", "/stored", "/b", "/stored", "/b"]
        .map(|target| request(target, PLAIN))
        .concat();
    client.send(pipelined.as_bytes()).await.unwrap();
    gate.reached_by(1).await;
    client
        .send(request("/stored", PLAIN).as_bytes())
        .await
        .unwrap();
    client
        .send(request("/b", LONG_WAY).as_bytes())
        .await
        .unwrap();
    gate.open();
    for expected in ["a", "c", "b", "c", "b", "c", "b"] {
        assert_eq!(seen(&mut client).await.unwrap().content, expected);
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_exchange() {
    let feed = Feed::new();
    let origin = origin::new().get("/x", fed(&feed)).run().await;
    let proxy = passing(origin.address())
        .toml("[limits]\nwrite_idle_timeout = \"200ms\"")
        .run()
        .await;
    let mut answer = proxy.get("/x").open().await;
    feed.send("some");
    answer.piece().await.unwrap();
    drop(answer);
    feed.abandoned().await;
    let in_flight = "pannier_inflight_requests";
    eventually("nothing to be in flight", async || {
        (proxy.metric(in_flight).await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_holds_the_origin_up() {
    let (listener, address) = by_hand().await;
    let proxy = passing(address).run().await;
    let mut client = connect(&proxy).await;
    client.send(request("/", PLAIN).as_bytes()).await.unwrap();
    let mut upstream = taken(&listener).await;
    let bytes = 64 * 1024 * 1024;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
    upstream.send(head.as_bytes()).await.unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let sending = tokio::spawn(async move {
        let piece = vec![b'x'; 64 * 1024];
        while counted.load(Ordering::SeqCst) < bytes {
            upstream.send(&piece).await.unwrap();
            counted.fetch_add(piece.len(), Ordering::SeqCst);
        }
        upstream
    });
    // It stops: what is taken fits the buffers of four sockets.
    let mut before = usize::MAX;
    eventually("the origin to be held up", async || {
        let now = sent.load(Ordering::SeqCst);
        (now > 0 && std::mem::replace(&mut before, now) == now).then_some(())
    })
    .await;
    assert!(sent.load(Ordering::SeqCst) < bytes);
    let answered = seen(&mut client).await.unwrap();
    assert!(answered.is_whole);
    assert_eq!(answered.content.len(), bytes);
    sending.await.unwrap();
}

#[tokio::test]
async fn a_client_that_takes_nothing_for_too_long_is_left() {
    let (listener, address) = by_hand().await;
    let proxy = passing(address)
        .toml("[limits]\nwrite_idle_timeout = \"200ms\"")
        .run()
        .await;
    let mut client = connect(&proxy).await;
    client.send(request("/", PLAIN).as_bytes()).await.unwrap();
    let mut upstream = taken(&listener).await;
    upstream.send(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    let piece = vec![b'x'; 64 * 1024];
    within("the origin to be left", async {
        while upstream.send(&piece).await.is_ok() {}
    })
    .await;
    assert!(!seen(&mut client).await.unwrap().is_whole);
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_ends_the_exchange() {
    let (listener, address) = by_hand().await;
    let proxy = passing(address)
        .toml("[limits]\nwrite_idle_timeout = \"200ms\"")
        .run()
        .await;
    let mut client = connect(&proxy).await;
    client.send(request("/", PLAIN).as_bytes()).await.unwrap();
    let mut upstream = taken(&listener).await;
    drop(client);
    within("the connection to be closed", upstream.closed()).await;
}

#[tokio::test]
async fn unused_connections_are_closed_in_time() {
    let (listener, address) = by_hand().await;
    for bound in ["idle_timeout = \"100ms\"", "idle_connections_max = 0"] {
        let proxy = passing(address)
            .toml(&format!("[origin]\n{bound}"))
            .run()
            .await;
        let mut client = connect(&proxy).await;
        for _ in 0..2 {
            client.send(request("/", PLAIN).as_bytes()).await.unwrap();
            let mut upstream = accept(&listener).await;
            asked(&mut upstream).await;
            upstream.send(ANSWERS[0].0.as_bytes()).await.unwrap();
            assert!(seen(&mut client).await.unwrap().is_whole);
            within("the connection to be closed", upstream.closed()).await;
        }
    }
}

#[tokio::test]
async fn at_the_bound_on_exchanges_a_read_waits_its_turn() {
    let gate = Gate::new();
    let origin = origin::new()
        .get("/held", ok("held").held_by(&gate))
        .get("/x", ok("x"))
        .run()
        .await;
    let proxy = passing(origin.address())
        .toml("[limits]\nupstream_inflight_max = 1")
        .run()
        .await;
    let held = tokio::spawn(proxy.get("/held").into_future());
    gate.reached_by(1).await;
    let waiting = tokio::spawn(proxy.get("/x").into_future());
    eventually("the other to wait", async || {
        let queues = proxy.admin_get("/queues").await.text();
        queues.contains("\"waiting\":1").then_some(())
    })
    .await;
    origin.was_asked("/x").times(0);
    gate.open();
    held.await.unwrap().is("held");
    waiting.await.unwrap().is("x");
}

#[tokio::test]
async fn an_origin_on_a_unix_socket_is_passed_to_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let origin = origin::new()
        .get("/x", ok("x"))
        .unix(folder.path().join("app.sock"))
        .run()
        .await;
    let proxy = proxy::new(&origin).route("/stored", |route| route);
    let proxy = proxy.run().await;
    for _ in 0..2 {
        proxy.get("/x").await.is("x").was(Bypass);
    }
}

#[tokio::test]
async fn a_drain_finishes_what_is_under_way() {
    let (feed, gate) = (Feed::new(), Gate::new());
    let origin = origin::new()
        .get("/begun", fed(&feed))
        .get("/held", ok("held").held_by(&gate))
        .run()
        .await;
    let proxy = passing(origin.address()).run().await;
    let mut begun = proxy.get("/begun").open().await;
    feed.send("one");
    begun.piece().await.unwrap();
    let mut held = connect(&proxy).await;
    held.send(request("/held", PLAIN).as_bytes()).await.unwrap();
    gate.reached_by(1).await;
    proxy.term().await;
    eventually("new connections to be refused", async || {
        let connecting = TcpStream::connect(proxy.address).await;
        connecting.is_err().then_some(())
    })
    .await;
    feed.send("two");
    feed.end();
    begun.whole().await.is("two");
    gate.open();
    let answered = seen(&mut held).await.unwrap();
    assert_eq!(answered.content, "held");
    let closes = ("connection".to_owned(), "close".to_owned());
    assert!(answered.heads[0].1.contains(&closes), "{answered:?}");
    assert_eq!(held.rest().await, "");
    assert_eq!(proxy.exit().await, Some(0));
}

#[tokio::test]
async fn a_reload_leaves_the_connections_to_another_origin() {
    let before = origin::new().get("/x", ok("before")).run().await;
    let after = origin::new().get("/x", ok("after")).run().await;
    let proxy = passing(before.address()).run().await;
    let mut client = connect(&proxy).await;
    client.send(request("/x", PLAIN).as_bytes()).await.unwrap();
    assert_eq!(seen(&mut client).await.unwrap().content, "before");
    let (listen, admin) = (proxy.address, proxy.admin);
    let text = passing(after.address()).text();
    let text = text.replacen("127.0.0.1:0", &listen.to_string(), 1);
    proxy.rewrite(&text.replacen("127.0.0.1:0", &admin.to_string(), 1));
    proxy.hup().await;
    eventually("the other origin to answer", async || {
        client.send(request("/x", PLAIN).as_bytes()).await.unwrap();
        let answered = seen(&mut client).await.unwrap();
        (answered.content == "after").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_passed_read_is_counted_as_any_other() {
    let origin = origin::new().get("/n/7", ok("seven")).run().await;
    let proxy = passing(origin.address())
        .toml("[limits]\ninflight_max = 1")
        .run()
        .await;
    for _ in 0..3 {
        proxy.get("/n/7").await.is("seven");
    }
    let sample =
        "pannier_requests_total{route=\"\",method=\"GET\",status=\"200\",cache=\"bypass\"}";
    assert_eq!(proxy.metric(sample).await, 3.0);
    let endpoint = proxy
        .admin_get("/performance/endpoint/GET/n/%7Bid%7D")
        .await;
    assert_eq!(
        endpoint.json()["upstream"]["count"],
        3,
        "{}",
        endpoint.text()
    );
    assert_eq!(proxy.metric("pannier_inflight_requests").await, 0.0);
}
