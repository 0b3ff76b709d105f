//! TLS for clients.

use std::path::Path;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::support::cli::pannier;
use super::support::client::H2;
use super::support::raw::Raw;
use super::support::tls::{Authority, pair};
use super::support::{Feed, Hit, Miss, eventually, fed, ok, origin, proxy, within};

/// What the tests' clients call the proxy.
const NAME: &str = "pannier.test";

/// A folder with a certificate for [`NAME`], and its authority.
fn certified() -> (TempDir, Authority) {
    let folder = TempDir::new().expect("a folder");
    let authority = Authority::new();
    authority.issue(&[NAME]).write(folder.path(), "first");
    (folder, authority)
}

/// `[tls]` on the main address.
fn on_listen(folder: &Path) -> String {
    format!("[tls]\n{}", pair(folder, "first"))
}

/// `[tls]` on an address of its own.
fn beside(folder: &Path) -> String {
    format!("[tls]\nlisten = \"127.0.0.1:0\"\n{}", pair(folder, "first"))
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n")
}

#[tokio::test]
async fn everything_is_served_over_http_1_in_tls() {
    let (folder, authority) = certified();
    let feed = Feed::new();
    let large = "x".repeat(32 << 20);
    let origin = origin::new()
        .get("/x", ok("x").max_age(60))
        .get("/fed", fed(&feed))
        .get("/large", ok(large.clone()))
        .on("POST", "/x", ok("posted"))
        .get("/pass", ok("passed"))
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .route("/x", |route| route)
        .route("/fed", |route| route)
        .toml(&on_listen(folder.path()))
        .run()
        .await;

    let client = authority.client(&["http/1.1"]);
    let stream = client.connect(proxy.address, NAME).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut client = Raw::over(stream);
    for expected in ["MISS", "HIT", "HIT"] {
        client.send(get("/x")).await;
        let (head, body) = client.answer().await;
        assert_eq!((head.field("x-cache"), &*body), (Some(expected), "x"));
    }
    client.send(get("/x").repeat(50)).await;
    for _ in 0..50 {
        let (head, body) = client.answer().await;
        assert_eq!((head.field("x-cache"), &*body), (Some("HIT"), "x"));
    }
    let post = format!("POST /x HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 3\r\n\r\nabc");
    client.send(post).await;
    assert_eq!(client.answer().await.1, "posted");
    assert_eq!(origin.last_request("/x").body, b"abc");
    client.send(get("/fed")).await;
    feed.send("first ");
    let head = client.head().await.expect("a head");
    assert_eq!(head.word(1), "200");
    feed.send("second");
    feed.end();
    let streamed = client.body_of(&head).await;
    assert_eq!(streamed, "first second");

    // More than sockets and TLS hold back, and then something small.
    client.send(get("/large")).await;
    assert!(client.answer().await.1 == large);
    client.send(get("/pass")).await;
    assert_eq!(client.answer().await.1, "passed");

    for path in ["/x", "/pass"] {
        let seen = origin.last_request(path);
        assert_eq!(seen.field("x-forwarded-proto"), "https", "{path}");
        let forwarded = seen.field("forwarded");
        assert!(forwarded.ends_with("proto=https"), "{path}: {forwarded}");
    }
}

#[tokio::test]
async fn http_2_is_agreed_on_in_the_handshake() {
    let (folder, authority) = certified();
    let feed = Feed::new();
    let origin = origin::new()
        .get("/x", ok("x").max_age(60))
        .get("/fed", fed(&feed))
        .on("POST", "/x", ok("posted"))
        .run()
        .await;
    let proxy = proxy::new(&origin).toml(&beside(folder.path())).run().await;
    let address = proxy.tls.expect("an address of its own");
    let client = authority.client(&["h2", "http/1.1"]);
    let stream = client.connect(address, NAME).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let client = H2::over(stream).await;
    let request = |method: &str, path: &str, body: &'static str| {
        Request::builder()
            .method(method)
            // The default port of https is the same as none.
            .uri(format!("https://{NAME}:443{path}"))
            .header("host", NAME)
            .body(Full::new(Bytes::from_static(body.as_bytes())))
            .expect("a request")
    };
    for expected in [Miss, Hit] {
        let answer = client.send(request("GET", "/x", "")).await.whole().await;
        answer.is("x").was(expected);
    }
    let seen = origin.last_request("/x");
    assert_eq!(seen.field("x-forwarded-proto"), "https");
    let posted = client.send(request("POST", "/x", "abc")).await;
    posted.whole().await.is("posted");
    assert_eq!(origin.last_request("/x").body, b"abc");
    feed.send("first ");
    let mut streamed = client.send(request("GET", "/fed", "")).await;
    assert_eq!(streamed.piece().await.as_deref(), Some(&b"first "[..]));
    feed.send("second");
    feed.end();
    streamed.whole().await.is("second");
}

