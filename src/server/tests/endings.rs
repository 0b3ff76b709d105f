//! How connections end: drain, bounds, clients that do not read.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::support::{Client, PATIENCE, Server, limits, responses};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const GATE: &str = "GET /gate HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_closes_what_is_idle() {
    let server = Server::run().await;
    let mut idle = server.connect().await;
    idle.send(GET).await;
    idle.until("GET / ").await;
    let mut fresh = server.connect().await;
    let mut busy = server.connect().await;
    busy.send(GATE).await;
    server.seen.at_gate().await;

    server.drain.begin(PATIENCE);
    assert_eq!(idle.rest().await, "");
    assert_eq!(fresh.rest().await, "");
    server.seen.open_gate();
    let text = busy.rest().await;
    assert_eq!(responses(&text), [(200, "GET /gate ".to_owned())]);
    assert!(text.contains("connection: close\r\n"), "{text}");
    assert_eq!(timeout(PATIENCE, server.drain.finished()).await.unwrap(), 0);
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_drain_cuts_what_does_not_finish() {
    let server = Server::run().await;
    let mut busy = server.connect().await;
    busy.send(GATE).await;
    server.seen.at_gate().await;
    server.drain.begin(Duration::from_millis(20));
    assert_eq!(timeout(PATIENCE, server.drain.finished()).await.unwrap(), 0);
    assert_eq!(busy.rest().await, "");
}

#[tokio::test]
async fn connections_past_the_bound_wait_for_a_place() {
    let mut limits = limits();
    limits.connections_max = 1;
    let server = Server::with(limits).await;
    let mut first = server.connect().await;
    first.send(GATE).await;
    server.seen.at_gate().await;
    let mut second = server.connect().await;
    second.send(GET).await;
    server.seen.open_gate();
    first.until("GET /gate ").await;
    assert_eq!(server.requests(), ["GET /gate "]);
    drop(first);
    second.until("GET / ").await;
    assert_eq!(server.drain.open(), 1);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut() {
    let mut limits = limits();
    limits.write_idle_timeout = Duration::from_millis(50);
    let server = Server::with(limits).await;
    let mut client = server.connect().await;
    client.send("GET /huge HTTP/1.1\r\nHost: a\r\n\r\n").await;
    server.seen.at_gate().await;
    until_gone(&server).await;
    let mut bytes = Vec::new();
    let _reset_or_end = client.0.read_to_end(&mut bytes).await;
    assert!(bytes.len() < 64 * 1024 * 1024);
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_place() {
    // It may only have closed its side: that shows when it is written to, and
    // so long it is waited for.
    let mut limits = limits();
    limits.write_idle_timeout = Duration::from_millis(50);
    let server = Server::with(limits).await;
    let mut client = server.connect().await;
    client.send(GATE).await;
    server.seen.at_gate().await;
    drop(client);
    until_gone(&server).await;
}

/// Waits until no connection is open.
pub(super) async fn until_gone(server: &Server) {
    let gone = async {
        while server.drain.open() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, gone).await.expect("the connection ends");
}

#[tokio::test]
async fn many_clients_share_a_thread() {
    let server = Server::run().await;
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..50 {
        let mut client = server.connect().await;
        client.send(GET).await;
        clients.push(client);
    }
    for client in &mut clients {
        for _ in 0..20 {
            client.until("GET / ").await;
            client.send(GET).await;
        }
    }
    drop(clients);
    until_gone(&server).await;
}
