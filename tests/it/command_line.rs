//! The commands that run to an end.

use super::support::cli::pannier;
use super::support::origin;
use super::support::{Hit, Miss, eventually, ok, proxy};

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

/// A configuration with these lines at its top.
fn configured(lines: &str) -> String {
    format!("{lines}upstream = \"http://127.0.0.1:3000\"\n[admin]\nlisten = \"127.0.0.1:0\"\n")
}

#[tokio::test]
async fn check_sees_what_run_would_die_of() {
    let elsewhere = "listen = \"192.0.2.1:8080\"\n";
    let nowhere = "[origin]\nca_file = \"/no/such/ca.pem\"\n";
    let untrusted = configured("").replace("http:", "https:");
    for (text, says) in [
        (configured(elsewhere), "192.0.2.1:8080"),
        (format!("{untrusted}{nowhere}"), "/no/such/ca.pem"),
        (
            format!(
                "{}[redis]\nnamespace = \"shop\"\nurl = \"rediss://127.0.0.1:1\"\nca_file = \"/no/such/ca.pem\"\n",
                configured("listen = \"127.0.0.1:0\"\n")
            ),
            "/no/such/ca.pem",
        ),
    ] {
        let checked = check(&text, &[]).await;
        assert_eq!(checked.code, EX_CONFIG, "{text}: {checked:?}");
        assert!(checked.stderr.contains(says), "{checked:?}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proxy.toml");
        std::fs::write(&path, &text).unwrap();
        let ran = pannier(&["run", "--config", &path.display().to_string()], &[]).await;
        assert_eq!(ran.code, EX_CONFIG, "{text}: {ran:?}");
        assert!(ran.stderr.contains(says), "{ran:?}");
    }
    // A port that is in use is no problem of the file.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let busy = check(&configured(&format!("listen = \"{address}\"\n")), &[]).await;
    assert_eq!(busy.code, 0, "{busy:?}");
}

#[tokio::test]
async fn check_warns_of_what_has_no_effect() {
    let idle = "\n[[routes]]\npath = \"/a/{id}\"\n[[invalidations]]\npath = \"/b\"\n\
                purge = [\"/gallery\", \"/a/*\"]\n[[warm]]\npaths = [\"/a/7\", \"/nowhere\"]\n";
    let ended = check(&(configured("") + idle), &[]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let warnings: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(warnings.len(), 2, "{ended:?}");
    assert!(warnings[0].contains("`/gallery`"), "{ended:?}");
    assert!(warnings[1].contains("`/nowhere`"), "{ended:?}");
}

#[tokio::test]
async fn the_example_of_the_readme_has_no_problems() {
    let readme = include_str!("../../README.md");
    let example = readme.split("```toml\n").nth(1).expect("an example");
    let example = example.split("```").next().expect("its end");
    let ended = check(example, &[]).await;
    assert_eq!((ended.code, &*ended.stderr), (0, ""), "{ended:?}");
}

#[tokio::test]
async fn a_habit_of_another_program_is_answered_with_how_it_is_written_here() {
    let text = "upstream = \"http://127.0.0.1:3000\"\n[memory]\nbytes_max = \"256MB\"\n\
                [[routes]]\npath = \"a\"\nttl = \"1h30m\"\n[[routes]]\npath = \"/a/:id/<int:n>\"\n";
    let ended = check(text, &[]).await;
    assert_eq!(ended.code, EX_CONFIG, "{ended:?}");
    for expected in ["\"256MiB\"", "\"/a\"", "\"90m\"", "\"/a/{id}/{n}\""] {
        assert!(ended.stderr.contains(expected), "{expected}: {ended:?}");
    }
}

#[tokio::test]
async fn a_change_is_noticed_where_no_folder_tells_of_it() {
    let origin = origin::new().run().await;
    let builder = proxy::new(&origin);
    let proxy = builder.clone().run().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("shop.toml");
    let is_known = async |name: &'static str| {
        eventually(&format!("{name} to be in force"), async || {
            let stats = proxy.admin_get("/cache/stats").await.json();
            stats["caches"][name].is_object().then_some(())
        })
        .await;
    };
    let written = |name: &str| {
        builder
            .clone()
            .route("/**", |route| route.name(name))
            .text()
    };

    // The same file by another name: what a single mounted file is.
    std::fs::hard_link(proxy.config(), &target).unwrap();
    std::fs::write(&target, written("mounted")).unwrap();
    is_known("mounted").await;

    // The target of a symlink, which stands elsewhere.
    std::fs::remove_file(proxy.config()).unwrap();
    std::os::unix::fs::symlink(&target, proxy.config()).unwrap();
    std::fs::write(&target, written("linked")).unwrap();
    is_known("linked").await;
    std::fs::write(&target, written("linked-again")).unwrap();
    is_known("linked-again").await;
}