#[tokio::test]
async fn without_an_agreement_the_protocol_is_found_out_and_one_is_kept_to() {
    let (folder, authority) = certified();
    let origin = origin::new().get("/x", ok("x").max_age(60)).run().await;
    let proxy = proxy::new(&origin)
        .toml(&on_listen(folder.path()))
        .run()
        .await;
    let silent = authority.client(&[]);
    let mut http_1 = Raw::over(silent.connect(proxy.address, NAME).await);
    http_1.send(get("/x")).await;
    assert_eq!(http_1.answer().await.1, "x");
    let http_2 = H2::over(silent.connect(proxy.address, NAME).await).await;
    http_2.get("/x").await.is("x");

    let promised = authority.client(&["h2"]);
    let mut liar = Raw::over(promised.connect(proxy.address, NAME).await);
    liar.send(get("/x")).await;
    assert_eq!(liar.rest().await, "");
    let promised = authority.client(&["http/1.1"]);
    let mut liar = Raw::over(promised.connect(proxy.address, NAME).await);
    liar.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    let refused = liar.rest().await;
    assert!(
        refused.starts_with("HTTP/1.1 4") || refused.starts_with("HTTP/1.1 5"),
        "{refused}"
    );
}

#[tokio::test]
async fn http_and_https_do_not_share_what_is_stored() {
    let (folder, authority) = certified();
    let by_scheme =
        super::support::by(|request| ok(request.field("x-forwarded-proto").to_owned()).max_age(60));
    let origin = origin::new().get("/x", by_scheme).run().await;
    let proxy = proxy::new(&origin).toml(&beside(folder.path())).run().await;
    let client = authority.client(&["http/1.1"]);
    let address = proxy.tls.expect("an address of its own");
    let mut client = Raw::over(client.connect(address, NAME).await);
    for cache in ["MISS", "HIT"] {
        let plain = proxy.get("/x").await;
        assert_eq!((plain.cache(), &*plain.text()), (cache, "http"));
        client.send(get("/x")).await;
        let (head, body) = client.answer().await;
        assert_eq!((head.field("x-cache"), &*body), (Some(cache), "https"));
    }
    // A stranger cannot say that it is the other one.
    let lie = proxy.get("/x").header("x-forwarded-proto", "https").await;
    lie.is("http").was(Hit);
    // What is written invalidates both.
    proxy.put("/x", "new").await.is_success();
    proxy.get("/x").await.was(Miss);
    client.send(get("/x")).await;
    assert_eq!(client.answer().await.0.field("x-cache"), Some("MISS"));
}

#[tokio::test]
async fn the_host_that_is_asked_for_chooses_the_certificate() {
    let folder = TempDir::new().unwrap();
    let authority = Authority::new();
    // A client that asks for an address names no host.
    let first = authority.issue(&["127.0.0.1", "first.example"]);
    let second = authority.issue(&["second.example", "*.second.example"]);
    first.write(folder.path(), "first");
    second.write(folder.path(), "second");
    let origin = origin::new().run().await;
    let others = format!("[[tls.certificates]]\n{}", pair(folder.path(), "second"));
    let proxy = proxy::new(&origin)
        .toml(&format!("{}{others}", on_listen(folder.path())))
        .run()
        .await;
    let client = authority.client(&["http/1.1"]);
    for (name, expected) in [
        ("127.0.0.1", &first),
        ("first.example", &first),
        ("second.example", &second),
        ("www.second.example", &second),
    ] {
        let shown = client.shown(proxy.address, name).await;
        assert!(shown == expected.der, "{name}");
    }
}

