//! What stands in `[[routes]]` and `[[invalidations]]`: paths, patterns,
//! query parameters, cookies, methods, tags.

use http::Method;
use toml::de::DeValue;

use super::DefaultInvalidation;
use super::given::{Given, Kind};
use super::kinds::{Choice, List, Parsed, Wrong};
use super::reader::closest;
use crate::pattern::{Pattern, PatternError};
use crate::semantics::method::is_safe;
use crate::semantics::policy::{IgnoredFields, QueryKey};

/// Bytes of a route's name: it is a label of metrics.
const NAME_BYTES_MAX: usize = 256;
/// Bytes of one tag.
const TAG_BYTES_MAX: usize = 1_024;

/// A field that a route may ignore.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Field {
    CacheControl,
    SetCookie,
    Vary,
}

pub(super) fn ignored(fields: &[Field]) -> IgnoredFields {
    IgnoredFields {
        cache_control: fields.contains(&Field::CacheControl),
        vary: fields.contains(&Field::Vary),
    }
}

pub(super) fn default_invalidations() -> Choice<DefaultInvalidation> {
    Choice(&[
        ("hierarchy", DefaultInvalidation::Hierarchy),
        ("rfc", DefaultInvalidation::Rfc),
        ("none", DefaultInvalidation::None),
    ])
}

pub(super) fn parse_name(text: &str) -> Result<String, Wrong> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(Wrong::new(format!(
            "a name has 1 to {NAME_BYTES_MAX} bytes, none of them a control character"
        )));
    }
    Ok(text.to_owned())
}

/// A route's path: literal segments, `{name}`, `{*rest}`, a final `/**`.
pub(super) fn parse_route_path(text: &str) -> Result<String, Wrong> {
    if !text.starts_with('/') {
        return Err(without_slash("a path starts with `/`", text));
    }
    if text.contains(['?', '#']) {
        return Err(Wrong::new("a path has no query")
            .hint("`routes.key.query` says which parameters count"));
    }
    if text.contains('\\') || text.contains(|other: char| other.is_control() || other == ' ') {
        return Err(Wrong::new(
            "a path has no spaces, control characters or `\\`",
        ));
    }
    if let Some(wrong) = foreign_capture(text) {
        return Err(wrong);
    }
    let segments: Vec<&str> = text.split('/').skip(1).collect();
    for (at, segment) in segments.iter().enumerate() {
        let is_last = at + 1 == segments.len();
        let is_capture = segment.starts_with('{') && segment.ends_with('}');
        if matches!(*segment, "." | "..") {
            return Err(Wrong::new(
                "no request has a segment `.` or `..`: paths are normalised",
            ));
        }
        if *segment == "**" && !is_last {
            return Err(Wrong::new("`**` can only be the last segment of a route"));
        }
        if segment.contains('*') && *segment != "**" && !is_capture {
            return Err(Wrong::new("a route has no `*`")
                .hint("write `{name}` for one segment, a final `/**` for the tail"));
        }
        if segment.contains('}') && !segment.contains('{') {
            return Err(Wrong::new("`}` without `{`"));
        }
    }
    Pattern::parse(text)
        .map(|_| text.to_owned())
        .map_err(|error| Wrong::new(error.to_string()))
}

pub(super) fn parse_pattern(text: &str) -> Result<Pattern, Wrong> {
    if text.contains(['?', '#']) {
        return Err(Wrong::new("a pattern has no query")
            .hint("it speaks of the path; every query of it is included"));
    }
    if let Some(wrong) = foreign_capture(text) {
        return Err(wrong);
    }
    Pattern::parse_template(text).map_err(|error| match error {
        PatternError::NotAPath => without_slash(&error.to_string(), text),
        _ => Wrong::new(error.to_string()),
    })
}

fn without_slash(message: &str, text: &str) -> Wrong {
    let wrong = Wrong::new(message);
    let is_path = !text.is_empty() && !text.contains("://");
    if is_path {
        wrong.hint(format!("did you mean `\"/{text}\"`?"))
    } else {
        wrong.hint("for example `\"/api/{id}\"`: no scheme, no host")
    }
}

/// A segment that is a capture in other programs: `:id`, `<id>`.
fn foreign_capture(text: &str) -> Option<Wrong> {
    let ours = |segment: &str| {
        let name = segment.strip_prefix(':').or_else(|| {
            let inner = segment.strip_prefix('<')?.strip_suffix('>')?;
            Some(inner.rsplit(':').next().unwrap_or(inner))
        })?;
        let is_name = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        is_name.then(|| format!("{{{name}}}"))
    };
    let mut is_foreign = false;
    let segments: Vec<String> = text
        .split('/')
        .map(|segment| {
            let written = ours(segment);
            is_foreign |= written.is_some();
            written.unwrap_or_else(|| segment.to_owned())
        })
        .collect();
    is_foreign.then(|| {
        let instead = segments.join("/");
        Wrong::new("a segment that may be anything is written `{name}`").hint(format!(
            "did you mean `\"{instead}\"`? A literal `:` is written `%3A`"
        ))
    })
}

