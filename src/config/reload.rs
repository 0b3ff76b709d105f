//! Which changes of a configuration a running proxy cannot take.

use super::{Config, ListenAddress, TlsConfig};

/// The keys whose values differ and are read only when the proxy starts;
/// everything else is taken by a reload.
#[must_use]
pub fn restart_needed(old: &Config, new: &Config) -> Vec<&'static str> {
    // Taken apart, so that a key added later has to be placed here.
    let Config {
        listen,
        proxy_protocol,
        threads,
        tls,
        admin,
        redis,
        coherence,
        upstream: _,
        origin: _,
        limits: _,
        memory,
        coalescing: _,
        invalidation: _,
        routes: _,
        invalidations: _,
        warm,
        health: _,
        cache: _,
        log: _,
    } = old;
    [
        ("listen", *listen != new.listen),
        ("proxy_protocol", *proxy_protocol != new.proxy_protocol),
        ("threads", *threads != new.threads),
        (
            "tls.listen",
            tls_listen(tls.as_ref()) != tls_listen(new.tls.as_ref()),
        ),
        (
            "tls.proxy_protocol",
            proxy_protocol_in_tls(tls.as_ref()) != proxy_protocol_in_tls(new.tls.as_ref()),
        ),
        ("admin", *admin != new.admin),
        ("redis", *redis != new.redis),
        ("coherence", *coherence != new.coherence),
        ("warm", *warm != new.warm),
        ("memory.policy", memory.policy != new.memory.policy),
    ]
    .into_iter()
    .filter_map(|(name, is_changed)| is_changed.then_some(name))
    .collect()
}

/// Where TLS is spoken, if it is.
fn tls_listen(tls: Option<&TlsConfig>) -> Option<Option<&[ListenAddress]>> {
    tls.map(|tls| tls.listen.as_deref())
}

fn proxy_protocol_in_tls(tls: Option<&TlsConfig>) -> bool {
    tls.is_some_and(|tls| tls.proxy_protocol)
}

impl Config {
    /// This configuration with the values that are read only at the start
    /// taken from the one that was started with.
    #[must_use]
    pub fn started_as(self, started: &Self) -> Self {
        let mut memory = self.memory;
        memory.policy = started.memory.policy;
        // Which certificates are presented may change, not whether any are.
        let tls = match (self.tls, &started.tls) {
            (Some(new), Some(started)) => Some(TlsConfig {
                listen: started.listen.clone(),
                proxy_protocol: started.proxy_protocol,
                ..new
            }),
            (_, started) => started.clone(),
        };
        Self {
            memory,
            tls,
            listen: started.listen.clone(),
            proxy_protocol: started.proxy_protocol,
            threads: started.threads,
            admin: started.admin.clone(),
            redis: started.redis.clone(),
            coherence: started.coherence.clone(),
            warm: started.warm.clone(),
            ..self
        }
    }
}