#[tokio::test]
async fn renewed_certificates_are_taken_and_broken_ones_are_not() {
    let (folder, authority) = certified();
    let origin = origin::new().get("/x", ok("x").max_age(60)).run().await;
    let proxy = proxy::new(&origin)
        .toml(&on_listen(folder.path()))
        .run()
        .await;
    let client = authority.client(&["http/1.1"]);
    let mut kept = Raw::over(client.connect(proxy.address, NAME).await);

    let renewed = authority.issue(&[NAME]);
    renewed.write(folder.path(), "first");
    eventually("the renewed certificate", async || {
        let shown = client.shown(proxy.address, NAME).await;
        (shown == renewed.der).then_some(())
    })
    .await;
    kept.send(get("/x")).await;
    assert_eq!(kept.answer().await.1, "x", "on a connection from before");

    std::fs::write(folder.path().join("first.pem"), "not a certificate").unwrap();
    proxy.logs("the certificates were not read again").await;
    let failed = "pannier_tls_reloads_failed_total";
    assert!(proxy.metric(failed).await >= 1.0);
    assert!(client.shown(proxy.address, NAME).await == renewed.der);
    let log = proxy.log();
    assert!(
        log.contains("first.pem: the file holds no certificate"),
        "{log}"
    );
    assert!(
        !log.contains("PRIVATE KEY") && !log.contains("not a certificate"),
        "{log}"
    );

    let again = authority.issue(&[NAME]);
    again.write(folder.path(), "first");
    proxy.hup().await;
    eventually("the certificate after that", async || {
        let shown = client.shown(proxy.address, NAME).await;
        (shown == again.der).then_some(())
    })
    .await;
}

#[tokio::test]
async fn certificates_elsewhere_are_taken_by_a_reload() {
    let (folder, authority) = certified();
    let elsewhere = TempDir::new().unwrap();
    authority.issue(&[NAME]).write(elsewhere.path(), "first");
    let origin = origin::new().run().await;
    let builder = proxy::new(&origin);
    let moved = builder.clone().toml(&on_listen(elsewhere.path())).text();
    let proxy = builder.toml(&on_listen(folder.path())).run().await;
    let client = authority.client(&["http/1.1"]);
    let before = client.shown(proxy.address, NAME).await;
    proxy.rewrite(&moved);
    proxy.hup().await;
    eventually("another certificate", async || {
        (client.shown(proxy.address, NAME).await != before).then_some(())
    })
    .await;
    // They are looked after there.
    let renewed = authority.issue(&[NAME]);
    renewed.write(elsewhere.path(), "first");
    eventually("the renewed certificate", async || {
        (client.shown(proxy.address, NAME).await == renewed.der).then_some(())
    })
    .await;
    assert!(!proxy.log().contains("waits for the next start"));
}

#[tokio::test]
async fn clients_must_present_a_certificate_where_authorities_are_named() {
    let (folder, authority) = certified();
    let of_clients = Authority::new();
    let ca_file = folder.path().join("clients.pem");
    std::fs::write(&ca_file, of_clients.pem()).unwrap();
    let origin = origin::new().get("/x", ok("x").max_age(60)).run().await;
    let toml = format!(
        "{}client_ca = \"{}\"\n",
        on_listen(folder.path()),
        ca_file.display()
    );
    let proxy = proxy::new(&origin).toml(&toml).run().await;

    let known = authority.client_with(&["http/1.1"], &of_clients.issue(&["client"]));
    let mut known = Raw::over(known.connect(proxy.address, NAME).await);
    known.send(get("/x")).await;
    assert_eq!(known.answer().await.1, "x");

    let unknown = authority.client_with(&["http/1.1"], &authority.issue(&["client"]));
    for client in [authority.client(&["http/1.1"]), unknown] {
        // In TLS 1.3 a client learns of it when it reads.
        if let Ok(stream) = client.try_connect(proxy.address, NAME, b"").await {
            let mut refused = Raw::over(stream);
            refused.send(get("/x")).await;
            assert_eq!(refused.rest().await, "");
        }
    }
    origin.was_asked("/x").times(1);
    handshakes_failed(&proxy, 2.0).await;
}

