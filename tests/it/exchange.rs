//! Exchanges with the origin are alike, whichever way a request came: with a
//! route or without, read or write, over HTTP/1.1 or HTTP/2.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};

use super::support::proxy::{self, Builder, Proxy};
use super::support::wire::{Head, Wire};
use super::support::{eventually, ok, origin, raw_reply, tls, within};

/// A proxy whose one thread takes what is below `/routed` by a route.
fn in_front_of(upstream: SocketAddr) -> Builder {
    proxy::in_front_of(&format!("http://{upstream}")).route("/routed/**", |route| route.ttl("60s"))
}

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

async fn connect(proxy: &Proxy) -> Wire {
    Wire::new(TcpStream::connect(proxy.address).await.expect("a peer"))
}

async fn head(wire: &mut Wire) -> Head {
    let head = within("a head", wire.head()).await;
    head.expect("a head").expect("a head and not the end")
}

/// The request that comes next, with its content.
async fn asked(wire: &mut Wire) -> (Head, Vec<u8>) {
    let head = head(wire).await;
    let mut content = Vec::new();
    let reading = wire.body(&head, |piece| content.extend_from_slice(&piece));
    within("the content", reading).await.expect("all of it");
    (head, content)
}

fn request(method: &str, target: &str, fields: &str, content: &str) -> String {
    format!(
        "{method} {target} HTTP/1.1\r\nHost: pannier.test\r\n{fields}Content-Length: {}\r\n\r\n{content}",
        content.len()
    )
}

/// The response `client` gets: its head, and its content where that was whole.
async fn answer(client: &mut Wire) -> (Head, Option<String>) {
    let head = head(client).await;
    let mut content = Vec::new();
    let reading = client.body(&head, |piece| content.extend_from_slice(&piece));
    let whole = within("the content", reading).await;
    let content = String::from_utf8_lossy(&content).into_owned();
    (head, whole.ok().map(|_| content))
}

const PLAIN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn whatever_is_said_of_the_content_s_end_one_thing_goes_out() {
    let replies = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", 200),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\ncontent-length : 05\r\n\r\nhello",
            200,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            200,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\nContent-Length: 50\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            200,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nhello",
            200,
        ),
        ("HTTP/1.1 200 OK\r\nX-A:\r\n b\r\n\r\nhello", 200),
        ("HTTP/1.0 200 OK\r\n\r\nhello", 200),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello!", 502),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            502,
        ),
        ("HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", 502),
    ];
    for (reply, status) in replies {
        let reply = raw_reply(reply);
        let origin = origin::new()
            .otherwise(reply.clone())
            .on("POST", "*", reply)
            .run()
            .await;
        let proxy = in_front_of(origin.address()).run().await;
        for target in ["/x", "/routed/x"] {
            for method in ["GET", "POST"] {
                let mut client = connect(&proxy).await;
                let text = request(method, target, "", "");
                client.send(text.as_bytes()).await.unwrap();
                let (head, content) = answer(&mut client).await;
                assert_eq!(
                    head.word(1),
                    status.to_string(),
                    "{method} {target}: {head:?}"
                );
                let framings = head
                    .fields
                    .iter()
                    .filter(|(name, _)| name == "content-length" || name == "transfer-encoding");
                assert_eq!(framings.count(), 1, "{head:?}");
                if status == 200 {
                    assert_eq!(content.as_deref(), Some("hello"), "{method} {target}");
                }
            }
            let answered = proxy.h2().await.get_with(target, &[("x-a", "b")]).await;
            answered.status(status);
            if status == 200 {
                answered.is("hello");
            }
        }
    }
}

#[tokio::test]
async fn content_that_is_cut_short_is_never_finished() {
    for reply in [
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
    ] {
        let reply = raw_reply(reply);
        let origin = origin::new()
            .otherwise(reply.clone())
            .on("POST", "*", reply)
            .run()
            .await;
        let proxy = in_front_of(origin.address()).run().await;
        for target in ["/x", "/routed/x"] {
            proxy.get(target).open().await.breaks().await;
            // What its bans were waited for with may be left out altogether.
            let mut client = connect(&proxy).await;
            let text = request("POST", target, "", "a");
            client.send(text.as_bytes()).await.unwrap();
            if let Some(head) = within("a head", client.head()).await.unwrap_or(None) {
                let reading = client.body(&head, |_| {});
                assert!(within("the content", reading).await.is_err(), "{head:?}");
            }
        }
    }
}

