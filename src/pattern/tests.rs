//! What patterns match, and how they are read and written.

use super::*;

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn each_wildcard_takes_what_it_says() {
    for (written, path, is_match) in [
        ("/a/{id}", "/a/7", true),
        ("/a/{id}", "/a/", false),
        ("/a/{id}", "/a/7/b", false),
        ("/a/*", "/a/", true),
        ("/a/*", "/a/7/b", false),
        ("/a/x*z", "/a/xyz", true),
        ("/a/**", "/a/7/b", true),
        ("/a/**", "/a", true),
        ("/a/**", "/ab", false),
        ("/**", "/", true),
        ("/**", "/x/y", true),
        ("**/b", "/a/c/b", true),
        ("/a/{*rest}", "/a/b/c", true),
        ("/a/{*rest}", "/a/", false),
        ("/a", "/a/", false),
    ] {
        assert_eq!(pattern(written).matches(path), is_match, "{written} {path}");
    }
}

#[test]
fn captured_text_is_literal_where_it_is_put_in() {
    let captures = pattern("/a/{id}").captures("/a/*").expect("it matches");
    let expanded = pattern("/b/{id}/x*").expand(&captures);
    assert!(expanded.matches("/b/*/xy"));
    assert!(!expanded.matches("/b/7/xy"));
    assert_eq!(pattern(&expanded.to_string()), expanded);
    let template = Pattern::parse_template("/{id}/x-{id}.*").expect("a template");
    let captures = pattern("/a/{id}").captures("/a/7").expect("it matches");
    assert!(template.expand(&captures).matches("/7/x-7.csv"));
}

#[test]
fn escapes_are_decoded_once_and_written_back_safely() {
    assert!(pattern("/caf%C3%A9/%2A").matches("/café/*"));
    assert!(!pattern("/%2A").matches("/x"));
    let odd = Pattern::literal("/%41");
    assert_eq!(pattern(&odd.to_string()), odd);
    assert!(!odd.matches("/A"));
}

#[test]
fn what_is_wrong_is_said() {
    for (written, error) in [
        ("a", PatternError::NotAPath),
        ("/{", PatternError::Unclosed),
        ("/x{id}", PatternError::NotAWholeSegment("id".into())),
        ("/{id}/{id}", PatternError::DuplicateName("id".into())),
        ("/{*r}/x", PatternError::RestNotLast("r".into())),
        ("/{a-b}", PatternError::BadName("a-b".into())),
        ("/\\", PatternError::DanglingEscape),
    ] {
        assert_eq!(Pattern::parse(written), Err(error), "{written}");
    }
}

#[test]
fn a_hostile_pattern_ends_soon_and_errs_on_the_safe_side() {
    let hostile = pattern("/**a**a**a**a**a**a**a**a**a**b");
    let path = format!("/{}", "a".repeat(4_000));
    assert!(hostile.matches(&path));
}

#[test]
fn a_pattern_says_where_its_paths_lie() {
    for (written, extent) in [
        ("/a", Extent::Path("/a")),
        ("/a/", Extent::Path("/a/")),
        ("/a/**", Extent::Below("/a")),
        ("/**", Extent::Below("")),
        ("/a/x**", Extent::Within("/a/")),
        ("/a/{id}", Extent::Within("/a/")),
        ("/a/{id}/b", Extent::Within("/a/")),
        ("/x*", Extent::Within("/")),
        ("**", Extent::Within("")),
        ("*/a", Extent::Within("")),
    ] {
        assert_eq!(pattern(written).extent(), extent, "{written}");
    }
    assert_eq!(Pattern::literal("/*").extent(), Extent::Path("/*"));
    assert_eq!(Pattern::below("/a/7").extent(), Extent::Below("/a/7"));
}

#[test]
fn everything_below_is_not_the_path_itself_but_its_trailing_slash() {
    let below = Pattern::below("/a/7");
    assert!(below.matches("/a/7/b/c") && below.matches("/a/7/"));
    assert!(!below.matches("/a/70"));
}
