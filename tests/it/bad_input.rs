//! Requests that are wrong, or made to be read differently by two readers.

use super::support::origin::{self, Origin};
use super::support::proxy::{self, Proxy};
use super::support::{Hit, Miss, by, ok, raw_reply, status};

async fn pages() -> Origin {
    origin::new().otherwise(ok("page").max_age(60)).run().await
}

/// The status of the first response in what the proxy sent; 0 where it closed
/// without one.
fn first_status(sent: &str) -> u16 {
    let status = sent.split(' ').nth(1).unwrap_or_default();
    status.parse().unwrap_or(0)
}

/// What the origin was asked must be one request at most, and not the one
/// that was hidden in another's body.
async fn refuses(proxy: &Proxy, origin: &Origin, request: &str) {
    let answered = proxy.raw(request).await;
    // A coding that is not known may also be "not implemented" (RFC 9112 §6.1).
    let refused = [400, 501].contains(&first_status(&answered));
    assert!(refused, "{request:?} got {answered:?}");
    assert!(
        answered.contains("application/problem+json"),
        "{request:?} got {answered:?}"
    );
    origin.was_asked("/smuggled").times(0);
}

#[tokio::test]
async fn a_request_with_two_readings_is_refused() {
    let origin = pages().await;
    let proxy = proxy::new(&origin).run().await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: pannier.test\r\n\r\n";
    for fields in [
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: \r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Content-Length : 5\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: gzip, chunked, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding:\u{b}chunked\r\n",
        "X: a\r\n Transfer-Encoding: chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "Transfer\u{0}-Encoding: chunked\r\n",
        "X: a\rTransfer-Encoding: chunked\r\n",
        "No colon at all\r\n",
        ": no name\r\n",
    ] {
        let head = format!("POST /x HTTP/1.1\r\nHost: pannier.test\r\n{fields}\r\n");
        refuses(&proxy, &origin, &format!("{head}0\r\n\r\n{smuggled}")).await;
    }
    proxy.get("/x").await.is("page").was(Miss);
}

#[tokio::test]
async fn a_chunk_with_two_readings_ends_the_connection() {
    let origin = pages().await;
    let proxy = proxy::new(&origin).run().await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: pannier.test\r\n\r\n";
    for body in [
        "0x3\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "\r\n3\r\nabc\r\n0\r\n\r\n",
        "3;a=\"\r\n\"\r\nabc\r\n0\r\n\r\n",
    ] {
        let head = "POST /x HTTP/1.1\r\nHost: pannier.test\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut client = proxy.connect().await;
        client.send([head, body, smuggled].concat()).await;
        let answered = client.rest().await;
        assert!(!answered.contains("page"), "{body:?} got {answered:?}");
        origin.was_asked("/smuggled").times(0);
    }
}

#[tokio::test]
async fn http_1_0_has_no_chunks() {
    let origin = pages().await;
    let proxy = proxy::new(&origin).run().await;
    let request =
        "POST /x HTTP/1.0\r\nHost: pannier.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    refuses(&proxy, &origin, request).await;
}

#[tokio::test]
async fn a_host_that_is_missing_doubled_or_contradicted_is_refused() {
    let origin = pages().await;
    let proxy = proxy::new(&origin).run().await;
    for request in [
        "GET /x HTTP/1.1\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a.test, b.test\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a.test/path\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: user@a.test\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET http://a.test/x HTTP/1.1\r\nHost: b.test\r\n\r\n",
    ] {
        refuses(&proxy, &origin, request).await;
    }
    origin.was_asked("/x").times(0);
}

#[tokio::test]
async fn an_absolute_target_that_agrees_with_its_host_is_the_same_resource() {
    let origin = pages().await;
    let proxy = proxy::new(&origin).run().await;
    proxy.get("/x").await.was(Miss);
    let request =
        "GET http://pannier.test/x HTTP/1.1\r\nHost: pannier.test\r\nConnection: close\r\n\r\n";
    let answered = proxy.raw(request).await;
    assert!(
        answered.to_ascii_lowercase().contains("x-cache: hit"),
        "{answered}"
    );
    origin.was_asked("/x").times(1);
}

#[tokio::test]
async fn a_request_line_that_makes_no_sense_is_refused() {
    let origin = pages().await;
    let proxy = proxy::new(&origin).run().await;
    for request in [
        "GET\r\n\r\n",
        "GET /x\r\nHost: a.test\r\n\r\n",
        "GET /x HTTP/9.1\r\nHost: a.test\r\n\r\n",
        "GET /x HTTP/1.1 more\r\nHost: a.test\r\n\r\n",
        "GET x HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "G@T /x HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "GET /a\u{0}b HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "GET /a\u{7f}b HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}\r\n\r\n",
    ] {
        let answered = proxy.raw(request).await;
        let status = first_status(&answered);
        assert!([400, 505].contains(&status), "{request:?} got {answered:?}");
    }
    assert_eq!(origin.was_asked("/x").count(), 0);
}

#[tokio::test]
async fn connect_is_not_what_this_proxy_is_for() {
    let origin = pages().await;
    let proxy = proxy::new(&origin).run().await;
    let request =
        "CONNECT example.test:443 HTTP/1.1\r\nHost: example.test:443\r\nConnection: close\r\n\r\n";
    let status = first_status(&proxy.raw(request).await);
    assert!([400, 405, 501].contains(&status), "{status}");
}

