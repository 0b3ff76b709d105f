//! Path patterns: which paths a route, a rule or a ban speaks of.
//!
//! | written | matches |
//! |---|---|
//! | `{name}` | one whole, non-empty segment, and remembers it |
//! | `*` | any part of one segment, also nothing |
//! | `**` | anything, across segments, also nothing; a final `/**` also matches the path above it |
//! | `{*rest}` | the non-empty rest of the path, and remembers it |
//! | `\` and a character | that character |
//!
//! Matching is on the plain path: every escape decoded, without the query.
//! Escapes in a pattern are decoded as well.

use std::fmt;

use crate::percent::{decode, escape_at};

mod overlap;

/// A parsed pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    tokens: Box<[Token]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Token {
    Literal(Box<str>),
    /// `*`: any part of a segment.
    Part,
    /// `**`: anything.
    Any,
    /// `{name}`: one non-empty segment.
    Segment(Box<str>),
    /// `{*name}`: the non-empty rest.
    Rest(Box<str>),
}

/// Why a pattern cannot be read. Displays as one sentence for the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A pattern is a path.
    #[error("a pattern starts with `/` or `*`")]
    NotAPath,
    /// `{` without `}`.
    #[error("`{{` is never closed")]
    Unclosed,
    /// `{}` or a name with other than letters, digits and `_`.
    #[error("`{{{0}}}`: a name is made of letters, digits and `_`")]
    BadName(String),
    /// `{name}` next to other text.
    #[error("`{{{0}}}` must be a whole segment")]
    NotAWholeSegment(String),
    /// The same name twice.
    #[error("`{{{0}}}` stands twice")]
    DuplicateName(String),
    /// `{*rest}` before the end.
    #[error("`{{*{0}}}` can only be the last segment")]
    RestNotLast(String),
    /// `\` at the end.
    #[error("`\\` at the end escapes nothing")]
    DanglingEscape,
    /// Patterns with many `**` take long to match.
    #[error("more than {WILDCARDS_MAX} wildcards")]
    TooManyWildcards,
    /// Longer than any path this proxy accepts.
    #[error("longer than {PATTERN_BYTES_MAX} bytes")]
    TooLong,
}

/// Wildcards of one pattern.
pub const WILDCARDS_MAX: usize = 16;
/// Bytes of one pattern.
pub const PATTERN_BYTES_MAX: usize = 8 * 1024;

