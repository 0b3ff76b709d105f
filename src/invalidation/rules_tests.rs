//! What writes make invalid, claim by claim.

use super::*;
use http::HeaderValue;

fn rules(default: DefaultInvalidation, explicit: Vec<InvalidationRule>) -> Rules {
    Rules::new(default, explicit)
}

fn hit(bans: &[Ban], path: &str) -> bool {
    bans.iter().any(|ban| match &ban.scope {
        Scope::Pattern(pattern) => pattern.matches(path),
        _ => false,
    })
}

fn bans_after(rules: &Rules, methods: &[Method], path: &str, effect: Effect<'_>) -> Vec<Ban> {
    rules.bans_of(&Write {
        methods,
        hosts: ["h", "h"],
        target: &RequestTarget::of(path, Some("q=1")),
        request: &HeaderMap::new(),
        effect,
    })
}

fn bans(rules: &Rules, method: Method, path: &str) -> Vec<Ban> {
    bans_after(rules, &[method], path, Effect::Lost)
}

#[test]
fn the_root_is_nobody_s_parent() {
    let put = bans(&Rules::default(), Method::PUT, "/a");
    assert!(hit(&put, "/a") && hit(&put, "/a/") && hit(&put, "/a/b"));
    assert!(!hit(&put, "/"));
}

#[test]
fn what_is_below_a_path_covers_the_path() {
    let put = bans(&Rules::default(), Method::PUT, "/a/7");
    assert!(hit(&put, "/a/7") && hit(&put, "/a/7/") && hit(&put, "/a/7/b"));
    assert!(hit(&put, "/a") && hit(&put, "/a/") && !hit(&put, "/a/8"));
    assert_eq!(put.len(), 3, "each costs every instance something: {put:?}");
}

#[test]
fn a_write_that_was_not_sent_whole_takes_its_target_alone() {
    let half = bans_after(
        &Rules::default(),
        &[Method::DELETE],
        "/a/7",
        Effect::Incomplete,
    );
    assert!(hit(&half, "/a/7"));
    assert!(!hit(&half, "/a") && !hit(&half, "/a/7/x"));
}

#[test]
fn a_redirect_takes_nothing_below_the_target() {
    let fields = HeaderMap::new();
    let found = Effect::Answered(StatusCode::FOUND, &fields);
    let redirected = bans_after(&Rules::default(), &[Method::DELETE], "/a/7", found);
    assert!(hit(&redirected, "/a/7") && hit(&redirected, "/a"));
    assert!(!hit(&redirected, "/a/7/x"));
}

#[test]
fn an_overriding_method_takes_what_is_below_but_not_all() {
    let methods = [Method::POST, Method::DELETE];
    let overridden = bans_after(&Rules::default(), &methods, "/a/7", Effect::Lost);
    assert!(hit(&overridden, "/a/7/x"));
    let root = bans_after(&Rules::default(), &methods, "/", Effect::Lost);
    assert!(hit(&root, "/") && !hit(&root, "/x"));
    let stated = bans(&Rules::default(), Method::DELETE, "/");
    assert!(hit(&stated, "/x"));
}

#[test]
fn no_spelling_of_a_path_takes_all_that_is_stored() {
    let overriding = [Method::POST, Method::DELETE];
    let root = bans_after(&Rules::default(), &overriding, "//", Effect::Lost);
    assert!(!hit(&root, "/x"));
    for path in [
        "/notes/%2e%2e",
        "/notes/..",
        "/notes/..%2f",
        "/notes/..;",
        "/n/..%2fapi",
    ] {
        let put = bans(&Rules::default(), Method::PUT, path);
        assert!(!hit(&put, "/api/x"), "{path}");
    }
    let destination = |methods: &[Method], to: &'static str| {
        let mut request = HeaderMap::new();
        request.insert(DESTINATION, HeaderValue::from_static(to));
        Rules::default().bans_of(&Write {
            methods,
            hosts: ["h", "h"],
            target: &RequestTarget::of("/contact", None),
            request: &request,
            effect: Effect::Lost,
        })
    };
    let moving = Method::from_bytes(b"MOVE").expect("a method");
    for to in ["/%2f", "/.//", "http://h//", "/"] {
        let moved = destination(std::slice::from_ref(&moving), to);
        assert!(!hit(&moved, "/api/x"), "{to}");
    }
    let overridden = destination(&[Method::POST, moving], "/api");
    assert!(!hit(&overridden, "/api/x") && !hit(&overridden, "/api"));
}

#[test]
fn an_entry_says_what_its_paths_invalidate_by_default() {
    let silent = InvalidationRule {
        path: Pattern::parse("/graphql").expect("a pattern"),
        methods: vec![Method::POST],
        purge: vec![],
        tags: vec![],
        default: Some(DefaultInvalidation::None),
        is_for_all_methods: false,
    };
    let rules = rules(DefaultInvalidation::Hierarchy, vec![silent]);
    assert_eq!(bans(&rules, Method::POST, "/graphql"), []);
    assert!(!bans(&rules, Method::PUT, "/graphql").is_empty());
    assert!(!bans(&rules, Method::POST, "/other").is_empty());
}

