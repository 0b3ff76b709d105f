//! Interim responses on their way to the client (RFC 9110 §15.2, RFC 8297).

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::support::origin;
use super::support::proxy;
use super::support::{Gate, ok, within};

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-Hint: 1";
const GET: &str = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n";

#[tokio::test]
async fn hints_reach_the_client_before_the_response_is_there() {
    let gate = Gate::new();
    let reply = ok("x").max_age(60).early(HINTS).held_by(&gate);
    let origin = origin::new().get("/x", reply).run().await;
    let proxy = proxy::new(&origin).run().await;
    let mut client = proxy.connect().await;
    client.send(GET).await;
    let hints = client.head().await.expect("hints");
    assert_eq!(hints.word(1), "103");
    assert_eq!(hints.field("link"), Some("</a.css>; rel=preload"));
    gate.open();
    let (head, body) = client.answer().await;
    assert_eq!((head.word(1), body.as_str()), ("200", "x"));
}

#[tokio::test]
async fn hints_are_never_stored() {
    let origin = origin::new()
        .get("/x", ok("x").max_age(60).early(HINTS))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    let mut client = proxy.connect().await;
    client.send(GET).await;
    assert_eq!(client.head().await.expect("hints").word(1), "103");
    let (first, _) = client.answer().await;
    assert_eq!(first.field("x-hint"), None);
    client.send(GET).await;
    let (again, body) = client.answer().await;
    assert_eq!((again.word(1), body.as_str()), ("200", "x"));
    assert_eq!(again.field("x-cache"), Some("HIT"));
    assert_eq!(again.field("x-hint"), None);
}

#[tokio::test]
async fn all_kinds_and_any_number_of_them_pass_in_order() {
    let several = "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
                   HTTP/1.1 103 Early Hints\r\nLink: </b>";
    let origin = origin::new().get("/x", ok("x").early(several)).run().await;
    let proxy = proxy::new(&origin).run().await;
    let mut client = proxy.connect().await;
    client.send(GET).await;
    let mut codes = Vec::new();
    loop {
        let head = client.head().await.expect("a head");
        codes.push(head.word(1).to_owned());
        if head.word(1) == "200" {
            break;
        }
    }
    assert_eq!(codes, ["102", "103", "103", "200"]);
}

#[tokio::test]
async fn hints_stay_with_their_own_request_on_a_pipelined_connection() {
    let origin = origin::new()
        .get("/x", ok("first").early(HINTS))
        .get("/y", ok("second").early(HINTS))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    let mut client = proxy.connect().await;
    let second = GET.replace("/x", "/y");
    client.send(format!("{GET}{second}")).await;
    for expected in ["first", "second"] {
        assert_eq!(client.head().await.expect("hints").word(1), "103");
        let (head, body) = client.answer().await;
        assert_eq!((head.word(1), body.as_str()), ("200", expected));
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_none() {
    let origin = origin::new().get("/x", ok("x").early(HINTS)).run().await;
    let proxy = proxy::new(&origin).run().await;
    let answer = proxy.raw("GET /x HTTP/1.0\r\nHost: h\r\n\r\n").await;
    assert!(
        !answer.contains(" 103 ") && answer.ends_with("\r\n\r\nx"),
        "{answer}"
    );
}

#[tokio::test]
async fn an_endless_row_of_hints_is_no_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}", listener.local_addr().unwrap());
    let hinting = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            connections.spawn(async move {
                let hint = b"HTTP/1.1 103 Early Hints\r\n\r\n";
                while socket.write_all(hint).await.is_ok() {
                    tokio::task::yield_now().await;
                }
            });
        }
    });
    let proxy = proxy::in_front_of(&upstream)
        .route("/stored", |route| route)
        .toml("[origin]\nresponse_timeout = \"200ms\"")
        .run()
        .await;
    for target in ["/passed", "/stored"] {
        let mut client = proxy.connect().await;
        let get = GET.replace("/x", target);
        client.send(get).await;
        let status = within("an answer", async {
            loop {
                let head = client.head().await.expect("a head");
                if head.word(1) != "103" {
                    break head.word(1).to_owned();
                }
            }
        });
        // In time, or because no head may have so much before it.
        let status = status.await;
        assert!(["502", "504"].contains(&&*status), "{target}: {status}");
    }
    hinting.abort();
}
