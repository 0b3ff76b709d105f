//! What values of options look like: quantities, choices, lists, and text
//! that something else knows how to read.

use std::time::Duration;

use toml::de::DeValue;

use super::Secret;
use super::given::{Given, Kind};
use super::reader::closest;
use super::units::{WrittenDuration, WrittenSize, parse_duration, parse_size};

/// Elements of one list; no option has use for more.
pub(super) const LIST_MAX: usize = 1_000;

/// What is wrong with a text. Quotes nothing of it: it may be a secret.
pub(super) struct Wrong {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Wrong {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A duration between two others, both included.
pub(super) struct Durations {
    pub(super) min: Duration,
    pub(super) max: Duration,
}

impl Kind for Durations {
    type Value = Duration;

    fn expects(&self) -> String {
        format!(
            "a duration from `\"{}\"` to `\"{}\"`",
            WrittenDuration(self.min),
            WrittenDuration(self.max)
        )
    }

    fn read(&self, given: &Given<'_>) -> Option<Duration> {
        let is_taken = |text: &str| {
            parse_duration(text).is_ok_and(|duration| (self.min..=self.max).contains(&duration))
        };
        let text = quantity(
            given,
            &self.expects(),
            &["s", "ms", "m", "h", "d"],
            is_taken,
        )?;
        match parse_duration(&text) {
            Ok(duration) if (self.min..=self.max).contains(&duration) => Some(duration),
            Ok(_) => given.problem(&format!("expected {}", self.expects()), None),
            Err(error) => given.problem(
                &format!("expected {}", self.expects()),
                Some(error.to_string()),
            ),
        }
    }

    fn write(&self, value: &Duration) -> String {
        format!("\"{}\"", WrittenDuration(*value))
    }
}

/// A size in bytes between two others, both included.
pub(super) struct Sizes {
    pub(super) min: u64,
    pub(super) max: u64,
}

impl Kind for Sizes {
    type Value = u64;

    fn expects(&self) -> String {
        format!(
            "a size from `\"{}\"` to `\"{}\"`",
            WrittenSize(self.min),
            WrittenSize(self.max)
        )
    }

    fn read(&self, given: &Given<'_>) -> Option<u64> {
        let is_taken =
            |text: &str| parse_size(text).is_ok_and(|size| (self.min..=self.max).contains(&size));
        let units = ["B", "KiB", "MiB", "GiB", "TiB"];
        let text = quantity(given, &self.expects(), &units, is_taken)?;
        match parse_size(&text) {
            Ok(size) if (self.min..=self.max).contains(&size) => Some(size),
            Ok(_) => given.problem(&format!("expected {}", self.expects()), None),
            Err(error) => given.problem(
                &format!("expected {}", self.expects()),
                Some(error.to_string()),
            ),
        }
    }

    fn write(&self, value: &u64) -> String {
        format!("\"{}\"", WrittenSize(*value))
    }
}

/// The text of a quantity. A bare `0` needs no unit; any other bare number
/// could mean anything: the hint has the first of the `units` with which it
/// would be taken.
fn quantity(
    given: &Given<'_>,
    expects: &str,
    units: &[&str],
    is_taken: impl Fn(&str) -> bool,
) -> Option<String> {
    let DeValue::Integer(integer) = given.value else {
        return given.text(expects);
    };
    let digits = integer.as_str();
    if digits == "0" {
        return Some("0".to_owned());
    }
    let hint = units
        .iter()
        .map(|unit| format!("{digits}{unit}"))
        .find(|text| is_taken(text))
        .map(|text| format!("write for example `\"{text}\"`"));
    given.problem(
        &format!("expected {expects}, found a number without a unit"),
        hint,
    )
}

/// A whole number between two others, both included.
pub(super) struct Whole {
    pub(super) min: u64,
    pub(super) max: u64,
}

impl Kind for Whole {
    type Value = u64;

    fn expects(&self) -> String {
        format!("a whole number from {} to {}", self.min, self.max)
    }

    fn read(&self, given: &Given<'_>) -> Option<u64> {
        let DeValue::Integer(integer) = given.value else {
            return given.wrong_type(&self.expects());
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix());
        match number {
            Ok(number) if (self.min..=self.max).contains(&number) => Some(number),
            _ => given.problem(&format!("expected {}", self.expects()), None),
        }
    }

    fn write(&self, value: &u64) -> String {
        value.to_string()
    }
}

/// `true` or `false`.
pub(super) struct Flag;

impl Kind for Flag {
    type Value = bool;

    fn expects(&self) -> String {
        "`true` or `false`".to_owned()
    }

    fn read(&self, given: &Given<'_>) -> Option<bool> {
        match given.value {
            DeValue::Boolean(value) => Some(*value),
            _ => given.wrong_type(&self.expects()),
        }
    }

