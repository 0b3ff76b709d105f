//! What a write makes invalid.
//!
//! RFC 9111 §4.4 names the target and, where they are of the same origin,
//! `Location` and `Content-Location`. Applications change more than that: by
//! default the collection above and everything below go as well, and
//! `[[invalidations]]` add what only the application knows.
//!
//! How much goes depends on what became of the write ([`Effect`]): a request
//! that never reached the application whole, or a redirect to a login page,
//! must not empty what lies below a path.

use http::header::{CONTENT_LOCATION, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use url::Url;

use super::scope::{Ban, Scope, is_same_host};
use crate::config::{DefaultInvalidation, InvalidationRule};
use crate::pattern::{Extent, Pattern};
use crate::rule::{self, Rule};
use crate::semantics::tags::invalidated as groups_of;
use crate::semantics::target::RequestTarget;

/// Where MOVE and COPY write to (RFC 4918 §10.3).
const DESTINATION: HeaderName = HeaderName::from_static("destination");

/// The rules in force.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    default: DefaultInvalidation,
    explicit: Vec<InvalidationRule>,
}

/// A write that may have changed something.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// Its method, and those that the application may take it for.
    pub methods: &'a [Method],
    /// The hosts that URLs of the same site may name: as the application is
    /// told it, and as the client named it.
    pub hosts: [&'a str; 2],
    /// What it was sent to.
    pub target: &'a RequestTarget<'a>,
    /// The fields of the request.
    pub request: &'a HeaderMap,
    /// What became of it.
    pub effect: Effect<'a>,
}

/// What became of a write.
#[derive(Clone, Copy, Debug)]
pub enum Effect<'a> {
    /// It was answered 2xx or 3xx, with these fields.
    Answered(StatusCode, &'a HeaderMap),
    /// It reached the origin whole, and its answer is lost.
    Lost,
    /// It was not sent whole.
    Incomplete,
}

impl Effect<'_> {
    fn fields(&self) -> Option<&HeaderMap> {
        match self {
            Self::Answered(_, fields) => Some(fields),
            Self::Lost | Self::Incomplete => None,
        }
    }

    /// Whether what lies below the target may have changed.
    fn reaches_below(&self) -> bool {
        match self {
            // Refusals by redirect lead to a login page.
            Self::Answered(status, _) => status.is_success() || !rule::holds(Rule::RedirectedWrite),
            Self::Lost => true,
            Self::Incomplete => !rule::holds(Rule::IncompleteWrite),
        }
    }
}

impl Rules {
    /// The rules of a configuration.
    #[must_use]
    pub fn new(default: DefaultInvalidation, explicit: Vec<InvalidationRule>) -> Self {
        Self { default, explicit }
    }

    /// The bans of a write. Each speaks of every query and every variant.
    #[must_use]
    pub fn bans_of(&self, write: &Write<'_>) -> Vec<Ban> {
        let mut scopes = Scopes::default();
        let readings = write.target.readings();
        if matches!(write.effect, Effect::Incomplete) && rule::holds(Rule::IncompleteWrite) {
            for path in &readings {
                if self.default_of(write, path) != DefaultInvalidation::None {
                    scopes.add_path(path);
                }
            }
            return scopes.0;
        }
        let mut default = DefaultInvalidation::None;
        for (at, path) in readings.iter().enumerate() {
            default = self.default_of(write, path);
            // What lies below a path that only some applications read in the
            // target is too much for a stranger to name.
            let reaches_below = at == 0 && write.effect.reaches_below();
            self.add_written(&mut scopes, write, default, path, reaches_below);
        }
        if default != DefaultInvalidation::None {
            self.add_named(&mut scopes, write, default);
        }
        for path in &readings {
            self.add_explicit(&mut scopes, write, path);
        }
        let groups = write
            .effect
            .fields()
            .map(|fields| groups_of(fields, write.hosts[0]));
        for group in groups.into_iter().flatten() {
            scopes.add(Scope::Tag(group));
        }
        scopes.each_needed()
    }

    /// What a write to `path` invalidates by itself: as the first entry says
    /// that matches it and says something.
    fn default_of(&self, write: &Write<'_>, path: &str) -> DefaultInvalidation {
        let said = self.explicit.iter().find_map(|rule| {
            let default = rule.default?;
            let speaks_of = |method| rule.methods.contains(method);
            let is_meant = rule.is_for_all_methods || write.methods.iter().any(speaks_of);
            (is_meant && rule.path.matches(path)).then_some(default)
        });
        said.unwrap_or(self.default)
    }

    fn matching<'a>(&'a self, write: &Write<'a>) -> impl Iterator<Item = &'a InvalidationRule> {
        let methods = write.methods;
        let speaks_of = move |rule: &&InvalidationRule| {
            methods.iter().any(|method| rule.methods.contains(method))
        };
        self.explicit.iter().filter(speaks_of)
    }

    fn add_explicit(&self, scopes: &mut Scopes, write: &Write<'_>, path: &str) {
        for rule in self.matching(write) {
            let Some(captures) = rule.path.captures(path) else {
                continue;
            };
            for purge in &rule.purge {
                scopes.add(Scope::Pattern(purge.expand(&captures)));
            }
            for tag in &rule.tags {
                scopes.add(Scope::Tag(tag.clone()));
            }
        }
    }

