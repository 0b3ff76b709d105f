//! Reads what a query asks for; whatever is unclear is refused with a sentence.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::Uri;
use http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::operations::{InvalidateRequest, RouteFigures, Scope, Tier};
use super::problem::Problem;
use crate::config::units::parse_duration;
use crate::pattern::Pattern;

/// Longest wait for the fleet that may be asked for.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(60);
/// Longest list that may be asked for.
const LIMIT_MAX: usize = 1_000;
/// Length of a list where none is asked for.
const LIMIT_DEFAULT: usize = 10;
/// What the history holds; also the window where none is asked for.
const WINDOW_MAX: Duration = Duration::from_secs(86_400);
/// One step of the history.
const WINDOW_MIN: Duration = Duration::from_secs(60);
/// Bytes of a tag.
const TAG_BYTES_MAX: usize = 256;

/// A query, read into `T`; what `T` does not know is refused.
pub(super) struct Parameters<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(parameters) = Query::<T>::from_request_parts(parts, state)
            .await
            .map_err(|rejection: QueryRejection| Problem::bad(rejection.body_text()))?;
        Ok(Self(parameters))
    }
}

/// Refuses a query, for paths that take none: what was meant as a narrower
/// command must not be done as the whole one.
pub(super) async fn refuse(request: Request, next: Next) -> Result<Response, Problem> {
    match request.uri().query() {
        None | Some("") => Ok(next.run(request).await),
        Some(_) => Err(Problem::bad(format!(
            "{} takes no parameters",
            request.uri().path()
        ))),
    }
}

/// The parts of a path, read into `T`.
pub(super) struct Segments<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Segments<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(segments) = Path::<T>::from_request_parts(parts, state)
            .await
            .map_err(|rejection: PathRejection| Problem::bad(rejection.body_text()))?;
        Ok(Self(segments))
    }
}

/// `?limit=`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitQuery {
    limit: Option<String>,
}

impl LimitQuery {
    pub(super) fn limit(&self) -> Result<usize, Problem> {
        let Some(written) = &self.limit else {
            return Ok(LIMIT_DEFAULT);
        };
        let limit = written.parse().ok();
        limit
            .filter(|limit| (1..=LIMIT_MAX).contains(limit))
            .ok_or_else(|| {
                Problem::bad(format!(
                    "limit is `{written}`; expected a whole number from 1 to {LIMIT_MAX}"
                ))
            })
    }
}

/// `?window=`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WindowQuery {
    window: Option<String>,
}

impl WindowQuery {
    pub(super) fn window(&self) -> Result<Duration, Problem> {
        let Some(written) = &self.window else {
            return Ok(WINDOW_MAX);
        };
        let window = parse_duration(written).ok();
        window
            .filter(|window| (WINDOW_MIN..=WINDOW_MAX).contains(window))
            .ok_or_else(|| {
                Problem::bad(format!(
                    "window is `{written}`; expected a duration from 1m to 24h"
                ))
            })
    }
}

/// `?tier=`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TierQuery {
    tier: Option<String>,
}

impl TierQuery {
    pub(super) fn tier(&self) -> Result<Tier, Problem> {
        let written = self.tier.as_deref();
        Tier::ALL
            .into_iter()
            .find(|tier| Some(tier.as_str()) == written)
            .ok_or_else(|| {
                let found = written.map_or("missing".to_owned(), |found| format!("`{found}`"));
                Problem::bad(format!("tier is {found}; expected memory, redis or all"))
            })
    }
}

/// The query of an invalidation. A parameter too many is refused: a misspelt
/// `pattern` must not turn into "everything".
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InvalidateQuery {
    pattern: Option<String>,
    route: Option<String>,
    tag: Option<String>,
    url: Option<String>,
    soft: Option<String>,
    wait: Option<String>,
    dry_run: Option<String>,
}

impl InvalidateQuery {
    /// What is asked; `routes` are those that exist.
    pub(super) fn request(self, routes: &[RouteFigures]) -> Result<InvalidateRequest, Problem> {
        let soft = flag("soft", self.soft.as_deref())?;
        let is_dry_run = flag("dry_run", self.dry_run.as_deref())?;
        let wait = self.wait.as_deref().map(wait).transpose()?;
        let scope = match (self.pattern, self.route, self.tag, self.url) {
            (None, None, None, None) => Scope::All,
            (Some(written), None, None, None) => Scope::Pattern(pattern(&written)?),
            (None, Some(name), None, None) => Scope::Route(route(&name, routes)?),
            (None, None, Some(written), None) => Scope::Tag(tag(&written)?),
            (None, None, None, Some(written)) => Scope::Url(url(&written)?),
            _ => {
                return Err(Problem::bad(
                    "pattern, route, tag and url exclude each other; ask once for each",
                ));
            }
        };
        Ok(InvalidateRequest {
            scopes: vec![scope],
            soft,
            is_dry_run,
            wait,
        })
    }

    /// What is asked of the route that the path names.
    pub(super) fn request_for_route(
        self,
        name: &str,
        routes: &[RouteFigures],
    ) -> Result<InvalidateRequest, Problem> {
        let names_another = self.pattern.is_some()
            || self.route.is_some()
            || self.tag.is_some()
            || self.url.is_some();
        if names_another {
            return Err(Problem::bad("the path names the route already"));
        }
        // A name is a path by default; its first slash is easily lost in a URL.
        let with_slash = format!("/{name}");
        let found = route(name, routes).or_else(|problem| {
            let found = route(&with_slash, routes);
            found.map_err(|_| problem)
        })?;
        let named = Self {
            route: Some(found.to_string()),
            ..self
        };
        named.request(routes)
    }
}

