//! From the path of a file to a [`Config`], or to everything that is wrong.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use http::uri::Authority;
use toml::de::{DeTable, Error};

use super::mask::mask;
use super::options;
use super::problem::{Place, Problem, Problems};
use super::reader::{Context, Table};
use super::{AdminConfig, Config, Upstream};

/// Bytes of a configuration file; a longer one is not read to its end.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads and validates the file at `path`, with the process's environment.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn load(path: &Path) -> Result<Config, Problems> {
    let (name, text) = text_at(path)?;
    parse(&name, &text, |variable| std::env::var(variable).ok())
}

/// Reads `[admin]` of the file at `path`; the rest may be as wrong as it likes,
/// or be for another machine. `None`: there is no admin listener.
///
/// # Errors
/// Everything that is wrong with the file, where `[admin]` cannot be read.
pub fn load_admin(path: &Path) -> Result<Option<AdminConfig>, Problems> {
    let (name, text) = text_at(path)?;
    let environment = |variable: &str| std::env::var(variable).ok();
    let problems = match parse(&name, &text, environment) {
        Ok(config) => return Ok(config.admin),
        Err(problems) => problems,
    };
    let Ok(document) = DeTable::parse(&text) else {
        return Err(problems);
    };
    let context = Context::new(&text, &environment);
    let admin = options::admin(Table::root(&context, document.get_ref()).table("admin", ""));
    let is_readable = context.problems.take().is_empty();
    is_readable.then_some(admin).ok_or(problems)
}

/// What the file is called, and what it says.
fn text_at(path: &Path) -> Result<(String, String), Problems> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(&name, &error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Problems::of_file(
            &name,
            format!("the file has more than {FILE_BYTES_MAX} bytes"),
            "is this the right file?",
        ));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok((name, text)),
        Err(error) => Err(not_utf8(&name, &error)),
    }
}

fn unreadable(name: &str, error: &io::Error) -> Problems {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => "`--config` names another file; `pannier demo` needs none",
        io::ErrorKind::PermissionDenied => "the user that runs the proxy must be able to read it",
        _ => "`--config` names another file",
    };
    Problems::of_file(name, format!("the file cannot be read: {error}"), hint)
}

fn not_utf8(name: &str, error: &std::string::FromUtf8Error) -> Problems {
    let at = error.utf8_error().valid_up_to();
    let text = String::from_utf8_lossy(error.as_bytes());
    let problem = Problem {
        place: Some(Place::of(&text, at..at + 1)),
        message: "the file is not UTF-8 from here on".to_owned(),
        hint: Some("save it as UTF-8".to_owned()),
    };
    Problems::new(name, mask(&text, &[]), vec![problem])
}

/// Validates a text; `name` is what problems call it, `environment` what
/// `${NAME}` is looked up in.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn parse(
    name: &str,
    text: &str,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Config, Problems> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let context = Context::new(text, &environment);
        let root = Table::root(&context, document.get_ref());
        let config = options::config(root, placeholder());
        let problems = context.problems.take();
        return if problems.is_empty() {
            Ok(config)
        } else {
            let masked = mask(text, &context.hidden.take());
            Err(Problems::new(name, masked, problems))
        };
    }
    let mut problems: Vec<Problem> = errors.iter().map(|error| syntax(text, error)).collect();
    // What follows on the same line is mostly an echo of the first.
    problems.dedup_by_key(|problem| problem.place.as_ref().map(|place| place.line));
    let (others, hidden) = besides(text, &problems, &environment);
    problems.extend(others);
    Err(Problems::new(name, mask(text, &hidden), problems))
}

fn syntax(text: &str, error: &Error) -> Problem {
    // The parser's words speak of TOML alone and quote nothing of the value.
    let mut span = error.span().unwrap_or(0..0);
    if span.start >= text.len() {
        span = text.trim_end().len()..text.trim_end().len();
    }
    Problem {
        place: Some(Place::of(text, span)),
        message: format!("this is not TOML: {}", error.message()),
        hint: None,
    }
}

/// What else is wrong in a file that is not quite TOML. Found by blanking the
/// lines that are not: where the rest parses, it is what its author meant, and
/// only what is missing may stand on those lines. Nothing is reported where
/// that is not certain.
fn besides(
    text: &str,
    syntax: &[Problem],
    environment: &dyn Fn(&str) -> Option<String>,
) -> (Vec<Problem>, Vec<std::ops::Range<usize>>) {
    let bad_lines: Vec<usize> = syntax
        .iter()
        .filter_map(|problem| Some(problem.place.as_ref()?.line))
        .collect();
    let mut blanked = String::with_capacity(text.len());
    for (at, line) in text.split_inclusive('\n').enumerate() {
        if !bad_lines.contains(&(at + 1)) {
            blanked.push_str(line);
            continue;
        }
        if line.trim_start().starts_with('[') {
            // What follows would seem to belong to the table before.
            return Default::default();
        }
        let length = line.trim_end_matches('\n').len();
        blanked.extend(std::iter::repeat_n(' ', length));
        blanked.push_str(&line[length..]);
    }
    let Ok(document) = DeTable::parse(&blanked) else {
        return Default::default();
    };
    let mut context = Context::new(&blanked, environment);
    context.is_partial = true;
    options::config(Table::root(&context, document.get_ref()), placeholder());
    (context.problems.take(), context.hidden.take())
}

impl Config {
    /// Every default, no Redis and no routes, in front of `upstream`: for the
    /// demo and for tests.
    #[must_use]
    pub fn default_for(upstream: Upstream) -> Self {
        let mut context = Context::new("", &|_| None);
        context.is_partial = true;
        options::config(Table::root(&context, &DeTable::new()), upstream)
    }
}

/// Stands where a missing upstream was reported; never runs.
fn placeholder() -> Upstream {
    Upstream::Http {
        authority: Authority::from_static("127.0.0.1:80"),
    }
}
