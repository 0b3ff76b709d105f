//! Which changes of a configuration a running proxy cannot take.

use super::Config;

/// The keys whose values differ and are read only when the proxy starts;
/// everything else (`routes`, `invalidations`, `invalidation`) is taken by a
/// reload.
#[must_use]
pub fn restart_needed(old: &Config, new: &Config) -> Vec<&'static str> {
    // Taken apart, so that a key added later has to be placed here.
    let Config {
        listen,
        upstream,
        threads,
        origin,
        limits,
        admin,
        memory,
        redis,
        coalescing,
        coherence,
        invalidation: _,
        routes: _,
        invalidations: _,
    } = old;
    [
        ("listen", *listen != new.listen),
        ("upstream", *upstream != new.upstream),
        ("threads", *threads != new.threads),
        ("admin", *admin != new.admin),
        ("origin", *origin != new.origin),
        ("limits", *limits != new.limits),
        ("memory", *memory != new.memory),
        ("redis", *redis != new.redis),
        ("coalescing", *coalescing != new.coalescing),
        ("coherence", *coherence != new.coherence),
    ]
    .into_iter()
    .filter_map(|(name, is_changed)| is_changed.then_some(name))
    .collect()
}
