//! Hides credentials in the text of a configuration file before any of it is
//! shown.
//!
//! Promises: byte offsets stay, so that a span of the original is a span of
//! the masked text. `${NAME}` stays readable: it is no secret, its value is.
//! Works on characters and not on parsed TOML, because the lines that need
//! showing most are those that do not parse. Errs on the side of hiding.

use std::ops::Range;

/// Words that make a key one that holds a secret.
const SECRET_WORDS: [&str; 8] = [
    "token",
    "secret",
    "passw",
    "passphrase",
    "pwd",
    "credential",
    "bearer",
    "apikey",
];

/// How far a misspelt `token` may be from it.
const MISSPELT_BY_MAX: usize = 2;

/// The text with every credential replaced by `*`, byte for byte.
pub(super) fn mask(text: &str, also: &[Range<usize>]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for range in secret_values(text) {
        hide(&mut bytes, range);
    }
    for range in url_credentials(text) {
        hide(&mut bytes, range);
    }
    for range in also {
        hide(&mut bytes, range.clone());
    }
    // Hiding replaces whole characters only, so this is what it was: UTF-8.
    String::from_utf8(bytes).unwrap_or_else(|_| "*".repeat(text.len()))
}

/// Whether a key of this name holds a secret, also where it is misspelt.
pub(super) fn is_secret_key(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let plain: String = name
        .chars()
        .filter(|character| !matches!(character, '_' | '-'))
        .collect();
    SECRET_WORDS.iter().any(|word| plain.contains(word))
        || strsim::damerau_levenshtein(&plain, "token") <= MISSPELT_BY_MAX
}

/// Replaces what can be seen of a range, quotes and `${NAME}` left alone.
fn hide(bytes: &mut [u8], range: Range<usize>) {
    let Some(bytes) = bytes.get_mut(range) else {
        return;
    };
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"${")
            && let Some(length) = variable_length(&bytes[at..])
        {
            at += length;
            continue;
        }
        if !matches!(bytes[at], b'"' | b'\'' | b'\n' | b'\r' | b' ' | b'\t') {
            bytes[at] = b'*';
        }
        at += 1;
    }
}

/// The length of the `${NAME}` at the start, if it is one.
fn variable_length(bytes: &[u8]) -> Option<usize> {
    let end = bytes.iter().position(|byte| *byte == b'}')?;
    let is_name = bytes[2..end]
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    is_name.then_some(end + 1)
}

/// What stands behind `token =` and the like, up to the end of the value.
fn secret_values(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (equals, _) in text.match_indices('=') {
        let before = text[..equals].trim_end_matches([' ', '\t', '"', '\'']);
        let key_start = before
            .rfind(|character: char| !(character.is_alphanumeric() || "_-".contains(character)))
            .map_or(0, |at| {
                at + before[at..].chars().next().map_or(1, char::len_utf8)
            });
        let key = &before[key_start..];
        if !key.is_empty() && is_secret_key(key) {
            found.push(equals + 1..value_end(text, equals + 1));
        }
    }
    found
}

/// Where a value ends that starts at `start`: at its closing quote, or with
/// its line where it has none; at the end of the file where it never closes.
fn value_end(text: &str, start: usize) -> usize {
    let rest = &text[start..];
    let value = rest.trim_start_matches([' ', '\t']);
    let value_start = start + rest.len() - value.len();
    for quotes in ["\"\"\"", "'''"] {
        if let Some(inner) = value.strip_prefix(quotes) {
            return inner
                .find(quotes)
                .map_or(text.len(), |at| value_start + quotes.len() + at);
        }
    }
    if value.starts_with(['[', '{']) {
        let close = if value.starts_with('[') { ']' } else { '}' };
        return value.find(close).map_or(text.len(), |at| value_start + at);
    }
    let line_end = value.find('\n').unwrap_or(value.len());
    let line = &value[..line_end];
    let Some(quote) = line
        .chars()
        .next()
        .filter(|first| matches!(first, '"' | '\''))
    else {
        return value_start + line_end;
    };
    let mut is_escaped = false;
    for (at, character) in line.char_indices().skip(1) {
        match character {
            '\\' if quote == '"' => is_escaped = !is_escaped,
            _ if character == quote && !is_escaped => return value_start + at,
            _ => is_escaped = false,
        }
    }
    value_start + line_end
}

/// User name and password of URLs, and the parameters that carry them.
fn url_credentials(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut line_start = 0;
    for line in text.split_inclusive('\n') {
        for (at, _) in line.match_indices('@') {
            // Between the quote and `@`: whatever looks like `user:password`,
            // with or without a scheme before it.
            let string_start = line[..at].rfind(['"', '\'']).map_or(0, |quote| quote + 1);
            let before = &line[string_start..at];
            let start = before.find("//").map_or(0, |slashes| slashes + 2);
            let is_url = before.contains("//") || before.contains(':');
            if is_url {
                found.push(line_start + string_start + start..line_start + at);
            }
        }
        let lower = line.to_ascii_lowercase();
        for parameter in ["pass=", "user=", "pass%3d"] {
            for (at, _) in lower.match_indices(parameter) {
                let start = at + parameter.len();
                let is_parameter = lower[..at].ends_with(['?', '&']);
                let end = line[start..]
                    .find(['&', '"', '\'', '\n', '#'])
                    .map_or(line.len(), |end| start + end);
                if is_parameter {
                    found.push(line_start + start..line_start + end);
                }
            }
        }
        line_start += line.len();
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_way_of_writing_a_secret_shows_it() {
        for text in [
            "token = \"hunter2\"",
            "token='hunter2'",
            "\"token\" = \"hunter2\"",
            "tokne = \"hunter2\"",
            "admin.token = \"hunter2",
            "admin = { token = \"hunter2\", listen = \"off\" }",
            "token = \"\"\"\nhunter2\n\"\"\"",
            "token = [\n\"hunter2\",\n\"hunter2\"]",
            "token = \"a\\\"hunter2\"",
            "token = hunter2",
            "api_key = \"hunter2\"",
            "url = \"redis://:hunter2@h\"",
            "url = \"redis://u:a@hunter2@h\"",
            "url = \"redis:hunter2@h\"",
            "url = \"redis+unix:///s?user=x&pass=hunter2\"",
            "listen = 3 # token = \"hunter2\"",
        ] {
            let masked = mask(text, &[]);
            assert!(!masked.contains("hunter2"), "{text}: {masked}");
            assert_eq!(masked.len(), text.len(), "{text}");
        }
    }

    #[test]
    fn what_is_no_secret_stays_readable() {
        for text in [
            "token = \"${PANNIER_ADMIN_TOKEN}\"",
            "url = \"redis://127.0.0.1:6379\"",
            "path = \"/@me/x\"",
            "listen = \"127.0.0.1:8080\"",
        ] {
            assert_eq!(mask(text, &[]), text);
        }
    }

    proptest! {
        #[test]
        fn any_text_keeps_its_length_and_lines(text: String) {
            let masked = mask(&text, &[]);
            prop_assert_eq!(masked.len(), text.len());
            prop_assert_eq!(masked.matches('\n').count(), text.matches('\n').count());
        }
    }
}
