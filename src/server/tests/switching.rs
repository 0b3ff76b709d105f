//! Connections that become another protocol's.

use std::time::Duration;

use super::support::{PATIENCE, Server, responses};

const OFFER: &str =
    "GET /switch HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\n";

#[tokio::test]
async fn after_101_the_bytes_are_nobodys_business() {
    let server = Server::run().await;
    let mut client = server.connect().await;
    client.send(format!("{OFFER}not http\n")).await;
    assert!(client.until("\r\n\r\n").await.starts_with("HTTP/1.1 101 "));
    assert_eq!(client.until("\n").await, "NOT HTTP\n");
    client.send("get / http\n").await;
    assert_eq!(client.until("\n").await, "GET / HTTP\n");
    assert_eq!(server.drain.open(), 1);
}

#[tokio::test]
async fn what_follows_an_offer_that_was_not_taken_is_dropped() {
    let server = Server::run().await;
    let offer = OFFER.replace("/switch", "/no");
    let text = server
        .tell(format!("{offer}GET /after HTTP/1.1\r\nHost: a\r\n\r\n"))
        .await;
    assert_eq!(responses(&text), [(200, "GET /no ".to_owned())]);
    assert!(text.contains("connection: close\r\n"), "{text}");
    assert_eq!(server.requests(), ["GET /no "]);
}

#[tokio::test]
async fn an_offer_of_h2c_is_ignored() {
    let server = Server::run().await;
    let offer = OFFER.replace("/switch", "/no").replace("shout", "h2c");
    let last = "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(
        responses(&server.tell(format!("{offer}{last}")).await).len(),
        2
    );
}

#[tokio::test]
async fn a_switch_without_an_offer_is_the_origins_mistake() {
    let server = Server::run().await;
    let text = server
        .tell("GET /switch HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(responses(&text)[0].0, 502);
}

#[tokio::test]
async fn a_switched_connection_is_cut_at_the_end_of_the_drain() {
    let server = Server::run().await;
    let mut client = server.connect().await;
    client.send(OFFER).await;
    client.until("\r\n\r\n").await;
    server.drain.begin(Duration::from_millis(20));
    let finished = tokio::time::timeout(PATIENCE, server.drain.finished()).await;
    assert_eq!(finished.unwrap(), 0);
    assert_eq!(client.rest().await, "");
}
