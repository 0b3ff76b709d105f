//! A value of the file on its way to its type.

use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use super::reader::Context;

/// What values of an option look like.
pub(super) trait Kind {
    /// What it is read as.
    type Value;
    /// "a duration from …", for messages and for the reference.
    fn expects(&self) -> String;
    /// Reads it; reports problems to `given` where that fails.
    fn read(&self, given: &Given<'_>) -> Option<Self::Value>;
    /// Writes it as TOML, for the reference.
    fn write(&self, value: &Self::Value) -> String;
}

/// A value of the file on its way to a [`Kind`].
pub(super) struct Given<'a> {
    pub(super) context: &'a Context<'a>,
    /// The option's full name, for messages.
    pub(super) key: &'a str,
    pub(super) span: Range<usize>,
    pub(super) value: &'a DeValue<'a>,
}

impl Given<'_> {
    /// Says what is wrong; always `None`, the value that was not read.
    pub(super) fn problem<T>(&self, message: &str, hint: Option<String>) -> Option<T> {
        let message = format!("`{}`: {message}", self.key);
        self.context.problem(Some(self.span.clone()), message, hint);
        None
    }

    /// Says that another type was expected.
    pub(super) fn wrong_type<T>(&self, expects: &str) -> Option<T> {
        let found = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.problem(&format!("expected {expects}, found {found}"), None)
    }

    /// The string with `${NAME}` replaced; `None` where it is none, or where a
    /// variable is missing, each of which is reported.
    pub(super) fn text(&self, expects: &str) -> Option<String> {
        match self.value {
            DeValue::String(written) => self.expand(written),
            _ => self.wrong_type(expects),
        }
    }

    /// Replaces `${NAME}` by the environment's value and `$${` by `${`.
    fn expand(&self, written: &str) -> Option<String> {
        let mut expanded = String::with_capacity(written.len());
        let mut is_whole = true;
        let mut rest = written;
        while let Some(at) = rest.find("${") {
            let (before, from) = rest.split_at(at);
            if let Some(before) = before.strip_suffix('$') {
                expanded.push_str(before);
                expanded.push_str("${");
                rest = &from[2..];
                continue;
            }
            expanded.push_str(before);
            let Some((name, after)) = from[2..].split_once('}') else {
                return self.problem(
                    "`${` is never closed",
                    Some("write `${NAME}`, or `$${` for the characters themselves".into()),
                );
            };
            rest = after;
            let is_name = !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !is_name {
                return self.problem(
                    "the name between `${` and `}` is made of letters, digits and `_`",
                    None,
                );
            }
            match (self.context.environment)(name) {
                Some(value) => expanded.push_str(&value),
                None => {
                    self.missing_variable(name);
                    is_whole = false;
                }
            }
        }
        expanded.push_str(rest);
        is_whole.then_some(expanded)
    }

    fn missing_variable(&self, name: &str) {
        let written = format!("${{{name}}}");
        let text = self.context.text;
        let span = text
            .get(self.span.clone())
            .and_then(|value| value.find(&written))
            .map_or(self.span.clone(), |at| {
                let start = self.span.start + at;
                start..start + written.len()
            });
        self.context.problem(
            Some(span),
            format!("`{}`: the environment has no variable `{name}`", self.key),
            Some(format!("set `{name}` before starting, or write the value")),
        );
    }

    /// The value within a list.
    pub(super) fn item<'s>(&'s self, item: &'s Spanned<DeValue<'s>>) -> Given<'s> {
        Given {
            context: self.context,
            key: self.key,
            span: item.span(),
            value: item.get_ref(),
        }
    }
}
