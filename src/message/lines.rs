//! The fields of a request, wherever they are.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Something that has field lines: a map, or a head that was only just parsed.
/// What must be the same for both is written against this.
pub trait FieldLines {
    /// The values of all lines of this name, in their order.
    fn lines<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]>;

    /// Every line: its name as it was written, and its value.
    fn all(&self) -> impl Iterator<Item = (&str, &[u8])>;
}

impl FieldLines for HeaderMap {
    fn lines<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        self.get_all(name).iter().map(HeaderValue::as_bytes)
    }

    fn all(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
    }
}

impl FieldLines for [httparse::Header<'_>] {
    fn lines<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        let named = self
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name.as_str()));
        named.map(|field| field.value)
    }

    fn all(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.iter().map(|field| (field.name, field.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::ACCEPT;

    #[test]
    fn a_map_and_a_parsed_head_say_the_same() {
        let parsed = [("Accept", "a"), ("X", "x"), ("aCCEPT", "b")].map(|(name, value)| {
            let value = value.as_bytes();
            httparse::Header { name, value }
        });
        let mut map = HeaderMap::new();
        for field in &parsed {
            let name = HeaderName::try_from(field.name).unwrap();
            map.append(name, HeaderValue::from_bytes(field.value).unwrap());
        }
        let of_map: Vec<&[u8]> = map.lines(&ACCEPT).collect();
        let of_head: Vec<&[u8]> = parsed.as_slice().lines(&ACCEPT).collect();
        assert_eq!(of_map, of_head);
        assert_eq!(of_map, [b"a", b"b"]);
    }
}
