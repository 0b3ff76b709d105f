//! Cache keys: which requests one stored response may answer (RFC 9111 §2).

/// A cache key: the BLAKE3 digest of a length-prefixed canonical form of the
/// request's target and of what the route adds to it. Holds nothing readable.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheKey(pub [u8; 32]);

impl std::fmt::Debug for CacheKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for byte in &self.0[..6] {
            write!(formatter, "{byte:02x}")?;
        }
        formatter.write_str("…")
    }
}
