//! `Vary`: which of several stored responses a request selects (RFC 9111 §4.1).

use http::header::{ACCEPT_LANGUAGE, CONTENT_LANGUAGE, VARY};
use http::{HeaderMap, HeaderName};
use serde::{Deserialize, Serialize};

use super::selecting::{first_choice, normalise};
use crate::message::lines::FieldLines;

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

/// A language tag of more parts is found by its first ones only.
const LANGUAGE_KEYS_MAX: usize = 4;

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
    /// The others.
    #[must_use]
    pub(super) fn without(self, is_left_out: impl Fn(&HeaderName) -> bool) -> Self {
        if !self.0.iter().any(&is_left_out) {
            return self;
        }
        let names = self.0.into_iter();
        Self(names.filter(|name| !is_left_out(name)).collect())
    }

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
    pub fn select(&self, request: &(impl FieldLines + ?Sized)) -> SecondaryKey {
        if self.0.is_empty() {
            return SecondaryKey::default();
        }
        self.digest(request, None)
    }

    /// The key under which a response is found by requests that like `language`
    /// (lower case) best, all other selecting fields being the same; `None`
    /// where the language selects nothing.
    fn select_by_language(
        &self,
        request: &(impl FieldLines + ?Sized),
        language: &str,
    ) -> Option<SecondaryKey> {
        self.0
            .contains(&ACCEPT_LANGUAGE)
            .then(|| self.digest(request, Some(language)))
    }

    /// The keys of a response in `Content-Language` by its language and every
    /// shorter range that matches it (RFC 4647 §3.3.1); none where it is in
    /// several or the language selects nothing.
    #[must_use]
    pub fn language_keys(&self, request: &HeaderMap, response: &HeaderMap) -> Box<[SecondaryKey]> {
        let mut lines = response.get_all(CONTENT_LANGUAGE).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return Box::default();
        };
        let is_tag = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
        let Ok(language) = line.to_str().map(|text| text.trim().to_ascii_lowercase()) else {
            return Box::default();
        };
        if language.is_empty() || !language.bytes().all(|byte| is_tag(&byte)) {
            return Box::default();
        }
        let ends = language.match_indices('-').map(|(end, _)| end);
        ends.chain([language.len()])
            .take(LANGUAGE_KEYS_MAX)
            .filter_map(|end| self.select_by_language(request, &language[..end]))
            .collect()
    }

    /// The key of a request's first choice of language, if it has one.
    #[must_use]
    pub fn select_by_first_choice(
        &self,
        request: &(impl FieldLines + ?Sized),
    ) -> Option<SecondaryKey> {
        if !self.0.contains(&ACCEPT_LANGUAGE) {
            return None;
        }
        self.select_by_language(request, &first_choice(request)?)
    }

    fn digest(&self, request: &(impl FieldLines + ?Sized), language: Option<&str>) -> SecondaryKey {
        let mut hasher = blake3::Hasher::new();
        for name in &self.0 {
            hash_part(&mut hasher, name.as_str().as_bytes());
            if let Some(language) = language.filter(|_| *name == ACCEPT_LANGUAGE) {
                hasher.update(&[2]);
                hash_part(&mut hasher, language.as_bytes());
                continue;
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::samples::fields;

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
    fn a_response_is_found_by_who_likes_its_language_best_rfc9111_4_1() {
        let vary = names("Accept-Language, X-A");
        let stored_for = fields(&[("accept-language", "en, de-at"), ("x-a", "1")]);
        let keys = vary.language_keys(&stored_for, &fields(&[("content-language", "de-AT")]));
        let choice = |language, other| {
            let request = fields(&[("accept-language", language), ("x-a", other)]);
            vary.select_by_first_choice(&request)
        };
        for (language, other, is_found) in [
            ("de-AT, en;q=0.5", "1", true),
            ("fr;q=0.5, de;q=1.0", "1", true),
            ("de-AT", "2", false),
            ("fr", "1", false),
            ("de-AT-1996", "1", false),
        ] {
            let found = choice(language, other).is_some_and(|key| keys.contains(&key));
            assert_eq!(found, is_found, "{language} {other}");
        }
        let several = fields(&[("content-language", "de, en")]);
        assert!(vary.language_keys(&stored_for, &several).is_empty());
        let unasked = names("X-A");
        let german = fields(&[("content-language", "de")]);
        assert!(unasked.language_keys(&stored_for, &german).is_empty());
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
