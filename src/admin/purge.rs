//! `PURGE` and `BAN`: invalidation as clients of Varnish, Fastly and others
//! speak it, so that the plugins of content management systems work as they are.
//!
//! | request | invalidates |
//! |---|---|
//! | either, with `Surrogate-Key`, `xkey`, `Cache-Tag`, … | what carries one of these tags |
//! | `PURGE /path?query` | that URL, of the host that `Host` names |
//! | `BAN /path/**`, `X-Url` | the paths of a pattern |
//!
//! Regular expressions, which Varnish takes, are read where they are a pattern
//! written in another way: `^/blog/.*`, `(^|,)(tag1|tag2)(,|$)`. Others are
//! refused: to invalidate less than was meant would go unnoticed.
//!
//! Who may ask is decided before this, by the rules of the whole listener.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};

use super::cache;
use super::control::Control;
use super::operations::{InvalidateRequest, Scope};
use super::parameters::{pattern, tag, url};
use super::problem::Problem;

/// Tags of one request; more are refused. Fastly takes as many.
const TAGS_MAX: usize = 256;

/// The port of the listener, which tells its own name in `Host` from a site's.
#[derive(Clone, Copy)]
pub(super) struct OwnPort(pub(super) u16);

/// Fields of tags, what parts them, and whether they mark stale.
const TAG_FIELDS: [(&str, &[char], bool); 7] = [
    ("surrogate-key", &[' '], false),
    ("xkey", &[' ', ','], false),
    ("xkey-purge", &[' ', ','], false),
    ("xkey-softpurge", &[' ', ','], true),
    ("cache-tag", &[','], false),
    ("cache-tags", &[','], false),
    ("x-cache-tags", &[','], false),
];
/// Fields whose tags are a regular expression.
const EXPRESSION_FIELDS: [&str; 2] = ["x-magento-tags-pattern", "x-cache-tags"];
/// Fields that ask to mark stale.
const SOFT_FIELDS: [&str; 3] = ["fastly-soft-purge", "x-soft-purge", "soft-purge"];

/// Which of the two methods.
#[derive(Clone, Copy, PartialEq)]
enum Verb {
    Purge,
    Ban,
}

/// Middleware: answers both methods, on every path.
pub(super) async fn answer(
    State(control): State<Arc<Control>>,
    request: Request,
    next: Next,
) -> Response {
    let verb = match request.method().as_str() {
        "PURGE" | "PURGEKEYS" => Verb::Purge,
        "BAN" => Verb::Ban,
        _ => return next.run(request).await,
    };
    let own_port = request.extensions().get().copied();
    let asked = request_of(verb, request.uri(), request.headers(), own_port, &control);
    match asked {
        Ok(asked) => cache::perform(&control, asked).await.into_response(),
        Err(problem) => problem.into_response(),
    }
}

fn request_of(
    verb: Verb,
    uri: &Uri,
    fields: &HeaderMap,
    own_port: Option<OwnPort>,
    control: &Control,
) -> Result<InvalidateRequest, Problem> {
    let is_set = |name: &&str| {
        let value = fields.get(*name).map(HeaderValue::as_bytes);
        value.is_some_and(|value| value != b"0" && !value.eq_ignore_ascii_case(b"false"))
    };
    let (tags, is_soft) = tags(fields)?;
    let scopes = match (verb, tags.is_empty()) {
        (_, false) => tags,
        (Verb::Ban, true) => vec![banned(uri, fields)?],
        (Verb::Purge, true) => {
            let site = site(uri, fields, own_port, control);
            vec![purged(uri, fields, site)?]
        }
    };
    Ok(InvalidateRequest {
        scopes,
        soft: is_soft || SOFT_FIELDS.iter().any(is_set),
        is_dry_run: false,
        wait: None,
    })
}

