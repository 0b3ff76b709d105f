//! `Vary`: which of several stored responses a request selects (RFC 9111 §4.1).

use http::header::{ACCEPT_ENCODING, ACCEPT_LANGUAGE, VARY};
use http::{HeaderMap, HeaderName};
use serde::{Deserialize, Serialize};

/// The request fields a response varies on: lower case, sorted, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct VaryNames(Box<[HeaderName]>);

/// What `Vary` selects: a digest of the normalised values of the request
/// fields it names. A digest, so that no credential rests in a store.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct SecondaryKey(pub [u8; 16]);

/// What a response's `Vary` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vary {
    /// These fields select; may be none.
    Names(VaryNames),
    /// `Vary: *`, or one that cannot be read: no request ever selects it.
    Any,
}

/// More names than this in a `Vary` are read as `*`: no honest response has them.
pub const VARY_NAMES_MAX: usize = 32;

impl Vary {
    /// Reads every `Vary` field of a response.
    #[must_use]
    pub fn of(fields: &HeaderMap) -> Self {
        let mut names: Vec<HeaderName> = Vec::new();
        for value in fields.get_all(VARY) {
            let Ok(value) = value.to_str() else {
                return Self::Any;
            };
            for member in value.split(',').map(str::trim).filter(|m| !m.is_empty()) {
                if member == "*" {
                    return Self::Any;
                }
                match HeaderName::try_from(member) {
                    Ok(name) => names.push(name),
                    Err(_) => return Self::Any,
                }
            }
        }
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        if names.len() > VARY_NAMES_MAX {
            return Self::Any;
        }
        Self::Names(VaryNames(names.into_boxed_slice()))
    }
}

impl VaryNames {
    /// The names, sorted; for encoding.
    #[must_use]
    pub fn names(&self) -> &[HeaderName] {
        &self.0
    }

    /// Whether every request selects the response.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// From names that were [`Self::names`] before; sorts them again.
    #[must_use]
    pub fn from_names(mut names: Vec<HeaderName>) -> Self {
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        Self(names.into_boxed_slice())
    }

    /// The secondary key of a request with these fields.
    #[must_use]
    pub fn select(&self, request: &HeaderMap) -> SecondaryKey {
        if self.0.is_empty() {
            return SecondaryKey::default();
        }
        let mut hasher = blake3::Hasher::new();
        for name in &self.0 {
            hash_part(&mut hasher, name.as_str().as_bytes());
            match normalise(name, request) {
                Some(value) => {
                    hasher.update(&[1]);
                    hash_part(&mut hasher, &value);
                }
                None => {
                    hasher.update(&[0]);
                }
            }
        }
        let mut key = [0; 16];
        hasher.finalize_xof().fill(&mut key);
        SecondaryKey(key)
    }
}

fn hash_part(hasher: &mut blake3::Hasher, part: &[u8]) {
    hasher.update(&(part.len() as u64).to_le_bytes());
    hasher.update(part);
}

/// The value of a selecting field in a form in which equal meanings are equal
/// bytes: lines combined and white space around list members removed; for the
/// `Accept-…` lists all white space removed and case folded. A value with a
/// quoted string is left as it is: a comma in it separates nothing. `None`
/// where the request has no such field.
fn normalise(name: &HeaderName, request: &HeaderMap) -> Option<Vec<u8>> {
    let mut lines = request.get_all(name).iter().peekable();
    lines.peek()?;
    let is_accept_list = name == ACCEPT_ENCODING || name == ACCEPT_LANGUAGE;
    let mut joined = Vec::new();
    for line in lines {
        let line = line.as_bytes().trim_ascii();
        if line.contains(&b'"') {
            push_member(&mut joined, line.iter());
            continue;
        }
        for member in line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if is_accept_list {
                push_member(
                    &mut joined,
                    member.iter().filter(|byte| !byte.is_ascii_whitespace()),
                );
            } else {
                push_member(&mut joined, member.iter());
            }
        }
    }
    if is_accept_list {
        joined.make_ascii_lowercase();
    }
    Some(joined)
}

fn push_member<'a>(list: &mut Vec<u8>, member: impl Iterator<Item = &'a u8>) {
    if !list.is_empty() {
        list.push(b',');
    }
    list.extend(member);
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    fn names(vary: &'static str) -> VaryNames {
        match Vary::of(&fields(&[("vary", vary)])) {
            Vary::Names(names) => names,
            Vary::Any => panic!("{vary} was read as *"),
        }
    }

    #[test]
    fn a_star_anywhere_matches_no_request() {
        assert_eq!(Vary::of(&fields(&[("vary", "Accept, *")])), Vary::Any);
        assert_eq!(Vary::of(&fields(&[("vary", "not a name")])), Vary::Any);
    }

    #[test]
    fn order_and_case_of_names_do_not_matter() {
        assert_eq!(names("Accept, X-A"), names("x-a,ACCEPT , accept"));
    }

    #[test]
    fn white_space_and_line_breaks_do_not_select_another_response() {
        let vary = names("Accept-Encoding");
        let one = vary.select(&fields(&[("accept-encoding", "gzip, BR")]));
        let two = vary.select(&fields(&[
            ("accept-encoding", " gzip"),
            ("accept-encoding", "br"),
        ]));
        assert_eq!(one, two);
    }

    #[test]
    fn absent_and_empty_differ_and_so_do_shifted_values() {
        let vary = names("A, B");
        assert_ne!(
            vary.select(&fields(&[])),
            vary.select(&fields(&[("a", ""), ("b", "")]))
        );
        assert_ne!(
            vary.select(&fields(&[("a", "xy"), ("b", "z")])),
            vary.select(&fields(&[("a", "x"), ("b", "yz")]))
        );
    }

    #[test]
    fn white_space_inside_a_value_is_part_of_it() {
        let vary = names("X-User");
        assert_ne!(
            vary.select(&fields(&[("x-user", "a b")])),
            vary.select(&fields(&[("x-user", "ab")]))
        );
    }
}
