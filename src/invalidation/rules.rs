//! What a write makes invalid.
//!
//! RFC 9111 §4.4 names the target and, where they are of the same origin,
//! `Location` and `Content-Location`. Applications change more than that: by
//! default the collection above and everything below go as well, and
//! `[[invalidations]]` add what only the application knows.

use http::header::{CONTENT_LOCATION, LOCATION};
use http::{HeaderMap, Method, Uri};

use super::scope::{Ban, Scope, is_same_host};
use crate::config::{DefaultInvalidation, InvalidationRule};
use crate::pattern::Pattern;
use crate::semantics::tags::invalidated as groups_of;
use crate::semantics::target::RequestTarget;

/// The rules in force.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    default: DefaultInvalidation,
    explicit: Vec<InvalidationRule>,
}

/// Whether a method cannot change anything (RFC 9110 §9.2.1). One that is not
/// known may.
#[must_use]
pub fn is_safe(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE
    )
}

impl Rules {
    /// The rules of a configuration.
    #[must_use]
    pub fn new(default: DefaultInvalidation, explicit: Vec<InvalidationRule>) -> Self {
        Self { default, explicit }
    }

    /// The bans of a write to `target` at `host`; `answer` is `None` where the
    /// answer was lost. Each speaks of every query and every variant.
    #[must_use]
    pub fn bans_of(
        &self,
        method: &Method,
        host: &str,
        target: &RequestTarget<'_>,
        answer: Option<&HeaderMap>,
    ) -> Vec<Ban> {
        let mut patterns: Vec<Pattern> = Vec::new();
        let mut tags: Vec<&str> = Vec::new();
        for path in target.readings() {
            self.add_written(&mut patterns, method, &path);
            for rule in self
                .explicit
                .iter()
                .filter(|rule| rule.methods.contains(method))
            {
                let Some(captures) = rule.path.captures(&path) else {
                    continue;
                };
                patterns.extend(rule.purge.iter().map(|purge| purge.expand(&captures)));
                tags.extend(rule.tags.iter().map(|tag| &**tag));
            }
        }
        for name in [LOCATION, CONTENT_LOCATION] {
            let named = answer.and_then(|fields| fields.get(name));
            if let Some(path) = named.and_then(|url| path_at_same_host(url, host, &target.path)) {
                patterns.push(Pattern::literal(&path));
            }
        }
        let patterns = patterns.into_iter().map(Scope::Pattern);
        let groups = answer.map_or_else(Vec::new, |answer| groups_of(answer, host));
        let tags = tags
            .into_iter()
            .map(Box::from)
            .chain(groups)
            .map(Scope::Tag);
        let mut bans: Vec<Ban> = Vec::new();
        for ban in patterns.chain(tags).map(Ban::hard) {
            if !bans.contains(&ban) {
                bans.push(ban);
            }
        }
        bans
    }

    fn add_written(&self, patterns: &mut Vec<Pattern>, method: &Method, path: &str) {
        patterns.push(Pattern::literal(path));
        if self.default == DefaultInvalidation::Rfc {
            return;
        }
        if let Some(parent) = parent(path) {
            patterns.push(Pattern::literal(parent));
            // A collection is asked for with and without its last slash.
            if !parent.ends_with('/') {
                patterns.push(Pattern::literal(&format!("{parent}/")));
            }
        }
        if let Some(bare) = path.strip_suffix('/').filter(|bare| !bare.is_empty()) {
            patterns.push(Pattern::literal(bare));
        } else if path != "/" {
            patterns.push(Pattern::literal(&format!("{path}/")));
        }
        if matches!(*method, Method::PUT | Method::PATCH | Method::DELETE) {
            patterns.push(Pattern::below(path));
        }
    }
}

/// The path above: `/a/7` has `/a`, `/a` has `/`, `/` has none.
fn parent(path: &str) -> Option<&str> {
    let bare = path.strip_suffix('/').unwrap_or(path);
    let (above, _) = bare.rsplit_once('/')?;
    Some(if above.is_empty() { "/" } else { above })
}

/// The plain path of a URL reference, if it is of this host.
fn path_at_same_host(reference: &http::HeaderValue, host: &str, base_path: &str) -> Option<String> {
    let reference = reference.to_str().ok()?;
    let resolved = if reference.starts_with('/') || reference.contains("://") {
        reference.to_owned()
    } else {
        let (above, _) = base_path.rsplit_once('/')?;
        format!("{above}/{reference}")
    };
    let uri: Uri = resolved.parse().ok()?;
    let is_same_host = uri
        .authority()
        .is_none_or(|authority| is_same_host(authority.as_str(), host));
    is_same_host.then(|| RequestTarget::of(uri.path(), None).path.into_owned())
}

#[cfg(test)]
mod tests {
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

    fn bans(rules: &Rules, method: Method, path: &str) -> Vec<Ban> {
        rules.bans_of(&method, "h", &RequestTarget::of(path, Some("q=1")), None)
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
            let target = RequestTarget::of("/a", None);
            Rules::default().bans_of(&Method::POST, "h:80", &target, Some(&answer))
        };
        assert!(hit(&located("/b/9?x"), "/b/9"));
        assert!(hit(&located("http://H:80/b/9"), "/b/9"));
        assert!(hit(&located("http://h/b/9"), "/b/9"));
        assert!(hit(&located("c"), "/c"));
        assert!(!hit(&located("http://other/b/9"), "/b/9"));
    }
}
