//! Requests that are answered from their heads, among others.

use std::time::Duration;

use proptest::prelude::*;

use super::random::{cuts, play, request};
use super::support::{PATIENCE, Server, limits, responses};

const DIRECT: &str = "GET /direct HTTP/1.1\r\nHost: a\r\n\r\n";
const GATE: &str = "GET /gate HTTP/1.1\r\nHost: a\r\n\r\n";

/// A request, and what is to be answered to it; many of them at once.
fn any_request() -> impl Strategy<Value = (Vec<u8>, String)> {
    let direct = ("/direct[a-z]{0,4}", "[ -~]{0,9}").prop_map(|(target, value)| {
        let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\nX-Y: {value}\r\n\r\n");
        (head.into_bytes(), format!("at once {target}"))
    });
    prop_oneof![direct, request()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn answers_come_in_the_order_of_the_requests_whoever_gives_them(
        requests in prop::collection::vec(any_request(), 1..8),
        cuts in cuts(),
    ) {
        let (bytes, expected): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
        let (_, answers) = play(&bytes.concat(), &cuts);
        let answers = responses(std::str::from_utf8(&answers).unwrap());
        let bodies: Vec<String> = answers.into_iter().map(|(_, body)| body).collect();
        prop_assert_eq!(bodies, expected);
    }
}

#[tokio::test]
async fn what_can_be_answered_at_once_waits_for_what_cannot() {
    let server = Server::run().await;
    let mut client = server.connect().await;
    client.send([DIRECT, GATE, DIRECT].concat()).await;
    server.seen.at_gate().await;
    client.until("at once /direct").await;
    server.seen.open_gate();
    let rest = client.until("at once /direct").await;
    let bodies: Vec<String> = responses(&rest).into_iter().map(|(_, body)| body).collect();
    assert_eq!(bodies, ["GET /gate ", "at once /direct"]);
}

#[tokio::test]
async fn a_drain_closes_a_connection_that_was_answered_at_once() {
    let server = Server::run().await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        client.send(DIRECT).await;
        client.until("at once /direct").await;
    }
    server.drain.begin(PATIENCE);
    assert_eq!(client.rest().await, "");
    assert_eq!(server.drain.finished().await, 0);
}

#[tokio::test]
async fn a_client_that_does_not_read_what_it_was_answered_is_cut() {
    let mut limits = limits();
    limits.write_idle_timeout = Duration::from_millis(20);
    let server = Server::with(limits).await;
    let mut client = server.connect().await;
    client
        .send("GET /direct-huge HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    // The place is given back although nothing is read.
    while server.drain.open() > 0 {
        tokio::task::yield_now().await;
    }
    drop(client);
}

#[tokio::test]
async fn a_large_answer_arrives_whole_and_the_next_follows_it() {
    let server = Server::run().await;
    let mut client = server.connect().await;
    let huge = "GET /direct-huge HTTP/1.1\r\nHost: a\r\n\r\n";
    let last = "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    client.send([huge, DIRECT, last].concat()).await;
    let text = client.rest().await;
    let lengths: Vec<usize> = responses(&text)
        .iter()
        .map(|(_, body)| body.len())
        .collect();
    assert_eq!(lengths, [64 * 1024 * 1024, 15, 10]);
}
