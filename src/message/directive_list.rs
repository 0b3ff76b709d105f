//! Lists of directives, as `Cache-Control` and its kin have them (RFC 9111 §5.2),
//! taken apart.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};

use crate::rule::{self, Rule};

/// One member of a list of directives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Directive<'a> {
    /// `name` or `name=value`; the name is in lower case, the value without
    /// quotes.
    Plain {
        /// In lower case.
        name: &'a str,
        /// Without quotes.
        value: Option<&'a str>,
    },
    /// `private="fields"` or `no-cache="fields"`.
    Qualified {
        /// In lower case.
        name: &'a str,
        /// What stands between the quotes.
        fields: &'a str,
    },
    /// It does not follow the grammar (RFC 9111 §5.2).
    Garbled(&'a str),
}

/// Calls `take` with every directive of every line. A comma within a quoted
/// string ends none; a quote that is never closed takes in the rest of its line.
pub(super) fn for_each(
    fields: &HeaderMap,
    field: &HeaderName,
    mut take: impl FnMut(Directive<'_>),
) {
    for line in fields.get_all(field) {
        let line = String::from_utf8_lossy(line.as_bytes());
        if line.contains('"') {
            for part in split_outside_quotes(&line) {
                take_part(&part, &mut take);
            }
        } else {
            for part in line.split(',') {
                take_part(part, &mut take);
            }
        }
    }
}

fn take_part(part: &str, take: &mut impl FnMut(Directive<'_>)) {
    let part = part.trim();
    if part.is_empty() {
        return;
    }
    let (name, value) = match part.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (part, None),
    };
    if rule::holds(Rule::UnreadableDirectives) && !is_readable(name, value) {
        return take(Directive::Garbled(part));
    }
    let name = in_lower_case(name.trim_end());
    let is_quoted = value.is_some_and(|value| value.starts_with('"'));
    let value = value.map(unquote);
    let names_fields = matches!(&*name, "private" | "no-cache");
    take(match &value {
        Some(fields) if names_fields && is_quoted => Directive::Qualified {
            name: &name,
            fields,
        },
        // Of fields, not of a number or a truth: `private=1` is `private`.
        Some(_) if names_fields => Directive::Plain {
            name: &name,
            value: None,
        },
        value => Directive::Plain {
            name: &name,
            value: value.as_deref(),
        },
    });
}

fn in_lower_case(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// Whether a directive follows the grammar: a name, and a token or a quoted
/// string after `=`, without white space. Names are of letters, digits, `-` and
/// `_`: a token may hold more, and no directive does.
fn is_readable(name: &str, value: Option<&str>) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let is_name = !name.is_empty() && name.bytes().all(is_of_name);
    is_name
        && value.is_none_or(|value| match value.strip_prefix('"') {
            Some(rest) => is_rest_of_quoted(rest),
            None => value.bytes().all(is_token_byte),
        })
}

/// Whether what follows an opening quote ends with the one that closes it.
fn is_rest_of_quoted(rest: &str) -> bool {
    let mut characters = rest.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => return characters.as_str().is_empty(),
            '\\' => {
                characters.next();
            }
            _ => {}
        }
    }
    false
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn split_outside_quotes(line: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut is_quoted = false;
    let mut is_escaped = false;
    for character in line.chars() {
        match character {
            ',' if !is_quoted => {
                parts.push(String::new());
                continue;
            }
            '"' if !is_escaped => is_quoted = !is_quoted,
            _ => {}
        }
        is_escaped = is_quoted && !is_escaped && character == '\\';
        if let Some(part) = parts.last_mut() {
            part.push(character);
        }
    }
    parts
}

fn unquote(value: &str) -> Cow<'_, str> {
    let Some(inner) = value
        .strip_prefix('"')
        .map(|rest| rest.strip_suffix('"').unwrap_or(rest))
    else {
        return Cow::Borrowed(value);
    };
    let mut characters = inner.chars();
    let mut text = String::with_capacity(inner.len());
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.extend(characters.next()),
            other => text.push(other),
        }
    }
    Cow::Owned(text)
}