#[tokio::test]
async fn what_is_refused_at_the_door_is_counted_and_in_the_access_log() {
    let origin = pages().await;
    let proxy = proxy::new(&origin)
        .toml("[limits]\ntarget_bytes_max = \"1KiB\"\n[log]\naccess = \"text\"")
        .run()
        .await;
    let long = format!("/{}", "x".repeat(2 * 1024));
    proxy.get(&long).await.is_problem(414);
    proxy.h2().await.get(&long).await.status(414);
    let two_hosts =
        "GET /secret HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\nConnection: close\r\n\r\n";
    assert_eq!(first_status(&proxy.raw(two_hosts).await), 400);
    let lines = proxy.access_lines(3).await;
    for (line, status) in lines.iter().zip([414, 414, 400]) {
        assert!(line.contains(&format!("\"- -\" {status} ")), "{line}");
        assert!(!line.contains("secret"), "{line}");
    }
    for (status, count) in [(414, 2.0), (400, 1.0)] {
        let sample = format!(
            r#"pannier_requests_total{{route="",method="OTHER",status="{status}",cache="bypass"}}"#
        );
        assert_eq!(proxy.metric(&sample).await, count, "{sample}");
    }
    let endpoints = proxy.admin_get("/performance").await.json();
    // They are in every total, and what they asked for in no name.
    let all = endpoints.as_array().expect("a list");
    assert_eq!(all.len(), 1, "{endpoints:#}");
    assert_eq!(all[0]["endpoint"], "other", "{endpoints:#}");
    assert_eq!(all[0]["statuses"], serde_json::json!({"4xx": 3}));
}

#[tokio::test]
async fn what_is_too_large_is_told_so() {
    let origin = pages().await;
    let proxy = proxy::new(&origin)
        .toml(
            "[limits]\nhead_bytes_max = \"8KiB\"\ntarget_bytes_max = \"1KiB\"\nbody_bytes_max = \"64KiB\"",
        )
        .run()
        .await;
    let long = "x".repeat(2 * 1024);
    proxy.get(&format!("/{long}")).await.is_problem(414);

    let field = "x".repeat(9 * 1024);
    proxy
        .get("/x")
        .header("x-large", &field)
        .await
        .is_problem(431);

    let body = vec![b'x'; 65 * 1024];
    proxy.request("PUT", "/x").body(body).await.is_problem(413);
    let mut client = proxy.connect().await;
    client
        .send("PUT /x HTTP/1.1\r\nHost: pannier.test\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
    for _ in 0..3 {
        client.send(&chunk).await;
    }
    let answered = client.rest().await;
    assert_eq!(first_status(&answered), 413, "{answered}");

    proxy.get("/x").await.is("page").was(Miss);
}

#[tokio::test]
async fn a_head_that_never_ends_is_given_up() {
    let origin = pages().await;
    let proxy = proxy::new(&origin)
        .toml("[limits]\nhead_timeout = \"300ms\"")
        .run()
        .await;
    let mut silent = proxy.connect().await;
    assert_eq!(silent.rest().await, "", "a client that says nothing is cut");
    let mut slow = proxy.connect().await;
    slow.send("GET /x HTTP/1.1\r\nHost: pannier.test\r\nX-Never")
        .await;
    let answered = slow.rest().await;
    assert!([0, 408].contains(&first_status(&answered)), "{answered}");
    origin.was_asked("/x").times(0);
}

#[tokio::test]
async fn an_error_page_from_odd_fields_is_never_stored() {
    let origin = origin::new()
        .get(
            "/x",
            by(|request| match request.field("x-odd") {
                "" => ok("page").max_age(60),
                _ => status(400).max_age(60).body("odd"),
            }),
        )
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .route("/x", |route| route.ttl("60s"))
        .run()
        .await;
    proxy
        .get("/x")
        .header("x-odd", "1")
        .await
        .status(400)
        .is("odd");
    proxy.get("/x").await.status(200).is("page").was(Miss);
    proxy.get("/x").await.is("page").was(Hit);
}

#[tokio::test]
async fn an_origin_that_makes_no_sense_is_a_bad_gateway() {
    let heads = [
        "nonsense\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\nBad name: 1\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\u{0}b\r\nContent-Length: 0\r\n\r\n",
    ];
    let mut builder = origin::new();
    for (number, head) in heads.iter().enumerate() {
        builder = builder.get(&format!("/{number}"), raw_reply(*head));
    }
    let origin = builder.run().await;
    let proxy = proxy::new(&origin)
        .route("/**", |route| route.ttl("60s"))
        .run()
        .await;
    for number in 0..heads.len() {
        proxy.get(&format!("/{number}")).await.is_problem(502);
    }
}

#[tokio::test]
async fn a_flood_of_urls_stays_within_the_bound_of_the_store() {
    let origin = origin::new()
        .otherwise(ok("x".repeat(4 * 1024)).max_age(600))
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .route("/**", |route| route.name("all"))
        .toml("[memory]\nbytes_max = \"256KiB\"")
        .run()
        .await;
    for number in 0..200 {
        proxy.get(&format!("/x?{number}")).await.status(200);
    }
    let bytes = proxy.route_figure("all", "bytes").await;
    assert!((1..=256 * 1024).contains(&bytes), "{bytes} bytes");
    assert!(proxy.route_figure("all", "evictions").await > 100);
}

#[tokio::test]
async fn a_message_of_more_than_a_hundred_fields_is_refused_and_says_so() {
    let many: String = (0..101).map(|n| format!("x-{n}: 1\r\n")).collect();
    let head = format!("HTTP/1.1 200 OK\r\n{many}content-length: 0\r\n\r\n");
    let origin = origin::new().get("/x", raw_reply(head)).run().await;
    let proxy = proxy::new(&origin).run().await;

    let answer = proxy.get("/x").await;
    answer.is_problem(502);
    assert!(answer.text().contains("100 fields"), "{}", answer.text());
    let asked = format!("GET /x HTTP/1.1\r\nHost: a\r\n{many}\r\n");
    let answer = proxy.raw(asked).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert!(answer.contains("100 fields"), "{answer}");
}
