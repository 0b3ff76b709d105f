//! What an invalidation speaks of.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::pattern::{Pattern, PatternError};
use crate::semantics::stored::{BanSubject, StoredHead, Target};

/// Which stored responses an invalidation matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All of them.
    All,
    /// Those of one route.
    Route(Arc<str>),
    /// Those whose path matches, with every host, query and variant.
    Pattern(Pattern),
    /// Those that carry a tag.
    Tag(Box<str>),
    /// Those of one URL: `host` and `query` count where they are given.
    Url {
        /// Host and port, lower case.
        host: Option<Box<str>>,
        /// The plain path.
        path: Box<str>,
        /// The query; its parameters in any order.
        query: Option<Box<str>>,
    },
}

/// An invalidation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ban {
    /// What it matches.
    pub scope: Scope,
    /// Whether it makes stale instead of invalid.
    pub is_soft: bool,
}

impl Ban {
    /// A ban that makes invalid.
    #[must_use]
    pub fn hard(scope: Scope) -> Self {
        Self {
            scope,
            is_soft: false,
        }
    }
}

impl Scope {
    /// Whether it matches a stored response.
    #[must_use]
    pub fn matches(&self, head: &StoredHead) -> bool {
        self.matches_subject(&head.ban_subject())
    }

    /// The same for what bans look at of it.
    #[must_use]
    pub fn matches_subject(&self, subject: &BanSubject<'_>) -> bool {
        match self {
            Self::All => true,
            Self::Route(name) => **name == *subject.route,
            Self::Pattern(pattern) => pattern.matches(subject.path),
            Self::Tag(tag) => subject.tags.contains(&&**tag),
            Self::Url { host, path, query } => {
                let is_host = host
                    .as_ref()
                    .is_none_or(|host| is_same_host(host, subject.host));
                let is_query = query
                    .as_ref()
                    .is_none_or(|query| sorted_query(query) == sorted_query(subject.query));
                is_host && is_query && **path == *subject.path
            }
        }
    }

    /// Whether it matches what is going to be stored for a target, or might:
    /// which tags that will carry is not known yet, so any tag counts.
    #[must_use]
    pub fn matches_target(&self, route: &str, target: &Target) -> bool {
        matches!(self, Self::Tag(_)) || self.matches_subject(&BanSubject::of_target(route, target))
    }
}

/// Whether two authorities are one place: the case of letters does not matter,
/// nor a port that is the default of its scheme. Which scheme a client spoke is
/// not known behind what terminates TLS, so either default counts: what is
/// invalidated needlessly costs a fetch, what is not is wrong.
pub(super) fn is_same_host(one: &str, other: &str) -> bool {
    without_default_port(one).eq_ignore_ascii_case(without_default_port(other))
}

pub(super) fn without_default_port(authority: &str) -> &str {
    [":80", ":443"]
        .iter()
        .find_map(|port| authority.strip_suffix(port))
        .unwrap_or(authority)
}

