//! Many requests for one thing make one request of the origin.

use futures_util::future::join_all;

use super::support::{Feed, Gate, Hit, Miss, eventually, fed, hang_up, ok, origin, proxy, status};

#[tokio::test]
async fn a_thousand_requests_on_a_cold_key_ask_the_origin_once() {
    let gate = Gate::new();
    let origin = origin::new()
        .get("/x", ok("x").max_age(60).held_by(&gate))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;

    // Over few connections, so that no limit on open files is touched.
    let connections = join_all((0..20).map(|_| proxy.h2())).await;
    let asking: Vec<_> = (0..1_000)
        .map(|number| {
            let connection = connections[number % connections.len()].clone();
            tokio::spawn(async move { connection.get("/x").await })
        })
        .collect();
    gate.reached_by(1).await;
    eventually("every request to be in flight", async || {
        (proxy.metric("pannier_inflight_requests").await >= 1_000.0).then_some(())
    })
    .await;
    gate.open();

    for answer in join_all(asking).await {
        answer.unwrap().status(200).is("x");
    }
    origin.was_asked("/x").times(1);
    proxy.get("/x").await.was(Hit);
}

#[tokio::test]
async fn who_waited_streams_along_with_who_asked() {
    let feed = Feed::new();
    let origin = origin::new().get("/x", fed(&feed).max_age(60)).run().await;
    let proxy = proxy::new(&origin).run().await;

    let mut first = proxy.get("/x").open().await;
    let mut second = proxy.get("/x").open().await;
    feed.send("one");
    assert_eq!(first.piece().await.unwrap(), "one");
    assert_eq!(second.piece().await.unwrap(), "one");
    let mut late = proxy.get("/x").open().await;
    assert_eq!(late.piece().await.unwrap(), "one");
    feed.send("two");
    feed.end();
    for answer in [first, second, late] {
        answer.whole().await.is("two");
    }
    origin.was_asked("/x").times(1);
    eventually("the response to be stored", async || {
        let answer = proxy.get("/x").await;
        (answer.cache() == "HIT").then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_shared_does_not_make_requests_queue() {
    let gate = Gate::new();
    let origin = origin::new()
        .get("/x", ok("mine").cache_control("private"))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    proxy.get("/x").await.is("mine").was(Miss);

    // From here on the key is known for what it is: all three at once.
    origin.now_answers("/x", ok("mine").cache_control("private").held_by(&gate));
    let asking: Vec<_> = (0..3)
        .map(|_| tokio::spawn(proxy.get("/x").into_future()))
        .collect();
    gate.reached_by(3).await;
    gate.open();
    for answer in join_all(asking).await {
        answer.unwrap().is("mine").was(Miss);
    }
}

#[tokio::test]
async fn requests_that_waited_for_what_cannot_be_shared_ask_for_themselves() {
    let gate = Gate::new();
    let origin = origin::new()
        .get("/x", ok("mine").cache_control("private").held_by(&gate))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    let asking: Vec<_> = (0..5)
        .map(|_| tokio::spawn(proxy.get("/x").into_future()))
        .collect();
    gate.reached_by(1).await;
    gate.open();
    for answer in join_all(asking).await {
        answer.unwrap().is("mine").was(Miss);
    }
    origin.was_asked("/x").times(5);
}

#[tokio::test]
async fn a_fetch_lands_though_the_client_that_began_it_went_away() {
    let gate = Gate::new();
    let origin = origin::new()
        .get("/x", ok("x").max_age(60).held_by(&gate))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;

    let mut client = proxy.connect().await;
    client
        .send("GET /x HTTP/1.1\r\nHost: pannier.test\r\n\r\n")
        .await;
    gate.reached_by(1).await;
    drop(client);
    gate.open();
    eventually("the abandoned fetch to be stored", async || {
        let answer = proxy.get("/x").await;
        (answer.cache() == "HIT").then_some(())
    })
    .await;
    origin.was_asked("/x").times(1);
}

#[tokio::test]
async fn a_failed_fetch_fails_nobody_for_ever() {
    let origin = origin::new().get("/x", hang_up()).run().await;
    let proxy = proxy::new(&origin).run().await;
    let asking: Vec<_> = (0..5)
        .map(|_| tokio::spawn(proxy.get("/x").into_future()))
        .collect();
    for answer in join_all(asking).await {
        answer.unwrap().is_problem(502);
    }
    origin.now_answers("/x", ok("x").max_age(60));
    proxy.get("/x").await.is("x").was(Miss);
}

#[tokio::test]
async fn a_request_waits_for_another_one_no_longer_than_it_is_told() {
    let gate = Gate::new();
    let origin = origin::new()
        .get("/x", ok("x").max_age(60).held_by(&gate))
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .toml("[coalescing]\nwait_timeout = \"100ms\"")
        .run()
        .await;
    let first = tokio::spawn(proxy.get("/x").into_future());
    gate.reached_by(1).await;
    let second = tokio::spawn(proxy.get("/x").into_future());
    gate.reached_by(2).await;
    gate.open();
    first.await.unwrap().is("x");
    second.await.unwrap().is("x");
}

pub(super) async fn in_flight(proxy: &proxy::Proxy, count: f64) {
    eventually("every request to be in flight", async || {
        (proxy.metric("pannier_inflight_requests").await >= count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_failing_origin_is_asked_a_few_times_and_not_by_everybody() {
    let origin = origin::new().run().await;
    let proxy = proxy::new(&origin).run().await;
    let gate = Gate::new();
    origin.now_answers("/x", status(500).body("broken").held_by(&gate));
    let asking: Vec<_> = (0..100)
        .map(|_| tokio::spawn(proxy.get("/x").into_future()))
        .collect();
    gate.reached_by(1).await;
    in_flight(&proxy, 100.0).await;
    gate.open();
    let (mut own, mut others) = (0, 0);
    for answer in join_all(asking).await {
        let answer = answer.unwrap();
        answer.was(Miss);
        let told = answer.header("cache-status");
        assert!(!told.contains("stored"), "{told}");
        if answer.header("content-type") == "application/problem+json" {
            assert!(told.contains("; collapsed"), "{told}");
            answer.status(502);
            others += 1;
        } else {
            answer.status(500).is("broken");
            own += 1;
        }
    }
    // Who was late for one fetch began the next.
    assert!(own <= 20 && others >= 80, "{own} fetches, {others} told");
    origin.was_asked("/x").times(own);
}
