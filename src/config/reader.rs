//! Reads a TOML document key by key and collects every problem on the way.
//!
//! An option is described where it is read: its name, its default, what it
//! takes and what it is for are one call of [`Table::option`] or one of its
//! sisters. The reference is made by reading an empty document and noting
//! those calls, so that what is documented is what is read.
//!
//! Reading never stops: a value that cannot be used is a problem and the
//! default takes its place, so that the rest is still looked at.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::OnceLock;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::given::{Given, Kind};
use super::problem::{Place, Problem};
use super::reference::{Catalogue, DefaultValue, OptionEntry, SectionEntry, SectionForm};

/// What one reading shares: the text, the environment, what was found.
pub(super) struct Context<'a> {
    pub(super) text: &'a str,
    pub(super) environment: &'a dyn Fn(&str) -> Option<String>,
    /// Part of the file could not be parsed: what is missing may stand there.
    pub(super) is_partial: bool,
    pub(super) problems: RefCell<Vec<Problem>>,
    /// Spans that must not be shown.
    pub(super) hidden: RefCell<Vec<Range<usize>>>,
    /// Where the calls are noted, in place of reading.
    pub(super) catalogue: Option<RefCell<Catalogue>>,
}

impl<'a> Context<'a> {
    pub(super) fn new(text: &'a str, environment: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            text,
            environment,
            is_partial: false,
            problems: RefCell::default(),
            hidden: RefCell::default(),
            catalogue: None,
        }
    }

    pub(super) fn problem(
        &self,
        span: Option<Range<usize>>,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.problems.borrow_mut().push(Problem {
            place: span.map(|span| Place::of(self.text, span)),
            message: message.into(),
            hint,
        });
    }
}

/// A table of the file while it is read.
pub(super) struct Table<'a> {
    pub(super) context: &'a Context<'a>,
    /// `""` for the file itself.
    section: &'static str,
    entries: Option<&'a DeTable<'a>>,
    span: Option<Range<usize>>,
    known: Vec<&'static str>,
}

impl<'a> Table<'a> {
    /// The file itself.
    pub(super) fn root(context: &'a Context<'a>, entries: &'a DeTable<'a>) -> Self {
        Self {
            context,
            section: "",
            entries: Some(entries),
            span: None,
            known: Vec::new(),
        }
    }

    /// An option with a default.
    pub(super) fn option<K: Kind>(
        &mut self,
        name: &'static str,
        default: K::Value,
        kind: K,
        docs: &'static str,
    ) -> K::Value {
        self.note(name, docs, &kind, || {
            DefaultValue::Written(kind.write(&default))
        });
        self.read(name, &kind).unwrap_or(default)
    }

    /// An option that may be left out and then means nothing.
    pub(super) fn optional<K: Kind>(
        &mut self,
        name: &'static str,
        example: &'static str,
        kind: K,
        docs: &'static str,
    ) -> Option<K::Value> {
        self.note(name, docs, &kind, || DefaultValue::Unset { example });
        self.read(name, &kind)
    }

    /// An option that must be there.
    pub(super) fn required<K: Kind>(
        &mut self,
        name: &'static str,
        example: &'static str,
        kind: K,
        docs: &'static str,
    ) -> Option<K::Value> {
        self.note(name, docs, &kind, || DefaultValue::Required { example });
        if self.given(name).is_none() && !self.context.is_partial {
            let full_name = self.full_name(name);
            self.context.problem(
                self.span.clone(),
                format!("`{full_name}` is missing"),
                Some(format!("add `{name} = {example}`")),
            );
        }
        self.read(name, &kind)
    }