/// An origin that answers the first request of each connection, and closes when
/// the second has come. Counts connections and those second requests.
async fn closing() -> (SocketAddr, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (listener, address) = by_hand().await;
    let (connections, seconds) = (Arc::default(), Arc::default());
    let counts: (Arc<AtomicUsize>, Arc<AtomicUsize>) =
        (Arc::clone(&connections), Arc::clone(&seconds));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counts.0.fetch_add(1, Ordering::SeqCst);
            let seconds = Arc::clone(&counts.1);
            tokio::spawn(async move {
                let mut wire = Wire::new(stream);
                asked(&mut wire).await;
                wire.send(PLAIN.as_bytes()).await.expect("a peer");
                if let Ok(Some(_)) = wire.head().await {
                    seconds.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    (address, connections, seconds)
}

#[tokio::test]
async fn what_can_be_repeated_is_asked_again_where_a_used_connection_closes() {
    for (method, target, content, expected) in [
        ("GET", "/x", "", "200"),
        ("GET", "/routed/x", "", "200"),
        ("DELETE", "/routed/x", "", "200"),
        ("PUT", "/x", "all of it", "200"),
        ("POST", "/x", "", "502"),
        ("POST", "/routed/x", "once", "502"),
    ] {
        let (address, connections, seconds) = closing().await;
        let proxy = in_front_of(address).threads(1).run().await;
        proxy.get("/first").await.status(200);
        let mut client = connect(&proxy).await;
        let text = request(method, target, "", content);
        client.send(text.as_bytes()).await.unwrap();
        let (head, _) = answer(&mut client).await;
        assert_eq!(head.word(1), expected, "{method} {target}");
        assert_eq!(seconds.load(Ordering::SeqCst), 1, "it was sent");
        let made = if expected == "200" { 2 } else { 1 };
        assert_eq!(
            connections.load(Ordering::SeqCst),
            made,
            "{method} {target}"
        );
    }
}

#[tokio::test]
async fn everybody_who_waits_gets_the_answer_to_the_second_try() {
    let (listener, address) = by_hand().await;
    let proxy = in_front_of(address).threads(1).run().await;
    let first = tokio::spawn(proxy.get("/first").into_future());
    let mut origin = accept(&listener).await;
    asked(&mut origin).await;
    origin.send(PLAIN.as_bytes()).await.unwrap();
    first.await.unwrap().status(200);

    let waiting: Vec<_> = (0..3)
        .map(|_| tokio::spawn(proxy.get("/routed/x").into_future()))
        .collect();
    asked(&mut origin).await;
    eventually("all of them to wait", async || {
        (proxy.metric("pannier_inflight_requests").await == 3.0).then_some(())
    })
    .await;
    drop(origin);
    let mut origin = accept(&listener).await;
    asked(&mut origin).await;
    origin.send(PLAIN.as_bytes()).await.unwrap();
    for waited in waiting {
        waited.await.unwrap().status(200).is("ok");
    }
}

#[tokio::test]
async fn a_second_try_is_the_last() {
    let (listener, address) = by_hand().await;
    let proxy = in_front_of(address).threads(1).run().await;
    let first = tokio::spawn(proxy.get("/first").into_future());
    let mut origin = accept(&listener).await;
    asked(&mut origin).await;
    origin.send(PLAIN.as_bytes()).await.unwrap();
    first.await.unwrap().status(200);

    let second = tokio::spawn(proxy.get("/routed/x").into_future());
    asked(&mut origin).await;
    drop(origin);
    let mut origin = accept(&listener).await;
    asked(&mut origin).await;
    drop(origin);
    second.await.unwrap().is_problem(502);
}

#[tokio::test]
async fn an_answer_that_comes_before_the_upload_ends_is_passed_on() {
    let (listener, address) = by_hand().await;
    let proxy = in_front_of(address).run().await;
    for target in ["/up", "/routed/up"] {
        let mut client = connect(&proxy).await;
        let text = format!(
            "PUT {target} HTTP/1.1\r\nHost: pannier.test\r\nContent-Length: 1000000\r\n\r\n0123456789"
        );
        client.send(text.as_bytes()).await.unwrap();
        let mut origin = accept(&listener).await;
        head(&mut origin).await;
        let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
                     HTTP/1.1 413 Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge";
        origin.send(early.as_bytes()).await.unwrap();
        assert_eq!(head(&mut client).await.word(1), "103");
        let (head, content) = answer(&mut client).await;
        assert_eq!(head.word(1), "413");
        assert_eq!(content.as_deref(), Some("large"));
        within("the connection to be closed", origin.closed()).await;
    }
}

#[tokio::test]
async fn content_goes_on_while_its_answer_comes() {
    let (listener, address) = by_hand().await;
    let proxy = in_front_of(address).run().await;
    let mut client = connect(&proxy).await;
    client
        .send(b"POST /echo HTTP/1.1\r\nHost: pannier.test\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    let mut origin = accept(&listener).await;
    let asked = head(&mut origin).await;
    origin
        .send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n")
        .await
        .unwrap();
    assert_eq!(head(&mut client).await.word(1), "200");
    for piece in ["4\r\nmore\r\n", "3\r\nall\r\n", "0\r\n\r\n"] {
        client.send(piece.as_bytes()).await.unwrap();
    }
    let mut content = Vec::new();
    let reading = origin.body(&asked, |piece| content.extend_from_slice(&piece));
    within("the content", reading).await.unwrap();
    assert_eq!(content, b"moreall");
    origin.send(b"0\r\n\r\n").await.unwrap();
}

#[tokio::test]
async fn an_origin_that_reads_nothing_holds_the_client_up() {
    let (listener, address) = by_hand().await;
    let proxy = in_front_of(address).run().await;
    let mut client = connect(&proxy).await;
    let bytes = 64 * 1024 * 1024;
    let text = format!("PUT /up HTTP/1.1\r\nHost: pannier.test\r\nContent-Length: {bytes}\r\n\r\n");
    client.send(text.as_bytes()).await.unwrap();
    let mut origin = accept(&listener).await;
    let asked = head(&mut origin).await;
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let sending = tokio::spawn(async move {
        let piece = vec![b'x'; 64 * 1024];
        while counted.load(Ordering::SeqCst) < bytes {
            client.send(&piece).await.unwrap();
            counted.fetch_add(piece.len(), Ordering::SeqCst);
        }
        client
    });
    // It stops: what is taken fits the buffers of four sockets.
    let mut before = usize::MAX;
    eventually("the client to be held up", async || {
        let now = sent.load(Ordering::SeqCst);
        (now > 0 && std::mem::replace(&mut before, now) == now).then_some(())
    })
    .await;
    assert!(sent.load(Ordering::SeqCst) < bytes);
    let mut received = 0;
    let reading = origin.body(&asked, |piece| received += piece.len());
    within("all of it", reading).await.unwrap();
    assert_eq!(received, bytes);
    origin.send(PLAIN.as_bytes()).await.unwrap();
    let mut client = sending.await.unwrap();
    assert_eq!(answer(&mut client).await.1.as_deref(), Some("ok"));
}

#[tokio::test]
async fn connections_in_tls_are_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = tls::localhost();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, &server.ca_pem).unwrap();
    let large = "x".repeat(300_000);
    let origin = origin::new()
        .get("/x", ok("x"))
        .get("/routed/x", ok(large.clone()).cache_control("no-store"))
        .tls(server.acceptor)
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .threads(1)
        .route("/routed/**", |route| route)
        .toml(&format!("[origin]\nca_file = \"{}\"", ca_file.display()))
        .run()
        .await;
    for _ in 0..3 {
        proxy.get("/x").await.is("x");
        proxy.get("/routed/x").await.is(&large);
        proxy.put("/routed/y", "content").await.status(204);
    }
    assert_eq!(origin.last_request("/routed/y").body, b"content");
    let opened = "pannier_upstream_connects_total";
    assert_eq!(proxy.metric(opened).await, 1.0);
}

#[tokio::test]
async fn an_origin_that_closes_after_each_answer_costs_no_request() {
    let (listener, address) = by_hand().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut wire = Wire::new(stream);
                asked(&mut wire).await;
                // It does not say that it will.
                wire.send(PLAIN.as_bytes()).await.expect("a peer");
            });
        }
    });
    let proxy = in_front_of(address).run().await;
    for number in 0..10 {
        proxy.get("/x").await.is("ok");
        proxy.get(&format!("/routed/{number}")).await.is("ok");
        proxy.put("/routed/x", "content").await.is("ok");
    }
}

