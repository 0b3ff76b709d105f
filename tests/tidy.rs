//! The rules of the house that a compiler does not hold. Each failure names
//! the file and line, and what to do.
//!
//! | rule | where it is written |
//! |---|---|
//! | imports point down only | the table in `src/lib.rs` |
//! | a file has one reason to exist, hence 500 lines at most | here |
//! | a file begins by saying what it is for | here |
//! | no test sleeps, none is ignored | CONTRIBUTING.md |
//! | one word for each thing | docs/lexicon.md |

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Lines of a file in `src/`, its tests included.
const FILE_LINES_MAX: usize = 500;

/// Files that may be longer, and why.
const LONG_FILES: [(&str, &str); 0] = [];

/// A text file of the project.
struct File {
    /// From the project's root, with `/`.
    name: String,
    text: String,
}

impl File {
    /// Lines with their numbers, from 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .map(|(at, line)| (at + 1, line))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `folder`.
fn rust_files(folder: &str) -> Vec<File> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder that can be read") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                files.push(file(path));
            }
        }
    }
    files.sort_by(|left, right| left.name.cmp(&right.name));
    files
}

fn file(path: PathBuf) -> File {
    let name = path.strip_prefix(root()).expect("a path below the root");
    File {
        name: name.to_string_lossy().replace('\\', "/"),
        text: std::fs::read_to_string(&path).expect("a text file"),
    }
}

/// Fails with every complaint at once.
#[track_caller]
fn none(complaints: &[String]) {
    let mut all = String::new();
    for complaint in complaints {
        let _ = writeln!(all, "{complaint}");
    }
    assert!(complaints.is_empty(), "\n{all}");
}

/// A line without its comment; none of a line that is only one. Good enough
/// for code that rustfmt has seen.
fn code(line: &str) -> &str {
    let line = line.trim_start();
    if line.starts_with("//") {
        return "";
    }
    line.split(" // ").next().unwrap_or_default()
}

/// The names in the cells of a Markdown table's row.
fn cells(row: &str) -> Option<Vec<&str>> {
    let row = row.trim_start_matches("//!").trim();
    let row = row.strip_prefix('|')?.strip_suffix('|')?;
    Some(row.split('|').map(str::trim).collect())
}

/// Modules by row of the table in `src/lib.rs`, the lowest first.
fn levels() -> Vec<Vec<String>> {
    let lib = file(root().join("src/lib.rs"));
    let mut levels: Vec<Vec<String>> = lib
        .lines()
        .filter_map(|(_, line)| cells(line.strip_prefix("//!")?))
        .filter(|row| row.len() == 3 && row[1].starts_with('`'))
        .map(|row| {
            let names = row[1].split(',');
            names
                .map(|name| name.trim().trim_matches('`').to_owned())
                .collect()
        })
        .collect();
    levels.reverse();
    assert!(
        levels.len() > 3,
        "the table of levels in src/lib.rs is gone"
    );
    levels
}

/// The top-level module a file of `src/` belongs to.
fn module_of(name: &str) -> &str {
    let path = name.trim_start_matches("src/");
    let first = path.split('/').next().unwrap_or_default();
    first.trim_end_matches(".rs")
}

/// The top-level modules that a `crate::` path or a `use crate::{…}` names,
/// with the line each stands on.
fn imports(file: &File) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    // Inside `use crate::{`: how many braces are open.
    let mut open = 0_usize;
    for (number, line) in file.lines() {
        let mut rest = code(line);
        if open > 0 {
            rest = group(rest, &mut open, number, &mut found);
        }
        while let Some(at) = rest.find("crate::") {
            let is_word = |before: char| before.is_alphanumeric() || before == '_';
            let is_own_word = !rest[..at].ends_with(is_word);
            rest = &rest[at + "crate::".len()..];
            if let Some(inside) = rest.strip_prefix('{') {
                open = 1;
                rest = group(inside, &mut open, number, &mut found);
            } else if is_own_word {
                found.push((number, leading_name(rest).to_owned()));
            }
        }
    }
    found
}

/// Reads names at the outer level of a `{…}` group; gives what follows it.
fn group<'a>(
    text: &'a str,
    open: &mut usize,
    number: usize,
    found: &mut Vec<(usize, String)>,
) -> &'a str {
    let mut at_name = true;
    for (at, character) in text.char_indices() {
        match character {
            '{' => *open += 1,
            '}' => {
                *open -= 1;
                if *open == 0 {
                    return &text[at + 1..];
                }
            }
            ',' if *open == 1 => at_name = true,
            _ if *open == 1 && at_name && character.is_alphabetic() => {
                found.push((number, leading_name(&text[at..]).to_owned()));
                at_name = false;
            }
            _ => {}
        }
    }
    ""
}

fn leading_name(text: &str) -> &str {
    let end = text.find(|next: char| !next.is_alphanumeric() && next != '_');
    &text[..end.unwrap_or(text.len())]
}

#[test]
fn imports_point_down_only() {
    let levels = levels();
    let level_of = |module: &str| {
        levels
            .iter()
            .position(|level| level.iter().any(|name| name == module))
    };
    let mut complaints = Vec::new();
    for file in rust_files("src") {
        let module = module_of(&file.name).to_owned();
        if ["lib", "main"].contains(&module.as_str()) {
            continue;
        }
        let Some(own) = level_of(&module) else {
            complaints.push(format!(
                "{}:1: `{module}` stands in no row of the table in src/lib.rs; give it a level",
                file.name
            ));
            continue;
        };
        for (number, imported) in imports(&file) {
            let below = level_of(&imported).is_some_and(|level| level < own);
            if imported != module && level_of(&imported).is_some() && !below {
                complaints.push(format!(
                    "{}:{number}: `{module}` must not know `{imported}`, which is not below it \
                     (table in src/lib.rs); move what both need down, or pass it in from above",
                    file.name
                ));
            }
        }
    }
    none(&complaints);
}

