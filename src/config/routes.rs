//! The options of `[[routes]]` and `[[invalidations]]`.

use std::sync::Arc;

use http::Method;

use super::kinds::{Flag, List, Parsed};
use super::options::{ENTRIES, bound, waits};
use super::reader::Table;
use super::route_values::{
    Purge, Queries, default_invalidations, parse_cookie_name, parse_method, parse_name,
    parse_parameter, parse_pattern, parse_route_path, parse_tag,
};
use super::{CacheConfig, InvalidationRule, RouteConfig, route_policy};
use crate::pattern::Pattern;
use crate::semantics::policy::{KeySpec, QueryKey};

/// Reads both lists.
pub(super) fn read(
    root: &mut Table<'_>,
    cache: &CacheConfig,
) -> (Vec<RouteConfig>, Vec<InvalidationRule>) {
    let tables = root.tables(
        "routes",
        "Paths whose responses are cached, and how. A path without a route is proxied and never stored. The most specific route wins.",
    );
    let mut seen = Seen::default();
    let routes = tables
        .into_iter()
        .filter_map(|table| route(table, cache, &mut seen))
        .collect();
    let rules = root
        .tables(
            "invalidations",
            "Writes that make stored responses invalid, beyond what `[invalidation]` says.",
        )
        .into_iter()
        .filter_map(invalidation)
        .collect();
    (routes, rules)
}

/// The routes before this one: names and what paths they match.
#[derive(Default)]
struct Seen {
    names: Vec<String>,
    /// Path with the names of its captures left out, path as written.
    paths: Vec<(String, String)>,
}

fn route(mut table: Table<'_>, cache: &CacheConfig, seen: &mut Seen) -> Option<RouteConfig> {
    let name = table.optional(
        "name",
        "\"templates\"",
        Parsed {
            expects: "a name",
            parse: parse_name,
            write: String::clone,
        },
        "Names the route in statistics, metrics and invalidations; left out: its path.",
    );
    let path = table.required(
        "path",
        "\"/api/v1/templates/{id}\"",
        Parsed {
            expects: "a path such as `\"/api/{id}\"`",
            parse: parse_route_path,
            write: String::clone,
        },
        "What it matches: {name} is one segment, {*rest} or a final /** the tail.",
    );
    let policy = route_policy::read(&mut table, cache);
    let entries_max = bound(table.option(
        "entries_max",
        0,
        ENTRIES,
        "Stored responses of this route; 0: no bound of its own.",
    ));
    let response_timeout = table.optional(
        "response_timeout",
        "\"30s\"",
        waits(),
        "From a request sent to the origin to the head of its response, for every request whose path it matches, writes included; left out: as `[origin]` says. Past it 504.",
    );
    let bypass_query = table.optional(
        "bypass_query",
        "\"use_cache=false\"",
        Parsed {
            expects: "`\"name=value\"`",
            parse: parse_parameter,
            write: |(name, value)| format!("{name}={value}"),
        },
        "A request that carries it is answered by the origin and refreshes the stored response; neither in the key nor forwarded.",
    );
    let key = key(
        table.table(
            "routes.key",
            "What makes two requests of the route the same.",
        ),
        bypass_query,
    );
    let path = path.and_then(|path| is_new(&table, seen, path, name.as_deref()));
    table.finish();
    let path = path?;
    Some(RouteConfig {
        name: name.map_or_else(|| Arc::from(&*path), Arc::from),
        path: path.into(),
        policy,
        key,
        entries_max,
        response_timeout,
    })
}

/// Reports a name or a path that an earlier route has.
fn is_new(table: &Table<'_>, seen: &mut Seen, path: String, name: Option<&str>) -> Option<String> {
    let shape = shape(&path);
    let earlier = seen.paths.iter().find(|(known, _)| *known == shape);
    if let Some((_, earlier)) = earlier {
        let message = if *earlier == path {
            format!("a route with the path `{path}` stands above")
        } else {
            format!("`{path}` matches the same paths as `{earlier}` above")
        };
        table.problem("path", message, Some("join the two routes".to_owned()));
        return None;
    }
    let effective = name.unwrap_or(&path);
    if seen.names.iter().any(|known| known == effective) {
        table.problem(
            if name.is_some() { "name" } else { "path" },
            format!("a route named `{effective}` stands above"),
            Some("names tell the routes apart in statistics and invalidations".to_owned()),
        );
    }
    seen.names.push(effective.to_owned());
    seen.paths.push((shape, path.clone()));
    Some(path)
}

