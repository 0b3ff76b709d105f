//! Stories of good and bad files.

use std::time::Duration;

use super::*;
use crate::semantics::policy::{QueryKey, StoreErrors};

mod files;
mod reports;

const UPSTREAM: &str = "upstream = \"http://127.0.0.1:3000\"\n";

fn environment(name: &str) -> Option<String> {
    match name {
        "PANNIER_ADMIN_TOKEN" => Some("hunter2".to_owned()),
        "REDIS_URL" => Some("redis://:hunter2@h:x".to_owned()),
        "EMPTY" => Some(String::new()),
        "PORT" => Some("3000".to_owned()),
        _ => None,
    }
}

fn read(text: &str) -> Result<Config, Problems> {
    parse("proxy.toml", text, environment)
}

#[track_caller]
fn good(text: &str) -> Config {
    read(&format!("{UPSTREAM}{text}")).unwrap_or_else(|problems| panic!("{problems}"))
}

/// What is found wrong below a valid `upstream`: line, and message with hint.
#[track_caller]
fn bad(text: &str) -> Vec<(usize, String)> {
    let Err(problems) = read(&format!("{UPSTREAM}{text}")) else {
        panic!("nothing was found wrong with:\n{text}");
    };
    problems
        .iter()
        .map(|problem| {
            let line = problem.place.as_ref().map_or(0, |place| place.line);
            let hint = problem.hint.as_deref().unwrap_or_default();
            (line, format!("{} ({hint})", problem.message))
        })
        .collect()
}

#[track_caller]
fn is_refused(text: &str, saying: &str) {
    let problems = bad(text);
    assert!(
        problems.len() == 1 && problems[0].1.contains(saying),
        "{text}\nwas to say: {saying}\nsaid: {problems:?}"
    );
}

#[test]
fn a_file_that_names_only_the_upstream_is_all_defaults() {
    let upstream = Upstream::Http {
        authority: "127.0.0.1:3000".parse().unwrap(),
    };
    let default = Config::default_for(upstream);
    assert_eq!(format!("{:?}", good("")), format!("{default:?}"));
    assert!(default.threads >= 1 && default.redis.is_none() && default.routes.is_empty());
    assert_eq!(default.memory.bytes_max, 256 << 20);
    assert!(restart_needed(&default, &good("")).is_empty());
}

#[test]
fn a_container_sets_the_bound_on_memory_where_the_file_does_not() {
    let container = Some(2 << 30);
    assert_eq!(good("").memory.within(container).bytes_max, 512 << 20);
    assert_eq!(good("").memory.within(None).bytes_max, 256 << 20);
    let given = good("[memory]\nbytes_max = \"1GiB\"").memory;
    assert_eq!(given.within(container).bytes_max, 1 << 30);
    let tiny = good("").memory.within(Some(8 << 20));
    assert_eq!((tiny.bytes_max, tiny.body_bytes_max), (2 << 20, 2 << 20));
}

#[test]
fn the_policy_of_the_store_is_one_of_two_and_waits_for_the_next_start() {
    is_refused("[memory]\npolicy = \"lfu\"", "`\"lru\"` or `\"s3fifo\"`");
    let (started, changed) = (
        good(""),
        good("[memory]\npolicy = \"s3fifo\"\nbytes_max = \"1MiB\""),
    );
    assert_eq!(changed.memory.policy, EvictionPolicy::S3Fifo);
    assert_eq!(restart_needed(&started, &changed), ["memory.policy"]);
    let reloaded = changed.started_as(&started).memory;
    assert_eq!(
        (reloaded.policy, reloaded.bytes_max),
        (EvictionPolicy::Lru, 1 << 20)
    );
}