fn flag(name: &str, written: Option<&str>) -> Result<bool, Problem> {
    match written {
        Some("true" | "1" | "") => Ok(true),
        None | Some("false" | "0") => Ok(false),
        Some(other) => Err(Problem::bad(format!(
            "{name} is `{other}`; expected true or false"
        ))),
    }
}

/// A pattern of paths; a query is refused as it is in `proxy.toml`, where it
/// would match nothing either.
pub(super) fn pattern(written: &str) -> Result<Pattern, Problem> {
    if written.contains(['?', '#']) {
        return Err(Problem::bad(format!(
            "pattern is `{written}`: a pattern has no query; it speaks of the path, and every \
             query of it is included. `url` names one URL with its query"
        )));
    }
    Pattern::parse(written)
        .map_err(|error| Problem::bad(format!("pattern is `{written}`: {error}")))
}

fn wait(written: &str) -> Result<Duration, Problem> {
    let wait = parse_duration(written)
        .map_err(|error| Problem::bad(format!("wait is `{written}`: {error}")))?;
    if wait > WAIT_MAX {
        return Err(Problem::bad(format!(
            "wait is `{written}`; at most {}s can be waited",
            WAIT_MAX.as_secs()
        )));
    }
    Ok(wait)
}

fn route(name: &str, routes: &[RouteFigures]) -> Result<Arc<str>, Problem> {
    let found = routes.iter().find(|route| *route.name == *name);
    found.map(|route| Arc::clone(&route.name)).ok_or_else(|| {
        Problem::missing(format!(
            "there is no route `{name}`; /cache/stats lists those there are"
        ))
    })
}

pub(super) fn tag(written: &str) -> Result<Box<str>, Problem> {
    let is_tag = !written.is_empty()
        && written.len() <= TAG_BYTES_MAX
        && written.bytes().all(|byte| byte.is_ascii_graphic());
    if is_tag {
        Ok(written.into())
    } else {
        Err(Problem::bad(format!(
            "tag is not one word of visible ASCII characters, at most {TAG_BYTES_MAX} of them"
        )))
    }
}

pub(super) fn url(written: &str) -> Result<Uri, Problem> {
    let refused = || {
        Problem::bad(format!(
            "url is `{written}`; expected `http://host/path?query` or `/path?query`, escaped"
        ))
    };
    let url: Uri = written.parse().map_err(|_| refused())?;
    let is_absolute = url.scheme().is_some() && url.authority().is_some();
    let is_from_path = url.scheme().is_none() && url.authority().is_none();
    if (is_absolute || is_from_path) && url.path().starts_with('/') {
        Ok(url)
    } else {
        Err(refused())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes() -> Vec<RouteFigures> {
        ["users", "/api/items"]
            .into_iter()
            .map(|name| RouteFigures {
                name: name.into(),
                path: "/x".into(),
                entries_max: None,
            })
            .collect()
    }

    fn asked(query: &str) -> Result<InvalidateRequest, Problem> {
        let uri: Uri = format!("/?{query}").parse().unwrap();
        let Query(query) = Query::<InvalidateQuery>::try_from_uri(&uri)
            .map_err(|rejection| Problem::bad(rejection.body_text()))?;
        query.request(&routes())
    }

    #[test]
    fn what_is_clear_is_read() {
        assert_eq!(asked("").unwrap().scopes, [Scope::All]);
        assert_eq!(asked("tag=a").unwrap().scopes, [Scope::Tag("a".into())]);
        let request = asked("pattern=/a/**&soft=true&wait=250ms").unwrap();
        assert_eq!(request.scopes[0].to_string(), "pattern /a/**");
        assert!(request.soft);
        assert_eq!(request.wait, Some(Duration::from_millis(250)));
        assert_eq!(
            asked("url=%2Fa%3Fb%3D1").unwrap().scopes[0].to_string(),
            "url /a?b=1"
        );
        let secret = asked("url=http://h/a%3Ftoken%3D1").unwrap();
        assert_eq!(secret.scopes[0].without_query(), "url http://h/a?…");
        assert!(asked("url=http://example.org/a").is_ok());
        assert!(asked("route=users").is_ok());
    }

    #[test]
    fn what_is_unclear_is_refused() {
        for query in [
            "patern=/a",
            "pattern=a",
            "pattern=",
            "pattern=/a&tag=b",
            "pattern=/a%3Fx%3D1",
            "pattern=/a%23x",
            "dry_run=maybe",
            "route=nobody",
            "tag=",
            "tag=two%20words",
            "url=example.org",
            "url=",
            "soft=maybe",
            "wait=1",
            "wait=61s",
            "wait=soon",
            "soft=true&soft=false",
        ] {
            assert!(asked(query).is_err(), "{query}");
        }
    }

    #[test]
    fn a_route_is_found_without_its_first_slash() {
        let query = InvalidateQuery::default();
        let request = query.request_for_route("api/items", &routes()).unwrap();
        assert_eq!(request.scopes, [Scope::Route("/api/items".into())]);
        let elsewhere = InvalidateQuery {
            tag: Some("a".to_owned()),
            ..InvalidateQuery::default()
        };
        assert!(elsewhere.request_for_route("users", &routes()).is_err());
    }
}