/// The parameters of a query, in an order of ours.
pub(super) fn sorted_query(query: &str) -> Vec<&str> {
    let mut parameters: Vec<&str> = query.split('&').filter(|p| !p.is_empty()).collect();
    parameters.sort_unstable();
    parameters
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenScope {
    All(bool),
    Route(String),
    Pattern(String),
    Tag(String),
    Url {
        host: Option<String>,
        path: String,
        query: Option<String>,
    },
}

/// A log entry that cannot be read. Whoever meets one has to assume the worst:
/// that it matched everything.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableBan {
    /// Not the form of this version.
    #[error("not a list of bans: {0}")]
    Form(#[from] serde_json::Error),
    /// A pattern that this version cannot read.
    #[error("a pattern that cannot be read: {0}")]
    Pattern(#[from] PatternError),
}

/// How a ban is written in the log.
#[derive(Serialize, Deserialize)]
struct WrittenBan {
    scope: WrittenScope,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    soft: bool,
}

/// Writes bans for the log.
#[must_use]
pub fn write(bans: &[Ban]) -> String {
    let written: Vec<WrittenBan> = bans
        .iter()
        .map(|ban| WrittenBan {
            scope: match &ban.scope {
                Scope::All => WrittenScope::All(true),
                Scope::Route(name) => WrittenScope::Route(name.to_string()),
                Scope::Pattern(pattern) => WrittenScope::Pattern(pattern.to_string()),
                Scope::Tag(tag) => WrittenScope::Tag(tag.to_string()),
                Scope::Url { host, path, query } => WrittenScope::Url {
                    host: host.as_deref().map(str::to_owned),
                    path: path.to_string(),
                    query: query.as_deref().map(str::to_owned),
                },
            },
            soft: ban.is_soft,
        })
        .collect();
    // Strings and booleans always have a JSON form.
    serde_json::to_string(&written).unwrap_or_default()
}

/// Reads bans from the log.
///
/// # Errors
/// [`UnreadableBan`] where the entry is not of this version's form.
pub fn read(text: &str) -> Result<Vec<Ban>, UnreadableBan> {
    let written: Vec<WrittenBan> = serde_json::from_str(text)?;
    written
        .into_iter()
        .map(|ban| {
            let scope = match ban.scope {
                WrittenScope::All(_) => Scope::All,
                WrittenScope::Route(name) => Scope::Route(name.into()),
                WrittenScope::Pattern(pattern) => Scope::Pattern(Pattern::parse(&pattern)?),
                WrittenScope::Tag(tag) => Scope::Tag(tag.into()),
                WrittenScope::Url { host, path, query } => Scope::Url {
                    host: host.map(Into::into),
                    path: path.into(),
                    query: query.map(Into::into),
                },
            };
            Ok(Ban {
                scope,
                is_soft: ban.soft,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let bans = vec![
            Ban::hard(Scope::All),
            Ban::hard(Scope::Route("r".into())),
            Ban::hard(Scope::Pattern(Pattern::literal("/a/*/%41"))),
            Ban::hard(Scope::Pattern(Pattern::below("/a"))),
            Ban {
                scope: Scope::Tag("t".into()),
                is_soft: true,
            },
            Ban::hard(Scope::Url {
                host: Some("h".into()),
                path: "/a".into(),
                query: None,
            }),
        ];
        assert_eq!(read(&write(&bans)).expect("readable"), bans);
    }

    #[test]
    fn another_versions_entry_is_an_error() {
        assert!(read("[{\"scope\":{\"galaxy\":\"x\"}}]").is_err());
        assert!(read("nonsense").is_err());
    }

    #[test]
    fn a_default_port_is_no_other_host() {
        assert!(is_same_host("Example.org:80", "example.org"));
        assert!(is_same_host("example.org", "example.org:443"));
        assert!(is_same_host("[::1]:80", "[::1]"));
        assert!(!is_same_host("example.org:8080", "example.org"));
        assert!(!is_same_host("[::80]", "[::]"));
    }

    #[test]
    fn a_url_matches_with_its_parameters_in_any_order() {
        let head = crate::semantics::stored::tests_support::response("/a", 0).head;
        let target = Target {
            query: "x=1&y=2".into(),
            ..head.target
        };
        let url = |host: Option<&str>, query: Option<&str>| Scope::Url {
            host: host.map(Into::into),
            path: "/a".into(),
            query: query.map(Into::into),
        };
        assert!(url(None, None).matches_target("r", &target));
        assert!(url(Some("h"), Some("y=2&x=1")).matches_target("r", &target));
        assert!(!url(Some("g"), None).matches_target("r", &target));
        assert!(url(Some("h:80"), None).matches_target("r", &target));
        assert!(!url(Some("h:81"), None).matches_target("r", &target));
        assert!(!url(None, Some("x=1")).matches_target("r", &target));
    }
}
