//! What operators and their tools invalidate, and what they are told of it.

use super::support::origin::{self, Origin};
use super::support::proxy::{self, Proxy};
use super::support::{Hit, Miss, Stale, cli, ok, redis};

/// An origin where every page below `/shop` carries two tags.
async fn shop() -> Origin {
    let page = |tags: &str| ok("page").max_age(600).header("Surrogate-Key", tags);
    origin::new()
        .get("/shop/1", page("shop one"))
        .get(
            "/shop/2",
            ok("page").max_age(600).header("xkey", "shop two"),
        )
        .run()
        .await
}

/// A proxy that has stored both pages.
async fn filled(origin: &Origin) -> Proxy {
    let proxy = proxy::new(origin)
        .route("/shop/{id}", |route| route.stale_while_revalidate("1h"))
        .run()
        .await;
    fill(&proxy).await;
    proxy
}

async fn fill(proxy: &Proxy) {
    for path in ["/shop/1", "/shop/2"] {
        proxy.get(path).await.is_success();
        proxy.get(path).await.was(Hit);
    }
}

/// What is answered to an invalidation: the number matched, and the note.
async fn matched(proxy: &Proxy, query: &str) -> (u64, String) {
    let answer = proxy.purge(query).await.json();
    let note = answer["note"].as_str().unwrap_or_default().to_owned();
    let matched = answer["matched"].as_u64();
    (matched.unwrap_or_else(|| panic!("{answer}")), note)
}

#[tokio::test]
async fn a_purge_says_how_much_it_matched_and_whether_it_could() {
    let origin = shop().await;
    let proxy = filled(&origin).await;
    assert_eq!(
        matched(&proxy, "pattern=/shop/**").await,
        (2, String::new())
    );
    // What is invalid already is not counted again.
    let (none, note) = matched(&proxy, "pattern=/shop/**").await;
    assert_eq!(none, 0);
    assert!(note.contains("no response"), "{note}");

    fill(&proxy).await;
    for tag in ["shop", "one", "two"] {
        assert_eq!(matched(&proxy, &format!("tag={tag}&soft=true")).await.1, "");
    }
    proxy.get("/shop/1").await.was(Stale);
    let (_, note) = matched(&proxy, "tag=sohp").await;
    assert!(note.contains("unknown tag"), "{note}");
    for query in ["pattern=/shpo/**", "url=/elsewhere"] {
        let (none, note) = matched(&proxy, query).await;
        assert_eq!(none, 0);
        assert!(note.contains("no route can match"), "{query}: {note}");
    }
    let refused = proxy.admin_post("/cache/invalidate?pattern=/shop/1%3Fa%3Db");
    refused.await.is_problem(400);
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_and_changes_nothing() {
    let origin = shop().await;
    let proxy = filled(&origin).await;
    for (query, count) in [
        ("dry_run=true", 2),
        ("pattern=/shop/**&dry_run=true", 2),
        ("tag=one&dry_run=true", 1),
        ("url=/shop/2&dry_run=true", 1),
        ("pattern=/shop/*/x&dry_run=true", 0),
    ] {
        assert_eq!(matched(&proxy, query).await.0, count, "{query}");
    }
    proxy.get("/shop/1").await.was(Hit);
    proxy.get("/shop/2").await.was(Hit);
    let admin = proxy.admin.to_string();
    let arguments = ["purge", "/shop/**", "--dry-run", "--admin", &admin];
    let ended = cli::pannier(&arguments, &[]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        ended
            .stdout
            .contains("would invalidate pattern /shop/**: 2 in"),
        "{ended:?}"
    );
    let arguments = ["purge", "/shpo/**", "--admin", &admin];
    let ended = cli::pannier(&arguments, &[]).await;
    assert!(ended.stdout.contains("no route can match"), "{ended:?}");
    proxy.get("/shop/1").await.was(Hit);
}

#[tokio::test]
async fn plugins_purge_by_url_by_tag_and_by_pattern() {
    let origin = shop().await;
    let redis = redis::start().await;
    let proxy = proxy::new(&origin)
        .route("/shop/{id}", |route| route)
        .redis(&redis)
        .run()
        .await;
    proxy.reaches_redis().await;
    let ask = |method: &str, target: &str, field: (&'static str, &str)| {
        let ask = proxy.admin_request(method, target);
        ask.header(field.0, field.1)
    };
    for (method, target, field, gone) in [
        ("PURGE", "/shop/1", ("X-A", "b"), vec!["/shop/1"]),
        ("PURGE", "/", ("xkey", "two"), vec!["/shop/2"]),
        (
            "PURGE",
            "/",
            ("Surrogate-Key", "two one"),
            vec!["/shop/1", "/shop/2"],
        ),
        ("BAN", "/shop/**", ("X-A", "b"), vec!["/shop/1", "/shop/2"]),
    ] {
        fill(&proxy).await;
        let answer = ask(method, target, field).await;
        answer.is_success();
        assert_eq!(answer.json()["matched"], gone.len(), "{method} {target}");
        for path in ["/shop/1", "/shop/2"] {
            let cache = if gone.contains(&path) { Miss } else { Hit };
            proxy.get(path).await.was(cache);
        }
    }
}
