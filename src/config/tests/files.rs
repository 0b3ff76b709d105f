//! Files that are there: the example, the reference, and what `load` meets.

use super::super::reference::{DefaultValue, catalogue};
use super::*;

#[test]
fn a_file_that_cannot_be_read_is_a_problem_like_any_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("proxy.toml");
    let problems = load(&path).expect_err("it is not there");
    assert!(problems.to_string().contains("cannot be read"));

    std::fs::write(&path, b"upstream = \"http://a\"\n# \xff\n").expect("it is written");
    let problems = load(&path).expect_err("it is not UTF-8");
    let place = problems
        .iter()
        .next()
        .and_then(|problem| problem.place.clone());
    assert_eq!(place.map(|place| (place.line, place.column)), Some((2, 3)));

    std::fs::write(&path, "#".repeat(2 << 20)).expect("it is written");
    let problems = load(&path).expect_err("it is too long");
    assert!(problems.to_string().contains("more than"));

    std::fs::write(&path, UPSTREAM).expect("it is written");
    assert!(load(&path).is_ok());
}

fn repository_file(name: &str) -> PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The text with `#key = value` and `#[table]` turned on.
fn uncommented(text: &str) -> String {
    text.lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => rest,
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_example_file_runs_as_it_is_and_with_everything_turned_on() {
    let text = std::fs::read_to_string(repository_file("proxy.toml")).expect("it is there");
    let config = parse("proxy.toml", &text, |_| None).unwrap_or_else(|error| panic!("{error}"));
    let default = Config::default_for(config.upstream.clone());
    assert_eq!(format!("{config:?}"), format!("{default:?}"));

    // The only key that a build may be without.
    let all: Vec<String> = uncommented(&text)
        .lines()
        .filter(|line| cfg!(feature = "otlp") || !line.starts_with("otlp "))
        .map(str::to_owned)
        .collect();
    let config = read(&all.join("\n")).unwrap_or_else(|error| panic!("{error}"));
    assert!(config.redis.is_some());
    assert_eq!((config.routes.len(), config.invalidations.len()), (1, 1));
}

#[test]
fn the_example_file_shows_every_key_with_its_default_and_an_explanation() {
    let text = std::fs::read_to_string(repository_file("proxy.toml")).expect("it is there");
    let mut section = String::new();
    let mut shown = Vec::new();
    for line in uncommented(&text).lines() {
        if let Some(header) = line.strip_prefix('[') {
            let end = header.find(']').expect("a header ends");
            section = header[..end].trim_start_matches('[').to_owned();
        } else if let Some((name, rest)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            let (value, comment) = rest.rsplit_once("  # ").unwrap_or((rest, ""));
            assert!(!comment.is_empty(), "`{name}` of [{section}] is explained");
            shown.push((
                section.clone(),
                name.trim().to_owned(),
                value.trim().to_owned(),
            ));
        }
    }
    let catalogue = catalogue();
    for option in &catalogue.options {
        let expected = match &option.default {
            DefaultValue::Written(value) => value,
            DefaultValue::Unset { example } | DefaultValue::Required { example } => *example,
        };
        let line = (
            option.section.to_owned(),
            option.name.to_owned(),
            expected.to_owned(),
        );
        assert!(shown.contains(&line), "proxy.toml has no {line:?}");
    }
    assert_eq!(shown.len(), catalogue.options.len());
}

#[test]
fn the_reference_tells_of_the_options_as_they_are() {
    let path = repository_file("docs/configuration.md");
    if std::env::var_os("PANNIER_WRITE_REFERENCE").is_some() {
        std::fs::create_dir_all(repository_file("docs")).expect("the folder");
        std::fs::write(&path, reference()).expect("the reference is written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == reference(),
        "docs/configuration.md is out of date: PANNIER_WRITE_REFERENCE=1 cargo test --lib config::"
    );
}
