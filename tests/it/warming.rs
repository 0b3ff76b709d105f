//! What is fetched before the first client comes.

use std::io::Write as _;

use super::support::{Gate, Hit, eventually, ok, origin, proxy, status};

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
