//! The query of a request, as a cache key and the origin get it.
//!
//! Names of parameters are compared decoded and trimmed, as applications read
//! them: `p%61ge`, `%20page` and `page[]` may all be `page` to one. A name that
//! may be another in some application's eyes counts as both: a key that tells
//! too much apart costs a fetch, one that tells too little shows one visitor
//! the page of another.

use std::borrow::Cow;

use super::policy::{KeySpec, QueryKey};
use crate::percent::decode;
use crate::rule::{self, Rule};

/// Past so many parameters all of them count: fewer than any framework reads.
const PARAMETERS_MAX: usize = 200;

/// The query as it stands in the key: the parameters that count, sorted by
/// name; those of one name keep their order, which may mean something.
#[must_use]
pub fn query_in_key<'a>(spec: &KeySpec, query: Option<&'a str>) -> Cow<'a, str> {
    let Some(query) = query.filter(|query| !query.is_empty()) else {
        return Cow::Borrowed("");
    };
    let takes_all = spec.query == QueryKey::All && spec.bypass_query.is_none();
    if takes_all && !query.contains('&') {
        return Cow::Borrowed(query);
    }
    // Applications read so many parameters and no more: which ones they leave
    // out depends on all that stand before.
    let has_many = memchr::memchr_iter(b'&', query.as_bytes()).count() >= PARAMETERS_MAX;
    let mut parameters: Vec<&str> = query
        .split('&')
        .filter(|parameter| {
            let is_bypass = is_named_bypass(spec, parameter);
            !parameter.is_empty() && !is_bypass && (has_many || counts(spec, parameter))
        })
        .collect();
    if !rule::holds(Rule::QueryNames) {
        parameters.sort_by(|one, other| raw_name(one).cmp(raw_name(other)));
    } else if !query.contains(';') {
        // Where `;` may part them as well, which is which is not known.
        parameters.sort_by_cached_key(|parameter| loose_name(raw_name(parameter)));
    }
    Cow::Owned(parameters.join("&"))
}

/// Whether a request carries the parameter and value of `bypass_query`.
#[must_use]
pub fn asks_for_bypass(spec: &KeySpec, query: Option<&str>) -> bool {
    let (Some(bypass), Some(query)) = (&spec.bypass_query, query) else {
        return false;
    };
    query
        .split('&')
        .any(|parameter| is_bypass(bypass, parameter))
}

/// The query to forward: without the `bypass_query` parameter, whatever its
/// value, else as it came.
#[must_use]
pub fn query_to_forward<'a>(spec: &KeySpec, query: &'a str) -> Cow<'a, str> {
    let Some((name, _)) = &spec.bypass_query else {
        return Cow::Borrowed(query);
    };
    if !query
        .split('&')
        .any(|parameter| parameter_name(parameter) == *name)
    {
        return Cow::Borrowed(query);
    }
    let kept: Vec<&str> = query
        .split('&')
        .filter(|parameter| parameter_name(parameter) != *name)
        .collect();
    Cow::Owned(kept.join("&"))
}

/// Whether it is the parameter of `bypass_query`, which is never forwarded.
fn is_named_bypass(spec: &KeySpec, parameter: &str) -> bool {
    let bypass = spec.bypass_query.as_ref();
    bypass.is_some_and(|(name, _)| parameter_name(parameter) == *name)
}

fn counts(spec: &KeySpec, parameter: &str) -> bool {
    let name = parameter_name(parameter);
    // Some applications read `;` as `&`: what may hide another parameter counts.
    if parameter.contains(';') {
        return true;
    }
    // What a name with anything odd in it is to an application, only that knows.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if rule::holds(Rule::QueryNames) && spec.query != QueryKey::None && !name.bytes().all(is_plain)
    {
        return true;
    }
    match &spec.query {
        QueryKey::All => true,
        QueryKey::None => false,
        QueryKey::Only(names) => {
            let loose = loose_name(&name);
            names
                .iter()
                .any(|pattern| names_it(pattern, &name) || names_loosely(pattern, &loose))
        }
        QueryKey::Except(names) => !names.iter().any(|pattern| names_it(pattern, &name)),
    }
}

fn is_bypass((name, value): &(String, String), parameter: &str) -> bool {
    let given = parameter.split_once('=').map_or("", |(_, given)| given);
    parameter_name(parameter) == *name && is_same_value(&decode(given), value)
}

/// Whether two values mean the same: as booleans where they are written as
/// clients write those.
fn is_same_value(given: &str, value: &str) -> bool {
    let truth = |text: &str| match text.trim().to_ascii_lowercase().as_str() {
        "0" | "no" | "off" | "false" => Some(false),
        "1" | "yes" | "on" | "true" => Some(true),
        _ => None,
    };
    given == value || truth(value).is_some_and(|value| truth(given) == Some(value))
}

/// A decoded name as loosely as any application may read it: without blanks
/// around it, without what `[` begins, `.` and blanks as `_`, in lower case.
/// Two names that an application may take for one give the same.
pub(super) fn loose_name(name: &str) -> String {
    let decoded = if name.contains(['%', '+']) {
        Cow::Owned(decode(&name.replace('+', " ")))
    } else {
        Cow::Borrowed(name)
    };
    let is_blank = |character: char| character.is_whitespace() || character.is_control();
    let trimmed = decoded.trim_matches(is_blank);
    let end = trimmed
        .char_indices()
        .skip(1)
        .find(|(_, character)| *character == '[')
        .map_or(trimmed.len(), |(at, _)| at);
    trimmed[..end]
        .trim_end_matches(is_blank)
        .chars()
        .map(|character| match character {
            '.' | ' ' | '[' => '_',
            other => other.to_ascii_lowercase(),
        })
        .collect()
}

/// Whether a pattern may name what an application reads from a loose name.
fn names_loosely(pattern: &str, loose: &str) -> bool {
    rule::holds(Rule::QueryNames)
        && match pattern.strip_suffix('*') {
            Some(prefix) => loose.starts_with(&loose_name(prefix)),
            None => loose == loose_name(pattern),
        }
}

fn names_it(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    }
}

fn raw_name(parameter: &str) -> &str {
    parameter
        .split_once('=')
        .map_or(parameter, |(name, _)| name)
}

/// The decoded name: an application decodes it as well, so `p%61ge` must not
/// slip past a rule for `page`.
fn parameter_name(parameter: &str) -> Cow<'_, str> {
    let name = raw_name(parameter);
    if name.contains(['%', '+']) {
        Cow::Owned(decode(&name.replace('+', " ")))
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boolean_bypass_is_read_as_clients_write_booleans() {
        let spec = KeySpec {
            bypass_query: Some(("use_cache".into(), "false".into())),
            ..KeySpec::default()
        };
        for query in [
            "use_cache=0",
            "use_cache=No",
            "use_cache=OFF",
            "use_cache=False",
        ] {
            assert!(asks_for_bypass(&spec, Some(query)), "{query}");
        }
        assert!(!asks_for_bypass(&spec, Some("use_cache=1")));
    }
}