/// The tags that the fields name, and whether they ask to mark stale.
fn tags(fields: &HeaderMap) -> Result<(Vec<Scope>, bool), Problem> {
    let mut names: Vec<String> = Vec::new();
    let mut is_soft = false;
    for (field, separators, marks_stale) in TAG_FIELDS {
        for line in fields.get_all(field) {
            let line = text(field, line)?;
            if EXPRESSION_FIELDS.contains(&field) && line.contains(['(', '|', '^', '$']) {
                continue;
            }
            let members = line.split(separators).map(str::trim);
            names.extend(members.filter(|name| !name.is_empty()).map(str::to_owned));
            is_soft |= marks_stale;
        }
    }
    for field in EXPRESSION_FIELDS {
        for line in fields.get_all(field) {
            let line = text(field, line)?;
            if line == ".*" {
                return Ok((vec![Scope::All], is_soft));
            }
            if line.contains(['(', '|', '^', '$']) || field == EXPRESSION_FIELDS[0] {
                names.extend(names_of_expression(field, line)?);
            }
        }
    }
    names.sort_unstable();
    names.dedup();
    if names.len() > TAGS_MAX {
        return Err(Problem::bad(format!(
            "{} tags; at most {TAGS_MAX} can be named at once",
            names.len()
        )));
    }
    let tags = names.iter().map(|name| tag(name).map(Scope::Tag));
    Ok((tags.collect::<Result<_, _>>()?, is_soft))
}

fn text<'a>(field: &str, value: &'a HeaderValue) -> Result<&'a str, Problem> {
    let text = value.to_str();
    text.map(str::trim)
        .map_err(|_| Problem::bad(format!("`{field}` is not text")))
}

/// The names of `((^|,)a(,|$))|((^|,)b(,|$))` or `(^|,)(a|b)(,|$)`.
fn names_of_expression(field: &str, expression: &str) -> Result<Vec<String>, Problem> {
    let mut rest = expression.to_owned();
    // What says that a name stands whole in a list.
    for border in [
        "(^|,)", "(,|$)", "(^| )", "( |$)", "(^|\\s)", "(\\s|$)", "\\b",
    ] {
        rest = rest.replace(border, "");
    }
    // Brackets group whole names: those inside of one make others of it.
    let bytes = rest.as_bytes();
    let groups_whole = bytes.iter().enumerate().all(|(at, byte)| match byte {
        b'(' => at == 0 || matches!(bytes[at - 1], b'(' | b'|'),
        b')' => bytes
            .get(at + 1)
            .is_none_or(|next| matches!(next, b')' | b'|')),
        _ => true,
    });
    rest.retain(|character| !matches!(character, '(' | ')'));
    let names = rest.split('|').map(|name| literal(name.trim()));
    let names: Option<Vec<String>> = names.collect();
    names
        .filter(|names| groups_whole && names.iter().all(|name| !name.is_empty()))
        .ok_or_else(|| {
            Problem::bad(format!(
                "`{field}` is `{expression}`: of regular expressions, only lists of names are \
                 read: `(^|,)(a|b)(,|$)`"
            ))
        })
}

/// What an expression without operators stands for.
fn literal(expression: &str) -> Option<String> {
    let expression = expression.strip_prefix('^').unwrap_or(expression);
    let expression = expression.strip_suffix('$').unwrap_or(expression);
    let mut text = String::new();
    let mut characters = expression.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.push(characters.next().filter(|next| !next.is_alphanumeric())?),
            '*' | '+' | '?' | '[' | ']' | '{' | '}' | '^' | '$' | '(' | ')' | '|' => return None,
            // A dot is read as itself, as in `index.html`.
            other => text.push(other),
        }
    }
    Some(text)
}

/// What `BAN` speaks of: the paths of a pattern.
fn banned(uri: &Uri, fields: &HeaderMap) -> Result<Scope, Problem> {
    match fields.get("x-url") {
        Some(line) => of_expression("x-url", text("x-url", line)?),
        None if uri.query().is_none() => pattern(uri.path()).map(Scope::Pattern),
        None => pattern(&format!("{}?", uri.path())).map(Scope::Pattern),
    }
}

