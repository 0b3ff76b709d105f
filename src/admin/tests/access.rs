//! Who may ask what, what is refused, and how it ends.

use super::*;

#[tokio::test]
async fn with_a_token_only_the_probes_are_open() {
    let admin = Admin::run(Some("s3cret")).await;
    for route in table::routes() {
        let target = route.path.replace("{*", "{");
        let method = match route.verb {
            table::Verb::Get => "GET",
            table::Verb::Post => "POST",
        };
        let answer = admin.ask(method, &target, &[]).await;
        if route.is_open() {
            assert_eq!(answer.status, 200, "{target}");
        } else {
            assert_eq!(answer.status, 401, "{target}");
            assert!(answer.head.contains("www-authenticate: bearer"));
            if route.path == auth::DASHBOARD {
                // A browser can show nothing else than a page.
                assert!(answer.head.contains("content-type: text/html"));
                assert!(
                    answer
                        .head
                        .contains("content-security-policy: default-src 'none'")
                );
            } else {
                assert!(answer.detail().contains("Bearer"));
            }
        }
    }
    // A stranger does not even learn which paths there are, nor are headers
    // of a proxy in between believed.
    let unknown = admin
        .ask("GET", "/nothing", &["X-Forwarded-For: 127.0.0.1"])
        .await;
    assert_eq!(unknown.status, 401);
    let wrong = ["Authorization: Bearer s3cre"];
    assert_eq!(admin.ask("GET", "/stats", &wrong).await.status, 401);
    assert!(admin.operations.invalidations.lock().is_empty());
}

