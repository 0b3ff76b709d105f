//! Bounds on what is under way: each is reached, told, counted, and left.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{Feed, Gate, Hit, Miss, eventually, fed, ok, origin, proxy, short, within};

#[tokio::test]
async fn past_the_bound_requests_wait_and_past_the_queue_they_are_refused() {
    let gate = Gate::new();
    let origin = origin::new()
        .otherwise(ok("x").max_age(60).held_by(&gate))
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .toml("[limits]\ninflight_max = 1\nqueue_max = 1\nqueue_timeout = \"20s\"")
        .run()
        .await;

    let first = tokio::spawn(proxy.get("/first").into_future());
    gate.reached_by(1).await;
    let second = tokio::spawn(proxy.get("/second").into_future());
    eventually("one to wait", async || {
        let queues = proxy.admin_get("/queues").await.json();
        (queues["requests"]["waiting"] == 1).then_some(())
    })
    .await;

    let refused = proxy.get("/third").await;
    refused.is_problem(503).has("retry-after", "1");
    refused.has("x-cache", "BYPASS");
    let queues = proxy.admin_get("/queues").await.json();
    assert_eq!(queues["requests"]["in_flight"], 1, "{queues:#}");
    assert_eq!(queues["requests"]["in_flight_max"], 1);
    assert_eq!(queues["requests"]["refused_full"], 1);
    let counted = r#"pannier_overload_refusals_total{queue="requests",reason="queue-full"}"#;
    assert_eq!(proxy.metric(counted).await, 1.0);
    let answered =
        r#"pannier_requests_total{route="/**",method="GET",status="503",cache="bypass"}"#;
    assert_eq!(proxy.metric(answered).await, 1.0);

    gate.open();
    first.await.unwrap().status(200);
    second.await.unwrap().status(200);
    proxy.get("/third").await.status(200).was(Miss);
}

#[tokio::test]
async fn who_waits_too_long_for_the_origin_is_refused_and_hits_need_no_place() {
    let gate = Gate::new();
    let origin = origin::new()
        .get("/stored", ok("stored").max_age(60))
        .otherwise(ok("x").max_age(60).held_by(&gate))
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .toml("[limits]\nupstream_inflight_max = 1\nqueue_max = 8\nqueue_timeout = \"50ms\"")
        .run()
        .await;
    proxy.get("/stored").await.was(Miss);

    let held = tokio::spawn(proxy.get("/held").into_future());
    gate.reached_by(1).await;
    let refused = proxy.get("/late").await;
    refused.is_problem(503).has("retry-after", "1");
    proxy.get("/stored").await.was(Hit);
    proxy.put("/late", "x").await.is_problem(503);
    origin.was_sent("PUT", "/late").times(0);

    let counted = r#"pannier_overload_refusals_total{queue="upstream",reason="timed-out"}"#;
    assert_eq!(proxy.metric(counted).await, 2.0);
    gate.open();
    held.await.unwrap().status(200);
    proxy.get("/late").await.status(200);
}

#[tokio::test]
async fn a_place_is_free_again_when_the_body_is_over_or_its_client_gone() {
    let feed = Feed::new();
    let origin = origin::new()
        .get(
            "/stream",
            fed(&feed).header("Content-Type", "text/event-stream"),
        )
        .get("/broken", short(10, "only"))
        .otherwise(ok("x"))
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .toml(
            "[limits]\ninflight_max = 1\nupstream_inflight_max = 1\nqueue_max = 0\n\
             queue_timeout = \"1s\"\nwrite_idle_timeout = \"500ms\"",
        )
        .run()
        .await;
    let is_free = async |what: &str| {
        eventually(what, async || {
            let queues = proxy.admin_get("/queues").await.json();
            let taken = |name: &str| queues[name]["in_flight"].as_u64();
            (taken("requests") == Some(0) && taken("upstream") == Some(0)).then_some(())
        })
        .await;
    };

    let mut stream = proxy.get("/stream").open().await;
    feed.send("event");
    assert_eq!(stream.piece().await.unwrap(), "event");
    proxy.get("/other").await.is_problem(503);
    drop(stream);
    is_free("the place of a client that is gone").await;
    proxy.get("/other").await.status(200);
    is_free("the place of an answer that is over").await;

    // The origin breaks off in the middle.
    let answer = proxy.raw("GET /broken HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(answer.await.contains("200"));
    is_free("the place of an answer that broke").await;
    proxy.get("/other").await.status(200);
}

#[tokio::test]
async fn a_reload_changes_the_bounds_at_once() {
    let gate = Gate::new();
    let origin = origin::new()
        .otherwise(ok("x").max_age(60).held_by(&gate))
        .run()
        .await;
    let builder = |inflight_max: u32| {
        proxy::new(&origin).toml(&format!(
            "[limits]\ninflight_max = {inflight_max}\nqueue_max = 8\nqueue_timeout = \"20s\""
        ))
    };
    let proxy = builder(1).run().await;
    let first = tokio::spawn(proxy.get("/first").into_future());
    gate.reached_by(1).await;
    let second = tokio::spawn(proxy.get("/second").into_future());
    eventually("one to wait", async || {
        let queues = proxy.admin_get("/queues").await.json();
        (queues["requests"]["waiting"] == 1).then_some(())
    })
    .await;
    proxy.rewrite(&builder(2).text());
    proxy.hup().await;
    // The one who waited is let in: it reaches the origin.
    gate.reached_by(2).await;
    gate.open();
    first.await.unwrap().status(200);
    second.await.unwrap().status(200);
}

#[tokio::test]
async fn a_client_that_sends_too_slowly_loses_its_place_at_the_origin() {
    let origin = origin::new().get("/other", ok("x")).run().await;
    let proxy = proxy::new(&origin)
        .toml(
            "[limits]\nupstream_inflight_max = 1\nqueue_max = 0\n\
             body_idle_timeout = \"500ms\"\nbody_rate_min = \"1GiB\"",
        )
        .run()
        .await;
    let socket = TcpStream::connect(proxy.address).await.unwrap();
    let (mut reading, mut writing) = socket.into_split();
    let head = "POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 99000000\r\n\r\n";
    writing.write_all(head.as_bytes()).await.unwrap();
    eventually("its place", async || {
        let queues = proxy.admin_get("/queues").await.json();
        (queues["upstream"]["in_flight"] == 1).then_some(())
    })
    .await;

    // It is never silent, and yet far too slow.
    let trickling = tokio::spawn(async move {
        while writing.write_all(b"x").await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    let mut answer = vec![0; 12];
    let told = within("an answer", reading.read_exact(&mut answer));
    told.await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 408");
    trickling.abort();
    eventually("the place to be free", async || {
        let answer = proxy.get("/other").await;
        answer.status.is_success().then_some(())
    })
    .await;
}