    fn add_written(
        &self,
        scopes: &mut Scopes,
        write: &Write<'_>,
        default: DefaultInvalidation,
        path: &str,
        reaches_below: bool,
    ) {
        if default == DefaultInvalidation::None {
            return;
        }
        scopes.add_path(path);
        if default == DefaultInvalidation::Rfc {
            return;
        }
        scopes.add_parent(path);
        scopes.add_with_other_slash(path);
        if reaches_below {
            let mut methods = write.methods.iter();
            let is_stated = methods.next().is_some_and(changes_below);
            // A field that overrides the method is easily sent and seldom
            // heeded: it does not empty the whole store.
            let is_overridden = (!is_root(path) || !rule::holds(Rule::OverrideOnPost))
                && methods.any(changes_below);
            if is_stated || is_overridden {
                scopes.add(Scope::Pattern(Pattern::below(path)));
            }
        }
    }

    /// What the answer and the request name besides the target.
    fn add_named(&self, scopes: &mut Scopes, write: &Write<'_>, default: DefaultInvalidation) {
        let answer = write.effect.fields();
        for name in [LOCATION, CONTENT_LOCATION] {
            for url in answer.into_iter().flat_map(|fields| fields.get_all(&name)) {
                for path in paths_at_same_host(url, write) {
                    scopes.add_path(&path);
                }
            }
        }
        // Its own method: a field that overrides it names nothing else.
        let writes_elsewhere = |method: &Method| matches!(method.as_str(), "MOVE" | "COPY");
        if !write.methods.first().is_some_and(writes_elsewhere) {
            return;
        }
        for url in write.request.get_all(DESTINATION) {
            for (at, path) in paths_at_same_host(url, write).into_iter().enumerate() {
                scopes.add_path(&path);
                if default == DefaultInvalidation::Rfc {
                    continue;
                }
                scopes.add_parent(&path);
                scopes.add_with_other_slash(&path);
                if at == 0 && !is_root(&path) && write.effect.reaches_below() {
                    scopes.add(Scope::Pattern(Pattern::below(&path)));
                }
            }
        }
    }
}

/// Whether nothing but slashes is in a path: all of a site lies below it.
fn is_root(path: &str) -> bool {
    path.bytes().all(|byte| byte == b'/')
}

/// Whether a method changes what lies below its target.
fn changes_below(method: &Method) -> bool {
    matches!(method.as_str(), "PUT" | "PATCH" | "DELETE" | "MOVE")
}

/// Bans, each once.
#[derive(Default)]
struct Scopes(Vec<Ban>);

impl Scopes {
    fn add(&mut self, scope: Scope) {
        let ban = Ban::hard(scope);
        if !self.0.contains(&ban) {
            self.0.push(ban);
        }
    }

    /// Without paths that a ban on all that is below one of them covers: every
    /// ban costs every instance something.
    fn each_needed(self) -> Vec<Ban> {
        let below = self.0.iter().filter_map(|ban| match &ban.scope {
            Scope::Pattern(pattern) if matches!(pattern.extent(), Extent::Below(_)) => {
                Some(pattern.clone())
            }
            _ => None,
        });
        let below: Vec<Pattern> = below.collect();
        let is_covered = |ban: &Ban| match &ban.scope {
            Scope::Pattern(pattern) => match pattern.extent() {
                Extent::Path(path) => below.iter().any(|below| below.matches(path)),
                _ => false,
            },
            _ => false,
        };
        self.0.into_iter().filter(|ban| !is_covered(ban)).collect()
    }

    fn add_path(&mut self, path: &str) {
        self.add(Scope::Pattern(Pattern::literal(path)));
    }

    /// The collection that `path` is in; never all of a site.
    fn add_parent(&mut self, path: &str) {
        let Some(parent) = parent(path) else {
            return;
        };
        self.add_path(parent);
        self.add_with_other_slash(parent);
    }

    /// A collection is asked for with and without its last slash.
    fn add_with_other_slash(&mut self, path: &str) {
        match path.strip_suffix('/') {
            Some("") => {}
            Some(bare) => self.add_path(bare),
            None => self.add_path(&format!("{path}/")),
        }
    }
}

/// The path above: `/a/7` has `/a`, `/a` and `/` have none.
fn parent(path: &str) -> Option<&str> {
    let bare = path.strip_suffix('/').unwrap_or(path);
    let (above, _) = bare.rsplit_once('/')?;
    match above {
        above if is_root(above) && rule::holds(Rule::RootParent) => None,
        "" => Some("/"),
        above => Some(above),
    }
}

/// The plain paths that a URL reference may mean (RFC 3986 §5.2), if it is of
/// one of the write's hosts.
fn paths_at_same_host(reference: &HeaderValue, write: &Write<'_>) -> Vec<String> {
    let resolved = || {
        let reference = std::str::from_utf8(reference.as_bytes()).ok()?;
        // What stands before the path is compared below.
        let mut base = Url::parse("http://h").ok()?;
        base.set_path(&write.target.key_path);
        base.set_host(Some(host_only(write.hosts[0]))).ok()?;
        base.join(reference.trim()).ok()
    };
    let Some(url) = resolved() else {
        return Vec::new();
    };
    let names_authority = reference
        .as_bytes()
        .windows(2)
        .position(|two| two == b"//")
        .is_some_and(|at| at == 0 || reference.as_bytes()[at - 1] == b':');
    let is_here = |host: &str| is_same_host(&authority(&url), host);
    if names_authority && !write.hosts.into_iter().any(is_here) {
        return Vec::new();
    }
    RequestTarget::of(url.path(), None).readings()
}

/// A host without its port.
fn host_only(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
