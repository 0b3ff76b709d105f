//! Where records are in Redis.

use std::fmt::Write;
use std::sync::Arc;

use crate::semantics::key::CacheKey;
use crate::semantics::vary::SecondaryKey;

/// Names the keys of one namespace: `{ns}:r:{hex}` and, for a response that
/// varies, `{ns}:r:{hex}:hex`. The braces around the cache key are there to be
/// seen by a cluster: all records of one cache key are on one node.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: Arc<str>,
}

impl Keys {
    pub(super) fn of(namespace: &str) -> Self {
        Self {
            prefix: format!("{namespace}:r:").into(),
        }
    }

    /// The record of a response that does not vary, or the pointer to those
    /// that do.
    pub(super) fn base(&self, key: &CacheKey) -> String {
        let mut name = String::with_capacity(self.prefix.len() + 66 + 33);
        name.push_str(&self.prefix);
        name.push('{');
        push_hex(&mut name, &key.0);
        name.push('}');
        name
    }

    /// Who fetches what is to be stored under a cache key.
    pub(super) fn hold(&self, key: &CacheKey) -> String {
        format!("{}:hold", self.base(key))
    }

    /// The record of a response that varies.
    pub(super) fn variant(&self, key: &CacheKey, secondary: &SecondaryKey) -> String {
        let mut name = self.base(key);
        name.push(':');
        push_hex(&mut name, &secondary.0);
        name
    }

    /// A `SCAN` pattern that matches every record of the namespace and nothing
    /// else.
    pub(super) fn pattern(&self) -> String {
        let mut pattern = String::with_capacity(self.prefix.len() + 2);
        for letter in self.prefix.chars() {
            if matches!(letter, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
                pattern.push('\\');
            }
            pattern.push(letter);
        }
        // The brace, too: the namespace `shop:r` would be part of `shop` else.
        pattern.push_str("{*");
        pattern
    }
}

fn push_hex(name: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a string does not fail.
        let _infallible = write!(name, "{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_one_key_share_a_hash_tag() {
        let keys = Keys::of("shop");
        let base = keys.base(&CacheKey([0xab; 32]));
        assert_eq!(base, format!("shop:r:{{{}}}", "ab".repeat(32)));
        let variant = keys.variant(&CacheKey([0xab; 32]), &SecondaryKey([1; 16]));
        assert_eq!(variant, format!("{base}:{}", "01".repeat(16)));
    }

    #[test]
    fn a_namespace_is_matched_literally() {
        assert_eq!(Keys::of("a*[b]").pattern(), r"a\*\[b\]:r:{*");
    }
}
