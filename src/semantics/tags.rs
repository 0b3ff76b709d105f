//! Tags: names under which stored responses are invalidated together.
//!
//! `Cache-Groups` (RFC 9875), and what content delivery networks made
//! customary: `Surrogate-Key` and `xkey` (separated by spaces) and `Cache-Tag`
//! (by commas).

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
const XKEY: HeaderName = HeaderName::from_static("xkey");
const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

/// What a write's answer names groups by (RFC 9875 §3).
const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");

/// The tags of the groups that the answer to a write at `host` invalidates
/// (RFC 9875 §3).
#[must_use]
pub fn invalidated(answer: &HeaderMap, host: &str) -> Vec<Box<str>> {
    let groups = groups(answer, &CACHE_GROUP_INVALIDATION).into_iter();
    groups.map(|group| of_origin(&group, host)).collect()
}

/// The tag of a group: groups of one name at two hosts are two (RFC 9875
/// §2.1). The separator is in no tag and no host.
fn of_origin(group: &str, host: &str) -> Box<str> {
    format!("{host}\n{group}").into()
}

/// The strings of a list field; none where it is not a list of strings
/// (RFC 9875 §2).
fn groups(fields: &HeaderMap, name: &HeaderName) -> Vec<Box<str>> {
    let lines: Vec<&[u8]> = fields
        .get_all(name)
        .iter()
        .map(|line| line.as_bytes())
        .collect();
    if lines.is_empty() {
        return Vec::new();
    }
    let Ok(list) = sfv::Parser::new(&lines.join(&b", "[..])).parse::<sfv::List>() else {
        return Vec::new();
    };
    let names = list.iter().filter_map(|member| match member {
        sfv::ListEntry::Item(item) => item.bare_item.as_string().map(|text| text.as_str().into()),
        sfv::ListEntry::InnerList(_) => None,
    });
    names.collect()
}

/// The tags of a response at `host`, sorted, each once. A group is a tag twice:
/// by its name, for operators, and by its name at its origin, for writes.
///
/// # Errors
/// [`TooManyTags`] beyond [`TAGS_MAX`] or [`TAG_BYTES_MAX`].
pub fn of(fields: &HeaderMap, host: &str) -> Result<Box<[Box<str>]>, TooManyTags> {
    let mut tags: Vec<Box<str>> = Vec::new();
    for (name, separator) in [(SURROGATE_KEY, ' '), (XKEY, ' '), (CACHE_TAG, ',')] {
        for line in fields.get_all(name) {
            let line = String::from_utf8_lossy(line.as_bytes());
            let members = line.split(separator).map(str::trim);
            tags.extend(members.filter(|tag| !tag.is_empty()).map(Into::into));
        }
    }
    for group in groups(fields, &CACHE_GROUPS) {
        tags.push(of_origin(&group, host));
        tags.push(group);
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
    fn all_fields_of_tags_give_tags() {
        let mut fields = HeaderMap::new();
        fields.append(SURROGATE_KEY, HeaderValue::from_static("a  b"));
        fields.append(CACHE_TAG, HeaderValue::from_static("b, c d"));
        fields.append(XKEY, HeaderValue::from_static("x y"));
        fields.append(CACHE_GROUPS, HeaderValue::from_static("\"e,f\", token"));
        let tags = of(&fields, "h").expect("few");
        let tags: Vec<&str> = tags.iter().map(|tag| &**tag).collect();
        assert_eq!(tags, ["a", "b", "c d", "e,f", "h\ne,f", "x", "y"]);
    }

    #[test]
    fn too_many_tags_are_refused() {
        let mut fields = HeaderMap::new();
        let long = "x".repeat(TAG_BYTES_MAX + 1);
        fields.insert(CACHE_TAG, HeaderValue::try_from(long).expect("a value"));
        assert_eq!(of(&fields, "h"), Err(TooManyTags));
    }

    #[test]
    fn a_write_invalidates_the_groups_it_names_at_its_own_origin_rfc9875_3() {
        let mut answer = HeaderMap::new();
        answer.append(
            CACHE_GROUP_INVALIDATION,
            HeaderValue::from_static("\"a\", b, \"c\";x"),
        );
        answer.append(CACHE_GROUP_INVALIDATION, HeaderValue::from_static("\"d\""));
        let tags = invalidated(&answer, "h:80");
        let tags: Vec<&str> = tags.iter().map(|tag| &**tag).collect();
        assert_eq!(tags, ["h:80\na", "h:80\nc", "h:80\nd"]);
        answer.append(CACHE_GROUP_INVALIDATION, HeaderValue::from_static("\"e"));
        assert!(invalidated(&answer, "h:80").is_empty());
    }
}
