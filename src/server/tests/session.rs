//! A session as a whole: what follows what on one connection, and both ways at
//! once.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::endings::until_gone;
use super::support::{Server, limits, offered, responses};

const CLOSE: &str = "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn whoever_answers_the_order_is_that_of_the_requests() {
    let server = Server::run().await;
    let post = "POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";
    let chunked = "POST /chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                   2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
    let direct = "GET /direct HTTP/1.1\r\nHost: a\r\n\r\n";
    let get = "GET /get HTTP/1.1\r\nHost: a\r\n\r\n";
    let refused = "GET / HTTP/1.1\r\n\r\n";
    let all = [
        direct, get, direct, post, direct, direct, chunked, refused, get,
    ]
    .concat();
    let found = responses(&server.tell(all).await);
    let (last, answered) = found.split_last().unwrap();
    let bodies: Vec<&str> = answered.iter().map(|(_, body)| body.as_str()).collect();
    assert_eq!(
        bodies,
        [
            "at once /direct",
            "GET /get ",
            "at once /direct",
            "POST /post body",
            "at once /direct",
            "at once /direct",
            "POST /chunks abc",
        ]
    );
    assert_eq!(last.0, 400);
}

#[tokio::test]
async fn what_a_connection_was_asked_before_makes_no_difference() {
    let server = Server::run().await;
    let mut client = server.connect().await;
    let get = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
    let post = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nb";
    for (asking, answer, offered_so_far) in [
        (get, "GET /x ", 1),
        (post, "POST /x b", 1),
        (get, "GET /x ", 2),
        (
            "GET /direct HTTP/1.1\r\nHost: a\r\n\r\n",
            "at once /direct",
            2,
        ),
        (get, "GET /x ", 3),
    ] {
        client.send(asking).await;
        client.until(answer).await;
        assert_eq!(offered(), offered_so_far, "{asking}");
    }
}

#[tokio::test]
async fn a_client_that_has_said_all_it_will_gets_its_answer() {
    for gated in [false, true] {
        let server = Server::run().await;
        let mut client = server.connect().await;
        let target = if gated { "/gate" } else { "/x" };
        let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n");
        client.send(format!("{head}hi")).await;
        client.0.shutdown().await.unwrap();
        if gated {
            server.seen.at_gate().await;
            server.seen.open_gate();
        }
        let found = responses(&client.rest().await);
        assert_eq!(found, [(200, format!("POST {target} hi"))]);
        until_gone(&server).await;
    }
}

#[tokio::test]
async fn a_client_that_closes_its_side_in_a_body_is_told() {
    let server = Server::run().await;
    let mut client = server.connect().await;
    let head = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\nhalf";
    client.send(head).await;
    client.0.shutdown().await.unwrap();
    assert_eq!(responses(&client.rest().await)[0].0, 400);
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn request_and_answer_go_on_at_the_same_time() {
    let server = Server::run().await;
    let mut client = server.connect().await;
    let head = "POST /mirror HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(head).await;
    let begun = client.until("\r\n\r\n").await;
    assert!(begun.contains("transfer-encoding: chunked\r\n"), "{begun}");
    for piece in ["one", "two", "three"] {
        let chunk = format!("{:x}\r\n{piece}\r\n", piece.len());
        client.send(&chunk).await;
        assert_eq!(client.until(&chunk).await, chunk);
    }
    client.send("0\r\n\r\n").await;
    client.until("0\r\n\r\n").await;
    client.send(CLOSE).await;
    assert_eq!(responses(&client.rest().await)[0].1, "GET /last ");
}

#[tokio::test]
async fn an_old_client_is_told_where_content_of_unknown_length_ends() {
    let server = Server::run().await;
    let text = server
        .tell(
            "POST /mirror HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello\
             GET /more HTTP/1.0\r\n\r\n",
        )
        .await;
    let (head, content) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("connection: close"), "{head}");
    assert!(!head.contains("transfer-encoding"), "{head}");
    assert_eq!(content, "hello");
}

#[tokio::test]
async fn a_body_that_nobody_reads_is_not_taken_in() {
    let mut limits = limits();
    limits.body_bytes_max = 0;
    let server = Server::with(limits).await;
    let mut client = server.connect().await;
    let length = 64 * 1024 * 1024;
    let head = format!("POST /held HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    client.send(head).await;
    server.seen.at_gate().await;
    // As much as fits into the buffers of two sockets, and no more.
    let piece = vec![b'x'; 256 * 1024];
    let mut sent = 0;
    while let Ok(written) =
        tokio::time::timeout(Duration::from_millis(200), client.0.write(&piece)).await
    {
        sent += written.unwrap();
    }
    assert!(sent < length / 2, "{sent}");
    server.seen.open_gate();
    // The answer says nothing of what was not read; the connection ends.
    let text = client.until("held").await;
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    client.rest().await;
}

#[tokio::test]
async fn a_client_that_leaves_while_content_streams_ends_it() {
    let server = Server::run().await;
    let mut client = server.connect().await;
    let head = "POST /mirror HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(format!("{head}3\r\nabc\r\n")).await;
    client.until("3\r\nabc\r\n").await;
    drop(client);
    until_gone(&server).await;
}

#[tokio::test]
async fn an_expectation_that_was_not_met_ends_the_connection() {
    let server = Server::run().await;
    let head =
        "POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    let text = server.tell(head).await;
    assert!(!text.contains("100 Continue"), "{text}");
    assert!(text.contains("connection: close\r\n"), "{text}");
    assert_eq!(responses(&text), [(200, "unread".to_owned())]);
}