/// Where the paths lie that a pattern matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent<'a> {
    /// It matches this path and no other.
    Path(&'a str),
    /// It matches this path, if that is not empty, and every path that goes on
    /// from it with `/`.
    Below(&'a str),
    /// It matches some paths that start with this, which is empty or ends with
    /// `/`.
    Within(&'a str),
}

/// What the names of a pattern stood for in a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captures(Vec<(Box<str>, Box<str>)>);

impl Captures {
    /// What `name` stood for.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(captured, _)| **captured == *name)
            .map(|(_, value)| &**value)
    }
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Says what is wrong with it, as a sentence for whoever wrote it.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        Self::read(text, Tokens::default())
    }

    /// Reads a pattern whose names are to be [expanded](Self::expand): they may
    /// stand anywhere, and more than once.
    ///
    /// # Errors
    /// Says what is wrong with it, as a sentence for whoever wrote it.
    pub fn parse_template(text: &str) -> Result<Self, PatternError> {
        let tokens = Tokens {
            is_template: true,
            ..Tokens::default()
        };
        Self::read(text, tokens)
    }

    fn read(text: &str, mut tokens: Tokens) -> Result<Self, PatternError> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        if !text.starts_with(['/', '*']) {
            return Err(PatternError::NotAPath);
        }
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            let escapes = escapes_at(rest);
            if !escapes.is_empty() {
                tokens.literal.push_str(&decode(escapes));
                rest = &rest[escapes.len()..];
                continue;
            }
            rest = &rest[character.len_utf8()..];
            match character {
                '\\' => {
                    let escaped = rest.chars().next().ok_or(PatternError::DanglingEscape)?;
                    rest = &rest[escaped.len_utf8()..];
                    tokens.literal.push(escaped);
                }
                '*' if rest.starts_with('*') => {
                    rest = rest.trim_start_matches('*');
                    tokens.push(Token::Any);
                }
                '*' => tokens.push(Token::Part),
                '{' => {
                    let (name, after) = rest.split_once('}').ok_or(PatternError::Unclosed)?;
                    rest = after;
                    tokens.push_capture(name, after)?;
                }
                other => tokens.literal.push(other),
            }
        }
        tokens.finish()
    }

    /// The pattern that matches exactly this path, whatever it is made of.
    #[must_use]
    pub fn literal(path: &str) -> Self {
        Self {
            tokens: Box::new([Token::Literal(path.into())]),
        }
    }

    /// The pattern of everything below a path, the path itself not included:
    /// `/a/7` gives `/a/7/**`.
    #[must_use]
    pub fn below(path: &str) -> Self {
        let mut base = path.trim_end_matches('/').to_owned();
        base.push('/');
        Self {
            tokens: Box::new([Token::Literal(base.into()), Token::Any]),
        }
    }

    /// Whether it matches a path.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        self.captures(path).is_some()
    }

    /// What its names stand for in a path; `None` where it does not match.
    #[must_use]
    pub fn captures(&self, path: &str) -> Option<Captures> {
        let mut captures = Captures::default();
        let mut steps = STEPS_MAX;
        if match_from(&self.tokens, path, &mut captures, &mut steps) || self.matches_above(path) {
            Some(captures)
        } else {
            None
        }
    }

    /// A final `/**` also matches the path above it.
    fn matches_above(&self, path: &str) -> bool {
        let [before @ .., Token::Literal(last), Token::Any] = &*self.tokens else {
            return false;
        };
        let Some(above) = last.strip_suffix('/') else {
            return false;
        };
        let mut tokens = before.to_vec();
        if !above.is_empty() {
            tokens.push(Token::Literal(above.into()));
        }
        let is_root_only = tokens.is_empty();
        let mut steps = STEPS_MAX;
        !is_root_only && match_from(&tokens, path, &mut Captures::default(), &mut steps)
    }

    /// Where the paths lie that it matches, for an index of patterns.
    #[must_use]
    pub fn extent(&self) -> Extent<'_> {
        match &*self.tokens {
            [Token::Literal(path)] => Extent::Path(path),
            [Token::Literal(prefix), Token::Any] if prefix.ends_with('/') => {
                Extent::Below(&prefix[..prefix.len() - 1])
            }
            [Token::Literal(start), ..] => {
                let folder_end = start.rfind('/').map_or(0, |slash| slash + 1);
                Extent::Within(&start[..folder_end])
            }
            _ => Extent::Within(""),
        }
    }

    /// The names it captures.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().filter_map(|token| match token {
            Token::Segment(name) | Token::Rest(name) => Some(&**name),
            Token::Literal(_) | Token::Part | Token::Any => None,
        })
    }

    /// This pattern with its names replaced by what they stood for, literally.
    /// A name that was not captured matches any one segment.
    #[must_use]
    pub fn expand(&self, captures: &Captures) -> Self {
        let mut tokens = Tokens::default();
        for token in &self.tokens {
            match token {
                Token::Literal(text) => tokens.literal.push_str(text),
                Token::Segment(name) | Token::Rest(name) => match captures.get(name) {
                    Some(value) => tokens.literal.push_str(value),
                    None => tokens.push(Token::Part),
                },
                Token::Part | Token::Any => tokens.push(token.clone()),
            }
        }
        tokens.flush();
        Self {
            tokens: tokens.done.into_boxed_slice(),
        }
    }
}

/// Writes the pattern so that [`Pattern::parse`] reads the same one.
impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for token in &self.tokens {
            match token {
                Token::Literal(text) => {
                    for character in text.chars() {
                        if matches!(character, '*' | '{' | '}' | '\\' | '%') {
                            formatter.write_str("\\")?;
                        }
                        write!(formatter, "{character}")?;
                    }
                }
                Token::Part => formatter.write_str("*")?,
                Token::Any => formatter.write_str("**")?,
                Token::Segment(name) => write!(formatter, "{{{name}}}")?,
                Token::Rest(name) => write!(formatter, "{{*{name}}}")?,
            }
        }
        Ok(())
    }
}