#[test]
fn the_example_of_the_contract_means_what_it_says() {
    let config = good(
        r#"
        listen = [":8080", "127.0.0.1:0"]
        admin = { listen = "0.0.0.0:9090", token = "${PANNIER_ADMIN_TOKEN}" }
        [redis]
        url = ["redis://a:1", "redis://u:p@b:2"]
        namespace = "shop"
        [[routes]]
        name = "templates"
        path = "/api/v1/templates/{id}"
        ttl = "60s"
        stale_while_revalidate = "30s"
        stale_if_error = "10m"
        entries_max = 500
        ignore_headers = ["cache-control"]
        errors = "origin"
        bypass_query = "use_cache=false"
        [routes.key]
        query = { except = ["utm_*"] }
        headers = ["X-Tenant", "accept"]
        cookies = []
        host = false
        [[routes]]
        path = "/static/**"
        [[invalidations]]
        path = "/api/v1/templates/{id}"
        purge = ["/api/v1/templates", "/api/v1/templates/{id}/**"]
        "#,
    );
    assert_eq!(config.listen[0].to_string(), "[::]:8080");
    let admin = config.admin.expect("it is on");
    assert_eq!(admin.token.expect("it is set").reveal(), "hunter2");
    let redis = config.redis.expect("it is on");
    assert!(redis.is_cluster && redis.nodes.len() == 2);
    assert_eq!(redis.lookup_timeout, Duration::from_millis(5));
    let [templates, statics] = &*config.routes else {
        panic!("two routes");
    };
    assert_eq!(&*templates.name, "templates");
    assert_eq!(templates.policy.ttl, Some(Duration::from_secs(60)));
    assert_eq!(templates.policy.errors, StoreErrors::Origin);
    assert!(templates.policy.ignore.cache_control && !templates.policy.ignore.vary);
    assert_eq!(templates.entries_max, Some(500));
    assert_eq!(templates.key.query, QueryKey::Except(vec!["utm_*".into()]));
    assert_eq!(templates.key.headers, ["accept", "x-tenant"]);
    assert_eq!(
        templates.key.bypass_query,
        Some(("use_cache".into(), "false".into()))
    );
    assert_eq!((&*statics.name, statics.key.host), ("/static/**", true));
    assert_eq!(config.invalidations[0].methods.len(), 4);
}

#[test]
fn the_environment_fills_strings() {
    let config = read("upstream = \"http://a:${PORT}\"").expect("it is set");
    assert!(matches!(config.upstream, Upstream::Http { authority } if authority == "a:3000"));
    let route = good("[[routes]]\npath = \"/a\"\nname = \"$${PORT}\"");
    assert_eq!(&*route.routes[0].name, "${PORT}");
    for (value, saying) in [
        ("${NOBODY}", "no variable `NOBODY`"),
        ("${PORT", "never closed"),
        ("${}", "letters, digits"),
    ] {
        is_refused(&format!("listen = \"{value}\""), saying);
    }
}

#[test]
fn each_bad_value_is_refused_for_its_reason() {
    for (text, saying) in [
        ("listen = []", "list is empty"),
        ("listen = true", "found a boolean"),
        ("listen = \"localhost:80\"", "write `127.0.0.1:80`"),
        ("listen = \":70000\"", "a port from 0 to 65535"),
        (
            "listen = [\"1.2.3.4:80\", \":81\", \"0.0.0.0:80\"]",
            "listened on twice",
        ),
        ("listen = \"127.0.0.1:9090\"", "both want"),
        ("listen = \"127.0.0.1:3000\"", "this proxy itself listens"),
        ("threads = -1", "from 0 to 1024"),
        ("threads = 1.5", "found a float"),
        ("threads = 99999999999999999999", "from 0 to 1024"),
        ("lisen = \":80\"", "did you mean `listen`?"),
        ("stale_if_error = \"1s\"", "is a key of `[[routes]]`"),
        ("[[origin]]", "write `[origin]`"),
        ("[routes]", "write `[[routes]]`"),
        ("routes = [1]", "expected a table"),
        ("[admin]\nlisten = \":9090\"", "`admin.token` is missing"),
        ("[admin]\ntoken = \"${EMPTY}\"", "token is empty"),
        ("[admin]\ntoken = \"a b\"", "without spaces"),
        ("[origin]\nconnect_timeout = \"0s\"", "from `\"1ms\"`"),
        ("[origin]\nconnect_timeout = 5", "`\"5s\"`"),
        ("[origin]\nconnect_timeout = \"5\"", "add a unit"),
        (
            "[limits]\ntarget_bytes_max = \"16KiB\"\nhead_bytes_max = \"8KiB\"",
            "which includes it",
        ),
        ("[limits]\nhead_bytes_max = \"32KB\"", "write `\"32KiB\"`"),
        (
            "[limits]\ntrusted_proxies = \"10.0.0.0/8\"",
            "between `[` and `]`",
        ),
        (
            "[limits]\ntrusted_proxies = [\"10.0.0.1/8\"]",
            "did you mean `10.0.0.0/8`?",
        ),
        ("[memory]\nbytes_max = \"0\"", "from `\"64KiB\"`"),
        (
            "[memory]\nbody_bytes_max = \"8MiB\"\nfilling_bytes_max = \"4MiB\"",
            "more than `memory.filling_bytes_max`",
        ),
        (
            "[redis]\nurl = \"redis://h\"",
            "`redis.namespace` is missing",
        ),
        (
            "[redis]\nurl = \"redis://h\"\nnamespace = \"\"",
            "at least one",
        ),
        (
            "[redis]\nurl = \"redis://h\"\nnamespace = \"a{b}\"",
            "letters, digits",
        ),
        (
            "[redis]\nurl = \"http://h\"\nnamespace = \"a\"",
            "expected `redis://`",
        ),
        (
            "[redis]\nurl = [\"redis://h/1\"]\nnamespace = \"a\"",
            "no database but 0",
        ),
        (
            "[redis]\nurl = [\"redis+unix:///s\"]\nnamespace = \"a\"",
            "cannot be Unix sockets",
        ),
        (
            "[redis]\nurl = [\"redis://a\", \"rediss://b\"]\nnamespace = \"a\"",
            "some nodes",
        ),
        (
            "[invalidation]\ndefault = \"hierachy\"",
            "did you mean `\"hierarchy\"`?",
        ),
    ] {
        is_refused(text, saying);
    }
}