#[tokio::test]
async fn what_comes_behind_a_whole_response_is_nobody_s_answer() {
    let (listener, address) = by_hand().await;
    let proxy = in_front_of(address).threads(1).run().await;
    for target in ["/x", "/routed/x"] {
        let asking = tokio::spawn(proxy.get(target).into_future());
        let mut origin = accept(&listener).await;
        asked(&mut origin).await;
        let answers = [PLAIN, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"].concat();
        origin.send(answers.as_bytes()).await.unwrap();
        asking.await.unwrap().is("ok");
        within("the connection to be closed", origin.closed()).await;
    }
}

#[tokio::test]
async fn what_follows_a_switch_at_once_is_passed_on() {
    let (listener, address) = by_hand().await;
    let proxy = in_front_of(address).run().await;
    let mut client = connect(&proxy).await;
    let fields = "Connection: upgrade\r\nUpgrade: x\r\n";
    let text = format!("GET /x HTTP/1.1\r\nHost: pannier.test\r\n{fields}\r\n");
    client.send(text.as_bytes()).await.unwrap();
    let mut origin = accept(&listener).await;
    assert_eq!(head(&mut origin).await.field("upgrade"), Some("x"));
    origin
        .send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nahead")
        .await
        .unwrap();
    let switched = head(&mut client).await;
    assert_eq!(switched.word(1), "101");
    assert_eq!(switched.field("upgrade"), Some("x"));
    client.send(b"from the client").await.unwrap();
    client.finish().await.unwrap();
    assert_eq!(
        &within("its bytes", origin.rest()).await[..],
        b"from the client"
    );
    origin.send(b" and behind").await.unwrap();
    drop(origin);
    assert_eq!(
        &within("its bytes", client.rest()).await[..],
        b"ahead and behind"
    );
}

#[tokio::test]
async fn a_chunked_request_keeps_the_trailers_it_announced() {
    let (listener, address) = by_hand().await;
    let proxy = in_front_of(address).run().await;
    let mut client = connect(&proxy).await;
    client
        .send(
            b"PUT /x HTTP/1.1\r\nHost: pannier.test\r\nTransfer-Encoding: chunked\r\n\
              Trailer: x-sum\r\n\r\n1\r\na\r\n0\r\nX-Sum: 9\r\n\r\n",
        )
        .await
        .unwrap();
    let mut origin = accept(&listener).await;
    let asked = head(&mut origin).await;
    let reading = origin.body(&asked, |_| {});
    let trailers = within("the content", reading).await.unwrap();
    assert_eq!(trailers.field("x-sum"), Some("9"));
    origin.send(PLAIN.as_bytes()).await.unwrap();
    assert_eq!(answer(&mut client).await.1.as_deref(), Some("ok"));
}

#[tokio::test]
async fn a_connection_is_not_used_again_once_it_is_too_old() {
    let origin = origin::new().otherwise(ok("x")).run().await;
    let proxy = proxy::new(&origin)
        .threads(1)
        .toml("[origin]\nconnection_age_max = \"1ms\"")
        .run()
        .await;
    eventually("another connection", async || {
        proxy.get("/x").await.status(200);
        let made = proxy.metric("pannier_upstream_connects_total").await;
        (made >= 3.0).then_some(())
    })
    .await;
}
