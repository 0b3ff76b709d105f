//! The rules of safety that a test can switch off.
//!
//! `tests/hostile` generates requests and responses and checks that nobody is
//! shown what is another's and nobody empties what is not theirs. A check that
//! finds nothing proves little unless it finds a planted fault: so each rule
//! below can be switched off, by name, in a debug build
//! (`PANNIER_RULE_OFF=forwarded-fields`). A release build has no such switch:
//! [`holds`] is the constant `true` there.

/// A rule that keeps visitors apart or keeps the store from being emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A response with `Set-Cookie` is not stored by default.
    SetCookie,
    /// A validation takes over no `Set-Cookie`, and no answer carries a stored one.
    ValidatedCookie,
    /// A `Cache-Control` that cannot be read whole is read against storing.
    UnreadableDirectives,
    /// Key and `Vary` see the request fields as they go to the origin.
    ForwardedFields,
    /// The scheme and host that the application is told are part of the key.
    ForwardedTarget,
    /// Request fields with `_` in their names are dropped.
    UnderscoreFields,
    /// Fields that override the method count on POST alone.
    OverrideOnPost,
    /// A write that was not sent whole invalidates its target alone.
    IncompleteWrite,
    /// What lies below a target goes only where the write was answered 2xx.
    RedirectedWrite,
    /// `/` is never invalidated as a parent.
    RootParent,
    /// Names of cookies are compared trimmed.
    CookieNames,
    /// Names of query parameters are compared decoded and trimmed.
    QueryNames,
    /// A failure is answered to the request that met it, and to no other.
    OwnFailure,
}

/// Every rule and the name that switches it off.
pub const RULES: [(Rule, &str); 13] = [
    (Rule::SetCookie, "set-cookie"),
    (Rule::ValidatedCookie, "validated-cookie"),
    (Rule::UnreadableDirectives, "unreadable-directives"),
    (Rule::ForwardedFields, "forwarded-fields"),
    (Rule::ForwardedTarget, "forwarded-target"),
    (Rule::UnderscoreFields, "underscore-fields"),
    (Rule::OverrideOnPost, "override-on-post"),
    (Rule::IncompleteWrite, "incomplete-write"),
    (Rule::RedirectedWrite, "redirected-write"),
    (Rule::RootParent, "root-parent"),
    (Rule::CookieNames, "cookie-names"),
    (Rule::QueryNames, "query-names"),
    (Rule::OwnFailure, "own-failure"),
];

/// Whether a rule is in force. Always, but in a debug build whose environment
/// names it in `PANNIER_RULE_OFF`.
#[cfg(debug_assertions)]
#[must_use]
pub fn holds(rule: Rule) -> bool {
    use std::sync::LazyLock;
    static OFF: LazyLock<Option<Rule>> = LazyLock::new(|| {
        let name = std::env::var("PANNIER_RULE_OFF").ok()?;
        let named = RULES.iter().find(|(_, other)| *other == name);
        named.map(|(rule, _)| *rule)
    });
    *OFF != Some(rule)
}

/// Whether a rule is in force: always.
#[cfg(not(debug_assertions))]
#[must_use]
#[inline]
pub const fn holds(_rule: Rule) -> bool {
    true
}
