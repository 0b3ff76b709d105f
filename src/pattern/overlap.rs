//! Whether two patterns can match one path.

use super::{Pattern, Token};

/// One segment of a pattern, as far as it can be compared.
#[derive(Debug, PartialEq, Eq)]
enum Part<'a> {
    /// This text and no other.
    Literal(std::borrow::Cow<'a, str>),
    /// Perhaps any.
    Wild,
}

/// The segments of a pattern before its first wildcard over segments.
struct Parts<'a> {
    parts: Vec<Part<'a>>,
    /// Anything may follow, or nothing.
    is_open: bool,
}

impl Pattern {
    /// Whether some path may be matched by both. Says yes too often where
    /// wildcards meet, and never no wrongly.
    #[must_use]
    pub fn may_overlap(&self, other: &Self) -> bool {
        let (one, other) = (Parts::of(self), Parts::of(other));
        let differ = |(one, other): (&Part<'_>, &Part<'_>)| match (one, other) {
            (Part::Literal(one), Part::Literal(other)) => one != other,
            _ => false,
        };
        if one.parts.iter().zip(&other.parts).any(differ) {
            return false;
        }
        match one.parts.len().cmp(&other.parts.len()) {
            std::cmp::Ordering::Equal => true,
            std::cmp::Ordering::Less => one.is_open,
            std::cmp::Ordering::Greater => other.is_open,
        }
    }

    /// The first segment of every path that it matches; `None` where there may
    /// be several.
    #[must_use]
    pub fn first_segment(&self) -> Option<String> {
        match Parts::of(self).parts.get(1) {
            Some(Part::Literal(text)) => Some(text.clone().into_owned()),
            _ => None,
        }
    }
}

impl<'a> Parts<'a> {
    fn of(pattern: &'a Pattern) -> Self {
        let mut parts = vec![Part::Literal("".into())];
        for token in &pattern.tokens {
            match token {
                Token::Literal(text) => {
                    let mut pieces = text.split('/');
                    if let Some(Part::Literal(last)) = parts.last_mut() {
                        last.to_mut().push_str(pieces.next().unwrap_or_default());
                    } else {
                        pieces.next();
                    }
                    parts.extend(pieces.map(|piece| Part::Literal(piece.into())));
                }
                Token::Part | Token::Segment(_) => {
                    parts.pop();
                    parts.push(Part::Wild);
                }
                Token::Any | Token::Rest(_) => {
                    // The segment it stands in is part of what is open.
                    parts.pop();
                    return Self {
                        parts,
                        is_open: true,
                    };
                }
            }
        }
        Self {
            parts,
            is_open: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlap(one: &str, other: &str) -> bool {
        let parse = |text| Pattern::parse(text).expect("a pattern");
        let (one, other) = (parse(one), parse(other));
        assert_eq!(one.may_overlap(&other), other.may_overlap(&one));
        one.may_overlap(&other)
    }

    #[test]
    fn patterns_of_different_segments_have_no_path_in_common() {
        for (one, other) in [
            ("/a", "/b"),
            ("/a", "/a/"),
            ("/a/**", "/b/**"),
            ("/a/7/**", "/a/{id}/x/y/../b"),
            ("/track", "/api/{*rest}"),
            ("/{tenant}/items/{id}", "/t/orders/7/**"),
            ("/{tenant}/items/{id}", "/t"),
        ] {
            let expected = (one, other) == ("/a/7/**", "/a/{id}/x/y/../b");
            assert_eq!(overlap(one, other), expected, "{one} {other}");
        }
    }

    #[test]
    fn patterns_that_may_have_a_path_in_common_are_said_to() {
        for (one, other) in [
            ("/a", "/a"),
            ("/a/**", "/a"),
            ("/a/**", "/a/b/{c}"),
            ("/a/**", "/**"),
            ("/a**", "/abc/d"),
            ("**/x", "/a/b"),
            ("/a/*b", "/a/cb"),
            ("/a/{id}", "/a/7/**"),
            ("/{*rest}", "/x/y"),
            ("/a%2Fb", "/a/b"),
            ("/x*/y", "/x/y"),
        ] {
            assert!(overlap(one, other), "{one} {other}");
        }
    }

    #[test]
    fn what_both_match_they_overlap_in() {
        let patterns = [
            "/a/{b}", "/a/**", "/*/c", "/a*", "/**", "/a/c", "**c", "/{*r}",
        ];
        for path in ["/a/c", "/a", "/a/", "/abc", "/x/c", "/", "/a/b/c"] {
            for one in patterns {
                for other in patterns {
                    let parse = |text| Pattern::parse(text).expect("a pattern");
                    let both = parse(one).matches(path) && parse(other).matches(path);
                    assert!(!both || overlap(one, other), "{one} {other} {path}");
                }
            }
        }
    }

    #[test]
    fn the_first_segment_is_known_where_it_is_written() {
        let first = |text: &str| Pattern::parse(text).expect("a pattern").first_segment();
        assert_eq!(first("/api/{id}").as_deref(), Some("api"));
        assert_eq!(first("/api").as_deref(), Some("api"));
        assert_eq!(first("/api/**").as_deref(), Some("api"));
        assert_eq!(first("/api*"), None);
        assert_eq!(first("/**"), None);
        assert_eq!(first("**"), None);
        assert_eq!(first("/{x}/y"), None);
    }
}
