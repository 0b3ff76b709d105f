//! Bodies pass as they come, in both directions, whatever their size.

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use super::support::reply::websocket_echo;
use super::support::{
    Bypass, DEADLINE, Feed, Hit, Miss, eventually, fed, ok, origin, proxy, short, within,
};

/// A client that has closed its side and takes nothing is given up after this.
const LEFT_SOON: &str = "[limits]\nwrite_idle_timeout = \"500ms\"";

#[tokio::test]
async fn server_sent_events_arrive_one_by_one() {
    let feed = Feed::new();
    let events = fed(&feed).header("Content-Type", "text/event-stream");
    let origin = origin::new()
        .get("/events", events.cache_control("no-cache"))
        .run()
        .await;
    let proxy = proxy::new(&origin).toml(LEFT_SOON).run().await;

    let mut answer = proxy.get("/events").open().await;
    for number in 0..5 {
        let event = format!("data: {number}\n\n");
        feed.send(event.clone());
        assert_eq!(answer.piece().await.unwrap(), event);
    }
    drop(answer);
    // The client went away; what can never be stored is not fetched on.
    feed.abandoned().await;
}

#[tokio::test]
async fn a_stream_without_end_is_not_hoarded() {
    let feed = Feed::new();
    let origin = origin::new().get("/x", fed(&feed).max_age(60)).run().await;
    let proxy = proxy::new(&origin)
        .toml("[memory]\nbody_bytes_max = \"64KiB\"")
        .toml(LEFT_SOON)
        .run()
        .await;
    let mut answer = proxy.get("/x").open().await;
    let chunk = "x".repeat(16 * 1024);
    for _ in 0..20 {
        feed.send(chunk.clone());
        let mut taken = 0;
        while taken < chunk.len() {
            taken += answer.piece().await.unwrap().len();
        }
    }
    drop(answer);
    feed.abandoned().await;
}

#[tokio::test]
async fn a_body_larger_than_the_bound_streams_and_is_not_stored() {
    let large = "x".repeat(200 * 1024);
    let origin = origin::new()
        .get("/large", ok(large.clone()).max_age(60))
        .get("/small", ok("x".repeat(10 * 1024)).max_age(60))
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .toml("[memory]\nbody_bytes_max = \"64KiB\"")
        .run()
        .await;
    proxy.get("/large").await.is(&large).was(Miss);
    proxy.get("/large").await.is(&large).was(Miss);
    proxy.get("/small").await.was(Miss);
    proxy.get("/small").await.was(Hit);
}

#[tokio::test]
async fn a_websocket_passes_in_both_directions() {
    let origin = origin::new().get("/socket", websocket_echo()).run().await;
    let proxy = proxy::new(&origin).run().await;

    let stream = TcpStream::connect(proxy.address).await.unwrap();
    let connecting = client_async("ws://pannier.test/socket", stream);
    let (mut socket, answer) = within("the WebSocket to open", connecting).await.unwrap();
    assert_eq!(answer.headers()["x-cache"], "BYPASS");
    for text in ["one", "two"] {
        socket.send(Message::text(text)).await.unwrap();
        let echoed = within("the echo", socket.next()).await.unwrap().unwrap();
        assert_eq!(echoed, Message::text(text));
    }
    socket.close(None).await.unwrap();
    // An ordinary read of the same path is not confused by it.
    origin.now_answers("/socket", ok("page").max_age(60));
    proxy.get("/socket").await.is("page").was(Miss);
}