#[test]
fn the_table_of_levels_and_the_modules_agree() {
    let lib = file(root().join("src/lib.rs"));
    let declared: Vec<&str> = lib
        .lines()
        .filter_map(|(_, line)| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    let listed = levels().concat();
    let missing = declared
        .iter()
        .filter(|name| !listed.iter().any(|one| one == *name));
    let dead = listed
        .iter()
        .filter(|name| !declared.contains(&name.as_str()));
    let mut complaints: Vec<_> = missing
        .map(|name| format!("src/lib.rs: `{name}` is in no row of the table; give it a level"))
        .collect();
    complaints.extend(
        dead.map(|name| format!("src/lib.rs: the table lists `{name}`, which is no module")),
    );
    none(&complaints);
}

#[test]
fn a_file_stays_short_or_says_why_not() {
    let mut complaints = Vec::new();
    let files = rust_files("src");
    for file in &files {
        let lines = file.lines().count();
        let excused = LONG_FILES.iter().any(|(name, _)| *name == file.name);
        if lines > FILE_LINES_MAX && !excused {
            complaints.push(format!(
                "{}:{lines}: longer than {FILE_LINES_MAX} lines; split it where its second reason \
                 to change begins, or add it to LONG_FILES in tests/tidy.rs with a reason",
                file.name
            ));
        }
        if lines <= FILE_LINES_MAX && excused {
            complaints.push(format!(
                "{}:1: short again; take it off LONG_FILES in tests/tidy.rs",
                file.name
            ));
        }
    }
    for (name, _) in LONG_FILES {
        if !files.iter().any(|file| file.name == name) {
            complaints.push(format!(
                "tests/tidy.rs: LONG_FILES lists {name}, which is gone"
            ));
        }
    }
    none(&complaints);
}

#[test]
fn a_file_begins_by_saying_what_it_is_for() {
    let files = [rust_files("src"), rust_files("tests")].concat_files();
    let complaints: Vec<_> = files
        .iter()
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| {
            format!(
                "{}:1: begin with `//!`: what is it for, what does it promise, what does it \
                 deliberately not know",
                file.name
            )
        })
        .collect();
    none(&complaints);
}

#[test]
fn no_test_sleeps_or_is_ignored() {
    let mut complaints = Vec::new();
    for file in [rust_files("src"), rust_files("tests")].concat_files() {
        // With paused time a sleep takes no time.
        let paused = ["start_paused", "time::pause()"]
            .iter()
            .any(|mark| file.text.contains(mark));
        let mut in_tests = file.name.starts_with("tests/") || file.name.contains("tests");
        for (number, line) in file.lines() {
            let code = code(line);
            in_tests |= code == "#[cfg(test)]";
            let is_rule = file.name == "tests/tidy.rs";
            if in_tests && !paused && !is_rule && code.contains("sleep(") {
                complaints.push(format!(
                    "{}:{number}: a test that sleeps is slow or wrong; wait for a gate, a \
                     notification or an observed state, or pause tokio's time",
                    file.name
                ));
            }
            if !is_rule && code.starts_with("#[ignore") {
                complaints.push(format!(
                    "{}:{number}: an ignored test claims what nothing shows; make it run, or \
                     delete it",
                    file.name
                ));
            }
        }
    }
    none(&complaints);
}

#[test]
fn one_word_for_each_thing() {
    let lexicon = file(root().join("docs/lexicon.md"));
    let rows: Vec<(&str, &str)> = lexicon
        .lines()
        .filter_map(|(_, line)| cells(line))
        .filter(|row| row.len() == 3 && row[0] != "word" && !row[0].starts_with('-'))
        .flat_map(|row| row[2].split(", ").map(move |wrong| (row[0], wrong)))
        .filter(|(_, wrong)| !wrong.is_empty())
        .collect();
    assert!(rows.len() > 10, "the table in docs/lexicon.md is gone");

    let mut complaints = Vec::new();
    for file in rust_files("src") {
        for (number, line) in file.lines() {
            let line = line.to_lowercase();
            for (word, wrong) in &rows {
                if has_word(&line, wrong) {
                    complaints.push(format!(
                        "{}:{number}: \"{wrong}\": docs/lexicon.md says \"{word}\"",
                        file.name
                    ));
                }
            }
        }
    }
    none(&complaints);
}

/// Whether `words` stand in `line`, whole, in the plural too.
fn has_word(line: &str, words: &str) -> bool {
    let borders = |text: Option<char>| !text.is_some_and(|next| next.is_alphanumeric());
    line.match_indices(words).any(|(at, _)| {
        let after = &line[at + words.len()..];
        let after = after.strip_prefix('s').unwrap_or(after);
        borders(line[..at].chars().next_back()) && borders(after.chars().next())
    })
}

trait ConcatFiles {
    fn concat_files(self) -> Vec<File>;
}

impl<const N: usize> ConcatFiles for [Vec<File>; N] {
    fn concat_files(self) -> Vec<File> {
        self.into_iter().flatten().collect()
    }
}

#[test]
fn the_reader_of_imports_reads_every_form() {
    let text = "use crate::clock::Timestamp;\n\
                use crate::{\n    config::{self, Config}, store,\n};\n\
                // crate::ignored\n\
                fn f() -> crate::message::Body { other_crate::g() }\n";
    let file = File {
        name: "src/x.rs".into(),
        text: text.into(),
    };
    let expected = [(1, "clock"), (3, "config"), (3, "store"), (6, "message")];
    let expected: Vec<_> = expected.map(|(at, name)| (at, name.to_owned())).into();
    assert_eq!(imports(&file), expected);
}
