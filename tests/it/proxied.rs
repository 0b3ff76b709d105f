//! The PROXY protocol: a proxy in front says whose a connection is.

use std::net::SocketAddr;

use tempfile::TempDir;

use super::support::client::H2;
use super::support::raw::Raw;
use super::support::tls::{Authority, pair};
use super::support::{eventually, ok, origin, proxy};

/// A header of version 1 for a client at 192.0.2.7.
const V1: &str = "PROXY TCP4 192.0.2.7 10.0.0.1 4660 80\r\n";
/// Every peer here is trusted; a header has a second.
const TRUSTED: &str = "[limits]\ntrusted_proxies = [\"127.0.0.0/8\"]\nhead_timeout = \"1s\"";

/// A header of version 2 that says this source, and an extension.
fn version_2(source: SocketAddr) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    let mut block = match source {
        SocketAddr::V4(source) => {
            bytes.push(0x11);
            [&source.ip().octets()[..], &[10, 0, 0, 1]].concat()
        }
        SocketAddr::V6(source) => {
            bytes.push(0x21);
            [&source.ip().octets()[..], &[0; 16]].concat()
        }
    };
    block.extend(source.port().to_be_bytes());
    block.extend([0, 80, 0x04, 0, 1, 0]);
    let length = u16::try_from(block.len()).expect("it is short");
    bytes.extend(length.to_be_bytes());
    bytes.extend(block);
    bytes
}

/// A header of a connection that the proxy makes for itself, of version 2.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: pannier.test\r\n\r\n")
}

