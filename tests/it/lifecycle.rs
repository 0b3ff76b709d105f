//! Start, reload, drain, end.

use std::time::Duration;

use socket2::SockRef;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::support::origin;
use super::support::{Bypass, Gate, Hit, Miss, eventually, ok, proxy, redis};

#[tokio::test]
async fn sigterm_lets_a_request_finish_and_takes_no_new_one() {
    let gate = Gate::new();
    let origin = origin::new()
        .get("/slow", ok("slow").held_by(&gate))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    let slow = tokio::spawn(proxy.get("/slow").into_future());
    gate.reached_by(1).await;

    proxy.term().await;
    eventually("new connections to be refused", async || {
        let connecting = TcpStream::connect(proxy.address).await;
        connecting.is_err().then_some(())
    })
    .await;
    gate.open();
    slow.await.unwrap().status(200).is("slow");
    assert_eq!(proxy.exit().await, Some(0));
}

#[tokio::test]
async fn a_proxy_that_drains_says_it_is_not_ready() {
    let gate = Gate::new();
    let origin = origin::new()
        .get("/slow", ok("slow").held_by(&gate))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    let slow = tokio::spawn(proxy.get("/slow").into_future());
    gate.reached_by(1).await;
    proxy.term().await;
    eventually("/readyz to say 503", async || {
        let answer = proxy.admin_get("/readyz").await;
        (answer.status == 503).then_some(())
    })
    .await;
    gate.open();
    slow.await.unwrap().is("slow");
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let origin = origin::new().get("/x", ok("x")).run().await;
    let proxy = proxy::new(&origin).run().await;
    let mut idle = proxy.connect().await;
    idle.send("GET /x HTTP/1.1\r\nHost: pannier.test\r\n\r\n")
        .await;
    idle.answer().await;
    proxy.term().await;
    assert_eq!(idle.rest().await, "");
    assert_eq!(proxy.exit().await, Some(0));
}

#[tokio::test]
async fn what_is_unfinished_at_the_drain_deadline_is_cut() {
    let gate = Gate::new();
    let origin = origin::new()
        .get("/never", ok("never").held_by(&gate))
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .toml("[limits]\ndrain_timeout = \"300ms\"")
        .run()
        .await;
    let mut client = proxy.connect().await;
    client
        .send("GET /never HTTP/1.1\r\nHost: pannier.test\r\n\r\n")
        .await;
    gate.reached_by(1).await;
    proxy.term().await;
    proxy.exit().await;
    let got = client.rest().await;
    assert!(!got.contains("200"), "{got}");
}

#[tokio::test]
async fn sighup_takes_a_new_configuration_and_keeps_what_is_stored() {
    let origin = origin::new().otherwise(ok("x").max_age(600)).run().await;
    let before = proxy::new(&origin).route("/a", |route| route.ttl("60s"));
    let after = before.clone().route("/b", |route| route.ttl("60s")).text();
    let proxy = before.run().await;
    proxy.get("/a").await.was(Miss);
    proxy.get("/b").await.was(Bypass);
    let mut kept = proxy.connect().await;
    kept.send("GET /a HTTP/1.1\r\nHost: pannier.test\r\n\r\n")
        .await;
    kept.answer().await;

    proxy.rewrite(&after);
    proxy.hup().await;
    eventually("the new route", async || {
        (proxy.get("/b").await.cache() == "HIT").then_some(())
    })
    .await;
    proxy.get("/a").await.was(Hit);
    kept.send("GET /b HTTP/1.1\r\nHost: pannier.test\r\n\r\n")
        .await;
    let (head, _) = kept.answer().await;
    assert_eq!(head.field("x-cache"), Some("HIT"), "on the old connection");
    origin.was_asked("/a").times(1);
}

#[tokio::test]
async fn a_configuration_with_problems_changes_nothing() {
    let origin = origin::new().otherwise(ok("x").max_age(600)).run().await;
    let good = proxy::new(&origin).route("/a", |route| route.ttl("60s"));
    let bad = good
        .clone()
        .route("/b", |route| route.set("nonsense_key", "1"));
    let bad = bad.text();
    let better = good.clone().route("/b", |route| route.ttl("60s")).text();
    let proxy = good.run().await;
    proxy.get("/a").await.was(Miss);

    proxy.rewrite(&bad);
    proxy.hup().await;
    proxy.logs("nonsense_key").await;
    proxy.get("/a").await.was(Hit);
    proxy.get("/b").await.was(Bypass);
    proxy.admin_get("/readyz").await.status(200);

    proxy.rewrite(&better);
    proxy.hup().await;
    eventually("the new route", async || {
        (proxy.get("/b").await.cache() == "HIT").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_proxy_starts_before_its_origin() {
    let mut origin = origin::new().get("/x", ok("x").max_age(60)).run().await;
    origin.stop().await;
    let proxy = proxy::new(&origin).run().await;
    proxy.get("/x").await.is_problem(502);
    origin.start().await;
    proxy.get("/x").await.is("x").was(Miss);
}

#[tokio::test]
async fn a_drain_waits_for_a_write_whose_client_has_left() {
    let (redis, gate) = (redis::start().await, Gate::new());
    let origin = origin::new()
        .get("/x", ok("old").max_age(600))
        .on("POST", "/x", ok("made").held_by(&gate))
        .run()
        .await;
    let [left, right] = proxy::cluster(&origin).redis(&redis).run().await;
    for proxy in [&left, &right] {
        proxy.reaches_redis().await;
    }
    right.get("/x").await.was(Miss);
    right.get("/x").await.was(Hit);

    let mut client = TcpStream::connect(left.address).await.unwrap();
    let write = b"POST /x HTTP/1.1\r\nHost: pannier.test\r\nContent-Length: 1\r\n\r\nx";
    client.write_all(write).await.unwrap();
    gate.reached_by(1).await;
    // It is gone for certain.
    SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    eventually("the client to be missed", async || {
        (left.metric("pannier_inflight_requests").await < 1.0).then_some(())
    })
    .await;
    origin.now_answers("/x", ok("new").max_age(600));
    left.term().await;
    eventually("new connections to be refused", async || {
        let connecting = TcpStream::connect(left.address).await;
        connecting.is_err().then_some(())
    })
    .await;
    gate.open();
    assert_eq!(left.exit().await, Some(0));
    eventually("the other to know of the write", async || {
        right.get("/x").await.text().contains("new").then_some(())
    })
    .await;
}