/// A pattern in the making.
#[derive(Default)]
struct Tokens {
    done: Vec<Token>,
    literal: String,
    wildcards: usize,
    is_template: bool,
}

impl Tokens {
    fn flush(&mut self) {
        if !self.literal.is_empty() {
            let literal = std::mem::take(&mut self.literal);
            self.done.push(Token::Literal(literal.into()));
        }
    }

    fn push(&mut self, token: Token) {
        self.flush();
        self.wildcards += 1;
        self.done.push(token);
    }

    fn push_capture(&mut self, written: &str, after: &str) -> Result<(), PatternError> {
        let (name, is_rest) = match written.strip_prefix('*') {
            Some(name) => (name, true),
            None => (written, false),
        };
        let is_name = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name {
            return Err(PatternError::BadName(written.to_owned()));
        }
        let is_whole = self.is_template
            || self.literal.ends_with('/') && (after.is_empty() || after.starts_with('/'));
        if !is_whole {
            return Err(PatternError::NotAWholeSegment(written.to_owned()));
        }
        if is_rest && !after.is_empty() {
            return Err(PatternError::RestNotLast(name.to_owned()));
        }
        let is_known = self.done.iter().any(
            |token| matches!(token, Token::Segment(other) | Token::Rest(other) if **other == *name),
        );
        if is_known && !self.is_template {
            return Err(PatternError::DuplicateName(name.to_owned()));
        }
        self.push(if is_rest {
            Token::Rest(name.into())
        } else {
            Token::Segment(name.into())
        });
        Ok(())
    }

    fn finish(mut self) -> Result<Pattern, PatternError> {
        self.flush();
        if self.wildcards > WILDCARDS_MAX {
            return Err(PatternError::TooManyWildcards);
        }
        Ok(Pattern {
            tokens: self.done.into_boxed_slice(),
        })
    }
}

/// The percent escapes that `text` starts with: together, since one character
/// may take several.
fn escapes_at(text: &str) -> &str {
    let mut end = 0;
    while escape_at(&text.as_bytes()[end..]).is_some() {
        end += 3;
    }
    &text[..end]
}

/// A match takes no more steps than this; a pattern that needs more is taken
/// to match: an invalidation too many is safe, one too few is not.
const STEPS_MAX: u32 = 100_000;

/// Matches `tokens` against the rest of a path.
fn match_from(tokens: &[Token], path: &str, captures: &mut Captures, steps: &mut u32) -> bool {
    if *steps == 0 {
        return true;
    }
    *steps -= 1;
    let Some((token, tokens)) = tokens.split_first() else {
        return path.is_empty();
    };
    match token {
        Token::Literal(text) => path
            .strip_prefix(&**text)
            .is_some_and(|path| match_from(tokens, path, captures, steps)),
        Token::Segment(name) => {
            let end = path.find('/').unwrap_or(path.len());
            end > 0 && capture(tokens, path, end, name, captures, steps)
        }
        Token::Rest(name) => {
            !path.is_empty() && capture(tokens, path, path.len(), name, captures, steps)
        }
        Token::Part => {
            let end = path.find('/').unwrap_or(path.len());
            match_some(tokens, path, end, captures, steps)
        }
        Token::Any => match_some(tokens, path, path.len(), captures, steps),
    }
}

fn capture(
    tokens: &[Token],
    path: &str,
    end: usize,
    name: &str,
    captures: &mut Captures,
    steps: &mut u32,
) -> bool {
    let known = captures.0.len();
    captures.0.push((name.into(), path[..end].into()));
    let is_match = match_from(tokens, &path[end..], captures, steps);
    if !is_match {
        captures.0.truncate(known);
    }
    is_match
}

/// Tries to let a wildcard take every length up to `longest`.
fn match_some(
    tokens: &[Token],
    path: &str,
    longest: usize,
    captures: &mut Captures,
    steps: &mut u32,
) -> bool {
    if tokens.is_empty() {
        return longest == path.len();
    }
    (0..=longest)
        .filter(|taken| path.is_char_boundary(*taken))
        .any(|taken| match_from(tokens, &path[taken..], captures, steps))
}

#[cfg(test)]
mod tests;