    fn write(&self, value: &bool) -> String {
        value.to_string()
    }
}

/// One of a few words.
pub(super) struct Choice<T: 'static>(pub(super) &'static [(&'static str, T)]);

impl<T: Copy + PartialEq> Kind for Choice<T> {
    type Value = T;

    fn expects(&self) -> String {
        let words: Vec<String> = self
            .0
            .iter()
            .map(|(word, _)| format!("`\"{word}\"`"))
            .collect();
        words.join(" or ")
    }

    fn read(&self, given: &Given<'_>) -> Option<T> {
        let text = given.text(&self.expects())?;
        match self.0.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Some(*value),
            None => given.problem(
                &format!("expected {}", self.expects()),
                closest(&text, self.0.iter().map(|(word, _)| *word))
                    .map(|word| format!("did you mean `\"{word}\"`?")),
            ),
        }
    }

    fn write(&self, value: &T) -> String {
        self.0
            .iter()
            .find(|(_, known)| known == value)
            .map_or_else(String::new, |(word, _)| format!("\"{word}\""))
    }
}

/// Text that a function reads.
pub(super) struct Parsed<T> {
    pub(super) expects: &'static str,
    pub(super) parse: fn(&str) -> Result<T, Wrong>,
    /// The text that `parse` reads as the same value.
    pub(super) write: fn(&T) -> String,
}

impl<T> Kind for Parsed<T> {
    type Value = T;

    fn expects(&self) -> String {
        self.expects.to_owned()
    }

    fn read(&self, given: &Given<'_>) -> Option<T> {
        let text = given.text(self.expects)?;
        match (self.parse)(&text) {
            Ok(value) => Some(value),
            Err(wrong) => given.problem(&wrong.message, wrong.hint),
        }
    }

    fn write(&self, value: &T) -> String {
        format!("\"{}\"", (self.write)(value))
    }
}

/// Text that holds a secret, and is not shown where it might.
pub(super) struct Secrets {
    pub(super) expects: &'static str,
    /// Whether the value as written may be shown.
    pub(super) is_harmless: fn(&str) -> bool,
    pub(super) check: fn(&str) -> Result<(), Wrong>,
}

impl Kind for Secrets {
    type Value = Secret;

    fn expects(&self) -> String {
        self.expects.to_owned()
    }

    fn read(&self, given: &Given<'_>) -> Option<Secret> {
        let written = given.context.text.get(given.span.clone());
        if !written.is_some_and(self.is_harmless) {
            given.context.hidden.borrow_mut().push(given.span.clone());
        }
        let text = given.text(self.expects)?;
        match (self.check)(&text) {
            Ok(()) => Some(Secret::new(text)),
            Err(wrong) => given.problem(&wrong.message, wrong.hint),
        }
    }

    fn write(&self, _: &Secret) -> String {
        "\"\"".to_owned()
    }
}

/// A list, each element of one kind.
pub(super) struct List<K>(pub(super) K);

impl<K: Kind> Kind for List<K> {
    type Value = Vec<K::Value>;

    fn expects(&self) -> String {
        format!("a list, each element {}", self.0.expects())
    }

    fn read(&self, given: &Given<'_>) -> Option<Self::Value> {
        let DeValue::Array(items) = given.value else {
            let hint = matches!(given.value, DeValue::String(_))
                .then(|| "put it between `[` and `]`".to_owned());
            return given.problem(&format!("expected {}", self.expects()), hint);
        };
        if items.len() > LIST_MAX {
            return given.problem(&format!("more than {LIST_MAX} elements"), None);
        }
        // Every element is read, so that every bad one is reported.
        let read: Vec<_> = items
            .iter()
            .map(|item| self.0.read(&given.item(item)))
            .collect();
        read.into_iter().collect()
    }

    fn write(&self, value: &Self::Value) -> String {
        let items: Vec<String> = value.iter().map(|item| self.0.write(item)).collect();
        format!("[{}]", items.join(", "))
    }
}

/// One value, or a list of at least one.
pub(super) struct OneOrMore<K>(pub(super) K);

impl<K: Kind> Kind for OneOrMore<K> {
    type Value = Vec<K::Value>;

    fn expects(&self) -> String {
        format!("{}, or a list of them", self.0.expects())
    }

    fn read(&self, given: &Given<'_>) -> Option<Self::Value> {
        let DeValue::Array(items) = given.value else {
            return self.0.read(given).map(|value| vec![value]);
        };
        if items.is_empty() {
            return given.problem("the list is empty", Some("name at least one".to_owned()));
        }
        List(Borrowed(&self.0)).read(given)
    }

    fn write(&self, value: &Self::Value) -> String {
        match &**value {
            [one] => self.0.write(one),
            _ => List(Borrowed(&self.0)).write(value),
        }
    }
}

struct Borrowed<'k, K>(&'k K);

impl<K: Kind> Kind for Borrowed<'_, K> {
    type Value = K::Value;

    fn expects(&self) -> String {
        self.0.expects()
    }

    fn read(&self, given: &Given<'_>) -> Option<Self::Value> {
        self.0.read(given)
    }

    fn write(&self, value: &Self::Value) -> String {
        self.0.write(value)
    }
}
