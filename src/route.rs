//! Which route a request is of.

use std::sync::Arc;
use std::time::Duration;

use matchit::Router;

use crate::config::RouteConfig;
use crate::semantics::key::RouteFingerprint;
use crate::semantics::policy::{KeySpec, Policy};
use crate::telemetry::{RouteTelemetry, Telemetry};

/// A route, ready to serve.
#[derive(Debug)]
pub struct Route {
    /// Its name, that of its cache.
    pub name: Arc<str>,
    /// Its path, as configured.
    pub path: Arc<str>,
    /// Its caching rules.
    pub policy: Policy,
    /// What makes up its keys.
    pub key: KeySpec,
    /// Bound on its stored responses.
    pub entries_max: Option<u64>,
    /// How long the origin may take to answer its requests, where that is not as
    /// for all.
    pub response_timeout: Option<Duration>,
    /// What its keys begin with.
    pub fingerprint: RouteFingerprint,
    /// Where it counts.
    pub telemetry: Arc<RouteTelemetry>,
}

/// The routes in force.
///
/// Two routers, since the most specific route wins and one router would call
/// `/a/{id}` and `/a/**` a conflict: a path that a route names to its last
/// segment is that route's, before any route that takes a tail.
#[derive(Debug, Default)]
pub struct RouteTable {
    whole: Router<usize>,
    tails: Router<usize>,
    routes: Vec<Arc<Route>>,
}

/// Two routes match the same paths, or one cannot be matched at all.
/// Validation refuses such a file; it can only come from a `Config` made by hand.
#[derive(Debug, thiserror::Error)]
#[error("route `{path}`: {source}")]
pub struct RouteConflict {
    path: String,
    source: matchit::InsertError,
}

impl RouteTable {
    /// The table of these routes.
    ///
    /// # Errors
    /// [`RouteConflict`] where two match the same paths.
    pub fn new(configs: &[RouteConfig], telemetry: &Telemetry) -> Result<Self, RouteConflict> {
        let mut table = Self::default();
        for config in configs {
            let index = table.routes.len();
            let takes_tail = config.path.ends_with("/**") || config.path.contains("{*");
            let router = if takes_tail {
                &mut table.tails
            } else {
                &mut table.whole
            };
            for pattern in patterns(&config.path) {
                router
                    .insert(pattern, index)
                    .map_err(|source| RouteConflict {
                        path: config.path.to_string(),
                        source,
                    })?;
            }
            table.routes.push(Arc::new(Route {
                name: Arc::clone(&config.name),
                path: Arc::clone(&config.path),
                policy: config.policy.clone(),
                key: config.key.clone(),
                entries_max: config.entries_max,
                response_timeout: config.response_timeout,
                fingerprint: RouteFingerprint::of(&config.path, &config.key, &config.policy),
                telemetry: telemetry.route(&config.name, &config.path),
            }));
        }
        Ok(table)
    }

    /// The most specific route of a plain path.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&Arc<Route>> {
        self.routes.get(self.find_index(path)?)
    }

    /// Where that route stands among [`RouteTable::routes`].
    #[must_use]
    pub fn find_index(&self, path: &str) -> Option<usize> {
        let found = self.whole.at(path).or_else(|_| self.tails.at(path));
        found.ok().map(|found| *found.value)
    }

    /// All routes, in the order of the file.
    #[must_use]
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }
}

/// The router's patterns for a route's path: its `{*rest}` does not match the
/// empty rest, our final `/**` does.
fn patterns(path: &str) -> Vec<String> {
    match path.strip_suffix("/**") {
        Some("") => vec!["/".to_owned(), "/{*rest}".to_owned()],
        Some(above) => vec![
            above.to_owned(),
            format!("{above}/"),
            format!("{above}/{{*rest}}"),
        ],
        None => vec![path.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn table(paths: &[&str]) -> RouteTable {
        let configs: Vec<RouteConfig> = paths
            .iter()
            .map(|path| RouteConfig {
                name: (*path).into(),
                path: (*path).into(),
                policy: Policy::default(),
                key: KeySpec::default(),
                entries_max: None,
                response_timeout: None,
            })
            .collect();
        RouteTable::new(&configs, &Telemetry::new(Clock::System)).expect("no conflict")
    }

    fn found<'t>(table: &'t RouteTable, path: &str) -> Option<&'t str> {
        table.find(path).map(|route| &*route.path)
    }

    #[test]
    fn the_most_specific_route_wins() {
        let table = table(&["/api/**", "/api/users/{id}", "/api/users/me", "/{*rest}"]);
        assert_eq!(found(&table, "/api/users/me"), Some("/api/users/me"));
        assert_eq!(found(&table, "/api/users/7"), Some("/api/users/{id}"));
        assert_eq!(found(&table, "/api/users/7/x"), Some("/api/**"));
        assert_eq!(found(&table, "/api"), Some("/api/**"));
        assert_eq!(found(&table, "/api/"), Some("/api/**"));
        assert_eq!(found(&table, "/other"), Some("/{*rest}"));
        assert_eq!(found(&table, "/"), None);
    }

    #[test]
    fn routes_that_overlap_live_side_by_side() {
        let table = table(&["/a", "/a/**", "/a/{x}", "/a/{x}/b", "/**", "/", "/{x}"]);
        assert_eq!(found(&table, "/a"), Some("/a"));
        assert_eq!(found(&table, "/a/"), Some("/a/**"));
        assert_eq!(found(&table, "/a/7"), Some("/a/{x}"));
        assert_eq!(found(&table, "/a/7/b"), Some("/a/{x}/b"));
        assert_eq!(found(&table, "/a/7/c"), Some("/a/**"));
        assert_eq!(found(&table, "/b"), Some("/{x}"));
        assert_eq!(found(&table, "/b/c"), Some("/**"));
        assert_eq!(found(&table, "/"), Some("/"));
    }

    #[test]
    fn a_final_double_star_takes_everything() {
        let table = table(&["/**"]);
        assert!(table.find("/").is_some() && table.find("/a/b").is_some());
    }
}