/// What `PURGE` speaks of: one URL, or what `X-Purge-Method: regex` makes of it.
fn purged(uri: &Uri, fields: &HeaderMap, site: Option<Authority>) -> Result<Scope, Problem> {
    let is_expression = fields
        .get("x-purge-method")
        .is_some_and(|method| method.as_bytes().eq_ignore_ascii_case(b"regex"));
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    if is_expression {
        return of_expression("the target", target);
    }
    match site {
        Some(site) => url(&format!("http://{site}{target}")),
        None => url(target),
    }
    .map(Scope::Url)
}

/// A regular expression of paths that is a pattern: literal from the path's
/// beginning on. What follows may be anything, unless `$` ends it.
fn of_expression(what: &str, expression: &str) -> Result<Scope, Problem> {
    let bare = expression.strip_prefix('^').unwrap_or(expression);
    let (bare, is_closed) = match bare.strip_suffix('$') {
        Some(bare) => (bare, true),
        None => (bare, false),
    };
    let (start, end) = match bare.strip_suffix(".*") {
        Some(start) => (start, "**"),
        None if is_closed => (bare, ""),
        None => (bare, "**"),
    };
    let start = literal(start).filter(|start| start.is_empty() || start.starts_with('/'));
    let Some(start) = start else {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            format!(
                "{what} is `{expression}`: of regular expressions, only a path, or the beginning \
                 of one and `.*`, is read"
            ),
        ));
    };
    pattern(&format!("{start}{end}")).map(Scope::Pattern)
}

/// The host whose responses are meant; `None`: every host's, because the request
/// names the listener itself.
fn site(
    uri: &Uri,
    fields: &HeaderMap,
    own_port: Option<OwnPort>,
    control: &Control,
) -> Option<Authority> {
    let named = |name: &str| fields.get(name)?.to_str().ok()?.parse::<Authority>().ok();
    let asked = uri.authority().cloned().or_else(|| named(HOST.as_str()));
    let is_own = |site: &Authority| {
        let port = site.port_u16();
        let is_own_port = port.is_some() && port == own_port.map(|own| own.0);
        is_own_port || control.guard.knows(site.as_str().as_bytes())
    };
    named("x-host").or_else(|| asked.filter(|site| !is_own(site)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_names_are_read_as_tags_and_other_expressions_are_refused() {
        let read = |expression| names_of_expression("f", expression);
        for expression in [
            "((^|,)cat_1(,|$))|((^|,)cat_2(,|$))",
            "(^|,)(cat_1|cat_2)(,|$)",
            "(cat_1|cat_2)(,|$)",
            "cat_1|cat_2",
        ] {
            assert_eq!(
                read(expression).unwrap(),
                ["cat_1", "cat_2"],
                "{expression}"
            );
        }
        assert_eq!(read("node\\:5|a\\.b").unwrap(), ["node:5", "a.b"]);
        let inside = "(^|,)cat_(1|2)(,|$)";
        for expression in ["cat_.*", "cat_[12]", "a|", "\\d", "a+", inside] {
            assert!(read(expression).is_err(), "{expression}");
        }
    }

    #[test]
    fn an_expression_of_paths_is_a_pattern_or_refused() {
        for (expression, scope) in [
            ("^/blog/.*", "pattern /blog/**"),
            ("/.*", "pattern /**"),
            (".*", "pattern **"),
            ("^/a\\.html$", "pattern /a.html"),
            ("^/blog", "pattern /blog**"),
            ("/blog/", "pattern /blog/**"),
        ] {
            let read = of_expression("x", expression).unwrap();
            assert_eq!(read.to_string(), scope, "{expression}");
        }
        for expression in ["/a/[0-9]+", "blog", "/a|/b", "/a.*/b"] {
            assert!(of_expression("x", expression).is_err(), "{expression}");
        }
    }
}