#[tokio::test]
async fn what_is_no_tls_is_closed_and_counted() {
    let (folder, authority) = certified();
    let origin = origin::new().get("/x", ok("x").max_age(60)).run().await;
    let proxy = proxy::new(&origin)
        .toml(&on_listen(folder.path()))
        .run()
        .await;
    let answered = proxy.raw(get("/x")).await;
    assert!(!answered.contains("HTTP/"), "{answered}");
    handshakes_failed(&proxy, 1.0).await;
    origin.was_asked("/x").times(0);
    let nothing_in_common = authority.client(&["spdy/1"]);
    let refused = nothing_in_common
        .try_connect(proxy.address, NAME, b"")
        .await;
    assert!(refused.is_err());
    handshakes_failed(&proxy, 2.0).await;
    assert!(!proxy.log().contains("handshake"), "at this level");

    let client = authority.client(&["http/1.1"]);
    let mut client = Raw::over(client.connect(proxy.address, NAME).await);
    client.send(get("/x")).await;
    assert_eq!(client.answer().await.1, "x");
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_cut_and_gives_its_place_back() {
    let (folder, authority) = certified();
    let origin = origin::new().get("/x", ok("x").max_age(60)).run().await;
    let proxy = proxy::new(&origin)
        .toml(&on_listen(folder.path()))
        .toml("[limits]\nhead_timeout = \"200ms\"\nconnections_max = 1\n")
        .run()
        .await;
    let mut mute = TcpStream::connect(proxy.address).await.unwrap();
    let mut half = TcpStream::connect(proxy.address).await.unwrap();
    // The beginning of a handshake record.
    tokio::io::AsyncWriteExt::write_all(&mut half, &[22, 3, 1, 2, 0])
        .await
        .unwrap();
    for stream in [&mut mute, &mut half] {
        let mut rest = Vec::new();
        // A reset says the same.
        let _ = within("the end", stream.read_to_end(&mut rest)).await;
    }
    handshakes_failed(&proxy, 2.0).await;
    let client = authority.client(&["http/1.1"]);
    let mut client = Raw::over(client.connect(proxy.address, NAME).await);
    client.send(get("/x")).await;
    assert_eq!(client.answer().await.1, "x");
}

#[tokio::test]
async fn a_client_that_closes_without_a_word_is_no_failure() {
    let (folder, authority) = certified();
    let origin = origin::new().get("/x", ok("x").max_age(60)).run().await;
    let proxy = proxy::new(&origin)
        .toml(&on_listen(folder.path()))
        .toml("[limits]\nconnections_max = 1")
        .run()
        .await;
    let client = authority.client(&["http/1.1"]);
    for _ in 0..3 {
        // Dropped, and the next has its place only when it is over.
        let mut client = Raw::over(client.connect(proxy.address, NAME).await);
        client.send(get("/x")).await;
        assert_eq!(client.answer().await.1, "x");
    }
    assert_eq!(proxy.metric("pannier_connections_failed_total").await, 0.0);
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_told_before_the_start() {
    let (folder, _) = certified();
    let origin = origin::new().run().await;
    let config = folder.path().join("proxy.toml");
    let text = proxy::new(&origin).toml(&on_listen(folder.path())).text();
    std::fs::write(&config, text).unwrap();
    let config = config.display().to_string();
    let ended = pannier(&["check", "--config", &config], &[]).await;
    assert_eq!(ended.code, 0, "{ended:?}");

    std::fs::remove_file(folder.path().join("first.key")).unwrap();
    for command in ["check", "run"] {
        let ended = pannier(&[command, "--config", &config], &[]).await;
        assert_eq!(ended.code, 78, "{ended:?}");
        let told = "first.key: the file cannot be read";
        assert!(ended.stderr.contains(told), "{ended:?}");
    }
}

#[tokio::test]
async fn a_drain_ends_connections_and_handshakes() {
    let (folder, authority) = certified();
    let origin = origin::new().get("/x", ok("x").max_age(60)).run().await;
    let proxy = proxy::new(&origin)
        .toml(&on_listen(folder.path()))
        .toml("[limits]\nhead_timeout = \"1h\"")
        .run()
        .await;
    let client = authority.client(&["http/1.1"]);
    let _mute = TcpStream::connect(proxy.address).await.unwrap();
    let mut idle = Raw::over(client.connect(proxy.address, NAME).await);
    idle.send(get("/x")).await;
    idle.answer().await;
    proxy.term().await;
    assert_eq!(idle.rest().await, "");
    assert_eq!(proxy.exit().await, Some(0));
}

/// Waits until so many handshakes have failed, and no more.
async fn handshakes_failed(proxy: &proxy::Proxy, expected: f64) {
    eventually("failed handshakes to be counted", async || {
        let failed = proxy.metric("pannier_tls_handshakes_failed_total").await;
        assert!(failed <= expected, "{failed}");
        (failed == expected).then_some(())
    })
    .await;
}
