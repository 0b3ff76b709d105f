//! What is wrong with a configuration, and how it is shown.
//!
//! Promises: every problem of a file at once, in the order of the file, each
//! with the text it speaks of underlined; no credential in any of it, since
//! the text kept here is masked before it arrives.

use std::fmt;
use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};

/// Problems that are shown in full; further ones are counted.
pub const SHOWN_MAX: usize = 100;

/// Where in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Bytes of the file.
    pub span: Range<usize>,
    /// Line of the first byte, from 1.
    pub line: usize,
    /// Column of the first byte in characters, from 1.
    pub column: usize,
}

impl Place {
    /// The place of a span in a text; bounded to it.
    pub(super) fn of(text: &str, span: Range<usize>) -> Self {
        let start = floor_char_boundary(text, span.start);
        let end = floor_char_boundary(text, span.end).max(start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        Self {
            span: start..end,
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
        }
    }
}

fn floor_char_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where; `None` where it is about the file as a whole.
    pub place: Option<Place>,
    /// What was found and what was expected.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Everything that is wrong with one file; at least one problem.
#[derive(Clone)]
pub struct Problems {
    name: String,
    masked_text: String,
    problems: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(name: &str, masked_text: String, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.place.as_ref().map(|place| place.span.start));
        problems.dedup();
        Self {
            name: name.to_owned(),
            masked_text,
            problems,
        }
    }

    /// A problem of a file whose text is not there to be shown.
    pub(super) fn of_file(name: &str, message: String, hint: &str) -> Self {
        let problem = Problem {
            place: None,
            message,
            hint: Some(hint.to_owned()),
        };
        Self::new(name, String::new(), vec![problem])
    }

    /// The problems in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.problems.len()
    }

    /// The report for a person: file, line, column, the text underlined, the
    /// hint; with or without colour. Shows [`SHOWN_MAX`] problems in full.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour {
            Renderer::styled().decor_style(DecorStyle::Unicode)
        } else {
            Renderer::plain().decor_style(DecorStyle::Ascii)
        };
        let mut report = String::new();
        for problem in self.problems.iter().take(SHOWN_MAX) {
            report.push_str(&self.render_one(&renderer, problem));
            report.push_str("\n\n");
        }
        let unshown = self.problems.len().saturating_sub(SHOWN_MAX);
        if unshown > 0 {
            report.push_str(&format!("and {unshown} more\n\n"));
        }
        let noun = if self.problems.len() == 1 {
            "problem"
        } else {
            "problems"
        };
        report.push_str(&format!(
            "{}: {} {noun}\n",
            printable(&self.name),
            self.problems.len()
        ));
        report
    }

    fn render_one(&self, renderer: &Renderer, problem: &Problem) -> String {
        let name = printable(&self.name);
        let title = Level::ERROR.primary_title(printable(&problem.message));
        let group = match &problem.place {
            None => title.element(Origin::path(name)),
            Some(place) => {
                let (line, span) = self.first_line(place);
                title.element(
                    Snippet::source(line)
                        .line_start(place.line)
                        .path(name)
                        .annotation(AnnotationKind::Primary.span(span)),
                )
            }
        };
        let group = match &problem.hint {
            None => group,
            Some(hint) => group.element(Level::HELP.message(printable(hint))),
        };
        renderer.render(&[group])
    }

    /// The line a place begins in, and the part of it to underline. A value
    /// of several lines is shown by its first.
    fn first_line(&self, place: &Place) -> (&str, Range<usize>) {
        let text = &*self.masked_text;
        let start = place.span.start;
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..]
            .find('\n')
            .map_or(text.len(), |length| start + length);
        let line = text[line_start..line_end].trim_end_matches('\r');
        let start = (start - line_start).min(line.len());
        let end = (place.span.end - line_start).clamp(start, line.len());
        (line, start..end)
    }
}

/// A name from a file may hold anything; nothing of it may steer a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\n' => ' ',
            control if control.is_control() => char::REPLACEMENT_CHARACTER,
            other => other,
        })
        .collect()
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.render(false))
    }
}

impl fmt::Debug for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::error::Error for Problems {}