/// A path without the names of its captures: two routes of one shape would
/// match the same requests.
fn shape(path: &str) -> String {
    let segments: Vec<&str> = path
        .split('/')
        .map(|segment| match segment {
            "**" => "{*}",
            tail if tail.starts_with("{*") => "{*}",
            one if one.starts_with('{') => "{}",
            literal => literal,
        })
        .collect();
    segments.join("/")
}

fn key(mut table: Table<'_>, bypass_query: Option<(String, String)>) -> KeySpec {
    let query = table.option(
        "query",
        QueryKey::All,
        Queries,
        "Query parameters that count: \"all\", \"none\", { only = [\"page\"] } or { except = [\"utm_*\"] }. Their order never matters.",
    );
    let mut headers = table.option(
        "headers",
        Vec::new(),
        List(route_policy::field_name()),
        "Request fields whose values are part of the key, such as X-Tenant.",
    );
    let mut cookies = table.option(
        "cookies",
        Vec::new(),
        List(Parsed {
            expects: "the name of a cookie",
            parse: parse_cookie_name,
            write: String::clone,
        }),
        "Cookies whose values are part of the key.",
    );
    let host = table.option("host", true, Flag, "Whether the host is part of the key.");
    table.finish();
    headers.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    headers.dedup();
    cookies.sort();
    cookies.dedup();
    KeySpec {
        query,
        headers,
        cookies,
        host,
        bypass_query,
    }
}

fn invalidation(mut table: Table<'_>) -> Option<InvalidationRule> {
    let path = table.required(
        "path",
        "\"/api/v1/templates/{id}\"",
        Parsed {
            expects: "a pattern of paths",
            parse: parse_pattern,
            write: Pattern::to_string,
        },
        "Writes to a path that matches; {name} is remembered for purge.",
    );
    let is_for_all_methods = !table.has("methods");
    let methods = table.option(
        "methods",
        vec![Method::POST, Method::PUT, Method::PATCH, Method::DELETE],
        List(Parsed {
            expects: "a method that writes",
            parse: parse_method,
            write: Method::to_string,
        }),
        "Writes with one of these methods.",
    );
    let purge = table
        .optional(
            "purge",
            "[\"/api/v1/templates\", \"/api/v1/templates/{id}\"]",
            List(Purge {
                names: path
                    .as_ref()
                    .map(|path| path.names().map(str::to_owned).collect()),
            }),
            "Stored responses of a path that matches become invalid. {name} stands for what path captured, * for part of a segment, ** for anything.",
        )
        .unwrap_or_default();
    let tags = table.option(
        "tags",
        Vec::new(),
        List(Parsed {
            expects: "a tag",
            parse: parse_tag,
            write: ToString::to_string,
        }),
        "Stored responses that carry one of these tags become invalid.",
    );
    let default = table.optional(
        "default",
        "\"none\"",
        default_invalidations(),
        "What these writes invalidate by themselves, in the place of what `[invalidation]` says: \"none\" for a beacon, a login, a POST that reads. Where `methods` is left out, it holds for every method that writes.",
    );
    if methods.is_empty() {
        table.problem(
            "methods",
            "`invalidations.methods`: the list is empty",
            Some("leave it out for POST, PUT, PATCH and DELETE".to_owned()),
        );
    }
    let is_idle = table.is_empty("purge") && table.is_empty("tags") && default.is_none();
    if is_idle {
        table.problem(
            "path",
            "this rule has neither `purge` nor `tags` nor `default`: it would change nothing",
            None,
        );
    }
    table.finish();
    Some(InvalidationRule {
        path: path?,
        methods,
        purge,
        tags,
        default,
        is_for_all_methods,
    })
}