#[tokio::test]
async fn the_client_is_whom_the_header_names() {
    let origin = origin::new().otherwise(ok("x")).run().await;
    let proxy = proxy::new(&origin)
        .route("/routed/**", |route| route)
        .top("proxy_protocol = true")
        .toml(TRUSTED)
        .toml("[log]\naccess = \"text\"")
        .run()
        .await;
    let v4 = version_2("192.0.2.8:9".parse().unwrap());
    let v6 = version_2("[2001:db8::7]:9".parse().unwrap());
    let cases: [(&[u8], &str); 5] = [
        (V1.as_bytes(), "192.0.2.7"),
        (&v4, "192.0.2.8"),
        (&v6, "2001:db8::7"),
        (LOCAL, "127.0.0.1"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    ];
    for (at, (header, client)) in cases.into_iter().enumerate() {
        // The way of a plain pass, and the long way.
        for way in ["plain", "routed"] {
            let path = format!("/{way}/{at}");
            let mut connection = proxy.connect().await;
            let both = [header, get(&path).as_bytes()].concat();
            connection.send(both).await;
            assert_eq!(connection.answer().await.1, "x");
            connection.send(get(&path)).await;
            assert_eq!(connection.answer().await.1, "x", "on the same connection");
            let seen = origin.last_request(&path);
            assert_eq!(seen.field("x-forwarded-for"), client, "{path}");
        }
    }
    let lines = proxy.access_lines(20).await;
    assert!(lines[0].contains(" 192.0.2.7 "), "{}", lines[0]);
    refused(&proxy, 0.0).await;
}

#[tokio::test]
async fn what_the_client_claims_is_judged_by_its_own_address() {
    let origin = origin::new().otherwise(ok("x")).run().await;
    let proxy = proxy::new(&origin)
        .top("proxy_protocol = true")
        .toml("[limits]\ntrusted_proxies = [\"127.0.0.0/8\", \"10.1.0.0/16\"]")
        .run()
        .await;
    let claim = "GET /x HTTP/1.1\r\nHost: pannier.test\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n";
    // Not trusted; and an HTTP proxy of ours behind a balancer of ours.
    for (source, told) in [
        ("192.0.2.7:1", "192.0.2.7"),
        ("10.1.2.3:1", "203.0.113.9, 10.1.2.3"),
    ] {
        let mut connection = proxy.connect().await;
        connection.send(version_2(source.parse().unwrap())).await;
        connection.send(claim).await;
        assert_eq!(connection.answer().await.1, "x");
        let seen = origin.last_request("/x");
        assert_eq!(seen.field("x-forwarded-for"), told);
    }
}

#[tokio::test]
async fn a_peer_that_is_not_trusted_says_nothing() {
    let origin = origin::new().otherwise(ok("x")).run().await;
    let proxy = proxy::new(&origin)
        .top("proxy_protocol = true")
        .toml("[limits]\ntrusted_proxies = [\"10.0.0.0/8\"]")
        .run()
        .await;
    for bytes in [format!("{V1}{}", get("/x")), get("/x")] {
        assert_eq!(proxy.raw(bytes).await, "");
    }
    origin.was_asked("/x").times(0);
    refused(&proxy, 2.0).await;
}

#[tokio::test]
async fn without_a_whole_header_in_time_a_connection_is_closed() {
    let origin = origin::new().otherwise(ok("x")).run().await;
    let proxy = proxy::new(&origin)
        .top("proxy_protocol = true")
        .toml(TRUSTED)
        .run()
        .await;
    let cases: [&[u8]; 6] = [
        b"GET /x HTTP/1.1\r\nHost: pannier.test\r\n\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 4660\r\nGET /x HTTP/1.1\r\nHost: pannier.test\r\n\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        b"\x16\x03\x01\x02\x00",
        // Half a header, and nothing more.
        b"PROXY TCP4 192.0.2.7 ",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00",
    ];
    for bytes in cases {
        assert_eq!(proxy.raw(bytes).await, "");
    }
    origin.was_asked("/x").times(0);
    refused(&proxy, 6.0).await;

    // Piece by piece it is a header all the same.
    let mut connection = proxy.connect().await;
    for piece in V1.as_bytes().chunks(5) {
        connection.send(piece).await;
    }
    connection.send(get("/x")).await;
    assert_eq!(connection.answer().await.1, "x");
    let seen = origin.last_request("/x");
    assert_eq!(seen.field("x-forwarded-for"), "192.0.2.7");

    // A look whether it listens is no failure.
    drop(proxy.connect().await);
    let mut connection = proxy.connect().await;
    connection.send(format!("{V1}{}", get("/x"))).await;
    connection.answer().await;
    refused(&proxy, 6.0).await;
}

#[tokio::test]
async fn it_comes_before_tls_where_tls_is_spoken() {
    let folder = TempDir::new().unwrap();
    let authority = Authority::new();
    let issued = authority.issue(&["pannier.test"]);
    issued.write(folder.path(), "first");
    let origin = origin::new().otherwise(ok("x")).run().await;
    let proxy = proxy::new(&origin)
        .toml(TRUSTED)
        .toml(&format!(
            "[tls]\nlisten = \"127.0.0.1:0\"\nproxy_protocol = true\n{}",
            pair(folder.path(), "first")
        ))
        .run()
        .await;
    let address = proxy.tls.expect("an address of its own");
    for protocol in ["http/1.1", "h2"] {
        let client = authority.client(&[protocol]);
        let header = version_2("192.0.2.8:9".parse().unwrap());
        let stream = client.try_connect(address, "pannier.test", &header).await;
        let stream = stream.expect("a handshake");
        let path = format!("/{protocol}");
        if protocol == "h2" {
            H2::over(stream).await.get(&path).await.is("x");
        } else {
            let mut client = Raw::over(stream);
            client.send(get(&path)).await;
            assert_eq!(client.answer().await.1, "x");
        }
        let seen = origin.last_request(&path);
        assert_eq!(seen.field("x-forwarded-for"), "192.0.2.8");
        assert_eq!(seen.field("x-forwarded-proto"), "https");
    }
    let client = authority.client(&["http/1.1"]);
    let without = client.try_connect(address, "pannier.test", b"").await;
    assert!(without.is_err());
    refused(&proxy, 1.0).await;
    // The other address knows nothing of it.
    proxy.get("/plain").await.is("x");
    proxy.raw(format!("{V1}{}", get("/x"))).await;
    origin.was_asked("/x").times(0);
}

/// Waits until so many connections were closed for their header, and no more.
async fn refused(proxy: &proxy::Proxy, expected: f64) {
    eventually("closed connections to be counted", async || {
        let refused = proxy.metric("pannier_proxy_headers_refused_total").await;
        assert!(refused <= expected, "{refused}");
        (refused == expected).then_some(())
    })
    .await;
}
