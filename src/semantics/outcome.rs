//! How a request was answered: one vocabulary for `X-Cache`, `Cache-Status`,
//! metric labels, logs and statistics.

/// The value of `X-Cache`, and the `cache` label of every metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CacheResult {
    /// Fresh from the store.
    Hit,
    /// Reused past its lifetime.
    Stale,
    /// Reused after the origin confirmed it.
    Revalidated,
    /// The origin answered a cacheable route.
    Miss,
    /// The route or method is not cached.
    Bypass,
}

impl CacheResult {
    /// All results, in the order of [`Self::index`].
    pub const ALL: [Self; 5] = [
        Self::Hit,
        Self::Stale,
        Self::Revalidated,
        Self::Miss,
        Self::Bypass,
    ];

    /// The value of `X-Cache`: `HIT`, `STALE`, `REVALIDATED`, `MISS`, `BYPASS`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "HIT",
            Self::Stale => "STALE",
            Self::Revalidated => "REVALIDATED",
            Self::Miss => "MISS",
            Self::Bypass => "BYPASS",
        }
    }

    /// The `cache` label of a metric: `hit`, `stale`, `revalidated`, `miss`, `bypass`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
        }
    }

    /// A dense index, for tables of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether a stored response answered.
    #[must_use]
    pub const fn is_from_store(self) -> bool {
        matches!(self, Self::Hit | Self::Stale | Self::Revalidated)
    }
}