#[tokio::test]
async fn with_a_token_its_holder_may_do_everything_from_anywhere() {
    let admin = Admin::run(Some("s3cret")).await;
    let fields = [
        "Authorization: Bearer s3cret",
        "Host: cache.example",
        "Origin: https://ops.example",
    ];
    assert_eq!(admin.ask("GET", "/stats", &fields).await.status, 200);
    let answer = admin.ask("POST", "/cache/invalidate", &fields).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn without_a_token_a_web_page_changes_nothing() {
    let admin = Admin::run(None).await;
    for fields in [
        ["Origin: https://evil.example"],
        ["Origin: null"],
        ["Host: evil.example:9090"],
    ] {
        let answer = admin.ask("POST", "/cache/invalidate", &fields).await;
        assert_eq!(answer.status, 403, "{fields:?}");
        assert!(!answer.detail().is_empty());
    }
    // The authority of an absolute target goes before Host.
    let absolute = "http://evil.example/cache/invalidate";
    assert_eq!(admin.post(absolute).await.status, 403);
    assert!(admin.operations.invalidations.lock().is_empty());

    let port = admin.address.port();
    for host in [format!("Host: localhost:{port}"), "Host: [::1]".to_owned()] {
        let answer = admin.ask("POST", "/cache/invalidate", &[&host]).await;
        assert_eq!(answer.status, 200, "{host}");
    }
}

#[tokio::test]
async fn without_a_token_the_dashboard_may_do_what_its_user_says() {
    let admin = Admin::run(None).await;
    let ours = format!("Origin: http://{}", admin.address);
    let answer = admin.ask("POST", "/cache/invalidate", &[&ours]).await;
    assert_eq!(answer.status, 200);
    // A page that gave its own name this address is not the dashboard.
    let rebound = ["Origin: http://evil.example", "Host: evil.example"];
    let answer = admin.ask("POST", "/cache/invalidate", &rebound).await;
    assert_eq!(answer.status, 403);
    let elsewhere = ["Origin: http://127.0.0.1:1"];
    let answer = admin.ask("POST", "/cache/invalidate", &elsewhere).await;
    assert_eq!(answer.status, 403);
}

#[tokio::test]
async fn readiness_follows_the_proxy() {
    let admin = Admin::run(None).await;
    assert_eq!(admin.get("/readyz").await.status, 200);
    *admin.operations.is_draining.lock() = true;
    assert_eq!(admin.get("/readyz").await.status, 503);
    assert_eq!(admin.get("/livez").await.status, 200);
}

#[tokio::test]
async fn an_invalidation_says_who_acknowledged_it() {
    let admin = Admin::run(None).await;
    let answer = admin
        .post("/cache/invalidate?pattern=/users/**&soft=true&wait=1s")
        .await;
    assert_eq!(
        answer.json(),
        serde_json::json!({
            "invalidated": "pattern /users/**",
            "soft": true,
            "dry_run": false,
            "matched": 3,
            "note": null,
            "position": "17-0",
            "acknowledged": ["left"],
            "missing": ["right"],
        })
    );
    admin.post("/cache/invalidate").await;
    admin.post("/cache/invalidate?tag=a").await;
    admin.post("/cache/invalidate?url=%2Fa%3Fb%3D1").await;
    admin.post("/cache/invalidate?route=users").await;
    admin.post("/cache/invalidate/users").await;
    admin.post("/cache/invalidate//api/items").await;
    admin.post("/cache/invalidate/api/items").await;
    let asked = admin.operations.invalidations.lock();
    let scopes: Vec<String> = asked
        .iter()
        .map(|asked| asked.scopes[0].to_string())
        .collect();
    assert_eq!(
        scopes,
        [
            "pattern /users/**",
            "all",
            "tag a",
            "url /a?b=1",
            "route users",
            "route users",
            "route /api/items",
            "route /api/items",
        ]
    );
    assert_eq!(asked[0].wait, Some(Duration::from_secs(1)));
}

#[tokio::test]
async fn what_is_unclear_is_refused_with_a_sentence() {
    let admin = Admin::run(None).await;
    for (method, target, status, says) in [
        ("POST", "/cache/invalidate?patern=/a", 400, "patern"),
        ("POST", "/cache/invalidate?pattern=a", 400, "starts with"),
        ("POST", "/cache/invalidate?pattern=/a&tag=b", 400, "exclude"),
        (
            "POST",
            "/cache/invalidate?pattern=/a%3Fb",
            400,
            "has no query",
        ),
        ("POST", "/cache/invalidate?route=nobody", 404, "nobody"),
        ("POST", "/cache/invalidate/nobody", 404, "nobody"),
        ("POST", "/cache/invalidate/users?tag=a", 400, "already"),
        ("POST", "/cache/invalidate?wait=soon", 400, "soon"),
        ("POST", "/cache/invalidate?soft=perhaps", 400, "perhaps"),
        ("POST", "/cache/clear", 400, "memory, redis or all"),
        ("POST", "/cache/clear?tier=disk", 400, "disk"),
        ("POST", "/cache/clear?tier=redis", 409, "redis"),
        ("GET", "/performance/slowest?limit=0", 400, "1 to 1000"),
        ("GET", "/performance/slowest?limit=1001", 400, "1001"),
        ("GET", "/performance/most-requested?limit=x", 400, "`x`"),
        ("GET", "/performance/endpoint/GET/nowhere", 404, "/nowhere"),
        ("GET", "/history?window=2d", 400, "1m to 24h"),
        ("GET", "/performance/summary?window=x", 400, "`x`"),
        ("GET", "/cache/top-keys?limit=0", 400, "1 to 1000"),
        ("GET", "/nothing", 404, "/openapi.json"),
        ("GET", "/cache/invalidate", 405, "GET"),
    ] {
        let answer = admin.ask(method, target, &[]).await;
        assert_eq!(answer.status, status, "{target}: {}", answer.body);
        assert!(answer.detail().contains(says), "{target}: {}", answer.body);
    }
    assert!(admin.operations.invalidations.lock().is_empty());
    assert_eq!(*admin.operations.cleared.lock(), [Tier::Redis]);
}

#[tokio::test]
async fn a_body_that_nobody_reads_has_a_bound() {
    let admin = Admin::run(None).await;
    let fields = ["Content-Length: 65537", "Expect: 100-continue"];
    let answer = admin.ask("POST", "/cache/invalidate", &fields).await;
    assert_eq!(answer.status, 413);
    assert!(admin.operations.invalidations.lock().is_empty());
}

#[tokio::test]
async fn a_drain_ends_idle_connections_and_the_listener() {
    let admin = Admin::run(None).await;
    let mut idle = TcpStream::connect(admin.address).await.unwrap();
    let request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    idle.write_all(request).await.unwrap();
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");

    admin.drain.send(()).unwrap();
    admin.served.await.unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(TcpStream::connect(admin.address).await.is_err());
}

#[tokio::test]
async fn a_command_without_parameters_refuses_them() {
    let admin = Admin::run(None).await;
    for target in ["/cache/reset-stats?route=users", "/performance/reset?x"] {
        let answer = admin.post(target).await;
        assert_eq!(answer.status, 400, "{target}");
        assert!(answer.detail().contains("takes no parameters"));
    }
    assert_eq!(admin.ask("GET", "/queues?x=1", &[]).await.status, 400);
    assert_eq!(admin.ask("GET", "/queues?", &[]).await.status, 200);
    // Probes and scrapers add what they like.
    assert_eq!(admin.ask("GET", "/livez?x=1", &[]).await.status, 200);
    assert_eq!(admin.ask("GET", "/metrics?x=1", &[]).await.status, 200);
    assert_eq!(admin.ask("GET", "/health?x=1", &[]).await.status, 400);
    assert_eq!(admin.ask("PUT", "/queues?x=1", &[]).await.status, 405);
}

#[tokio::test]
async fn a_path_that_is_no_text_is_refused_as_a_problem() {
    let admin = Admin::run(None).await;
    let answer = admin.ask("GET", "/performance/endpoint/GET/%ff", &[]).await;
    assert_eq!(answer.status, 400);
    assert!(answer.head.contains("application/problem+json"));
}

#[tokio::test]
async fn purge_and_ban_are_read_as_their_clients_write_them() {
    let admin = Admin::run(None).await;
    let own = format!("Host: {}", admin.address);
    for (request, fields, scope) in [
        ("PURGE /a?b=1", vec![own.as_str()], "url /a?b=1"),
        ("PURGE /livez", vec![&own], "url /livez"),
        (
            "PURGE /a",
            vec![&own, "X-Host: shop.example"],
            "url http://shop.example/a",
        ),
        (
            "PURGE /blog/.*",
            vec![&own, "X-Purge-Method: regex"],
            "pattern /blog/**",
        ),
        ("PURGE /", vec![&own, "Surrogate-Key: a b"], "tag a, tag b"),
        ("PURGE /x", vec![&own, "Cache-Tag: a, b"], "tag a, tag b"),
        ("PURGE /", vec![&own, "xkey: a", "xkey: b"], "tag a, tag b"),
        ("PURGEKEYS /", vec![&own, "xkey-purge: a b"], "tag a, tag b"),
        ("BAN /a/**", vec![&own], "pattern /a/**"),
        ("BAN /", vec![&own, "X-Url: ^/a/.*"], "pattern /a/**"),
        (
            "BAN /",
            vec![&own, "X-Cache-Tags: (a|b)(,|$)"],
            "tag a, tag b",
        ),
        (
            "PURGE /",
            vec![&own, "X-Magento-Tags-Pattern: ((^|,)a(,|$))|((^|,)b(,|$))"],
            "tag a, tag b",
        ),
        ("PURGE /", vec![&own, "X-Magento-Tags-Pattern: .*"], "all"),
    ] {
        let (method, target) = request.split_once(' ').unwrap();
        let answer = admin.ask(method, target, &fields).await;
        assert_eq!(answer.status, 200, "{request} {fields:?}: {}", answer.body);
        assert_eq!(answer.json()["invalidated"], scope, "{request} {fields:?}");
        assert_eq!(answer.json()["soft"], false, "{request}");
    }
    for soft in ["Fastly-Soft-Purge: 1", "xkey-softpurge: a"] {
        let answer = admin.ask("PURGE", "/a", &[&own, soft]).await;
        assert_eq!(answer.json()["soft"], true, "{soft}");
    }
    let asked = admin.operations.invalidations.lock().len();
    for (request, field) in [
        ("BAN /a?b=1", "A: b"),
        ("BAN /", "X-Url: /a/[0-9]+"),
        ("PURGE /", "X-Magento-Tags-Pattern: cat_.*"),
        ("PURGE /", "Cache-Tag: two words"),
    ] {
        let (method, target) = request.split_once(' ').unwrap();
        let answer = admin.ask(method, target, &[&own, field]).await;
        assert_eq!(answer.status, 400, "{request} {field}: {}", answer.body);
    }
    assert_eq!(admin.operations.invalidations.lock().len(), asked);
}

#[tokio::test]
async fn purge_needs_what_every_command_needs() {
    let guarded = Admin::run(Some("s3cret")).await;
    for target in ["/a", "/livez", "/"] {
        let answer = guarded.ask("PURGE", target, &[]).await;
        assert_eq!(answer.status, 401, "{target}");
    }
    assert!(guarded.operations.invalidations.lock().is_empty());
    let fields = ["Authorization: Bearer s3cret", "Host: shop.example"];
    let answer = guarded.ask("PURGE", "/a", &fields).await;
    assert_eq!(answer.json()["invalidated"], "url http://shop.example/a");
    // By a name and its own port, the listener itself is meant.
    let by_name = format!("Host: pannier:{}", guarded.address.port());
    let fields = ["Authorization: Bearer s3cret", by_name.as_str()];
    let answer = guarded.ask("PURGE", "/a", &fields).await;
    assert_eq!(answer.json()["invalidated"], "url /a");

    let open = Admin::run(None).await;
    for field in ["Origin: https://evil.example", "Host: evil.example"] {
        let answer = open.ask("PURGE", "/a", &[field]).await;
        assert_eq!(answer.status, 403, "{field}");
    }
    assert!(open.operations.invalidations.lock().is_empty());
}
