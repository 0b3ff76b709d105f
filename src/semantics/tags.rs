//! Tags: names under which stored responses are invalidated together.
//!
//! `Cache-Groups` (RFC 9875), and what content delivery networks made
//! customary: `Surrogate-Key` (separated by spaces) and `Cache-Tag` (by commas).

use http::{HeaderMap, HeaderName};

/// A response with more tags is not stored: it could not be invalidated by all.
pub const TAGS_MAX: usize = 512;
/// A response whose tags take more bytes is not stored.
pub const TAG_BYTES_MAX: usize = 16 * 1024;

/// There are too many tags, or they are too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyTags;

const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

/// The tags of a response, sorted, each once.
///
/// # Errors
/// [`TooManyTags`] beyond [`TAGS_MAX`] or [`TAG_BYTES_MAX`].
pub fn of(fields: &HeaderMap) -> Result<Box<[Box<str>]>, TooManyTags> {
    let mut tags: Vec<Box<str>> = Vec::new();
    for (name, separator) in [(SURROGATE_KEY, ' '), (CACHE_TAG, ',')] {
        for line in fields.get_all(name) {
            let line = String::from_utf8_lossy(line.as_bytes());
            let members = line.split(separator).map(str::trim);
            tags.extend(members.filter(|tag| !tag.is_empty()).map(Into::into));
        }
    }
    for line in fields.get_all(CACHE_GROUPS) {
        // One that is no list of strings is ignored whole (RFC 9875 §2).
        if let Ok(list) = sfv::Parser::new(line.as_bytes()).parse::<sfv::List>() {
            tags.extend(list.iter().filter_map(|member| match member {
                sfv::ListEntry::Item(item) => {
                    item.bare_item.as_string().map(|text| text.as_str().into())
                }
                sfv::ListEntry::InnerList(_) => None,
            }));
        }
    }
    tags.sort_unstable();
    tags.dedup();
    let bytes: usize = tags.iter().map(|tag| tag.len()).sum();
    if tags.len() > TAGS_MAX || bytes > TAG_BYTES_MAX {
        return Err(TooManyTags);
    }
    Ok(tags.into_boxed_slice())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn all_three_fields_give_tags() {
        let mut fields = HeaderMap::new();
        fields.append(SURROGATE_KEY, HeaderValue::from_static("a  b"));
        fields.append(CACHE_TAG, HeaderValue::from_static("b, c d"));
        fields.append(CACHE_GROUPS, HeaderValue::from_static("\"e,f\", token"));
        let tags = of(&fields).expect("few");
        let tags: Vec<&str> = tags.iter().map(|tag| &**tag).collect();
        assert_eq!(tags, ["a", "b", "c d", "e,f"]);
    }

    #[test]
    fn too_many_tags_are_refused() {
        let mut fields = HeaderMap::new();
        let long = "x".repeat(TAG_BYTES_MAX + 1);
        fields.insert(CACHE_TAG, HeaderValue::try_from(long).expect("a value"));
        assert_eq!(of(&fields), Err(TooManyTags));
    }
}