/// `name=value`.
pub(super) fn parse_parameter(text: &str) -> Result<(String, String), Wrong> {
    let parameter = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let Some((name, value)) = parameter else {
        return Err(Wrong::new("expected `name=value`").hint("for example `use_cache=false`"));
    };
    if text.contains(|other: char| matches!(other, '&' | '?' | '#' | ' ') || other.is_control()) {
        return Err(Wrong::new("expected one parameter, as it stands in a URL"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// A token (RFC 6265 §4.1.1).
pub(super) fn parse_cookie_name(text: &str) -> Result<String, Wrong> {
    let is_token = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    if is_token {
        Ok(text.to_owned())
    } else {
        Err(Wrong::new("this is no name of a cookie"))
    }
}

/// A method that may change something (not safe, RFC 9110 §9.2.1).
pub(super) fn parse_method(text: &str) -> Result<Method, Wrong> {
    let method: Method = text.parse().map_err(|_| Wrong::new("this is no method"))?;
    if is_safe(&method) {
        return Err(
            Wrong::new(format!("{method} changes nothing and invalidates nothing"))
                .hint("the methods of a rule are those that write: POST, PUT, PATCH, DELETE"),
        );
    }
    let upper = text.to_ascii_uppercase();
    if upper != text {
        return Err(Wrong::new("methods are written in capitals")
            .hint(format!("did you mean `\"{upper}\"`?")));
    }
    Ok(method)
}

pub(super) fn parse_tag(text: &str) -> Result<Box<str>, Wrong> {
    let is_tag = !text.is_empty()
        && !text
            .contains(|other: char| other.is_control() || other.is_whitespace() || other == ',');
    if !is_tag || text.len() > TAG_BYTES_MAX {
        return Err(Wrong::new(format!(
            "a tag has 1 to {TAG_BYTES_MAX} bytes, no spaces and no commas"
        )));
    }
    Ok(text.into())
}

/// A pattern of what becomes invalid; its names come from the rule's path.
pub(super) struct Purge {
    /// What the path captures; `None` where it could not be read.
    pub(super) names: Option<Vec<String>>,
}

impl Kind for Purge {
    type Value = Pattern;

    fn expects(&self) -> String {
        "a pattern of paths".to_owned()
    }

    fn read(&self, given: &Given<'_>) -> Option<Pattern> {
        let text = given.text(&self.expects())?;
        let pattern = match parse_pattern(&text) {
            Ok(pattern) => pattern,
            Err(wrong) => return given.problem(&wrong.message, wrong.hint),
        };
        let Some(known) = &self.names else {
            return Some(pattern);
        };
        let unknown = pattern
            .names()
            .find(|name| known.iter().all(|known| known != name));
        match unknown {
            None => Some(pattern),
            Some(name) => {
                let hint = match closest(name, known.iter().map(String::as_str)) {
                    Some(known) => format!("did you mean `{{{known}}}`?"),
                    None => "write `*` for any one segment".to_owned(),
                };
                given.problem(&format!("`path` has no `{{{name}}}`"), Some(hint))
            }
        }
    }

    fn write(&self, value: &Pattern) -> String {
        format!("\"{value}\"")
    }
}

/// `query` of `[routes.key]`.
pub(super) struct Queries;

impl Queries {
    fn names() -> List<Parsed<String>> {
        List(Parsed {
            expects: "the name of a query parameter, which may end in `*`",
            parse: parse_query_name,
            write: String::clone,
        })
    }
}

fn parse_query_name(text: &str) -> Result<String, Wrong> {
    if text.is_empty() {
        return Err(Wrong::new("the name of a parameter is empty"));
    }
    if text.strip_suffix('*').unwrap_or(text).contains('*') {
        return Err(Wrong::new("`*` can only stand at the end of a name"));
    }
    if text.contains(|other: char| matches!(other, '&' | '=' | '?' | '#') || other.is_control()) {
        return Err(Wrong::new("expected a name alone, without value"));
    }
    Ok(text.to_owned())
}

impl Kind for Queries {
    type Value = QueryKey;

    fn expects(&self) -> String {
        "`\"all\"`, `\"none\"`, `{ only = […] }` or `{ except = […] }`".to_owned()
    }

    fn read(&self, given: &Given<'_>) -> Option<QueryKey> {
        let expects = self.expects();
        let DeValue::Table(entries) = given.value else {
            return match &*given.text(&expects)? {
                "all" => Some(QueryKey::All),
                "none" => Some(QueryKey::None),
                _ => given.problem(&format!("expected {expects}"), None),
            };
        };
        let mut entries = entries.iter();
        let (Some((form, names)), None) = (entries.next(), entries.next()) else {
            return given.problem(&format!("expected {expects}, and one of them only"), None);
        };
        let is_only = match &**form.get_ref() {
            "only" => true,
            "except" => false,
            other => {
                let hint = closest(other, ["only", "except"])
                    .map(|known| format!("did you mean `{known}`?"));
                return given.problem(&format!("expected {expects}"), hint);
            }
        };
        let given_names = given.item(names);
        let names = Self::names().read(&given_names)?;
        if names.is_empty() {
            let instead = if is_only { "none" } else { "all" };
            return given_names
                .problem("the list is empty", Some(format!("write `\"{instead}\"`")));
        }
        Some(if is_only {
            QueryKey::Only(names)
        } else {
            QueryKey::Except(names)
        })
    }

    fn write(&self, value: &QueryKey) -> String {
        match value {
            QueryKey::All => "\"all\"".to_owned(),
            QueryKey::None => "\"none\"".to_owned(),
            QueryKey::Only(names) => format!("{{ only = {} }}", Self::names().write(names)),
            QueryKey::Except(names) => format!("{{ except = {} }}", Self::names().write(names)),
        }
    }
}
