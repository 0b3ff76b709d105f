//! The origin of these tests does as it is told. Client to origin, no proxy.

use super::support::client::{Ask, ask};
use super::support::origin::{self, Origin};
use super::support::raw::Raw;
use super::support::{Feed, Gate, by, fed, hang_up, ok, raw_reply, short, silence};

fn get(origin: &Origin, target: &str) -> Ask {
    ask(origin.address(), "GET", target)
}

#[tokio::test]
async fn it_answers_by_method_and_path_and_counts() {
    let origin = origin::new()
        .get("/users/7", ok("Ada").max_age(60))
        .get("/users/7?v=2", ok("Ada 2"))
        .run()
        .await;

    get(&origin, "/users/7")
        .await
        .is("Ada")
        .has("cache-control", "max-age=60");
    get(&origin, "/users/7?v=1").await.is("Ada");
    get(&origin, "/users/7?v=2").await.is("Ada 2");
    get(&origin, "/users/8").await.status(404);
    ask(origin.address(), "HEAD", "/users/7")
        .await
        .status(200)
        .is("");
    ask(origin.address(), "PUT", "/users/7")
        .body("Eve")
        .await
        .status(204);

    origin.was_asked("/users/7").times(3);
    origin.was_asked("/users/7?v=2").times(1);
    origin.was_sent("PUT", "/users/7").times(1);
    assert_eq!(origin.last_request("/users/7").body, b"Eve");

    origin.now_answers(
        "/users/7",
        by(|request| ok(request.field("host").to_owned())),
    );
    get(&origin, "/users/7").host("a.test").await.is("a.test");
}

#[tokio::test]
async fn it_confirms_what_the_requester_has() {
    let origin = origin::new().get("/x", ok("x").etag("v1")).run().await;
    let conditional = get(&origin, "/x").header("if-none-match", "\"v1\"");
    conditional.await.status(304).is("").has("etag", "\"v1\"");
}

#[tokio::test]
async fn it_holds_an_answer_until_the_gate_opens() {
    let gate = Gate::new();
    let origin = origin::new().get("/x", ok("x").held_by(&gate)).run().await;
    let asking = tokio::spawn(get(&origin, "/x").into_future());
    gate.reached_by(1).await;
    assert!(!asking.is_finished());
    gate.open();
    asking.await.unwrap().is("x");
}

#[tokio::test]
async fn it_sends_a_body_as_it_is_fed() {
    let feed = Feed::new();
    let origin = origin::new()
        .get("/x", fed(&feed).trailer("x-sum", "9"))
        .run()
        .await;
    let mut answer = get(&origin, "/x").open().await;
    feed.send("one");
    assert_eq!(answer.piece().await.unwrap(), "one");
    feed.send("two");
    feed.end();
    let answer = answer.whole().await;
    answer.is("two");
    assert_eq!(answer.trailers["x-sum"], "9");

    let answer = get(&origin, "/x").open().await;
    feed.send("three");
    feed.break_off();
    answer.breaks().await;

    drop(get(&origin, "/x").open().await);
    feed.abandoned().await;
}

#[tokio::test]
async fn it_fails_in_every_way_it_can() {
    let mut origin = origin::new()
        .get("/short", short(100, "not much"))
        .get("/raw", raw_reply("HTTP/1.0 200 OK\r\n\r\nold"))
        .get("/gone", hang_up())
        .get("/never", silence())
        .get(
            "/early",
            ok("late").early("HTTP/1.1 103 Early Hints\r\nLink: </a>"),
        )
        .run()
        .await;

    get(&origin, "/short").open().await.breaks().await;
    get(&origin, "/raw").await.is("old");
    get(&origin, "/early").await.is("late");

    let mut client = Raw::connect(origin.address()).await;
    client.send("GET /gone HTTP/1.1\r\n\r\n").await;
    assert_eq!(client.rest().await, "");

    let mut client = Raw::connect(origin.address()).await;
    client.send("GET /never HTTP/1.1\r\n\r\n").await;
    origin.is_asked("/never", 1).await;
    origin.stop().await;
    assert_eq!(client.rest().await, "", "cut when the origin stops");

    origin.start().await;
    get(&origin, "/early").await.is("late");
}
