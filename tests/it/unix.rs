//! Clients on a Unix socket.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tempfile::TempDir;
use tokio::net::UnixStream;

use super::support::client::{H2, HOST};
use super::support::origin::Origin;
use super::support::proxy::Builder;
use super::support::raw::Raw;
use super::support::tls::{Authority, pair};
use super::support::{Gate, eventually, ok, origin, proxy};

/// A folder, and the path of a socket in it.
fn place() -> (TempDir, PathBuf) {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("pannier.sock");
    (folder, path)
}

/// The spelling of a configuration.
fn unix(path: &Path) -> String {
    format!("unix:{}", path.display())
}

async fn connect(path: &Path) -> UnixStream {
    UnixStream::connect(path).await.expect("a listener")
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

/// One that claims to be asked for by somebody else.
fn claim(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n")
}

/// An application, and a proxy in front of it that listens on `path` too.
async fn stage(path: &Path) -> (Origin, Builder) {
    let origin = origin::new()
        .get("/x", ok("x").max_age(60))
        .on("POST", "/y", ok("passed"))
        .otherwise(ok("passed"))
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .listen(&unix(path))
        .route("/x", |route| route)
        .toml("[log]\naccess = \"text\"");
    (origin, proxy)
}

#[tokio::test]
async fn everything_is_served_on_a_unix_socket() {
    let (_folder, path) = place();
    let (origin, proxy) = stage(&path).await;
    let proxy = proxy.threads(2).run().await;
    let mut client = Raw::over(connect(&path).await);
    for expected in ["MISS", "HIT"] {
        client.send(get("/x")).await;
        let (head, body) = client.answer().await;
        assert_eq!((head.field("x-cache"), &*body), (Some(expected), "x"));
    }
    let h2 = H2::over(connect(&path).await).await;
    h2.get("/x").await.is("x");
    let post = Request::post(format!("http://{HOST}/y")).body(Full::new(Bytes::from("abc")));
    let posted = h2.send(post.expect("a request")).await;
    posted.whole().await.is("passed");
    assert_eq!(origin.last_request("/y").body, b"abc");

    // More clients than one thread would take in its turn, all of them at once.
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = Raw::over(connect(&path).await);
        client.send(get("/x")).await;
        clients.push(client);
    }
    for client in &mut clients {
        assert_eq!(client.answer().await.1, "x");
    }
    for line in proxy.access_lines(54).await {
        assert!(line.contains(" unix \""), "{line}");
    }
    proxy.get("/x").await.is("x");
}

#[tokio::test]
async fn a_peer_on_a_unix_socket_is_trusted_where_that_is_said() {
    for (limits, told) in [
        ("[limits]\ntrusted_proxies = [\"127.0.0.1\", \"::1\"]", ""),
        ("[limits]\ntrusted_proxies = [\"unix\"]", "203.0.113.9"),
    ] {
        let (_folder, path) = place();
        let (origin, proxy) = stage(&path).await;
        let _proxy = proxy.toml(limits).run().await;
        let mut client = Raw::over(connect(&path).await);
        // By the long way, and by the short one.
        for target in ["/x", "/pass"] {
            client.send(claim(target)).await;
            client.answer().await;
            let seen = origin.last_request(target);
            assert_eq!(seen.field("x-forwarded-for"), told, "{target} {limits}");
            let expected = format!("for=unknown;host=\"{HOST}\";proto=http");
            assert_eq!(seen.field("forwarded"), expected, "{target} {limits}");
        }
    }
}

#[tokio::test]
async fn a_proxy_in_front_says_whose_a_connection_on_a_unix_socket_is() {
    let (_folder, path) = place();
    let (origin, proxy) = stage(&path).await;
    let proxy = proxy
        .top("proxy_protocol = true")
        .toml("[limits]\ntrusted_proxies = [\"unix\", \"127.0.0.1\"]")
        .run()
        .await;
    let mut client = Raw::over(connect(&path).await);
    client
        .send("PROXY TCP4 192.0.2.7 10.0.0.1 4660 80\r\n")
        .await;
    // The client that is named is not trusted itself.
    client.send(claim("/pass")).await;
    assert_eq!(client.answer().await.1, "passed");
    let seen = origin.last_request("/pass");
    assert_eq!(seen.field("x-forwarded-for"), "192.0.2.7");
    let lines = proxy.access_lines(1).await;
    assert!(lines[0].contains(" 192.0.2.7 "), "{}", lines[0]);
}

#[tokio::test]
async fn tls_is_spoken_on_a_unix_socket() {
    let (folder, path) = place();
    let authority = Authority::new();
    authority.issue(&[HOST]).write(folder.path(), "first");
    let (origin, proxy) = stage(&folder.path().join("plain.sock")).await;
    let tls = format!(
        "[tls]\nlisten = \"{}\"\n{}",
        unix(&path),
        pair(folder.path(), "first")
    );
    let _proxy = proxy.toml(&tls).run().await;
    for alpn in ["http/1.1", "h2"] {
        let client = authority.client(&[alpn]);
        let stream = client.over(connect(&path).await, HOST).await;
        let stream = stream.expect("a handshake");
        if alpn == "h2" {
            let request = Request::get(format!("https://{HOST}/pass")).body(Full::default());
            let answer = H2::over(stream).await.send(request.expect("one")).await;
            answer.whole().await.is("passed");
        } else {
            let mut client = Raw::over(stream);
            client.send(get("/pass")).await;
            assert_eq!(client.answer().await.1, "passed");
        }
        let seen = origin.last_request("/pass");
        assert_eq!(seen.field("x-forwarded-proto"), "https");
    }
}

#[tokio::test]
async fn a_unix_socket_ends_with_its_process_and_not_with_a_reload() {
    let (_folder, path) = place();
    let gate = Gate::new();
    let origin = origin::new()
        .get("/slow", ok("slow").held_by(&gate))
        .otherwise(ok("x"))
        .run()
        .await;
    let builder = proxy::new(&origin).listen(&unix(&path));
    let killed = builder.clone().run().await;
    killed.kill().await;
    assert!(path.exists(), "nobody was there to remove it");

    let proxy = builder.clone().threads(2).run().await;
    let mut idle = Raw::over(connect(&path).await);
    idle.send(get("/x")).await;
    idle.answer().await;
    proxy.rewrite(&builder.clone().toml("[log]\naccess = \"text\"").text());
    proxy.hup().await;
    proxy.logs("the configuration was reloaded").await;
    let mut slow = Raw::over(connect(&path).await);
    slow.send(get("/slow")).await;
    gate.reached_by(1).await;

    proxy.term().await;
    assert_eq!(idle.rest().await, "");
    eventually("new connections to be refused", async || {
        UnixStream::connect(&path).await.is_err().then_some(())
    })
    .await;
    gate.open();
    assert_eq!(slow.answer().await.1, "slow");
    assert_eq!(proxy.exit().await, Some(0));
    assert!(!path.exists(), "the file is gone with its process");
}