#[test]
fn each_bad_route_is_refused_for_its_reason() {
    for (route, saying) in [
        ("ttl = \"1s\"", "`routes.path` is missing"),
        ("path = \"a\"", "starts with `/`"),
        ("path = \"/a/*\"", "a route has no `*`"),
        ("path = \"/a/**/b\"", "`**` can only be the last"),
        ("path = \"/a**\"", "a route has no `*`"),
        ("path = \"/a/{*rest}/b\"", "can only be the last segment"),
        ("path = \"/{a}/{a}\"", "stands twice"),
        ("path = \"/a}\"", "`}` without `{`"),
        ("path = \"/a?b=c\"", "a path has no query"),
        ("path = \"/a/../b\"", "paths are normalised"),
        ("path = \"/a\"\nname = \"\"", "a name has 1 to"),
        ("path = \"/a\"\nttl = \"9999d\"", "to `\"365d\"`"),
        (
            "path = \"/a\"\nignore_headers = [\"expires\"]",
            "`\"cache-control\"` or",
        ),
        (
            "path = \"/a\"\nignore_headers = [\"set_cookie\"]",
            "did you mean `\"set-cookie\"`?",
        ),
        (
            "path = \"/a\"\nerrors = \"always\"",
            "`\"never\"` or `\"origin\"`",
        ),
        (
            "path = \"/a\"\nbypass_query = \"x\"",
            "expected `name=value`",
        ),
        (
            "path = \"/a\"\nbypass_query = \"x=1&y=2\"",
            "expected one parameter",
        ),
        ("path = \"/a\"\nkey.query = \"some\"", "expected `\"all\"`"),
        (
            "path = \"/a\"\nkey.query = { only = [\"a*b\"] }",
            "only stand at the end",
        ),
        (
            "path = \"/a\"\nkey.query = { only = [] }",
            "write `\"none\"`",
        ),
        (
            "path = \"/a\"\nkey.query = { only = [\"a\"], except = [\"b\"] }",
            "one of them only",
        ),
        (
            "path = \"/a\"\nkey.query = { exept = [\"a\"] }",
            "did you mean `except`?",
        ),
        (
            "path = \"/a\"\nkey.headers = [\"a b\"]",
            "no name of a field",
        ),
        (
            "path = \"/a\"\nkey.cookies = [\"a=b\"]",
            "no name of a cookie",
        ),
        ("path = \"/a\"\nkey.hosts = true", "did you mean `host`?"),
        ("path = \"/a\"\n[[routes]]\npath = \"/a\"", "stands above"),
        (
            "path = \"/a/{b}\"\n[[routes]]\npath = \"/a/{c}\"",
            "same paths as `/a/{b}`",
        ),
        (
            "path = \"/a/{*b}\"\n[[routes]]\npath = \"/a/**\"",
            "same paths",
        ),
        (
            "path = \"/a\"\n[[routes]]\npath = \"/b\"\nname = \"/a\"",
            "a route named `/a`",
        ),
    ] {
        is_refused(&format!("[[routes]]\n{route}"), saying);
    }
}

#[test]
fn routes_of_which_one_is_more_specific_do_not_conflict() {
    let config = good(
        "routes = [{ path = \"/**\" }, { path = \"/a\" }, { path = \"/a/**\" }, { path = \"/a/{id}\" }, { path = \"/a/b\" }]",
    );
    assert_eq!(config.routes.len(), 5);
}

#[test]
fn each_bad_invalidation_is_refused_for_its_reason() {
    for (rule, saying) in [
        ("path = \"/a\"", "neither `purge` nor `tags`"),
        ("purge = [\"/a\"]", "`invalidations.path` is missing"),
        (
            "path = \"/{id}\"\npurge = [\"/a/{ix}\"]",
            "did you mean `{id}`?",
        ),
        (
            "path = \"/a\"\npurge = [\"/a/{id}\"]",
            "`path` has no `{id}`",
        ),
        ("path = \"/a\"\npurge = [\"a\"]", "starts with"),
        ("path = \"/a\"\ntags = [\"a b\"]", "no spaces"),
        (
            "path = \"/a\"\ntags = [\"a\"]\nmethods = []",
            "list is empty",
        ),
        (
            "path = \"/a\"\ntags = [\"a\"]\nmethods = [\"GET\"]",
            "GET changes nothing",
        ),
        (
            "path = \"/a\"\ntags = [\"a\"]\nmethods = [\"HEAD\"]",
            "HEAD changes nothing",
        ),
        (
            "path = \"/a\"\ntags = [\"a\"]\nmethods = [\"put\"]",
            "did you mean `\"PUT\"`?",
        ),
    ] {
        is_refused(&format!("[[invalidations]]\n{rule}"), saying);
    }
}