#[tokio::test]
async fn an_upload_reaches_the_origin_while_it_is_being_sent() {
    let origin = origin::new().run().await;
    let proxy = proxy::new(&origin).run().await;
    let piece = vec![b'x'; 64 * 1024];

    let mut client = proxy.connect().await;
    let head = "PUT /up HTTP/1.1\r\nHost: pannier.test\r\nConnection: close\r\n";
    let length = format!("Content-Length: {}\r\n\r\n", 4 * piece.len());
    client.send([head, &length].concat()).await;
    for sent in 1..=4 {
        client.send(&piece).await;
        origin.has_received("/up", sent * piece.len()).await;
    }
    let (head, _) = client.answer().await;
    assert_eq!(head.word(1), "204");

    let mut client = proxy.connect().await;
    client
        .send("POST /chunks HTTP/1.1\r\nHost: pannier.test\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    client.send("3\r\nabc\r\n").await;
    origin.has_received("/chunks", 3).await;
    client.send("2\r\nde\r\n0\r\n\r\n").await;
    let (head, _) = client.answer().await;
    assert_eq!(head.word(1), "204");
    assert_eq!(origin.last_request("/chunks").body, b"abcde");
}

#[tokio::test]
async fn a_client_that_expects_to_be_asked_for_its_body_is() {
    let origin = origin::new().run().await;
    let proxy = proxy::new(&origin).run().await;
    let mut client = proxy.connect().await;
    client
        .send("PUT /x HTTP/1.1\r\nHost: pannier.test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        .await;
    let interim = client.head().await.unwrap();
    assert_eq!(interim.word(1), "100");
    client.send("abc").await;
    let (head, _) = client.answer().await;
    assert_eq!(head.word(1), "204");
    assert_eq!(origin.last_request("/x").body, b"abc");
}

#[tokio::test]
async fn trailers_of_a_response_pass() {
    let reply = ok("").chunks(&["one", "two"]).header("Trailer", "X-Sum");
    let origin = origin::new()
        .get("/x", reply.cache_control("no-store").trailer("X-Sum", "9"))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    let answer = proxy.get("/x").header("te", "trailers").await;
    answer.is("onetwo");
    assert_eq!(answer.trailers["x-sum"], "9");
}

#[tokio::test]
async fn interim_responses_do_not_become_the_answer() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>";
    let origin = origin::new()
        .get("/x", ok("x").max_age(60).early(hints))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    proxy.get("/x").await.status(200).is("x").was(Miss);
    proxy.get("/x").await.is("x").was(Hit).lacks("link");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_passed_for_whole_nor_stored() {
    let feed = Feed::new();
    let origin = origin::new()
        .get("/length", short(100, "half").max_age(60))
        .get("/chunks", fed(&feed).max_age(60))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;

    proxy.get("/length").open().await.breaks().await;
    let answer = proxy.get("/chunks").open().await;
    feed.send("half");
    feed.break_off();
    answer.breaks().await;

    for path in ["/length", "/chunks"] {
        origin.now_answers(path, ok("whole").max_age(60));
        proxy.get(path).await.is("whole").was(Miss);
    }
}

#[tokio::test]
async fn a_slow_reader_holds_up_nobody_else() {
    let feed = Feed::new();
    let origin = origin::new()
        .get("/x", fed(&feed).max_age(60))
        .get("/y", ok("y").max_age(60))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    let slow = proxy.get("/x").open().await;
    let mut brisk = proxy.get("/x").open().await;
    let chunk = "x".repeat(256 * 1024);
    for _ in 0..8 {
        feed.send(chunk.clone());
    }
    feed.end();
    let mut taken = 0;
    while let Some(piece) = brisk.piece().await {
        taken += piece.len();
    }
    assert_eq!(taken, 8 * chunk.len());
    proxy.get("/y").await.is("y");
    drop(slow);
}

#[tokio::test]
async fn an_origin_that_stops_in_mid_body_is_given_up() {
    let feed = Feed::new();
    let origin = origin::new().get("/x", fed(&feed).max_age(60)).run().await;
    let proxy = proxy::new(&origin)
        .toml("[origin]\nbody_idle_timeout = \"200ms\"")
        .run()
        .await;
    let answer = proxy.get("/x").open().await;
    feed.send("half");
    let asked = std::time::Instant::now();
    answer.breaks().await;
    assert!(asked.elapsed() < DEADLINE);
    feed.abandoned().await;
}

#[tokio::test]
async fn a_write_is_answered_as_the_origin_answered_it() {
    let origin = origin::new()
        .on("POST", "/x", ok("made").header("X-Own", "1"))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    let answer = proxy.post("/x", "body").await;
    answer.status(200).is("made").was(Bypass).has("x-own", "1");
    assert_eq!(origin.last_request("/x").body, b"body");
    eventually("the request to be over", async || {
        (proxy.metric("pannier_inflight_requests").await == 0.0).then_some(())
    })
    .await;
}