#[test]
fn a_move_takes_its_destination_rfc4918_9_9() {
    let mut request = HeaderMap::new();
    request.insert(DESTINATION, HeaderValue::from_static("http://h/b/9"));
    let moved = Rules::default().bans_of(&Write {
        methods: &[Method::from_bytes(b"MOVE").expect("a method")],
        hosts: ["h", "h"],
        target: &RequestTarget::of("/a/7", None),
        request: &request,
        effect: Effect::Answered(StatusCode::CREATED, &HeaderMap::new()),
    });
    for path in ["/a/7", "/a/7/x", "/a", "/b/9", "/b/9/x", "/b"] {
        assert!(hit(&moved, path), "{path}");
    }
    assert!(!hit(&moved, "/"));
}

#[test]
fn a_put_takes_its_target_its_parent_and_all_below() {
    let put = bans(&Rules::default(), Method::PUT, "/a/7");
    assert!(hit(&put, "/a/7") && hit(&put, "/a") && hit(&put, "/a/") && hit(&put, "/a/7/x/y"));
    assert!(!hit(&put, "/a/8") && !hit(&put, "/") && !hit(&put, "/a/70"));
}

#[test]
fn a_post_takes_its_target_and_its_parent() {
    let post = bans(&Rules::default(), Method::POST, "/a/7/clear");
    assert!(hit(&post, "/a/7/clear") && hit(&post, "/a/7"));
    assert!(!hit(&post, "/a") && !hit(&post, "/a/7/other"));
}

#[test]
fn rfc_takes_the_target_only() {
    let put = bans(
        &rules(DefaultInvalidation::Rfc, vec![]),
        Method::PUT,
        "/a/7",
    );
    assert!(hit(&put, "/a/7") && !hit(&put, "/a") && !hit(&put, "/a/7/x"));
}

#[test]
fn an_escaped_or_odd_path_cannot_slip_past() {
    let escaped = bans(&Rules::default(), Method::PUT, "/a/%37");
    assert!(hit(&escaped, "/a/7"));
    let odd = bans(&Rules::default(), Method::DELETE, "/a//x/../7");
    assert!(hit(&odd, "/a/7") && hit(&odd, "/a"));
}

#[test]
fn explicit_rules_use_captures_and_tags() {
    let rule = InvalidationRule {
        path: Pattern::parse("/orders/{id}/pay").expect("a pattern"),
        methods: vec![Method::POST],
        purge: vec![Pattern::parse("/reports/{id}/**").expect("a pattern")],
        tags: vec!["orders".into()],
        default: None,
        is_for_all_methods: false,
    };
    let rules = rules(DefaultInvalidation::Hierarchy, vec![rule]);
    let pay = bans(&rules, Method::POST, "/orders/7/pay");
    assert!(hit(&pay, "/reports/7/day") && !hit(&pay, "/reports/8/day"));
    assert!(pay.contains(&Ban::hard(Scope::Tag("orders".into()))));
    let put = bans(&rules, Method::PUT, "/orders/7/pay");
    assert!(!hit(&put, "/reports/7/day"));
}

#[test]
fn location_counts_where_it_is_of_the_same_host() {
    let located = |location: &'static str| {
        let mut answer = HeaderMap::new();
        answer.insert(LOCATION, HeaderValue::from_static(location));
        Rules::default().bans_of(&Write {
            methods: &[Method::POST],
            hosts: ["h:80", "inner:3000"],
            target: &RequestTarget::of("/a/x/y", None),
            request: &HeaderMap::new(),
            effect: Effect::Answered(StatusCode::CREATED, &answer),
        })
    };
    assert!(hit(&located("/b/9?x"), "/b/9"));
    assert!(hit(&located("http://H:80/b/9"), "/b/9"));
    assert!(hit(&located("http://h/b/9"), "/b/9"));
    assert!(hit(&located("http://inner:3000/b/9"), "/b/9"));
    for (reference, path) in [
        ("c", "/a/x/c"),
        ("../b/9", "/a/b/9"),
        ("./b/9", "/a/x/b/9"),
        ("../../b/./9", "/b/9"),
        ("/b/../b/9", "/b/9"),
        ("//h/b/9", "/b/9"),
        ("//H:80/b/9#f", "/b/9"),
        ("https://h/b/%39", "/b/9"),
    ] {
        assert!(hit(&located(reference), path), "{reference}");
    }
    for other in ["http://other/b/9", "//other/b/9", "http://h:81/b/9"] {
        assert!(!hit(&located(other), "/b/9"), "{other}");
    }
}