#[test]
fn what_a_reload_cannot_take_is_named() {
    let old = good("");
    let new = good("listen = \":1\"\n[memory]\nbytes_max = \"1GiB\"\n[[routes]]\npath = \"/a\"");
    assert_eq!(restart_needed(&old, &new), ["listen"]);
}

#[test]
fn tls_is_an_address_of_its_own_or_what_the_main_one_speaks() {
    let pair = "certificate = \"/a.pem\"\nkey = \"/a.key\"\n";
    let config = good(&format!("[tls]\n{pair}"));
    let tls = config.tls.expect("it is on");
    assert_eq!((tls.listen, tls.client_ca), (None, None));
    let both = format!("[tls]\nlisten = \":8443\"\n{pair}[[tls.certificates]]\n{pair}");
    let both = good(&both);
    let tls = both.tls.clone().expect("it is on");
    assert_eq!(tls.listen.expect("it has one")[0].to_string(), "[::]:8443");
    assert_eq!(tls.certificates.len(), 2);

    is_refused("[tls]\nkey = \"/a.key\"", "`tls.certificate` is missing");
    is_refused(
        &format!("[tls]\n{pair}[[tls.certificates]]\nkey = \"/a.key\""),
        "`tls.certificates.certificate` is missing",
    );
    is_refused(
        &format!("[tls]\nlisten = \"127.0.0.1:8080\"\n{pair}"),
        "listened on twice",
    );

    // Other certificates are taken by a reload, another address is not.
    let moved = good("[tls]\nlisten = \":1\"\ncertificate = \"/b.pem\"\nkey = \"/a.key\"\n");
    assert_eq!(restart_needed(&both, &moved), ["tls.listen"]);
    let reloaded = moved.started_as(&both).tls.expect("it is on");
    assert_eq!(
        reloaded.listen.expect("it has one")[0].to_string(),
        "[::]:8443"
    );
    assert_eq!(
        reloaded.certificates[0].certificate,
        PathBuf::from("/b.pem")
    );
    assert_eq!(restart_needed(&both, &good("")), ["tls.listen"]);
    assert!(good("").started_as(&both).tls.is_some());
    assert!(both.started_as(&good("")).tls.is_none());
}

#[test]
fn the_proxy_protocol_is_of_somebody_who_is_trusted() {
    let trusted = "[limits]\ntrusted_proxies = [\"10.0.0.0/8\"]\n";
    assert!(good(&format!("proxy_protocol = true\n{trusted}")).proxy_protocol);
    is_refused(
        "proxy_protocol = true",
        "believes `limits.trusted_proxies` alone",
    );
    // Of a Unix socket's peers there are two kinds only.
    let on_unix = "listen = \"unix:/run/a.sock\"\nproxy_protocol = true\n";
    let unix = "[limits]\ntrusted_proxies = [\"unix\"]\n";
    assert!(good(&format!("{on_unix}{unix}")).proxy_protocol);
    is_refused(
        &format!("{on_unix}{trusted}"),
        "none of them can connect to unix:/run/a.sock",
    );
    is_refused(
        &format!("proxy_protocol = true\n{unix}"),
        "none of them can connect to 127.0.0.1:8080",
    );
    let tls = "[tls]\nproxy_protocol = true\ncertificate = \"/a.pem\"\nkey = \"/a.key\"\n";
    is_refused(
        &format!("{trusted}{tls}"),
        "`tls.listen`, which is left out",
    );
}

#[test]
fn a_unix_socket_is_listened_on_once_and_is_not_the_upstream() {
    let config = good("listen = [\"unix:/run/a.sock\", \":80\"]");
    let listen: Vec<_> = config.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["unix:/run/a.sock", "[::]:80"]);
    is_refused(
        "listen = [\"unix:/run/a.sock\", \"unix:///run/a.sock\"]",
        "unix:/run/a.sock is listened on twice",
    );
    is_refused("listen = \"unix:a.sock\"", "expected an absolute path");
    let itself = "listen = \"unix:/run/a.sock\"\nupstream = \"unix:/run/a.sock\"";
    let problems = read(itself).map(drop).unwrap_err().to_string();
    assert!(
        problems.contains("where this proxy itself listens"),
        "{problems}"
    );
}
