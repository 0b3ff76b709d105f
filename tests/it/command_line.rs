//! The commands that run to an end.

use super::support::cli::pannier;
use super::support::origin;
use super::support::{Hit, Miss, ok, proxy};

const EX_CONFIG: i32 = 78;

/// `pannier check` of a file with this text.
async fn check(text: &str, environment: &[(&str, &str)]) -> super::support::cli::Ended {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("proxy.toml");
    std::fs::write(&path, text).expect("a file in it");
    pannier(
        &["check", "--config", &path.display().to_string()],
        environment,
    )
    .await
}

#[tokio::test]
async fn check_is_content_with_a_good_file() {
    let origin = origin::new().run().await;
    let ended = check(&proxy::new(&origin).text(), &[]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[cfg(not(feature = "otlp"))]
#[tokio::test]
async fn check_says_which_feature_exports_spans() {
    let origin = origin::new().run().await;
    let builder = proxy::new(&origin).toml("[log]\notlp = \"http://127.0.0.1:4318\"");
    let ended = check(&builder.text(), &[]).await;
    assert_eq!(ended.code, EX_CONFIG, "{ended:?}");
    let said = ended.stdout + &ended.stderr;
    assert!(said.contains("--features otlp"), "{said}");
}

#[tokio::test]
async fn check_names_every_problem_and_its_place() {
    let text = r#"
listen = "nowhere"
upstream = "http://127.0.0.1:3000"
unknown_key = 1

[memory]
bytes_max = "many"

[[routes]]
path = "/users/{id}"
ttl = "60"

[[routes]]
path = "/users/{name}"
errors = "sometimes"
"#;
    let ended = check(text, &[]).await;
    assert_eq!(ended.code, EX_CONFIG, "{ended:?}");
    let said = ended.stdout + &ended.stderr;
    for expected in [
        "nowhere",
        "unknown_key",
        "many",
        "\"60\"",
        "/users/{name}",
        "sometimes",
        "proxy.toml:2:",
        "proxy.toml:4:",
    ] {
        assert!(said.contains(expected), "{expected:?} in:\n{said}");
    }
}

#[tokio::test]
async fn a_variable_of_the_environment_is_used_and_missed() {
    let text = "upstream = \"http://127.0.0.1:${APP_PORT}\"\n";
    let given = check(text, &[("APP_PORT", "3000")]).await;
    assert_eq!(given.code, 0, "{given:?}");
    let missing = check(text, &[]).await;
    assert_eq!(missing.code, EX_CONFIG);
    let said = missing.stdout + &missing.stderr;
    assert!(said.contains("APP_PORT"), "{said}");
}

#[tokio::test]
async fn an_admin_listener_beyond_loopback_needs_a_token() {
    let text = "upstream = \"http://127.0.0.1:3000\"\n[admin]\nlisten = \"0.0.0.0:9090\"\n";
    let open = check(text, &[]).await;
    assert_eq!(open.code, EX_CONFIG, "{open:?}");
    let guarded = check(&format!("{text}token = \"s3cret\"\n"), &[]).await;
    assert_eq!(guarded.code, 0, "{guarded:?}");
}

#[tokio::test]
async fn a_program_with_a_bad_file_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.toml");
    std::fs::write(&path, "upstream = 7\n").unwrap();
    let ended = pannier(&["run", "--config", &path.display().to_string()], &[]).await;
    assert_eq!(ended.code, EX_CONFIG, "{ended:?}");
    assert!(ended.stderr.contains("upstream"), "{ended:?}");
    let missing = folder.path().join("none.toml").display().to_string();
    let ended = pannier(&["run", "--config", &missing], &[]).await;
    assert_eq!(ended.code, EX_CONFIG, "{ended:?}");
}

#[tokio::test]
async fn stats_prints_the_figures_of_a_running_proxy() {
    let origin = origin::new().get("/x", ok("x").max_age(60)).run().await;
    let proxy = proxy::new(&origin)
        .route("/x", |route| route.name("the-x"))
        .run()
        .await;
    proxy.get("/x").await.was(Miss);
    proxy.get("/x").await.was(Hit);
    let admin = proxy.admin.to_string();
    let table = pannier(&["stats", "--admin", &admin], &[]).await;
    assert_eq!(table.code, 0, "{table:?}");
    assert!(table.stdout.contains("the-x"), "{table:?}");
    let json = pannier(&["stats", "--json", "--admin", &admin], &[]).await;
    assert_eq!(json.code, 0, "{json:?}");
    serde_json::from_str::<serde_json::Value>(&json.stdout).expect("JSON");

    drop(proxy);
    let nobody = pannier(&["stats", "--admin", &admin], &[]).await;
    assert_ne!(nobody.code, 0);
    assert!(nobody.stderr.contains(&admin), "{nobody:?}");
}