    /// A table within, empty where it is left out.
    pub(super) fn table(&mut self, section: &'static str, docs: &'static str) -> Table<'a> {
        self.subtable(section, SectionForm::Table, docs)
            .unwrap_or_else(|| self.child(section, None, self.span.clone()))
    }

    /// A table within whose absence means something.
    pub(super) fn optional_table(
        &mut self,
        section: &'static str,
        docs: &'static str,
    ) -> Option<Table<'a>> {
        self.subtable(section, SectionForm::OptionalTable, docs)
    }

    /// A list of tables within.
    pub(super) fn tables(&mut self, section: &'static str, docs: &'static str) -> Vec<Table<'a>> {
        self.note_section(section, SectionForm::List, docs);
        let name = section.rsplit('.').next().unwrap_or(section);
        self.known.push(name);
        if self.context.catalogue.is_some() {
            return vec![self.child(section, None, None)];
        }
        let Some((span, value)) = self.given(name) else {
            return Vec::new();
        };
        let DeValue::Array(items) = value else {
            self.context.problem(
                Some(span),
                format!("`{section}`: expected a list of tables"),
                Some(format!("write `[[{section}]]` with two brackets")),
            );
            return Vec::new();
        };
        let mut tables = Vec::with_capacity(items.len());
        for item in items.iter() {
            match item.get_ref() {
                DeValue::Table(entries) => {
                    tables.push(self.child(section, Some(entries), Some(item.span())));
                }
                _ => self.context.problem(
                    Some(item.span()),
                    format!("`{section}`: expected a table"),
                    Some(format!("write `[[{section}]]` and its keys below")),
                ),
            }
        }
        tables
    }

    fn subtable(
        &mut self,
        section: &'static str,
        form: SectionForm,
        docs: &'static str,
    ) -> Option<Table<'a>> {
        self.note_section(section, form, docs);
        let name = section.rsplit('.').next().unwrap_or(section);
        self.known.push(name);
        if self.context.catalogue.is_some() {
            return Some(self.child(section, None, None));
        }
        let (span, value) = self.given(name)?;
        match value {
            DeValue::Table(entries) => Some(self.child(section, Some(entries), Some(span))),
            _ => {
                self.context.problem(
                    Some(span),
                    format!("`{section}`: expected a table"),
                    Some(format!("write `[{section}]` and its keys below")),
                );
                None
            }
        }
    }

    fn child(
        &self,
        section: &'static str,
        entries: Option<&'a DeTable<'a>>,
        span: Option<Range<usize>>,
    ) -> Table<'a> {
        Table {
            context: self.context,
            section,
            entries,
            span,
            known: Vec::new(),
        }
    }

    fn read<K: Kind>(&mut self, name: &'static str, kind: &K) -> Option<K::Value> {
        self.known.push(name);
        let (span, value) = self.given(name)?;
        kind.read(&Given {
            context: self.context,
            key: &self.full_name(name),
            span,
            value,
        })
    }

    fn given(&self, name: &str) -> Option<(Range<usize>, &'a DeValue<'a>)> {
        let value = self.entries?.get(name)?;
        Some((value.span(), value.get_ref()))
    }

    fn full_name(&self, name: &str) -> String {
        match self.section {
            "" => name.to_owned(),
            section => format!("{section}.{name}"),
        }
    }

    /// Whether the file has this key.
    pub(super) fn has(&self, name: &str) -> bool {
        self.given(name).is_some()
    }

    /// Whether a list is left out or has no elements.
    pub(super) fn is_empty(&self, name: &str) -> bool {
        self.given(name)
            .is_none_or(|(_, value)| value.as_array().is_some_and(|items| items.is_empty()))
    }

    /// Where the value of a key stands; where the table begins if it is left
    /// out.
    pub(super) fn span_of(&self, name: &str) -> Option<Range<usize>> {
        self.given(name)
            .map(|(span, _)| span)
            .or_else(|| self.span.clone())
    }

    /// Says that a value does not go with another one.
    pub(super) fn problem(&self, name: &str, message: impl Into<String>, hint: Option<String>) {
        self.context.problem(self.span_of(name), message, hint);
    }

    /// Reports the keys nobody asked for.
    pub(super) fn finish(self) {
        for (key, value) in self.entries.into_iter().flatten() {
            let name: &str = key.get_ref();
            if self.known.contains(&name) {
                continue;
            }
            let suggestion = closest(name, self.known.iter().copied());
            if suggestion.is_none_or(super::mask::is_secret_key) {
                // Nobody knows what this is: perhaps a password.
                hide_strings(self.context, value);
            }
            let hint = match suggestion {
                Some(known) => format!("did you mean `{known}`?"),
                None => match elsewhere(name) {
                    Some(section) => format!("`{name}` is a key of {section}"),
                    None => format!("the keys here are {}", self.known.join(", ")),
                },
            };
            self.context.problem(
                Some(key.span()),
                format!("unknown key `{}`", self.full_name(name)),
                Some(hint),
            );
        }
    }

    fn note<K: Kind>(
        &self,
        name: &'static str,
        docs: &'static str,
        kind: &K,
        default: impl FnOnce() -> DefaultValue,
    ) {
        if let Some(catalogue) = &self.context.catalogue {
            catalogue.borrow_mut().options.push(OptionEntry {
                section: self.section,
                name,
                default: default(),
                expects: kind.expects(),
                docs,
            });
        }
    }

    fn note_section(&self, name: &'static str, form: SectionForm, docs: &'static str) {
        if let Some(catalogue) = &self.context.catalogue {
            catalogue
                .borrow_mut()
                .sections
                .push(SectionEntry { name, form, docs });
        }
    }
}

fn hide_strings(context: &Context<'_>, value: &Spanned<DeValue<'_>>) {
    match value.get_ref() {
        DeValue::String(_) => context.hidden.borrow_mut().push(value.span()),
        DeValue::Array(items) => items.iter().for_each(|item| hide_strings(context, item)),
        DeValue::Table(entries) => entries
            .iter()
            .for_each(|(_, value)| hide_strings(context, value)),
        _ => {}
    }
}

/// The known word somebody most likely meant.
pub(super) fn closest<'k>(
    written: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<&'k str> {
    // Distances are quadratic in length; no key is anywhere near this long.
    if written.len() > 64 {
        return None;
    }
    let written = written.to_lowercase();
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&written, word), word))
        .filter(|(distance, word)| *distance <= written.len().max(word.len()).div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// The table in which a key of this name exists.
fn elsewhere(name: &str) -> Option<String> {
    static CATALOGUE: OnceLock<Catalogue> = OnceLock::new();
    CATALOGUE
        .get_or_init(super::reference::catalogue)
        .table_with(name)
}
