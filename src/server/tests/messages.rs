//! What passes, and where it ends.

use super::support::{Server, responses};

const CLOSE: &str = "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

async fn echoed(bytes: &str) -> Vec<String> {
    let server = Server::run().await;
    let text = server.tell(bytes).await;
    let found = responses(&text);
    assert!(found.iter().all(|(status, _)| *status == 200), "{text}");
    found.into_iter().map(|(_, body)| body).collect()
}

#[tokio::test]
async fn a_get_with_a_body_ends_where_it_says() {
    let first = "GET /first HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /";
    assert_eq!(
        echoed(&format!("{first}{CLOSE}")).await,
        ["GET /first GET /", "GET /last "]
    );
}

#[tokio::test]
async fn a_body_nobody_reads_does_not_become_a_request() {
    let first = "GET /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 37\r\n\r\n\
                 GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n\r\n";
    assert_eq!(
        echoed(&format!("{first}{CLOSE}")).await,
        ["unread", "GET /last "]
    );
}

#[tokio::test]
async fn chunks_end_where_they_end_however_they_are_split() {
    let first = "POST /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = "5\r\nhello\r\n1;x=y\r\n!\r\n0\r\nX-Sum: 1\r\n\r\n";
    let all = format!("{first}{body}{CLOSE}");
    let server = Server::run().await;
    for split in first.len()..first.len() + body.len() + 3 {
        let mut client = server.connect().await;
        client.0.set_nodelay(true).unwrap();
        client.send(&all[..split]).await;
        tokio::task::yield_now().await;
        client.send(&all[split..]).await;
        let found = responses(&client.rest().await);
        assert_eq!(found[0].1, "POST /first hello!", "{split}");
        assert_eq!(found[1].1, "GET /last ", "{split}");
    }
}

#[tokio::test]
async fn a_head_may_come_byte_by_byte() {
    let server = Server::run().await;
    let mut client = server.connect().await;
    client.0.set_nodelay(true).unwrap();
    for byte in format!("\r\n{CLOSE}").as_bytes() {
        client.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(responses(&client.rest().await)[0].1, "GET /last ");
}

#[tokio::test]
async fn empty_lines_between_requests_are_dropped() {
    let first = "POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx\r\n\r\n";
    assert_eq!(
        echoed(&format!("\r\n{first}{CLOSE}")).await,
        ["POST /first x", "GET /last "]
    );
}

#[tokio::test]
async fn http_1_0_needs_no_host_and_closes() {
    let server = Server::run().await;
    let text = server.tell("GET /old HTTP/1.0\r\n\r\n").await;
    assert_eq!(responses(&text), [(200, "GET /old ".to_owned())]);
    let kept = format!("GET /old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n{CLOSE}");
    assert_eq!(responses(&server.tell(kept).await).len(), 2);
}

#[tokio::test]
async fn targets_pass_that_browsers_would_have_encoded() {
    for (target, seen) in [
        ("/q?f={\"a\":1}|^\\", "/q?f={%22a%22:1}|^\\"),
        ("/a<b>`", "/a%3Cb%3E%60"),
        ("/caf\u{e9}?\u{e9}", "/caf\u{e9}?\u{e9}"),
        ("/direct<", "/direct%3C"),
    ] {
        let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let bodies = echoed(&head).await;
        let expected = if seen.starts_with("/direct") {
            "at once "
        } else {
            "POST "
        };
        assert!(
            bodies[0].starts_with(&format!("{expected}{seen}")),
            "{bodies:?}"
        );
    }
}

#[tokio::test]
async fn an_absolute_target_may_name_the_host_differently() {
    let first = "GET http://EXAMPLE.org/x?y HTTP/1.1\r\nHost: example.ORG:80\r\n\r\n";
    let options = "OPTIONS * HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n";
    let found = echoed(&format!("{first}{options}{CLOSE}")).await;
    assert_eq!(found[0].to_lowercase(), "get http://example.org/x?y ");
    assert_eq!(found[1], "OPTIONS * ");
}

#[tokio::test]
async fn tabs_around_a_coding_are_white_space_to_everyone() {
    let first = "POST /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tchunked\t\r\n\r\n\
                 1\r\nx\r\n0\r\n\r\n";
    assert_eq!(
        echoed(&format!("{first}{CLOSE}")).await,
        ["POST /first x", "GET /last "]
    );
}

#[tokio::test]
async fn a_client_that_expects_100_gets_it_before_it_sends() {
    let server = Server::run().await;
    let mut client = server.connect().await;
    client
        .send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(
        client.until("\r\n\r\n").await,
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    client.send("ok").await;
    assert_eq!(
        responses(&client.rest().await),
        [(200, "POST /x ok".to_owned())]
    );
}

#[tokio::test]
async fn an_error_of_the_service_is_told_as_a_problem() {
    let server = Server::run().await;
    let text = server
        .tell(format!("GET /overload HTTP/1.1\r\nHost: a\r\n\r\n{CLOSE}"))
        .await;
    let found = responses(&text);
    assert_eq!((found[0].0, found[1].0), (503, 200));
    assert!(text.contains("retry-after: 7\r\n"), "{text}");
}
