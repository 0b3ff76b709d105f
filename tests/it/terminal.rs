//! What operators see in a terminal of a proxy that runs.

use super::support::cli::pannier;
use super::support::{Hit, Miss, eventually, ok, origin, proxy, status};

#[tokio::test]
async fn stats_are_sorted_narrowed_and_need_no_valid_configuration() {
    let origin = origin::new()
        .get("/often", ok("x").max_age(60))
        .get("/seldom", ok("x").max_age(60))
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .route("/often", |route| route.name("often"))
        .route("/seldom", |route| route.name("seldom"))
        .admin_token("s3cret")
        .run()
        .await;
    proxy.get("/seldom").await.was(Miss);
    for _ in 0..3 {
        proxy.get("/often").await.is("x");
    }
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "s3cret\n").unwrap();
    let broken = folder.path().join("proxy.toml");
    let admin = proxy.admin;
    let text = format!("threads = \"x\"\n[admin]\nlisten = \"{admin}\"\n");
    std::fs::write(&broken, text).unwrap();
    let (token, broken) = (token.display().to_string(), broken.display().to_string());
    let place = ["--config", &broken, "--token-file", &token];

    let sorted = ["stats", "--sort", "count", "--top", "1"];
    let ended = pannier(&[&sorted[..], &place].concat(), &[]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let table = ended.stdout.split("METHOD").nth(1).expect("a table");
    assert!(
        table.contains("/often") && !table.contains("/seldom"),
        "{table}"
    );

    let narrowed = ["stats", "--route", "seldom", "--json"];
    let ended = pannier(&[&narrowed[..], &place].concat(), &[]).await;
    let document: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let caches = document["cache"]["caches"].as_object().expect("routes");
    assert_eq!(caches.len(), 1, "{caches:#?}");
    let endpoints = &document["performance"]["endpoints"];
    assert_eq!(endpoints.as_array().map(Vec::len), Some(1), "{endpoints:#}");
    let unknown = ["stats", "--route", "nobody"];
    let ended = pannier(&[&unknown[..], &place].concat(), &[]).await;
    assert!(ended.code != 0 && ended.stderr.contains("no route `nobody`"));

    // The address by the environment, and what to do without a token.
    let environment = [("PANNIER_ADMIN", admin.to_string())];
    let environment = environment
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let ended = pannier(&["stats"], &environment).await;
    assert!(ended.stderr.contains("PANNIER_ADMIN_TOKEN"), "{ended:?}");
    let nobody = pannier(&["stats", "--admin", "127.0.0.1:1"], &[]).await;
    assert!(nobody.stderr.contains("is Pannier running"), "{nobody:?}");
}

#[tokio::test]
async fn tail_prints_requests_as_they_are_answered_by_what_is_asked_of_them() {
    let origin = origin::new()
        .get("/x", ok("x").max_age(60))
        .get("/broken", status(500))
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .route("/x", |route| route.name("the-x"))
        .run()
        .await;
    let admin = proxy.admin.to_string();
    let tails = [
        vec!["--route", "the-x", "--cache", "hit", "--json", "-n", "2"],
        vec!["--status", "5xx", "-n", "1"],
    ];
    let watched = tails.map(|tail| {
        let admin = admin.clone();
        tokio::spawn(async move {
            let arguments = [&["tail", "--admin", &admin][..], &tail].concat();
            pannier(&arguments, &[]).await
        })
    });
    // Until both have seen enough: when they begin to watch is not known.
    eventually("both to have seen enough", async || {
        proxy.get("/x").await.is("x");
        proxy.get("/broken").await.status(500);
        watched
            .iter()
            .all(tokio::task::JoinHandle::is_finished)
            .then_some(())
    })
    .await;
    let [hits, errors] = watched;
    let hits = hits.await.unwrap();
    assert_eq!(hits.code, 0, "{hits:?}");
    let lines: Vec<serde_json::Value> = hits
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 2);
    for line in lines {
        assert_eq!(
            (&line["cache"], &line["path"]),
            (&"HIT".into(), &"/x".into())
        );
    }
    let errors = errors.await.unwrap().stdout;
    assert!(
        errors.contains(" 500 ") && errors.contains("/broken"),
        "{errors}"
    );

    for query in ["cache=maybe", "status=6xx", "wrong=1"] {
        let refused = proxy.admin_get(&format!("/tail?{query}")).await;
        refused.is_problem(400);
    }
    proxy.get("/x").await.was(Hit);
}

#[tokio::test]
async fn a_watcher_does_not_hold_up_the_end() {
    let origin = origin::new().run().await;
    let proxy = proxy::new(&origin).run().await;
    let watching = proxy.admin_get("/tail").open().await;
    proxy.term().await;
    assert_eq!(proxy.exit().await, Some(0));
    drop(watching);
}

#[tokio::test]
async fn top_shows_what_happened_since_the_look_before() {
    let origin = origin::new().get("/x", ok("x").max_age(60)).run().await;
    let proxy = proxy::new(&origin).run().await;
    let admin = proxy.admin.to_string();
    let top = tokio::spawn(async move {
        let arguments = [
            "top",
            "--json",
            "-n",
            "1",
            "--interval",
            "500ms",
            "--admin",
            &admin,
        ];
        pannier(&arguments, &[]).await
    });
    eventually("the look to be over", async || {
        proxy.get("/x").await.is("x");
        top.is_finished().then_some(())
    })
    .await;
    let ended = top.await.unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    let document: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let rows = document["endpoints"].as_array().expect("a list");
    assert!(
        rows.iter().any(|row| row["count"].as_f64() > Some(0.0)),
        "{document:#}"
    );
}
