//! HTTP/2 by prior knowledge.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::timeout;

use super::endings::until_gone;
use super::support::{PATIENCE, Server, limits, responses};

async fn connect(server: &Server) -> SendRequest<Full<Bytes>> {
    let socket = server.connect().await.0;
    let (client, connection) = handshake(TokioExecutor::new(), TokioIo::new(socket))
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

fn get(uri: &str) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::default());
    *request.uri_mut() = uri.parse().unwrap();
    *request.version_mut() = Version::HTTP_2;
    request
}

async fn text(response: Response<Incoming>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn requests_share_a_connection() {
    let server = Server::run().await;
    let mut client = connect(&server).await;
    let (one, two) = (client.send_request(get("http://a/1")), {
        let mut client = client.clone();
        async move { client.send_request(get("http://a/2")).await }
    });
    let (one, two) = tokio::join!(one, two);
    assert_eq!(text(one.unwrap()).await, "GET http://a/1 ");
    assert_eq!(text(two.unwrap()).await, "GET http://a/2 ");
}

#[tokio::test]
async fn what_is_refused_is_told_without_ending_the_connection() {
    let server = Server::run().await;
    let mut client = connect(&server).await;
    let mut other_host = get("http://a/");
    other_host
        .headers_mut()
        .insert("host", "b".parse().unwrap());
    let mut tunnel = get("a:80");
    *tunnel.method_mut() = Method::CONNECT;
    let too_long = get(&format!("http://a/{}", "x".repeat(2000)));
    let mut too_large = get("http://a/");
    *too_large.body_mut() = Full::from(vec![b'x'; 1001]);
    let mut two_lengths = get("http://a/");
    *two_lengths.body_mut() = Full::from("abc");
    for _ in 0..2 {
        let fields = two_lengths.headers_mut();
        fields.append("content-length", "3".parse().unwrap());
    }
    let with = |name: &'static str, value: &'static str| {
        let mut request = get("http://a/");
        request.headers_mut().insert(name, value.parse().unwrap());
        request
    };
    let raw = |path: &[u8]| {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(http::uri::Scheme::HTTP);
        parts.authority = Some("a".parse().unwrap());
        parts.path_and_query = Some(path.try_into().unwrap());
        let mut request = get("http://a/");
        *request.uri_mut() = http::Uri::from_parts(parts).unwrap();
        request
    };
    for (request, status) in [
        (with("x-y", " z"), 400),
        (with("x-y", "z\t"), 400),
        (with("cookie", "a=b "), 400),
        (raw(b"*"), 400),
        (two_lengths, 400),
        (other_host, 400),
        (tunnel, 501),
        (too_long, 414),
        (too_large, 413),
    ] {
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.status(), status);
        assert!(!response.headers().contains_key("connection"));
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
    }
    assert!(server.requests().is_empty());
    assert_eq!(
        client
            .send_request(get("http://a/"))
            .await
            .unwrap()
            .status(),
        200
    );
}

#[tokio::test]
async fn a_drain_finishes_streams_and_takes_no_more() {
    let server = Server::run().await;
    let mut client = connect(&server).await;
    let asked = tokio::spawn(client.send_request(get("http://a/gate")));
    server.seen.at_gate().await;
    server.drain.begin(PATIENCE);
    server.seen.open_gate();
    let response = asked.await.unwrap().unwrap();
    assert_eq!(text(response).await, "GET http://a/gate ");
    assert_eq!(timeout(PATIENCE, server.drain.finished()).await.unwrap(), 0);
    assert!(client.send_request(get("http://a/")).await.is_err());
}

#[tokio::test]
async fn an_unused_connection_is_closed() {
    let mut limits = limits();
    limits.idle_timeout = Duration::from_millis(50);
    let server = Server::with(limits).await;
    let mut client = connect(&server).await;
    client.send_request(get("http://a/")).await.unwrap();
    until_gone(&server).await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut() {
    let mut limits = limits();
    limits.idle_timeout = Duration::from_millis(50);
    limits.write_idle_timeout = Duration::from_millis(50);
    limits.head_timeout = Duration::from_millis(50);
    let server = Server::with(limits).await;
    let mut client = connect(&server).await;
    let unread = client.send_request(get("http://a/huge")).await.unwrap();
    until_gone(&server).await;
    assert!(unread.into_body().collect().await.is_err());
}

#[tokio::test]
async fn a_preface_that_ends_differently_is_http_1() {
    let server = Server::run().await;
    let found = responses(&server.tell("PRI * HTTP/2.0\r\n\r\nSM\r\n\rx").await);
    assert_eq!(found[0].0, 505);
}
