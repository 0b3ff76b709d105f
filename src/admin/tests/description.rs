//! `/openapi.json` against the paths there are.

use super::*;

#[tokio::test]
async fn a_token_is_described_where_one_is_needed() {
    for (token, needs_token) in [(None, false), (Some("s3cret"), true)] {
        let admin = Admin::run(token).await;
        let fields = &["authorization: Bearer s3cret"];
        let document = admin.ask("GET", "/openapi.json", fields).await.json();
        let is_described = document["paths"]["/metrics"]["get"]["security"].is_array();
        assert_eq!(is_described, needs_token);
    }
}

#[tokio::test]
async fn every_path_is_described_and_every_description_is_answered() {
    let admin = Admin::run(None).await;
    let document = admin.get("/openapi.json").await.json();
    let described = document["paths"].as_object().unwrap();
    let mut described: Vec<String> = described
        .iter()
        .flat_map(|(path, item)| {
            let verbs = item.as_object().unwrap().keys();
            verbs.map(move |verb| format!("{verb} {path}"))
        })
        .collect();
    let mut routed: Vec<String> = table::routes()
        .iter()
        .map(|route| {
            let verb = format!("{:?}", route.verb).to_ascii_lowercase();
            format!("{verb} {}", route.path.replace("{*", "{"))
        })
        .collect();
    described.sort();
    routed.sort();
    assert_eq!(described, routed);

    for path in &described {
        let (verb, path) = path.split_once(' ').unwrap();
        if path == "/tail" {
            // Its answer ends when its client leaves; tests/it/terminal.rs reads it.
            continue;
        }
        let answer = admin.ask(&verb.to_ascii_uppercase(), path, &[]).await;
        let is_routed =
            answer.status != 405 && !answer.body.contains("/openapi.json lists what there is");
        assert!(is_routed, "{verb} {path}: {}", answer.status);
        // What a path takes must be named in what describes it.
        let parameters = &document["paths"][path][verb]["parameters"];
        let in_path = path.matches('{').count();
        let described = parameters.as_array().map_or(0, |parameters| {
            let required = parameters.iter();
            required
                .filter(|parameter| parameter["in"] == "path")
                .count()
        });
        assert_eq!(in_path, described, "{path}");
    }
}

#[tokio::test]
async fn every_reference_of_the_description_resolves() {
    let admin = Admin::run(None).await;
    let document = admin.get("/openapi.json").await.json();
    let text = document.to_string();
    let mut references = 0;
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
        references += 1;
    }
    assert!(references > 10);
}
