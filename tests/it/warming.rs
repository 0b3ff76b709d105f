//! What is fetched before the first client comes.

use std::io::Write as _;

use super::support::{Gate, Hit, eventually, ok, origin, proxy, redis, status};

#[tokio::test]
async fn readiness_waits_for_what_is_to_be_warm() {
    let gate = Gate::new();
    let origin = origin::new()
        .get("/a?b=1", ok("a").max_age(60))
        .get("/held", ok("held").max_age(60).held_by(&gate))
        .get("/gone", status(404))
        .run()
        .await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(
        file,
        "# what people want\n\nhttp://pannier.test/held\n/gone"
    )
    .unwrap();
    let builder = proxy::new(&origin).toml(&format!(
        "[[warm]]\npaths = [\"/a?b=1\"]\nfile = \"{}\"\nhost = \"pannier.test\"\nblock = true",
        file.path().display()
    ));
    let mut starting = std::pin::pin!(builder.run());
    tokio::select! {
        _ = &mut starting => panic!("ready before it was warm"),
        () = gate.reached_by(1) => {}
    }
    gate.open();
    let proxy = starting.await;

    proxy.get("/a?b=1").await.was(Hit).is("a");
    proxy.get("/held").await.was(Hit).is("held");
    origin.was_asked("/held").times(1);
    let warm = &proxy.admin_get("/stats").await.json()["warm"];
    assert_eq!(warm["total"], 3);
    assert_eq!(warm["warmed"], 2);
    assert_eq!(warm["failed"], 1);
    assert_eq!(warm["is_awaited"], false);
    proxy.logs("warmed").await;
}

#[tokio::test]
async fn an_origin_that_does_not_answer_holds_a_start_up_no_longer_than_it_may() {
    let gate = Gate::new();
    let origin = origin::new()
        .get("/held", ok("held").max_age(60).held_by(&gate))
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .toml(
            "[[warm]]\npaths = [\"/held\"]\nhost = \"pannier.test\"\nblock = true\n\
             block_timeout = \"100ms\"",
        )
        .run()
        .await;
    proxy.logs("readiness waits no more").await;
    gate.open();
    eventually("it to be warm all the same", async || {
        let stats = proxy.admin_get("/stats").await.json();
        (stats["warm"]["warmed"] == 1).then_some(())
    })
    .await;
    proxy.get("/held").await.was(Hit);
}

#[tokio::test]
async fn what_was_asked_for_most_in_the_last_run_is_warm_in_the_next() {
    let redis = redis::start().await;
    let origin = origin::new().otherwise(ok("x").max_age(60)).run().await;
    let builder = || {
        proxy::new(&origin)
            .redis(&redis)
            .route("/users/{id}", |route| route.name("users"))
            .toml("[[warm]]\npopular_max = 2\nhost = \"pannier.test\"\nblock = true")
    };
    let before = builder().run().await;
    for (path, times) in [("/users/1", 5), ("/users/2?secret=1", 3), ("/users/3", 2)] {
        for _ in 0..times {
            before.get(path).await.status(200);
        }
    }
    before.term().await;
    assert_eq!(before.exit().await, Some(0));
    let kept: String = redis.command(&["GET", "test:popular"]).await;
    assert_eq!(kept, "/users/1\n/users/2");

    let after = builder().run().await;
    let warm = &after.admin_get("/stats").await.json()["warm"];
    assert_eq!((&warm["total"], &warm["warmed"]), (&2.into(), &2.into()));
    after.get("/users/1").await.was(Hit);
    let hits = after.admin_get("/cache/stats").await.json();
    assert_eq!(hits["caches"]["users"]["size"], 2, "{hits:#}");
}

#[tokio::test]
async fn a_redis_that_is_away_does_not_hold_up_what_else_is_warmed() {
    let redis = redis::not_started();
    let origin = origin::new().otherwise(ok("x").max_age(60)).run().await;
    let proxy = proxy::new(&origin)
        .redis(&redis)
        .toml("[[warm]]\npaths = [\"/a\"]\npopular_max = 2\nhost = \"pannier.test\"")
        .run()
        .await;
    eventually("what is named to be warm", async || {
        let stats = proxy.admin_get("/stats").await.json();
        (stats["warm"]["warmed"] == 1).then_some(())
    })
    .await;
    proxy.get("/a").await.was(Hit);
}
